"""Which task comes next, and who is to blame when a worker dies: plain bookkeeping, no Ray.

Invariant: every shard that is not committed is in exactly one place: waiting here, out with a
worker, or under inquiry. An image is convicted only by deaths of a worker that was doing this one
image and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.runtime.worker import describe
from schemas.errors import WorkerError
from schemas.manifest import Shard

LOOK_AHEAD = 3
"""Shards that one worker may hold: one running, one queued, one only announced."""


@dataclass(frozen=True)
class Task:
    """One request to a worker.

    Attributes:
        shard: the shard, or for a probe a slice of it.
        kind: ``run`` a shard among others, run it ``alone`` with nothing queued behind it, or
            ``probe`` a slice, alone too.
    """

    shard: Shard
    kind: Literal["run", "alone", "probe"]


@dataclass(frozen=True)
class Patience:
    """When suspicion begins and when the whole run gives up.

    Attributes:
        suspect_after: deaths of a shard's worker before the shard is run alone.
        convict_after: deaths with one image alone before the image is excluded.
        barren_deaths: deaths of workers, per worker and one more, without any shard committed or
            image convicted in between, that stop the run.
        convictions: images convicted without any shard committed in between that stop the run.
        failed_starts: deaths in a row while starting, beyond one per worker, that stop the run.
        answer_seconds: how long no worker at all may answer.
    """

    suspect_after: int = 2
    convict_after: int = 2
    barren_deaths: int = 20
    convictions: int = 32
    failed_starts: int = 5
    answer_seconds: float = 900.0


@dataclass
class _Inquiry:
    """The search for the images of one shard that kill: probes still out, and what was found."""

    open_probes: int = 0
    convicted: set[int] = field(default_factory=set)
    deaths: dict[int, int] = field(default_factory=dict)


class Ledger:
    """The shards of one run, from waiting to committed.

    Args:
        shards: those without a marker, in the order to hand out.
        workers: how many workers there are.
        patience: the limits.
        items: what the rows are, see `Stage.items`.
        can_exclude: a row that kills its worker is left out; else it stops the run.
        note: told, in words, of suspicion and conviction.

    Attributes:
        retries: shard runs that ended with the death of their worker.
    """

    def __init__(
        self,
        shards: Iterable[Shard],
        *,
        workers: int,
        patience: Patience,
        items: str,
        can_exclude: bool,
        note: Callable[[str], None],
    ) -> None:
        self._shards = {shard.index: shard for shard in shards}
        self._waiting = deque(self._shards)
        self._lonely: deque[Task] = deque()
        self._blame: dict[int, int] = {}
        self._inquiries: dict[int, _Inquiry] = {}
        self._workers = workers
        self._patience = patience
        self._items = items
        self._can_exclude = can_exclude
        self._note = note
        self._barren_deaths = 0
        self._convictions = 0
        self.retries = 0

    @property
    def open(self) -> int:
        """Shards not committed yet."""
        return len(self._shards)

    @property
    def has_task(self) -> bool:
        """Whether an idle worker would get a task."""
        return bool(self._lonely or self._waiting)

    def describe(self, shard: Shard) -> str:
        """A shard in words for messages."""
        return describe(shard, self._items)

    def next_task(self, *, held: int) -> Task | None:
        """A task for a worker that holds ``held`` shards; None where it shall get no more now.

        While a task waits that must run alone, workers are left to run dry, so that the first
        that is free takes it. Near the end no worker hoards what another could begin.
        """
        if self._lonely:
            return None if held else self._lonely.popleft()
        fair = max(1, min(LOOK_AHEAD, self.open // self._workers))
        if not self._waiting or held >= fair:
            return None
        return Task(self._shards[self._waiting.popleft()], "run")

    def give_back(self, tasks: Sequence[Task]) -> None:
        """Take back tasks that did not begin; they go to the front, in their order."""
        for task in reversed(tasks):
            self._again(task)

    def finished(self, task: Task) -> None:
        """Book a task that its worker outlived."""
        if task.kind == "probe":
            self._close_probe(task.shard.index)
            return
        del self._shards[task.shard.index]
        self._blame.pop(task.shard.index, None)
        self._barren_deaths = 0
        self._convictions = 0

    def lost(self, task: Task, reason: str) -> None:
        """Book a task whose worker died while it was the one running.

        Args:
            task: the task.
            reason: what is known of the death, for messages.

        Raises:
            WorkerError: workers keep dying and nothing gets done.
        """
        self.died(f"in {self.describe(task.shard)}: {reason}")
        if task.kind == "probe":
            self._probe_killed(task.shard)
            return
        self.retries += 1
        index = task.shard.index
        self._blame[index] = self._blame.get(index, 0) + 1
        if task.kind == "alone":
            self._note(f"{self.describe(task.shard)} ended its worker alone; looking for the row")
            self._inquiries[index] = _Inquiry(open_probes=1)
            self._split(task.shard)
            self._close_probe(index)
        else:
            self._again(task)

    def died(self, reason: str) -> None:
        """Count the death of a worker, also of one that did nothing yet.

        Raises:
            WorkerError: workers keep dying and nothing gets done.
        """
        self._barren_deaths += 1
        limit = self._patience.barren_deaths * (self._workers + 1)
        if self._barren_deaths >= limit:
            raise WorkerError(
                f"workers died {self._barren_deaths} times without one shard committed in between, "
                f"the last {reason}; {self.open} shards are left. Look at the workers' logs and "
                "memory, take a smaller shard_size or fewer workers, and run the same command again"
            )

    def _again(self, task: Task) -> None:
        index = task.shard.index
        if task.kind != "run":
            self._lonely.appendleft(task)
        elif self._blame.get(index, 0) >= self._patience.suspect_after:
            self._note(
                f"{self.describe(task.shard)} lost its worker repeatedly; it runs alone next"
            )
            self._lonely.append(Task(task.shard, "alone"))
        else:
            self._waiting.appendleft(index)

    def _probe_killed(self, piece: Shard) -> None:
        inquiry = self._inquiries[piece.index]
        if piece.stop - piece.start > 1:
            self._split(piece)
        else:
            image = piece.start
            inquiry.deaths[image] = inquiry.deaths.get(image, 0) + 1
            if inquiry.deaths[image] < self._patience.convict_after:
                self._probe(piece)
            else:
                self._convict(image, inquiry)
        self._close_probe(piece.index)

    def _convict(self, image: int, inquiry: _Inquiry) -> None:
        if not self._can_exclude:
            raise WorkerError(
                f"row {image} of the work list ends its worker when run alone, and the job cannot "
                "do without it; what was committed stays. Look at the workers' logs and memory, "
                "mend the cause and run the same command again"
            )
        inquiry.convicted.add(image)
        self._barren_deaths = 0
        self._convictions += 1
        self._note(f"image {image} ends its worker when run alone; it is rejected as kills_worker")
        if self._convictions >= self._patience.convictions:
            raise WorkerError(
                f"{self._convictions} images, the last of them image {image}, each ended their "
                "worker when run alone, and no shard was committed in between: the fault lies with "
                "the workers rather than with the images. Look at the workers' logs"
            )

    def _split(self, piece: Shard) -> None:
        middle = (piece.start + piece.stop + 1) // 2
        for start, stop in ((piece.start, middle), (middle, piece.stop)):
            excluded = tuple(image for image in piece.excluded if start <= image < stop)
            if stop - start > len(excluded):
                self._probe(Shard(index=piece.index, start=start, stop=stop, excluded=excluded))

    def _probe(self, piece: Shard) -> None:
        self._inquiries[piece.index].open_probes += 1
        # Depth first: a conviction is progress, and many culprits in one shard must not look like
        # deaths without any.
        self._lonely.appendleft(Task(piece, "probe"))

    def _close_probe(self, index: int) -> None:
        inquiry = self._inquiries[index]
        inquiry.open_probes -= 1
        if inquiry.open_probes:
            return
        del self._inquiries[index]
        del self._blame[index]
        shard = self._shards[index]
        if inquiry.convicted:
            excluded = tuple(sorted({*shard.excluded, *inquiry.convicted}))
            self._shards[index] = shard.model_copy(update={"excluded": excluded})
        else:
            self._note(f"no row of {self.describe(shard)} ends its worker alone; it goes back")
        self._waiting.append(index)

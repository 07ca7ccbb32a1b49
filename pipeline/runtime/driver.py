"""The driver's loop over the actors of a pool: ask, hear, notice deaths, feed.

Invariant: a worker is fed only after it has answered since its last death, and of the shards that
a death takes along only the running one is booked as lost by it.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import ray
from ray.exceptions import (
    ActorDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from pipeline.runtime.cluster import node_resources
from pipeline.runtime.ledger import Ledger, Patience, Task
from pipeline.runtime.progress import Progress
from pipeline.runtime.worker import Receipt
from schemas.errors import UnitscopeError, WorkerError

LOSS = (RayActorError, NodeDiedError, WorkerCrashedError, OutOfMemoryError, ObjectLostError)
"""What Ray raises when a process, a node or an answer is gone; they share no base of their own."""

IN_FLIGHT = 2
PING_AGAIN_SECONDS = 0.25
HEARTBEAT_SECONDS = 1.0
SLOW_START_SECONDS = 20.0


@dataclass
class _Slot:
    """One worker as the driver sees it.

    Attributes:
        actor: the Ray handle.
        state: ``away`` until it answers a ping, ``starting`` until it is set up, then ``ready``.
        call: the ping or start that is out; None between two pings.
        flight: the tasks that are out, the running one first.
        announced: the shard that the last task in flight was told to expect next.
        fresh: it has answered since the driver last looked for a task for it.
        ping_at: not to be pinged before; seconds, monotonic.
        heard_at: its last answer; None before the first.
    """

    actor: Any
    state: Literal["away", "starting", "ready"] = "away"
    call: Any = None
    flight: deque[tuple[Any, Task]] = field(default_factory=deque)
    announced: Task | None = None
    fresh: bool = False
    ping_at: float = 0.0
    heard_at: float | None = None

    def awaited(self) -> Any:
        """The reference whose answer moves this slot on; None while nothing is out."""
        if self.state == "ready":
            # Calls of one actor end in order, so the head tells of a death for all behind it.
            return self.flight[0][0] if self.flight else None
        return self.call


class Driver:
    """Keeps a pool of `PoolWorker` actors busy until the ledger is empty.

    Args:
        ledger: the shards.
        make_actor: starts one more actor.
        device: the kind of device that the workers shall use.
        threads: CPU threads per worker.
        progress: told of what is done and of what goes wrong.
        patience: how long to wait where nothing answers.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        make_actor: Callable[[], Any],
        device: Literal["cpu", "cuda"],
        threads: int,
        progress: Progress,
        patience: Patience,
    ) -> None:
        self._ledger = ledger
        self._make_actor = make_actor
        self._device = device
        self._threads = threads
        self._progress = progress
        self._patience = patience
        self._slots: list[_Slot] = []
        self._counts: list[dict[str, int]] = []
        self._failed_starts = 0
        self._heard_at = time.monotonic()
        self._warned = False

    def work(self, workers: int) -> list[dict[str, int]]:
        """Start the workers, do every shard of the ledger, end the workers.

        Returns:
            The counts of each shard done.

        Raises:
            UnitscopeError: see `run_on_ray`.
        """
        self._heard_at = time.monotonic()
        try:
            self._slots = [_Slot(self._make_actor()) for _ in range(workers)]
            while self._ledger.open:
                self._turn()
        except KeyboardInterrupt:
            self._progress.note(
                f"interrupted with {self._ledger.open} shards left; the committed ones stay, and "
                "the same command resumes"
            )
            raise
        finally:
            for slot in self._slots:
                with contextlib.suppress(RayError, RuntimeError, ValueError):
                    ray.kill(slot.actor)
        return self._counts

    def _turn(self) -> None:
        for slot in self._slots:
            self._ask(slot)
        waiting = {ref: slot for slot in self._slots if (ref := slot.awaited()) is not None}
        patience = PING_AGAIN_SECONDS if len(waiting) < len(self._slots) else HEARTBEAT_SECONDS
        if not waiting:
            time.sleep(patience)
            return
        ray.wait(list(waiting), num_returns=1, timeout=patience)
        answered, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        for ref in answered:
            self._answer(waiting[ref], ref)
        self._progress.advance()
        self._watch()

    def _ask(self, slot: _Slot) -> None:
        if slot.state == "ready" and (slot.flight or slot.fresh):
            self._feed(slot)
            slot.fresh = False
        elif slot.state == "ready" and self._ledger.has_task:
            # An idle worker dies unnoticed, and a shard given to it would be blamed for that.
            slot.state = "away"
        if slot.state == "away" and slot.call is None and time.monotonic() >= slot.ping_at:
            slot.call = slot.actor.pid.remote()

    def _feed(self, slot: _Slot) -> None:
        while len(slot.flight) < IN_FLIGHT:
            if slot.flight and slot.flight[-1][1].kind != "run":
                return
            task = slot.announced or self._ledger.next_task(held=len(slot.flight))
            slot.announced = None
            if task is None:
                return
            slot.flight.append((self._send(slot, task), task))

    def _send(self, slot: _Slot, task: Task) -> Any:
        if task.kind == "probe":
            return slot.actor.probe.remote(task.shard)
        if task.kind == "run":
            slot.announced = self._ledger.next_task(held=len(slot.flight) + 1)
        upcoming = slot.announced.shard if slot.announced else None
        return slot.actor.run.remote(task.shard, upcoming)

    def _answer(self, slot: _Slot, ref: Any) -> None:
        try:
            answer = ray.get(ref)
        except RayTaskError as error:
            raise _failure(error) from error
        except LOSS as error:
            self._gone(slot, error)
        except RayError as error:
            raise WorkerError(
                f"Ray cannot run the workers: {error}; look at the cluster's state and its logs"
            ) from error
        else:
            slot.heard_at = self._heard_at = time.monotonic()
            slot.fresh = True
            self._heard(slot, answer)

    def _heard(self, slot: _Slot, answer: Any) -> None:
        slot.call = None
        if slot.state == "away":
            slot.state = "starting"
            slot.call = slot.actor.start_assigned.remote(self._device, self._threads)
        elif slot.state == "starting":
            slot.state = "ready"
            self._failed_starts = 0
        else:
            _, task = slot.flight.popleft()
            self._ledger.finished(task)
            if isinstance(answer, Receipt):
                self._counts.append(answer.counts)
                self._progress.advance(
                    items=task.shard.stop - task.shard.start,
                    rejects=answer.counts.get("rejects", 0),
                )

    def _gone(self, slot: _Slot, error: RayError) -> None:
        reason = str(error).strip().splitlines()[0]
        was = slot.state
        flight = [task for _, task in slot.flight]
        announced = [slot.announced] if slot.announced else []
        slot.state, slot.call, slot.announced = "away", None, None
        slot.flight.clear()
        slot.ping_at = time.monotonic() + PING_AGAIN_SECONDS
        if isinstance(error, ActorDiedError):
            self._replace(slot, error)
        if was == "starting":
            self._failed_start(reason)
        if was == "ready":
            running, *queued = flight
            self._ledger.give_back([*queued, *announced])
            self._progress.note(
                f"a worker died in {self._ledger.describe(running.shard)}: {reason}"
            )
            self._ledger.lost(running, reason)
            if running.kind != "probe":
                self._progress.advance(retries=1)

    def _replace(self, slot: _Slot, error: ActorDiedError) -> None:
        if error.actor_init_failed:
            raise WorkerError(f"a worker cannot be created: {error}") from error
        self._ledger.died(f"for good: {error}")
        slot.actor = self._make_actor()

    def _failed_start(self, reason: str) -> None:
        self._failed_starts += 1
        self._ledger.died(f"while it started: {reason}")
        if self._failed_starts >= self._patience.failed_starts + len(self._slots):
            raise WorkerError(
                f"workers died {self._failed_starts} times in a row while they set up the stage, "
                f"the last time: {reason}; look at the workers' logs, memory and weights"
            )

    def _watch(self) -> None:
        now = time.monotonic()
        unheard = sum(slot.heard_at is None for slot in self._slots)
        if unheard and not self._warned and now - self._heard_at > SLOW_START_SECONDS:
            self._warned = True
            self._progress.note(
                f"{unheard} of {len(self._slots)} workers wait for a place: each takes "
                f"{self._share()}, the cluster has {_resources()}"
            )
        silent = now - self._heard_at
        if silent > self._patience.answer_seconds and all(s.state == "away" for s in self._slots):
            raise WorkerError(
                f"no worker has answered for {silent:.0f} s: each takes {self._share()}, the "
                f"cluster has {_resources()}; add nodes, or take fewer threads a worker"
            )

    def _share(self) -> str:
        return "1 GPU" if self._device == "cuda" else f"{self._threads} CPUs"


def _resources() -> str:
    nodes = node_resources()
    cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    return f"{cpus:g} CPUs and {gpus:g} GPUs on {len(nodes)} nodes"


def _failure(error: RayTaskError) -> UnitscopeError:
    """The error to raise for one that a worker raised: its own type where it is ours."""
    if isinstance(error.cause, UnitscopeError):
        return error.cause
    return WorkerError(f"a worker failed: {type(error.cause).__name__}: {error.cause}")

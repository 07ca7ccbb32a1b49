"""One worker: it holds a stage that was set up once, and does shards on request.

Invariant: a receipt exists only for a shard whose marker stands in the run's folder. The module
imports neither Ray nor torch: the same worker runs in this process and inside a Ray actor, and a
new process is soon ready.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.runtime.allocator import keep_freed_memory
from pipeline.stages.contract import Stage
from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder
from schemas.errors import UnitscopeError, WorkerError
from schemas.manifest import Marker, Shard
from schemas.tables import Table


@dataclass(frozen=True)
class Receipt:
    """What a worker answers for one committed shard.

    Attributes:
        shard: the shard's index.
        counts: what the stage counted in it, as its marker says.
        seconds: how long the shard took when it was done.
        pid: the process that answers.
    """

    shard: int
    counts: dict[str, int]
    seconds: float
    pid: int


@dataclass(frozen=True)
class RunSummary:
    """What a run over all shards of a plan came to.

    Attributes:
        counts: summed over every shard, also those that an earlier run had committed.
        retries: shard runs that ended with the death of their worker.
        seconds: wall time of this run.
    """

    counts: dict[str, int]
    retries: int
    seconds: float


def add_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum by name, names sorted."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


class ShardWorker:
    """Runs one stage on one shard after another and commits what it gives.

    Args:
        stage: the work; small and picklable until `start`.
        folder: where the parts and markers go.
        contracts: the stage's tables by name.
        replaceable: another process takes over when this one ends, so a device that has failed
            ends it: a CUDA context is of no use after an error in a kernel.
    """

    def __init__(
        self,
        stage: Stage,
        folder: JobFolder,
        contracts: dict[str, Table],
        *,
        replaceable: bool = False,
    ) -> None:
        self._stage = stage
        self._store = JobStore(folder)
        self._contracts = contracts
        self._replaceable = replaceable
        self._started = False

    def start(self, device: str, threads: int) -> int:
        """Set the stage up; a second call does nothing.

        Args:
            device: ``cpu`` or ``cuda:N``.
            threads: CPU threads that torch may use, where the stage uses torch.

        Returns:
            This process's id.

        Raises:
            UnitscopeError: what the stage raised; anything else comes as a `WorkerError`.
        """
        if not self._started:
            with self._reporting(f"set up on {device}"):
                keep_freed_memory()
                limit_threads(threads)
                self._stage.setup(device)
                limit_threads(threads)
            self._started = True
        return self.pid()

    def run(self, shard: Shard, upcoming: Shard | None = None) -> Receipt:
        """Do one shard and commit it, or answer at once where its marker stands already.

        Args:
            shard: the slice to work on.
            upcoming: the slice that probably follows, for the stage to read ahead.

        Raises:
            UnitscopeError: what the stage or the store raised; anything else comes as a
                `WorkerError`.
        """
        with self._reporting(describe(shard, self._stage.items)):
            marker = self._store.marker(shard.index) or self._commit(shard, upcoming)
        return receipt_of(marker)

    def probe(self, shard: Shard) -> int:
        """Do a slice and throw the result away, to see whether this process outlives it.

        Returns:
            This process's id.

        Raises:
            UnitscopeError: as `run`.
        """
        with self._reporting(describe(shard, self._stage.items)):
            self._stage.process(shard)
        return self.pid()

    def pid(self) -> int:
        """This process's id; the answer says that the worker lives."""
        return os.getpid()

    def _commit(self, shard: Shard, upcoming: Shard | None) -> Marker:
        begun = time.monotonic()
        output = self._stage.process(shard, upcoming)
        return self._store.commit_shard(
            shard, output.tables, self._contracts, output.counts, time.monotonic() - begun
        )

    @contextmanager
    def _reporting(self, doing: str) -> Iterator[None]:
        try:
            yield
        except UnitscopeError:
            raise
        except Exception as error:
            if self._replaceable and is_device_failure(error):
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
            raise WorkerError(
                f"stage {self._stage.name} failed, {doing}: {type(error).__name__}: {error}; "
                "what was committed stays: mend the cause and run the same command again"
            ) from error


def describe(shard: Shard, items: str) -> str:
    """A shard in words for messages.

    Args:
        shard: a slice of a work list.
        items: what the list's rows are, see `pipeline.stages.contract.Stage.items`.
    """
    return f"shard {shard.index} ({items} {shard.start} to {shard.stop - 1})"


def receipt_of(marker: Marker) -> Receipt:
    """The receipt that a standing marker is worth."""
    return Receipt(marker.shard, dict(marker.counts), marker.seconds, os.getpid())


def limit_threads(threads: int) -> None:
    """Let torch use this many CPU threads; nothing where no torch is loaded.

    torch is not imported for this: it takes seconds, and a worker that replaces a dead one has to
    be quick.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def is_device_failure(error: BaseException) -> bool:
    """Whether the accelerator itself failed, so that this process can use it no more.

    A CUDA out-of-memory error is not one: it leaves the context usable.
    """
    torch = sys.modules.get("torch")
    if torch is None or isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and "CUDA error" in str(error)
    )

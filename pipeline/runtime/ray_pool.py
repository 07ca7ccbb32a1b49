"""Runs a stage over its shards on a pool of Ray actors that may die at any moment.

The answer does not depend on who died when: a shard is done when its marker stands,
whoever wrote it, and the tables of a shard depend on nothing but the shard.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import ray

from pipeline.runtime.cluster import actor_options, assigned_device, connected, worker_count
from pipeline.runtime.driver import Driver
from pipeline.runtime.ledger import Ledger, Patience
from pipeline.runtime.progress import Progress
from pipeline.runtime.worker import RunSummary, ShardWorker, add_counts
from pipeline.stages.contract import Stage
from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder
from schemas.manifest import Shard
from schemas.specs import Resources
from schemas.tables import Table


class PoolWorker(ShardWorker):
    """A `ShardWorker` inside an actor: Ray names its device and replaces it when it dies."""

    def start_assigned(self, kind: Literal["cpu", "cuda"], threads: int) -> int:
        """`start` on the device that Ray gave this actor."""
        return self.start(assigned_device(kind), threads)


def run_on_ray(  # noqa: PLR0913 - what a run consists of; all but four by keyword
    stage: Stage,
    folder: JobFolder,
    contracts: dict[str, Table],
    shards: Sequence[Shard],
    *,
    resources: Resources,
    threads: int,
    progress: Progress,
    patience: Patience | None = None,
) -> RunSummary:
    """Do every shard that has no marker yet, on a Ray cluster.

    Args:
        stage: the work; pickled into the workers.
        folder: where parts and markers go.
        contracts: the stage's tables by name.
        shards: all shards of the plan, in the order to hand out.
        resources: device, number of workers, address of a cluster.
        threads: CPU threads per worker, and the CPUs that Ray reserves for it.
        progress: told of every shard done; the caller opens and closes it.
        patience: when to suspect, to convict and to give up; null: the defaults.

    Returns:
        The counts of all shards, also of those done before.

    Raises:
        UnitscopeError: what the stage or the store raised in a worker; a `WorkerError` where it was
            anything else, where no worker can be started, or where workers keep dying.
    """
    begun = time.monotonic()
    markers = JobStore(folder).markers()
    counts = [markers[shard.index].counts for shard in shards if shard.index in markers]
    todo = [shard for shard in shards if shard.index not in markers]
    retries = 0
    if todo:
        limits = patience or Patience()
        with connected(resources, threads):
            workers = worker_count(resources, threads, len(todo))
            ledger = Ledger(
                todo,
                workers=workers,
                patience=limits,
                items=stage.items,
                can_exclude=stage.can_exclude,
                note=progress.note,
            )
            make = ray.remote(PoolWorker).options(**actor_options(resources, threads))
            driver = Driver(
                ledger=ledger,
                make_actor=lambda: make.remote(stage, folder, contracts, replaceable=True),
                device=resources.device,
                threads=threads,
                progress=progress,
                patience=limits,
            )
            counts += driver.work(workers)
            retries = ledger.retries
    return RunSummary(add_counts(counts), retries=retries, seconds=time.monotonic() - begun)

"""Runs a stage over its shards in this process, without Ray: notebooks, debugging, one GPU.

Shards are done in the order given, one at a time, and each is committed before the
next begins.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import zip_longest

from pipeline.runtime.progress import Progress
from pipeline.runtime.worker import RunSummary, ShardWorker, add_counts
from pipeline.stages.contract import Stage
from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder
from schemas.manifest import Shard
from schemas.specs import Resources
from schemas.tables import Table


def run_local(  # noqa: PLR0913 - the same names as run_on_ray, all but four by keyword
    stage: Stage,
    folder: JobFolder,
    contracts: dict[str, Table],
    shards: Sequence[Shard],
    *,
    resources: Resources,
    threads: int,
    progress: Progress,
) -> RunSummary:
    """Do every shard that has no marker yet.

    Args:
        stage: the work.
        folder: where parts and markers go.
        contracts: the stage's tables by name.
        shards: all shards of the plan, in the order to do them.
        resources: says the device kind; ``cuda`` is the first GPU.
        threads: CPU threads that torch may use.
        progress: told of every shard done; the caller opens and closes it.

    Returns:
        The counts of all shards, also of those done before.

    Raises:
        UnitscopeError: what the stage or the store raised; anything else comes as a
            `WorkerError`.
    """
    begun = time.monotonic()
    markers = JobStore(folder).markers()
    counts = [markers[shard.index].counts for shard in shards if shard.index in markers]
    open_shards = [shard for shard in shards if shard.index not in markers]
    worker = ShardWorker(stage, folder, contracts)
    if open_shards:
        worker.start("cuda:0" if resources.device == "cuda" else "cpu", threads)
    for shard, upcoming in zip_longest(open_shards, open_shards[1:]):
        receipt = worker.run(shard, upcoming)
        counts.append(receipt.counts)
        progress.advance(items=shard.stop - shard.start, rejects=receipt.counts.get("rejects", 0))
    return RunSummary(add_counts(counts), retries=0, seconds=time.monotonic() - begun)

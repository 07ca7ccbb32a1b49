"""What every job does between its plan and its manifest.

The invariant: a published job is never worked on again, and a job that two drivers run at once ends
well for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version

import pyarrow as pa
import torch

from pipeline.runtime.progress import make_progress
from pipeline.runtime.run import default_threads, run_shards
from pipeline.runtime.worker import RunSummary
from pipeline.stages.contract import Stage
from pipeline.store.commit import JobStore
from pipeline.store.layout import numbered_file
from schemas.errors import SpecError, StoreError
from schemas.manifest import FileRecord, Manifest, Plan, Shard
from schemas.specs import Resources
from schemas.tables import Table

_ROWS_A_FILE = 1_000_000


def finish(store: JobStore, plan: Plan, work: Callable[[], Manifest]) -> Manifest:
    """Do the work unless it is published, and clean up after it.

    Args:
        store: of the job's folder.
        plan: what this run would do.
        work: runs the shards, merges and publishes.

    Raises:
        PlanMismatchError: the folder holds another plan's work.
    """
    store.require_same_plan(plan)
    published = store.manifest()
    if published is None:
        try:
            published = work()
        except StoreError:
            # Another driver on the same folder may have published, and cleaned up, meanwhile.
            published = store.manifest()
            if published is None:
                raise
    store.finish()
    return published


def run_plan(
    stage: Stage,
    store: JobStore,
    contracts: dict[str, Table],
    shards: Sequence[Shard],
    *,
    threads: int,
) -> RunSummary:
    """Run a stage over the shards that are not done, with progress on stderr.

    Args:
        stage: the work.
        store: of the job's folder.
        contracts: the stage's part tables by name.
        shards: of the standing plan.
        threads: CPU threads a worker.
    """
    done = store.markers()
    sizes = {shard.index: shard.stop - shard.start for shard in shards}
    already = sum(size for index, size in sizes.items() if index in done)
    with make_progress(sum(sizes.values()), already, stage.name) as progress:
        return run_shards(
            stage, store.folder, contracts, shards, threads=threads, progress=progress
        )


def put_by_rows(
    store: JobStore, contract: Table, parts: Iterable[pa.Table]
) -> tuple[FileRecord, ...]:
    """Put the parts of a table one after another: files of about a million rows, at least one.

    Args:
        store: of the job's folder.
        contract: the table.
        parts: by shard, in their order; a file ends where a part does.
    """
    records: list[FileRecord] = []
    waiting: list[pa.Table] = []

    def put() -> None:
        name = numbered_file(contract.name, len(records))
        records.append(store.put_table(contract, name, pa.concat_tables(waiting)))
        waiting.clear()

    for part in parts:
        waiting.append(part)
        if sum(table.num_rows for table in waiting) >= _ROWS_A_FILE:
            put()
    if waiting:
        put()
    return tuple(records)


def require_device(resources: Resources) -> None:
    """Refuse a GPU that this process would need and lacks, before a folder is bound to it.

    Raises:
        SpecError: there is none; on Ray only the cluster knows.
    """
    if resources.local and resources.device == "cuda" and not torch.cuda.is_available():
        raise SpecError(
            "resources.device: cuda finds no GPU in this process; take cpu, or a machine with a "
            "GPU and its driver"
        )


def resolved_threads(resources: Resources, store: JobStore) -> int:
    """What the spec says, else what the folder's work was begun with, else half of the cores."""
    if resources.threads is not None:
        return resources.threads
    begun = store.manifest() or store.plan()
    return int(begun.identity["threads"]) if begun else default_threads()


def versions() -> dict[str, str]:
    """Of the packages whose kernels and decoders may round otherwise in another release."""
    return {name: version(name) for name in ("unitscope", "torch", "torchvision", "pillow")}

"""Choose where a stage runs: in this process, or on Ray.

Ray is imported only when it is used, so that a machine without it can run.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.runtime.cores import usable_cores
from pipeline.runtime.local import run_local
from pipeline.runtime.progress import Progress
from pipeline.runtime.worker import RunSummary
from pipeline.stages.contract import Stage
from pipeline.store.layout import JobFolder
from schemas.errors import SpecError
from schemas.manifest import Shard
from schemas.tables import Table


def run_shards(
    stage: Stage,
    folder: JobFolder,
    contracts: dict[str, Table],
    shards: Sequence[Shard],
    *,
    threads: int,
    progress: Progress,
) -> RunSummary:
    """Do every shard that has no marker yet, where the stage's resources say.

    Args:
        stage: the work.
        folder: where parts and markers go.
        contracts: the stage's tables by name.
        shards: all shards of the plan, in the order to do them.
        threads: CPU threads per worker.
        progress: told of every shard done.

    Raises:
        SpecError: Ray is asked for and not installed.
        UnitscopeError: the work failed.
    """
    arguments = {"resources": stage.resources, "threads": threads, "progress": progress}
    if stage.resources.local:
        return run_local(stage, folder, contracts, shards, **arguments)  # type: ignore[arg-type]
    try:
        from pipeline.runtime.ray_pool import run_on_ray  # noqa: PLC0415 - not where it is absent
    except ModuleNotFoundError as error:
        raise SpecError(
            "Ray is not installed; install unitscope[ray], or run in this process with --local"
        ) from error
    return run_on_ray(stage, folder, contracts, shards, **arguments)  # type: ignore[arg-type]


def default_threads() -> int:
    """CPU threads per worker where nothing says otherwise: half the usable cores, 1 to 4."""
    return max(1, min(4, usable_cores() // 2))

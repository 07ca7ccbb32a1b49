"""Stages by themselves, beside plain loops: without a scan, Ray, parts or a merge.

Invariant: both sides have the same weights in the same memory format, in fp32, as many threads as
a job takes, and an allocator that keeps what is freed, as a worker's does; neither side's time
holds the loading of the network or the decoding of pictures.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.timing import Lap, stopwatch
from pipeline.data.listing import list_images
from pipeline.data.loader import Batch
from pipeline.models.load import load_model
from pipeline.runtime.allocator import keep_freed_memory
from pipeline.runtime.run import default_threads
from pipeline.runtime.worker import limit_threads
from pipeline.stages.image_stage import ImageStage
from pipeline.stages.model_stage import ScanSource, prepare
from pipeline.store import JobFolder, JobStore
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec
from schemas.tables import IMAGE_LIST

TARGET = "at least 0.90"
"""Of the images a second of a stage over those of the plain loop."""


def become_worker() -> str:
    """Set this process up as a worker is; says with how many threads."""
    keep_freed_memory()
    limit_threads(default_threads())
    return f"{torch.get_num_threads()} threads"


def source_of(model: ModelSpec, data: DatasetSpec, run: str) -> ScanSource:
    """What a scan in that folder would give to a stage."""
    loaded = load_model(model)
    return ScanSource(run, model, loaded.weights_sha256, loaded.preprocess, data)


def plain_network(source: ScanSource) -> nn.Module:
    """The network for the plain loop, a copy of its own, channels_last."""
    module = source.load().module
    prepare(module, torch.device("cpu"), "fp32")
    return module


def decoded(stage: ImageStage) -> list[Batch]:
    """Set a stage up; gives its batches of all images of its source, decoded."""
    rows = list_images(stage.source.data)
    JobStore(JobFolder(stage.source.run, stage.name)).put_work_list(IMAGE_LIST, rows)
    stage.setup("cpu")
    with stage.loader as loader:
        return list(loader.batches(Shard(index=0, start=0, stop=rows.num_rows)))


def labels(batch: Batch) -> Tensor:
    """The photographs' classes, int64 [images]."""
    return torch.tensor(batch.rows["label"].to_pylist())


def timed(count: int, work: Callable[[], object]) -> Lap:
    """Do it once.

    Args:
        count: of the images, or whatever is counted, that it does.
        work: what to do.
    """
    laps: list[Lap] = []
    with stopwatch(count, laps):
        work()
    return laps[0]

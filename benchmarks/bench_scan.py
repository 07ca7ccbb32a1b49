"""The scan beside the bare forward loop: what taps, statistics and commits cost.

Invariant: a workload is the same on both sides; see `benchmarks.workload`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import ray

from benchmarks.options import Options
from benchmarks.timing import Comparison, Lap, alternate, compare_rates
from benchmarks.workload import Workload, bare_lap, bare_lap_of_processes, scan_lap
from pipeline.runtime.run import default_threads
from schemas.specs import DatasetSpec, ModelSpec, Resources

_TARGET = "at least 0.90, aim 0.97"


def run(options: Options) -> Iterator[Comparison]:
    """SqueezeNet and VGG-16 in this process, and SqueezeNet on Ray."""
    squeezenet = Workload(options.squeezenet, options.data, 64, default_threads())
    vgg = Workload(
        ModelSpec(arch="vgg16", weights="random"),
        options.data.model_copy(update={"limit": 32 if options.quick else 128}),
        batch_size=32,
        threads=default_threads(),
    )
    pairs = 2 if options.quick else 5
    yield from _script("SqueezeNet 1.1", squeezenet, pairs)
    yield from _same_process("SqueezeNet 1.1, both in one process", squeezenet, pairs)
    yield from _on_ray("SqueezeNet 1.1, 2 processes", squeezenet, pairs)
    yield from _script("VGG-16", vgg, 1 if options.quick else 3)


def _script(what: str, work: Workload, pairs: int) -> Iterator[Comparison]:
    """The bare loop as a script of its own, as somebody would write it."""
    here = Resources(local=True)
    _warm(work, lambda one: scan_lap(one, here))
    laps = alternate(
        lambda: scan_lap(work, here), lambda: bare_lap_of_processes(work, 1), pairs=pairs
    )
    yield from compare_rates(what, _names(work, "scan --local"), laps, target=_TARGET)


def _same_process(what: str, work: Workload, pairs: int) -> Iterator[Comparison]:
    """What a scan sets in its process (the allocator) serves the bare loop too."""
    here = Resources(local=True)
    _warm(work, lambda one: scan_lap(one, here), bare_lap)
    laps = alternate(lambda: scan_lap(work, here), lambda: bare_lap(work), pairs=pairs)
    yield from compare_rates(what, _names(work, "scan --local"), laps)


def _on_ray(what: str, work: Workload, pairs: int) -> Iterator[Comparison]:
    """Two workers of one thread; Ray and the workers have started when the clock does."""
    single = Workload(work.model, work.data, work.batch_size, threads=1)
    two = Resources(workers=2)
    ray.init(
        num_cpus=max(2, os.cpu_count() or 1),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        laps = alternate(
            lambda: scan_lap(single, two), lambda: bare_lap_of_processes(single, 2), pairs=pairs
        )
    finally:
        ray.shutdown()
    yield from compare_rates(what, _names(single, "scan on 2 Ray workers"), laps, target=_TARGET)


def _warm(work: Workload, *sides: Callable[[Workload], Lap]) -> None:
    """One batch each, unmeasured: imports, lazy set-up and the allocator's first pages."""
    one = DatasetSpec(**work.data.model_dump() | {"limit": 1})
    for side in sides:
        side(Workload(work.model, one, work.batch_size, work.threads))


def _names(work: Workload, scan: str) -> tuple[str, str]:
    setting = (
        f"batches of {work.batch_size}, {work.threads} torch thread(s) and "
        f"{Resources().decode_threads} decoders a process"
    )
    return (
        f"{scan}: every activation layer, top 9, statistics, commit, merge, publish; {setting}",
        f"bare loop: decode ahead, normalise, forward in inference mode; {setting}",
    )

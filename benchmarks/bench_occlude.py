"""Occlusion beside Captum's, our own whole forward passes, and a loop over single windows.

Invariant: all sides use the same weights, frame, window and threads; a side that would take minutes
a picture is measured on a coarser grid, and every figure is positions a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from captum.attr import Occlusion
from torch import Tensor, nn

from benchmarks.options import Options
from benchmarks.timing import Comparison, Lap, alternate, compare_rates, peak_rss_bytes, stopwatch
from jobs import engine
from pipeline.analysis.occlusion.occluder import Occluder
from pipeline.models.affected_regions import affected_regions
from pipeline.models.flops import CostCounter
from pipeline.models.load import load_model
from pipeline.models.network import open_network
from pipeline.runtime.allocator import keep_freed_memory
from schemas.jobs.occlude import OccludeSpec, SlidingWindow
from schemas.jobs.scan import ScanSpec
from schemas.specs import ModelSpec, Resources

FRAME = 224
STRIDE = 8
_MIB = 2**20
_BATCH_BYTES: int = OccludeSpec.model_fields["batch_bytes"].default
# Whole passes gain by batches of up to 8 frames of VGG-16.
_DENSE_BYTES = 2 * _BATCH_BYTES
_PERTURBATIONS = (1, 8, 32, 64)
TARGETS = {
    "squeezenet1_1": ("at least 3", ""),
    "alexnet": ("at least 2.5", "at least 2"),
    "resnet18": ("at least 2.2", "at least 1.8"),
    "zfnet": ("at least 4", "at least 3.5"),
    "vgg16": ("at least 8", "at least 5.5"),
}
"""By network: what is asked of the ratio to Captum's best, and to our own whole passes."""

OTHERS = (
    "mobilenet_v3_small",
    "shufflenet_v2_x1_0",
    "regnet_y_400mf",
    "efficientnet_b0",
    "densenet121",
    "googlenet",
)
"""Networks with gates, shuffles and joints, where whole passes may be the better way."""


class Subject:
    """A network with random weights and a frame of noise, in both memory layouts."""

    def __init__(self, arch: str) -> None:
        spec = ModelSpec(arch=arch, weights="random")
        self.arch = arch
        self.plain = load_model(spec).module
        module = load_model(spec).module.to(memory_format=torch.channels_last)
        network = open_network(module, FRAME)
        if network.geometry is None:
            raise TypeError(f"{arch}: {network.note}")
        self.network, self.geometry = network, network.geometry
        self.layer = [each for each in network.layers if each.kind == "conv2d"][-1]
        self.frame = torch.randn(1, 3, FRAME, FRAME, generator=torch.Generator().manual_seed(0))
        self.fill = torch.zeros_like(self.frame)

    def occluder(self, window_px: int, stride_px: int, engine: str) -> Occluder:
        """Occludes its frame with a square window."""
        window = SlidingWindow(height_px=window_px, width_px=window_px, stride_px=stride_px)
        return Occluder(
            self.network,
            self.layer,
            window,
            frame_px=FRAME,
            engine=engine,
            batch_bytes=_DENSE_BYTES if engine == "dense" else _BATCH_BYTES,
        )

    def bound(self, occluder: Occluder) -> float:
        """Multiply-adds of whole passes over those of every window's affected regions, counted."""
        geometry, grid = self.geometry, occluder.grid
        regions, costs = affected_regions(geometry, *grid.covered), CostCounter(geometry)
        own = dense = 0.0
        for node, weights in costs.weights.items():
            region = regions[node]
            own += weights * float(region.down.sizes.sum()) * float(region.across.sizes.sum())
            dense += weights * float(np.prod(geometry.map_size(node)))
        return dense * len(grid.corners) / own


def run(options: Options) -> Iterator[Comparison]:
    """Five networks at window 16, others beside whole passes, memory, VGG-16 at window 8."""
    torch.set_num_threads(os.cpu_count() or 1)
    keep_freed_memory()  # as a worker does; the other sides gain as much
    pairs = 1 if options.quick else 3
    for arch in ("squeezenet1_1", "alexnet", "resnet18", "zfnet")[: 2 if options.quick else None]:
        yield from _of(Subject(arch), 16, pairs)
    yield from _memory(options)
    if options.quick:
        return
    for arch in OTHERS:
        yield from _beside_whole(Subject(arch))
    # A picture under VGG-16 takes Captum minutes.
    yield from _of(Subject("vgg16"), 16, 1)
    yield from _small_window(Subject("vgg16"))


def _beside_whole(subject: Subject) -> list[Comparison]:
    """What the count decided, never slower than whole passes by more than 5 %."""
    ours, dense = subject.occluder(32, 16, "auto"), subject.occluder(32, 16, "dense")
    own, other = partial(_ours, subject, ours), partial(_ours, subject, dense)
    own(), other()
    laps = alternate(own, other, pairs=3)
    sides = (
        f"ours, engine {ours.engine}, stride 16, {len(ours.grid.corners)} positions",
        "ours, whole forward passes in batches, channels_last, stride 16",
    )
    return compare_rates(
        f"{subject.arch}, window 32", sides, laps, target="at least 0.95", counted="positions"
    )


def _small_window(subject: Subject) -> list[Comparison]:
    ours, dense = subject.occluder(8, STRIDE, "auto"), subject.occluder(8, 32, "dense")
    laps = alternate(partial(_ours, subject, ours), partial(_ours, subject, dense), pairs=1)
    sides = (
        f"ours, engine {ours.engine}, stride {STRIDE}; counted bound {subject.bound(ours):.2f}",
        "ours, whole forward passes in batches, channels_last, stride 32",
    )
    return compare_rates(
        f"{subject.arch}, window 8", sides, laps, target="higher than at 16", counted="positions"
    )


def _of(subject: Subject, window_px: int, pairs: int) -> list[Comparison]:
    ours = subject.occluder(window_px, STRIDE, "auto")
    # Captum allows no step beyond the window.
    dense = subject.occluder(window_px, window_px, "dense")
    name = f"{subject.arch}, window {window_px}"
    size = len(ours.grid.corners)
    what = (
        f"ours, engine {ours.engine}, stride {STRIDE}, {size} positions; counted bound over dense "
        f"{subject.bound(ours):.2f}"
    )
    own = partial(_ours, subject, ours)
    own()
    best = min(_PERTURBATIONS, key=lambda per: _captum(subject, window_px, per).seconds)
    captum, whole = TARGETS[subject.arch]
    others = (
        f"Captum's Occlusion, perturbations_per_eval {best}, the best of {_PERTURBATIONS}, "
        f"default memory layout, stride {window_px}"
    )
    sides: list[tuple[str, Callable[[], Lap], str]] = [
        (others, partial(_captum, subject, window_px, best), captum),
        (
            f"ours, whole forward passes in batches, channels_last, stride {window_px}",
            partial(_ours, subject, dense),
            whole,
        ),
        (
            "a loop over single windows, default memory layout, 16 positions",
            partial(_loop, subject, window_px),
            "",
        ),
    ]
    compare = partial(compare_rates, name, counted="positions")
    return [
        row
        for other, lap, target in sides
        for row in compare(
            sides=(what, other), laps=alternate(own, lap, pairs=pairs), target=target
        )
    ]


def _ours(subject: Subject, occluder: Occluder) -> Lap:
    laps: list[Lap] = []
    layout = torch.channels_last
    with stopwatch(len(occluder.grid.corners), laps):
        occluder.occlude(
            subject.frame.contiguous(memory_format=layout),
            subject.fill.contiguous(memory_format=layout),
        )
    return laps[0]


def _captum(subject: Subject, window_px: int, per_eval: int) -> Lap:
    positions = (-(-(FRAME - window_px) // window_px) + 1) ** 2
    laps: list[Lap] = []
    with torch.no_grad(), stopwatch(positions, laps):
        Occlusion(subject.plain).attribute(
            subject.frame,
            sliding_window_shapes=(3, window_px, window_px),
            strides=(3, window_px, window_px),
            baselines=0,
            target=0,
            perturbations_per_eval=per_eval,
        )
    return laps[0]


def _loop(subject: Subject, window_px: int) -> Lap:
    laps: list[Lap] = []
    corners = subject.occluder(window_px, window_px, "dense").grid.corners[:16]
    with torch.inference_mode(), stopwatch(len(corners), laps):
        for y, x in corners.tolist():
            picture: Tensor = subject.frame.clone()
            picture[:, :, y : y + window_px, x : x + window_px] = 0
            module: nn.Module = subject.plain
            module(picture)
    return laps[0]


def _memory(options: Options) -> Iterator[Comparison]:
    """What a job's peak has over that of a job of one window, beside its ``batch_bytes``."""
    for model, stride_px in (
        (options.squeezenet, 4),
        (ModelSpec(arch="resnet18", weights="random"), STRIDE),
        (ModelSpec(arch="densenet121", weights="random"), STRIDE),
    )[: 1 if options.quick else None]:
        with TemporaryDirectory() as folder:
            run = str(Path(folder) / "run")
            data = options.data.model_copy(update={"limit": 2})
            here = Resources(local=True)
            engine.run(ScanSpec(model=model, data=data, out=run, resources=here))
            one = _peak(run, (FRAME, FRAME), _BATCH_BYTES)
            for size, target in ((_BATCH_BYTES // 4, ""), (_BATCH_BYTES, "at most 1")):
                added = _peak(run, (16, stride_px), size) - one
                yield Comparison(
                    f"memory of occlude, {model.arch}, window 16, stride {stride_px}",
                    "MiB",
                    f"added to the peak of a job of one window ({one / _MIB:.0f} MiB)",
                    "batch_bytes",
                    (added / _MIB,),
                    (size / _MIB,),
                    target,
                )


def _peak(run: str, window: tuple[int, int], batch_bytes: int) -> int:
    """Bytes that occluding one picture of a run took at most, in a process of its own.

    Args:
        run: a scanned run's folder.
        window: its side and stride in pixels.
        batch_bytes: as in the spec.
    """
    side, stride = map(str, window)
    with TemporaryDirectory() as folder:
        own = Path(folder) / "run"
        own.mkdir()
        (own / "scan").symlink_to(Path(run) / "scan")
        return peak_rss_bytes(
            "jobs", "occlude", str(own), "--local", "--sample", "1", "--window-px", side,
            "--stride-px", stride, "--set", f"batch_bytes={batch_bytes}",
        )  # fmt: skip

"""The scan beside zennit-crp's `FeatureVisualization`, which ranks images per unit too.

Invariant: the other tool is set up as its own tutorial does, and once more as lightly as it goes;
the table shows both. It ranks by the sum of a map, since its ``max_target="max"`` raises, and
always runs a backward pass: it has no way to rank activations alone. It runs in a fresh process,
since what a scan sets in a process would hold for it too.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from crp.attribution import CondAttribution
from crp.concepts import ChannelConcept
from crp.helper import get_layer_names
from crp.visualization import FeatureVisualization
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2
from zennit.composites import EpsilonPlusFlat

from benchmarks.options import Options
from benchmarks.timing import Comparison, Lap, alternate, compare_rates, stopwatch
from benchmarks.workload import Workload, scan_lap
from pipeline.data.listing import list_images
from pipeline.models.load import load_model
from schemas.specs import DatasetSpec, PreprocessSpec, Resources

_BATCH = 32
_TARGET = "at least 15"


class _Photographs:
    """What the other tool reads: (float32 [3, S, S] in [0, 1], class)."""

    def __init__(self, data: DatasetSpec, preprocess: PreprocessSpec, *, one_class: bool) -> None:
        rows = list_images(data)
        self._files = [Path(uri.removeprefix("file://")) for uri in rows["uri"].to_pylist()]
        self._labels = [0 if one_class else label or 0 for label in rows["label"].to_pylist()]
        self._frame = v2.Compose(
            [
                v2.Resize(preprocess.resize_px),
                v2.CenterCrop(preprocess.crop_px),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self._files[index]) as picture:
            return self._frame(picture.convert("RGB")), self._labels[index]


def run(options: Options) -> Iterator[Comparison]:
    """SqueezeNet's ReLU layers by both tools, each with all cores, set-up aside."""
    cores = os.cpu_count() or 1
    ours = Workload(options.squeezenet, options.data, 64, threads=cores)
    few = options.data.model_copy(update={"limit": 32 if options.quick else 64})
    for light in (False, True):
        laps = alternate(
            lambda: scan_lap(ours, Resources(local=True)),
            partial(_crp_apart, options, few, light=light),
            pairs=1 if options.quick else 3,
        )
        way = (
            "no composite (plain gradient), one class for all"
            if light
            else "composite EpsilonPlusFlat, the photographs' classes"
        )
        scan = f"scan --local: top 9 by the maximum, statistics; batches of 64, {cores} threads"
        target = "" if light else _TARGET
        crp = (
            f"crp, {few.limit} images: 26 ReLU layers, top 40 by the sum; {way}; batches of "
            f"{_BATCH}, channels_last, {cores} threads"
        )
        yield from compare_rates("zennit-crp, SqueezeNet 1.1", (scan, crp), laps, target=target)


def _crp_apart(options: Options, data: DatasetSpec, *, light: bool) -> Lap:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_crp_lap, options, data, light=light).result()


def _crp_lap(options: Options, data: DatasetSpec, *, light: bool) -> Lap:
    torch.set_num_threads(os.cpu_count() or 1)
    loaded = load_model(options.squeezenet)
    module = loaded.module.to(memory_format=torch.channels_last)
    for child in module.modules():
        if isinstance(child, nn.ReLU):
            child.inplace = False
    photographs = _Photographs(data, loaded.preprocess, one_class=light)
    laps: list[Lap] = []
    with TemporaryDirectory() as folder, _silence():
        ranking = FeatureVisualization(
            CondAttribution(module),
            photographs,
            {name: ChannelConcept() for name in get_layer_names(module, [nn.ReLU])},
            preprocess_fn=v2.Normalize(loaded.preprocess.mean, loaded.preprocess.std),
            max_target="sum",
            path=folder,
        )
        with stopwatch(len(photographs), laps):
            ranking.run(None if light else EpsilonPlusFlat(), 0, len(photographs), _BATCH, 100)
    return laps[0]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield

"""Projections of whole layers beside Captum's `NeuronDeconvolution`, a projection at a time.

Invariant: both sides project the same places of the same images with the same weights and threads,
in fp32; Captum's side is a few projections a layer, for each of its takes a whole frame's time.
"""

from __future__ import annotations

import os
import statistics
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from captum.attr import NeuronDeconvolution
from torch import Tensor, nn

from benchmarks.options import Options
from benchmarks.timing import Comparison, Lap, stopwatch
from jobs import engine
from pipeline.analysis.deconvnet.projector import Projector, Targets
from pipeline.data.listing import list_images
from pipeline.data.loader import ImageLoader
from pipeline.data.preprocess import normalise
from pipeline.models.load import load_model
from pipeline.models.network import open_network
from pipeline.stages.model_stage import prepare
from pipeline.stages.stored_pictures import shown_boxes
from pipeline.store import open_run
from schemas.jobs.scan import ScanSpec
from schemas.manifest import Shard
from schemas.specs import DatasetSpec, ModelSpec, PreprocessSpec, Resources

_BOX = ["box_y0", "box_x0", "box_y1", "box_x1"]
_SAMPLES = 3


class Atlas:
    """A scan of a few images, and the network that made it.

    Args:
        model: which network.
        data: the images; all stand in one batch.
        units: the first so many of each layer.
    """

    def __init__(self, model: ModelSpec, data: DatasetSpec, units: int) -> None:
        loaded, self.images = load_model(model), data.limit or 1
        with TemporaryDirectory() as folder:
            out = str(Path(folder) / "run")
            engine.run(ScanSpec(model=model, data=data, out=out, resources=Resources(local=True)))
            tops = open_run(out).table("top_patches", filters=[("unit", "<", units)])
        self.tops = {str(layer): rows for layer, rows in tops.groupby("layer", sort=False)}
        self.frames = _frames(data, loaded.preprocess)
        network = open_network(loaded.module, loaded.preprocess.crop_px)
        prepare(loaded.module, torch.device("cpu"), "fp32")
        self.layers = tuple(network.layer(name) for name in self.tops)
        self.projector = Projector(network, self.layers, "deconvnet")
        self.side = loaded.preprocess.crop_px
        self.captum = load_model(model).module
        for child in self.captum.modules():
            if isinstance(child, nn.ReLU):
                child.inplace = False

    def targets(self, layer: str) -> Targets:
        """All places of a layer."""
        rows = self.tops[layer]

        def column(name: str) -> Tensor:
            return torch.from_numpy(rows[name].to_numpy().astype(np.int64))

        boxes = shown_boxes(rows[_BOX].to_numpy().astype(np.int64), self.side)
        values = torch.from_numpy(rows["value"].to_numpy().copy())
        return Targets(column("image_id"), column("unit"), column("y"), column("x"), values, boxes)


def run(options: Options) -> Iterator[Comparison]:
    """SqueezeNet 1.1 whole, and VGG-16's first units of every layer."""
    torch.set_num_threads(os.cpu_count() or 1)
    few = options.data.model_copy(update={"limit": 16})
    squeezenet = Atlas(options.squeezenet, few, 16 if options.quick else 10_000)
    yield from _of("SqueezeNet 1.1", squeezenet)
    if not options.quick:
        vgg = ModelSpec(arch="vgg16", weights="random")
        yield from _of("VGG-16, units 0 to 31", Atlas(vgg, few, 32))


def _of(name: str, atlas: Atlas) -> list[Comparison]:
    """The lower half of the layers, the upper, and all together, in one pass over the layers."""
    ours, captum, counts = [], [], []
    for layer in (each.name for each in atlas.layers):
        lap = _ours(atlas, layer)
        ours.append(lap.images / lap.seconds)
        captum.append(_captum(atlas, layer))
        counts.append(lap.images)
    half = len(ours) // 2
    setting = f"of {atlas.images} images in a batch, {os.cpu_count()} threads"
    first = f"ours, layers one by one, every top patch {setting}"
    second = f"Captum's NeuronDeconvolution, {_SAMPLES} projections a layer, default memory layout"

    def rows(what: str, part: slice, target: str) -> Comparison:
        rates = tuple(ours[part]), tuple(captum[part])
        return Comparison(f"{name}, {what}", "projections/s", first, second, *rates, target)

    whole = [sum(n / rate for n, rate in zip(counts, side, strict=True)) for side in (ours, captum)]
    totals = tuple((sum(counts) / seconds,) for seconds in whole)
    return [
        rows("lower half of the layers, a layer a pair", slice(0, half), "at least 30"),
        rows("upper half of the layers, a layer a pair", slice(half, None), "at least 3"),
        Comparison(
            f"{name}, all layers", "projections/s", first, second, *totals, "at least 4, aim 8"
        ),
    ]


def _ours(atlas: Atlas, layer: str) -> Lap:
    laps: list[Lap] = []
    targets = atlas.targets(layer)
    with stopwatch(len(targets.rows), laps):
        atlas.projector.project(atlas.frames, {layer: targets})
    return laps[0]


def _captum(atlas: Atlas, layer: str) -> float:
    """Projections a second, the median of a few after one that is not counted."""
    rows: pd.DataFrame = atlas.tops[layer]
    picked = rows.iloc[np.linspace(0, len(rows) - 1, _SAMPLES + 1).astype(int)]
    neurons = NeuronDeconvolution(atlas.captum, _module(atlas.captum, layer))
    flat = atlas.projector.layers[layer].layout.map_size == (1, 1)
    rates = []
    for row in picked.itertuples():
        laps: list[Lap] = []
        place = (int(row.unit),) if flat else (int(row.unit), int(row.y), int(row.x))
        image = atlas.frames[int(row.image_id)][None].contiguous().requires_grad_()
        with warnings.catch_warnings(), stopwatch(1, laps):
            warnings.simplefilter("ignore")
            neurons.attribute(image, place)
        rates.append(1 / laps[0].seconds)
    return statistics.median(rates[1:])


def _module(module: nn.Module, layer: str) -> nn.Module:
    """The module behind a layer; the output of the network is that of the network itself."""
    modules = dict(module.named_modules())
    return modules.get(layer, module)


def _frames(data: DatasetSpec, preprocess: PreprocessSpec) -> Tensor:
    """The network's input, [N, 3, S, S]."""
    rows = list_images(data)
    with ImageLoader(
        lambda start, stop: rows.slice(start, stop - start),
        preprocess=preprocess,
        data=data,
        batch_size=rows.num_rows,
        threads=2,
    ) as loader:
        (batch,) = loader.batches(Shard(index=0, start=0, stop=rows.num_rows))
    frames = batch.frames.contiguous(memory_format=torch.channels_last)
    return normalise(frames, preprocess, torch.float32)

"""The invariance stage beside plain loops over the same photographs and moves.

All sides begin with the same decoded pictures, and take them through the same moves and in as large
passes through the network, to the distances of the same two layers and the probabilities. The plain
loops move by torchvision's `affine`: one the resized picture, which is the least work, and enlarges
what the resize has blurred; one the picture itself, before it is resized, which keeps its detail as
ours does. Ours makes strips of what was shown and rows besides. The plain picture's probability is
held against the other side's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, functional

from benchmarks.options import Options
from benchmarks.stages import (
    TARGET,
    become_worker,
    decoded,
    labels,
    plain_network,
    source_of,
    timed,
)
from benchmarks.timing import Comparison, Lap, alternate, compare_rates
from pipeline.analysis.invariance import frames_at_once
from pipeline.data.preprocess import framing, normalise, to_frame
from pipeline.models.network import open_network
from pipeline.stages.invariance import InvarianceStage
from pipeline.stages.model_stage import ScanSource
from schemas.jobs.invariance import InvarianceSpec
from schemas.moves import Move
from schemas.specs import Resources

LAYERS = ("features.1", "classifier.2")
"""The first layer of SqueezeNet that a scan keeps and the last but one, as a job takes."""


class PlainLoop:
    """Distances and probabilities by plain torch and torchvision.

    Args:
        source: network and preprocessing.
        spec: the moves.
        resized: whether the resized picture is moved, or the picture that is resized then.
    """

    def __init__(self, source: ScanSource, spec: InvarianceSpec, *, resized: bool) -> None:
        self.frame, self.resized = source.preprocess, resized
        self.moves = [move for move in spec.moves if not move.is_identity]
        traced = open_network(source.load().module, self.frame.crop_px)
        self.at_once = frames_at_once(traced, spec.batch_bytes, 1 + len(self.moves))
        self.network = plain_network(source)
        self.origin: dict[str, Tensor] = {}
        self.distances: dict[str, list[Tensor]] = {}
        for name in LAYERS:
            self.network.get_submodule(name).register_forward_hook(partial(self._measure, name))

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Of the plain picture, uint8 [3, H, W], and the moved ones; fills `distances`."""
        self.origin, self.distances = {}, {name: [] for name in LAYERS}
        p = []
        with torch.inference_mode():
            for frames in self._frames(pixels).split(self.at_once):
                own = frames.contiguous(memory_format=torch.channels_last)
                p.append(self.network(normalise(own, self.frame, torch.float32)).softmax(dim=1))
        return torch.cat(p)

    def _frames(self, pixels: Tensor) -> Tensor:
        size, spec = framing((pixels.shape[1], pixels.shape[2]), self.frame).size, self.frame
        if self.resized:
            pixels = functional.resize(pixels, list(size), antialias=True)
            spec = spec.model_copy(update={"resize_px": None})
        ratio = pixels.shape[1] / size[0]
        pictures = [pixels, *(_moved(pixels, move, ratio) for move in self.moves)]
        return torch.stack([to_frame(each, spec) for each in pictures])

    def _measure(self, name: str, _: nn.Module, __: object, values: Tensor) -> None:
        origin = self.origin.setdefault(name, values[0].clone())
        lengths = torch.linalg.vector_norm(values - origin, dim=(1, 2, 3), dtype=torch.float64)
        self.distances[name].append(lengths)


def run(options: Options) -> Iterator[Comparison]:
    """The moves that a job takes by itself, for SqueezeNet 1.1."""
    threads = become_worker()
    data = options.data.model_copy(update={"limit": 2 if options.quick else 16})
    for resized in (True, False):
        with TemporaryDirectory() as folder:
            spec = InvarianceSpec(run=folder)
            ours, plain = _sides(source_of(options.squeezenet, data, folder), spec, resized=resized)
            ours(), plain()
            laps = alternate(ours, plain, pairs=3)
        moved = "the resized picture" if resized else "the picture, then resized"
        sides = (
            f"ours, {data.limit} images, {len(spec.moves)} moves, {threads}: strips and rows too",
            f"a plain loop of passes as large, channels_last, {threads}; affine of {moved}",
        )
        what = f"invariance, SqueezeNet 1.1, beside affine of {moved}"
        yield from compare_rates(what, sides, laps, target=TARGET)


def _sides(
    source: ScanSource, spec: InvarianceSpec, *, resized: bool
) -> tuple[Callable[[], Lap], Callable[[], Lap]]:
    stage = InvarianceStage(source, Resources(local=True), spec, LAYERS)
    batches = decoded(stage)
    loop = PlainLoop(source, spec, resized=resized)
    found: list[float] = []

    def ours() -> None:
        tables = [stage.batch(batch)["responses"] for batch in batches]
        found[:] = [table["p_plain"][0].as_py() for table in tables]

    def plain() -> None:
        p = []
        for batch in batches:
            for pixels, label in zip(batch.pictures, labels(batch), strict=True):
                p.append(float(loop.probabilities(pixels)[0, label]))
        np.testing.assert_allclose(found, p, rtol=1e-3)

    return partial(timed, len(batches), ours), partial(timed, len(batches), plain)


def _moved(picture: Tensor, move: Move, ratio: float) -> Tensor:
    """A picture with ``ratio`` of its pixels to one of the frame's."""
    own = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    match move.transform:
        case "translation":
            own["translate"] = [0, move.amount * ratio]
        case "scale":
            own["scale"] = move.amount
        case "rotation":
            own["angle"] = -move.amount
    moved: Tensor = functional.affine(picture, interpolation=InterpolationMode.BILINEAR, **own)
    return moved

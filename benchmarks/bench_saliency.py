"""The saliency stage beside a plain loop over the same photographs, a method at a time.

Both sides begin with the same decoded frames, and end with the maps, of the labels' scores, in as
large passes. Ours does besides what its tables need: the clean pass behind `score` and `predicted`,
which SmoothGrad and integrated gradients would not need; noise of each image's own generator; PNGs
and rows. The plain loop has none of it, and draws all its noise at once. The other maps are held
against each other, by their largest values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

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
from pipeline.analysis.saliency import copies_at_once
from pipeline.data.preprocess import normalise
from pipeline.models.network import open_network
from pipeline.stages.model_stage import ScanSource
from pipeline.stages.saliency import SaliencyStage
from schemas.jobs.saliency import Method, SaliencySpec
from schemas.specs import Resources

METHODS: tuple[Method, ...] = ("gradient", "smoothgrad", "integrated")


class PlainLoop:
    """Maps by plain torch.

    Args:
        source: network and preprocessing.
        spec: copies, noise, steps.
    """

    def __init__(self, source: ScanSource, spec: SaliencySpec) -> None:
        self.spec, self.frame = spec, source.preprocess
        self.network = plain_network(source)
        traced = open_network(source.load().module, self.frame.crop_px)
        self.at_once = copies_at_once(traced, self.frame.crop_px, spec.batch_bytes)
        self.per_pixel = self.frame.value_range / torch.tensor(self.frame.std).view(3, 1, 1)

    def maps(self, method: Method, frames: Tensor, classes: Tensor) -> Tensor:
        """The maps [N, S, S] of decoded frames, uint8 [N, 3, S, S]."""
        frames = frames.contiguous(memory_format=torch.channels_last)
        images = normalise(frames, self.frame, torch.float32)
        if method == "gradient":
            parts = zip(images.split(self.at_once), classes.split(self.at_once), strict=True)
            gradients = [self._gradient(*part) for part in parts]
            return (torch.cat(gradients) * self.per_pixel).abs().amax(dim=1)
        one = self._smoothgrad if method == "smoothgrad" else self._integrated
        return torch.stack([one(*each) for each in zip(frames, images, classes, strict=True)])

    def _gradient(self, images: Tensor, classes: Tensor) -> Tensor:
        leaf = images.contiguous(memory_format=torch.channels_last).requires_grad_()
        score = self.network(leaf).gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, leaf)
        return gradient

    def _mean(self, copies: Tensor, of: Tensor) -> Tensor:
        """The mean gradient over copies of one image."""
        total = torch.zeros_like(copies[0])
        for part in copies.split(self.at_once):
            total += self._gradient(part, of.expand(len(part))).sum(dim=0)
        return total / len(copies)

    def _smoothgrad(self, frame: Tensor, image: Tensor, of: Tensor) -> Tensor:
        spread = (int(frame.max()) - int(frame.min())) / 255
        deviation = self.spec.noise_percent / 100 * spread * self.per_pixel
        noise = torch.randn(self.spec.samples, *image.shape)
        return (self._mean(image + deviation * noise, of) * self.per_pixel).abs().amax(dim=0)

    def _integrated(self, _: Tensor, image: Tensor, of: Tensor) -> Tensor:
        steps = (torch.arange(self.spec.steps) + 0.5) / self.spec.steps
        return (self._mean(steps.view(-1, 1, 1, 1) * image, of) * image).sum(dim=0)


def run(options: Options) -> Iterator[Comparison]:
    """The methods that a job takes by itself, for SqueezeNet 1.1."""
    threads = become_worker()
    data = options.data.model_copy(update={"limit": 8 if options.quick else 16})
    for method in METHODS:
        with TemporaryDirectory() as folder:
            source = source_of(options.squeezenet, data, folder)
            ours, plain = _sides(source, method)
            if method == "gradient":
                ours(), plain()  # the first passes of the process
            pairs = 9 if method == "gradient" else 3
            laps = alternate(ours, plain, pairs=pairs // 3 if options.quick else pairs)
        sides = (
            f"ours, {data.limit} images in batches of 8, {threads}: maps, PNGs and rows",
            f"a plain loop of passes as large, channels_last, {threads}: maps",
        )
        yield from compare_rates(f"saliency, SqueezeNet 1.1, {method}", sides, laps, target=TARGET)


def _sides(source: ScanSource, method: Method) -> tuple[Callable[[], Lap], Callable[[], Lap]]:
    spec = SaliencySpec(run=source.run, methods=(method,))
    stage = SaliencyStage(source, Resources(local=True), spec)
    batches = decoded(stage)
    loop = PlainLoop(source, spec)
    images = sum(batch.rows.num_rows for batch in batches)
    scales: list[float] = []

    def ours() -> None:
        scales.clear()
        for batch in batches:
            scales.extend(stage.batch(batch)["attributions"]["scale"].to_pylist())

    def plain() -> None:
        found = []
        for batch in batches:
            own = labels(batch)
            found.append(loop.maps(method, batch.frames[: len(own)], own).numpy())
        largest = np.abs(np.concatenate(found)).max(axis=(1, 2))
        if method != "smoothgrad":
            np.testing.assert_allclose(scales, largest, rtol=1e-3)

    return partial(timed, images, ours), partial(timed, images, plain)

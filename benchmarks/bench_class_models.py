"""The class-models stage beside a plain loop of the same ascent, in pixels and in waves.

Both sides raise the same classes' scores, from noise, by as many steps of the same batch.
Ours does besides what its tables need: the noise and the shifts, a run compiled for the targets,
the curve of values, three forward passes at start and end, PNGs and rows. The plain loop has none
of it. In pixels it takes the same steps; in waves it moves the spectrum itself and shifts the whole
batch alike, as Lucid does, cutting nothing to black and white.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from tempfile import TemporaryDirectory

import pyarrow as pa
import torch
from torch import Tensor

from benchmarks.options import Options
from benchmarks.stages import TARGET, become_worker, plain_network, source_of, timed
from benchmarks.timing import Comparison, Lap, alternate, compare_rates
from pipeline.models.network import open_network
from pipeline.stages.class_models import ClassModelsStage
from pipeline.stages.model_stage import ScanSource
from pipeline.store import JobFolder, JobStore
from schemas.jobs.class_models import TARGET_LIST, ClassModelsSpec
from schemas.manifest import Shard
from schemas.specs import PreprocessSpec, Resources

CLASSES = 1000
STEPS: int = ClassModelsSpec.model_fields["steps"].default


class PlainLoop:
    """Gradient ascent by plain torch.

    Args:
        source: network and preprocessing.
        spec: of the ascent; without blur.
        classes: int64 [N].
    """

    def __init__(self, source: ScanSource, spec: ClassModelsSpec, classes: Tensor) -> None:
        self.spec, self.classes = spec, classes
        self.network = plain_network(source)
        self.side = source.preprocess.crop_px
        self.lowest, self.highest = (_grey(level, source.preprocess) for level in (0.0, 1.0))

    def images(self) -> Tensor:
        """What the ascent ends with, [N, 3, S, S]."""
        noise = self.spec.noise * torch.randn(len(self.classes), 3, self.side, self.side)
        return self._of_pixels(noise) if self.spec.basis == "pixel" else self._of_waves(noise)

    def _of_pixels(self, images: Tensor) -> Tensor:
        for _ in range(self.spec.steps):
            leaf = images.contiguous(memory_format=torch.channels_last).requires_grad_()
            (gradient,) = torch.autograd.grad(self._raised(leaf, leaf), leaf)
            with torch.no_grad():
                step = self.spec.rate * gradient / _length(gradient)
                images = (leaf + step).clamp(self.lowest, self.highest)
        return images

    def _of_waves(self, noise: Tensor) -> Tensor:
        frequency = torch.hypot(
            torch.fft.fftfreq(self.side)[:, None], torch.fft.rfftfreq(self.side)
        )
        weights = 1 / (self.side * frequency).clamp(min=1)
        waves = torch.view_as_real(torch.fft.rfft2(noise, norm="ortho"))
        most = self.spec.jitter_px
        for _ in range(self.spec.steps):
            leaf = waves.requires_grad_()
            images = _picture(leaf, weights, self.side)
            shift = torch.randint(-most, most + 1, (2,)).tolist()
            seen = torch.roll(images, shift, dims=(2, 3))
            raised = self._raised(seen.contiguous(memory_format=torch.channels_last), images)
            (gradient,) = torch.autograd.grad(raised, leaf)
            waves = leaf.detach() + self.spec.rate * gradient / _length(gradient)
        return _picture(waves, weights, self.side)

    def _raised(self, seen: Tensor, images: Tensor) -> Tensor:
        scores: Tensor = self.network(seen).gather(1, self.classes[:, None])
        return scores.sum() - self.spec.l2 * images.square().sum()


def run(options: Options) -> Iterator[Comparison]:
    """Classes all over ImageNet, for SqueezeNet 1.1, by as many steps as a job takes by itself."""
    threads = become_worker()
    count, pairs = (2, 2) if options.quick else (8, 3)
    setting = f"{count} classes, {STEPS} steps, {threads}"
    sides = (
        f"ours, {setting}: PNGs, curves and rows too",
        f"a plain loop, {setting}, channels_last",
    )
    for basis, jitter_px in (("pixel", 0), ("fourier", 16)):
        given = {"basis": basis, "jitter_px": jitter_px}
        with TemporaryDirectory() as folder:
            source = source_of(options.squeezenet, options.data, folder)
            for side in _sides(source, count, given | {"steps": 2}):
                side()  # the first passes of the process
            laps = alternate(*_sides(source, count, given), pairs=pairs)
        what = f"class models, SqueezeNet 1.1, basis {basis}, jitter {jitter_px}"
        yield from compare_rates(what, sides, laps, target=TARGET, counted="image-steps")


def _sides(
    source: ScanSource, count: int, given: dict[str, object]
) -> tuple[Callable[[], Lap], Callable[[], Lap]]:
    spec = ClassModelsSpec.model_validate({"run": source.run, "batch_size": count, **given})
    scores = open_network(source.load().module, source.preprocess.crop_px).layers[-1].name
    classes = range(0, CLASSES, CLASSES // count)
    rows = [{"layer": scores, "unit": n, "start": 0, "class_name": None} for n in classes]
    store = JobStore(JobFolder(source.run, "class-models"))
    store.put_work_list(TARGET_LIST, pa.Table.from_pylist(rows, schema=TARGET_LIST.schema))
    stage = ClassModelsStage(source, Resources(local=True), spec, count)
    stage.setup("cpu")
    loop = PlainLoop(source, spec, torch.tensor(classes))
    shard = Shard(index=0, start=0, stop=count)
    done = count * spec.steps
    return partial(timed, done, lambda: stage.process(shard)), partial(timed, done, loop.images)


def _picture(waves: Tensor, weights: Tensor, side: int) -> Tensor:
    weighed = torch.view_as_complex(waves) * weights
    images: Tensor = torch.fft.irfft2(weighed, s=(side, side), norm="ortho")
    return images


def _length(gradient: Tensor) -> Tensor:
    """Root mean square of each image's part."""
    inner = tuple(range(1, gradient.dim()))
    return gradient.square().mean(dim=inner, keepdim=True).sqrt()


def _grey(level: float, frame: PreprocessSpec) -> Tensor:
    """A grey of 0 to 1 as the network's input, [3, 1, 1]."""
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (frame.mean, frame.std))
    return (level * frame.value_range - mean) / std

"""The saliency maps of one shard of images.

Gradients are with respect to pixels from 0 to 1: the network's input is ``(value_range * pixel -
mean) / std``, so the gradient with respect to it times ``value_range / std`` is the one with
respect to the pixel. In this space the three colours have one unit, as the largest over the colours
and SmoothGrad's noise ask for; in the normalised one they would be weighed by the data set's
deviations. Gradient x input and integrated gradients are the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.predictions import explained_classes
from pipeline.analysis.rectified_backprop import RectifiedBackprop, RectifierRule
from pipeline.analysis.saliency import (
    Run,
    attribution,
    copies_at_once,
    magnitude,
    mean_gradient,
    noise_generator,
    noisy_copies,
    path_points,
    positive_part,
    score_gradient,
)
from pipeline.data.loader import Batch
from pipeline.models.graph import Tap
from pipeline.models.network import Network
from pipeline.stages.image_stage import ImageStage
from pipeline.stages.stored_pictures import MID_GREY, encode_png, scaled_pixels
from schemas.jobs.saliency import ATTRIBUTIONS, Method, SaliencySpec
from schemas.tables import Table

SIGNED: frozenset[Method] = frozenset({"gradient_x_input", "integrated", "guided", "deconvnet"})
"""Methods whose maps have a sign; their pictures show 0 as 128."""


@dataclass(frozen=True)
class _Explained:
    """The images of a batch, clean.

    Attributes:
        ids: of the images.
        images: the network's input, [N, 3, S, S].
        scores: [N, classes].
        targets: int64 [N].
        gradient: of the targets' scores, with respect to the network's input, [N, 3, S, S].
    """

    ids: list[int]
    images: Tensor
    scores: Tensor
    targets: Tensor
    gradient: Tensor

    @property
    def score(self) -> Tensor:
        """The targets' scores, [N]."""
        return self.scores.gather(1, self.targets[:, None])[:, 0]


@dataclass
class SaliencyStage(ImageStage):
    """Computes the maps of the images of shards.

    Attributes:
        spec: what to do.
    """

    name: ClassVar[str] = "saliency"
    spec: SaliencySpec

    @property
    def parts(self) -> dict[str, Table]:
        """See `Stage.parts`."""
        return {"attributions": ATTRIBUTIONS}

    @property
    def batch_size(self) -> int:
        """Images decoded together; how many share a pass is bounded by bytes."""
        return 8

    def open(self, network: Network) -> None:
        """Compile a run without taps, and run it on the baseline."""
        run = network.runner(())
        self._run = _untapped(run)
        frame = self.source.preprocess
        self._at_once = copies_at_once(network, frame.crop_px, self.spec.batch_bytes)
        std = torch.tensor(frame.std, dtype=self.dtype, device=self.device)
        self._per_pixel = (frame.value_range / std).view(3, 1, 1)
        self._baseline = torch.zeros(3, 1, 1, dtype=self.dtype, device=self.device)
        blank = self._baseline.expand(1, 3, frame.crop_px, frame.crop_px)
        with torch.inference_mode():
            self._baseline_scores = self._run(blank.contiguous())[0]

    def batch(self, batch: Batch) -> dict[str, pa.Table]:
        """A row per image and method."""
        rows = batch.rows.to_pylist()
        clean = self._explain(rows, self.images(batch.frames))
        ranges = _ranges(batch.frames)
        maps = {
            method: self._map(method, clean, ranges).double().cpu().numpy()
            for method in sorted(self.spec.methods)
        }
        p, score = clean.scores.double().softmax(dim=1).cpu(), clean.score.double().cpu()
        changes = score - self._baseline_scores[clean.targets].double().cpu()
        found: list[dict[str, Any]] = []
        for place, row in enumerate(rows):
            target = int(clean.targets[place])
            about = {
                **{name: row[name] for name in ("image_id", "uri")},
                "target": target,
                "score": float(score[place]),
                "p_target": float(p[place, target]),
                "predicted": int(p[place].argmax()),
            }
            for method, values in maps.items():
                zero = MID_GREY if method in SIGNED else 0
                png, scale = saliency_png(values[place], zero, self.spec.picture_px)
                left = float(values[place].sum() - changes[place])
                found.append(
                    about
                    | {
                        "method": method,
                        "saliency": {"bytes": png, "path": None},
                        "zero": zero,
                        "scale": scale,
                        "completeness_error": left if method == "integrated" else None,
                    }
                )
        return {"attributions": pa.Table.from_pylist(found, schema=ATTRIBUTIONS.schema)}

    def counts(self, tables: Mapping[str, pa.Table]) -> dict[str, int]:
        """Maps, of every method."""
        return {"maps": tables["attributions"].num_rows}

    def _explain(self, rows: list[dict[str, Any]], images: Tensor) -> _Explained:
        """Scores, targets and gradients of a batch; ``images`` has all its slots."""
        labels = [row["label"] for row in rows]
        labels += [None] * (len(images) - len(rows))
        scores, gradients = self._gradients(images, labels)
        count = len(rows)
        return _Explained(
            [row["image_id"] for row in rows],
            images[:count],
            scores[:count],
            explained_classes(scores[:count], labels[:count], self.spec.target),
            gradients[:count],
        )

    def _gradients(self, images: Tensor, labels: list[Any]) -> tuple[Tensor, Tensor]:
        done = []
        for start in range(0, len(images), self._at_once):
            own = labels[start : start + self._at_once]
            done.append(
                score_gradient(
                    self._run,
                    images[start : start + self._at_once],
                    partial(explained_classes, labels=own, target=self.spec.target),
                )
            )
        scores, gradients = zip(*done, strict=True)
        return torch.cat(scores), torch.cat(gradients)

    def _map(self, method: Method, clean: _Explained, ranges: list[float]) -> Tensor:
        """A method's map of each image, [N, S, S], or [N, 3, S, S] in colour."""
        match method:
            case "gradient":
                return magnitude(clean.gradient * self._per_pixel)
            case "positive":
                return positive_part(clean.gradient * self._per_pixel)
            case "smoothgrad":
                return magnitude(self._smooth(clean, ranges) * self._per_pixel)
            case "gradient_x_input":
                return attribution(clean.gradient, clean.images - self._baseline)
            case "integrated":
                return attribution(self._integrated(clean), clean.images - self._baseline)
            case _:
                return self._rectified(method, clean) * self._per_pixel

    def _smooth(self, clean: _Explained, ranges: list[float]) -> Tensor:
        spec = self.spec
        copies = [
            noisy_copies(
                image,
                spec.noise_percent / 100 * range_of * self._per_pixel,
                spec.samples,
                noise_generator(spec.seed, image_id),
            )
            for image_id, image, range_of in zip(clean.ids, clean.images, ranges, strict=False)
        ]
        return self._mean(copies, clean, spec.samples)

    def _integrated(self, clean: _Explained) -> Tensor:
        steps = self.spec.steps
        points = [path_points(image, self._baseline, steps) for image in clean.images]
        return self._mean(points, clean, steps)

    def _rectified(self, rule: RectifierRule, clean: _Explained) -> Tensor:
        once = [iter([image]) for image in clean.images]
        with RectifiedBackprop(rule):
            return self._mean(once, clean, 1)

    def _mean(self, variants: list[Iterator[Tensor]], clean: _Explained, count: int) -> Tensor:
        return mean_gradient(
            self._run, variants, clean.targets, count, self._at_once, self.batch_size
        )


def saliency_png(values: NDArray[np.float64], zero: int, longest_px: int) -> tuple[bytes, float]:
    """A map as a PNG.

    Args:
        values: [height, width], or [3, height, width] in colour; one that is not finite, from
            weights that are not, gives an all-zero picture.
        zero: the pixel that stands for 0: 128, or 0 where no value is negative.
        longest_px: larger maps are reduced to this, by averaging.

    Returns:
        The PNG, and the scale: ``value = (pixel - zero) / (255 - zero) * scale``.
    """
    small = values if max(values.shape[-2:]) <= longest_px else _reduced(values, longest_px)
    pixels, scale = scaled_pixels(small, zero)
    return encode_png(pixels), scale


def _reduced(values: NDArray[np.float64], longest_px: int) -> NDArray[np.float64]:
    ratio = longest_px / max(values.shape[-2:])
    height, width = (max(1, round(side * ratio)) for side in values.shape[-2:])
    planes = torch.from_numpy(values).reshape(1, -1, *values.shape[-2:])
    small: Tensor = torch.nn.functional.adaptive_avg_pool2d(planes, (height, width))
    return small.reshape(*values.shape[:-2], height, width).numpy()


def _ranges(frames: Tensor) -> list[float]:
    """Largest less smallest pixel of each frame, of pixels from 0 to 1."""
    low, high = frames.flatten(start_dim=1).aminmax(dim=1)
    ranges: list[float] = ((high.double() - low.double()) / 255).tolist()
    return ranges


def _untapped(run: Callable[[Tensor, Tap], Tensor]) -> Run:
    return lambda images: run(images, lambda *_: None)

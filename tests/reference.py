"""Slow versions of what the pipeline computes, written from the definitions in float64.

Invariant: nothing of the project's packages is imported here, so that no mistake is shared.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

HALF_OCTAVES = [2.0 ** (i / 2) for i in range(-20, 21)]
EDGES = [*(-edge for edge in reversed(HALF_OCTAVES)), 0.0, *HALF_OCTAVES]
"""Histogram edges: half-octaves from 2^-10 to 2^10 on both sides of zero."""


@dataclass(frozen=True, order=True)
class Peak:
    """The strongest position of one unit in one image; sorts by the total order."""

    negative_value: float
    image_id: int
    y: int
    x: int

    @property
    def value(self) -> float:
        return -self.negative_value


@dataclass(frozen=True)
class UnitStatistics:
    """Of one unit's per-image maxima; floats are None without a finite one."""

    images: int
    active: int
    nonfinite: int
    max: float | None
    mean: float | None
    std: float | None
    histogram: list[int]


@dataclass(frozen=True)
class Prediction:
    """Of one image; the label's fields are None where it has no label among the classes."""

    predicted: int
    p_predicted: float
    p_label: float | None
    label_rank: int | None


def peak(image_id: int, feature_map: NDArray[np.floating]) -> Peak | None:
    """The maximum of one map [height, width], the first by y then x; None if it is not finite."""
    best: Peak | None = None
    for y, row in enumerate(np.asarray(feature_map, np.float64).tolist()):
        for x, value in enumerate(row):
            if math.isnan(value) or value == math.inf:
                return None
            found = Peak(-value, image_id, y, x)
            if value > -math.inf and (best is None or found < best):
                best = found
    return best


def top_peaks(
    maps: Iterable[tuple[int, NDArray[np.floating]]], k: int, *, above_zero: bool
) -> list[list[Peak]]:
    """The k strongest images of every unit (ZF 2.1, fig. 2), one position an image.

    Args:
        maps: image_id and feature maps [units, height, width] of every image, in any order.
        k: how many.
        above_zero: whether only maxima above zero count, as behind an activation function.

    Returns:
        Peaks of each unit, best first.
    """
    found: list[list[Peak]] = []
    for image_id, units in maps:
        found = found or [[] for _ in units]
        for peaks, feature_map in zip(found, units, strict=True):
            best = peak(image_id, feature_map)
            if best is not None and (best.value > 0 or not above_zero):
                peaks.append(best)
    return [sorted(peaks)[:k] for peaks in found]


def unit_statistics(maxima: Sequence[float]) -> UnitStatistics:
    """Statistics of one unit from its maximum in every image."""
    finite = [float(value) for value in maxima if math.isfinite(value)]
    histogram = [0] * (len(EDGES) + 1)
    for value in finite:
        # Bin i holds edges[i-1] < value <= edges[i].
        histogram[bisect.bisect_left(EDGES, value)] += 1
    mean = math.fsum(finite) / len(finite) if finite else None
    return UnitStatistics(
        images=len(finite),
        active=sum(value > 0 for value in finite),
        nonfinite=len(maxima) - len(finite),
        max=max(finite, default=None),
        mean=mean,
        std=None
        if mean is None
        else math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / len(finite)),
        histogram=histogram,
    )


def prediction(scores: Sequence[float], label: int | None) -> Prediction:
    """Softmax, the class of the highest score, and the label's place among the classes."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    largest = max(scores)
    total = math.fsum(math.exp(score - largest) for score in scores)
    known = label is not None and 0 <= label < len(scores)
    return Prediction(
        predicted=order[0],
        p_predicted=math.exp(scores[order[0]] - largest) / total,
        p_label=math.exp(scores[label] - largest) / total if known else None,
        label_rank=order.index(label) + 1 if known else None,
    )


def raw_picture(path: Path) -> torch.Tensor:
    """A picture that is already of the frame's size, float64 [1, 3, S, S] in [0, 1]."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].double() / 255


def feature_maps(
    module: nn.Module, layers: Sequence[str], frames: Iterable[torch.Tensor]
) -> Iterable[dict[str, NDArray[np.floating]]]:
    """Every layer's maps [units, height, width] of one frame [1, 3, S, S] after the other."""
    extractor = create_feature_extractor(module.eval(), {name: name for name in layers})
    with torch.inference_mode():
        for frame in frames:
            values = extractor(frame)
            yield {
                name: value[0].reshape(len(value[0]), *(value.shape[2:] or (1, 1))).numpy()
                for name, value in values.items()
            }


@dataclass(frozen=True)
class Strongest:
    """The maximum of every unit of a layer in every image, in the order of the images.

    Attributes:
        values: [images, units].
        y, x: [images, units], its first place by y then x.
    """

    values: NDArray[np.floating]
    y: NDArray[np.int64]
    x: NDArray[np.int64]

    def order(self, k: int, *, above_zero: bool) -> NDArray[np.int64]:
        """Images of each unit by value, then number, [k, units]; -1 where fewer have a value."""
        values = np.where(self.values > 0, self.values, -np.inf) if above_zero else self.values
        best = np.argsort(-values, axis=0, kind="stable")[:k]
        return np.where(np.take_along_axis(values, best, 0) > -np.inf, best, -1)


def strongest(maps: Iterable[dict[str, NDArray[np.floating]]]) -> dict[str, Strongest]:
    """`Strongest` of every layer, from `feature_maps`."""
    found: dict[str, list[tuple[NDArray[np.floating], ...]]] = {}
    for image in maps:
        for name, units in image.items():
            flat = units.reshape(len(units), -1)
            place = flat.argmax(axis=1)
            row = (flat.max(axis=1), *np.divmod(place, units.shape[2]))
            found.setdefault(name, []).append(row)
    return {
        name: Strongest(*(np.stack(column) for column in zip(*rows, strict=True)))
        for name, rows in found.items()
    }


def deconvnet(
    chain: Sequence[nn.Module],
    picture: torch.Tensor,
    place: tuple[int, ...],
    value: float,
    rule: str = "deconvnet",
) -> torch.Tensor:
    """Project one value of a chain's output down to the picture (ZF 2.1).

    Args:
        chain: layers one after the other, in eval mode.
        picture: [1, C, S, S].
        place: of the value, (channel, y, x) or (unit,); all else in that layer is zero.
        value: what is projected.
        rule: deconvnet (rectify the signal), guided (that, and the forward's gate) or gradient
            (the gate alone, and the derivative of a response normalisation).

    Returns:
        The signal at the picture, of its shape.
    """
    inputs = []
    for layer in chain:
        inputs.append(picture)
        picture = layer(picture)
    signal = torch.zeros_like(picture)
    signal[(0, *place)] = value
    for layer, before in zip(reversed(chain), reversed(inputs), strict=True):
        signal = _down(layer, before, signal, rule)
    return signal


def _down(layer: nn.Module, before: torch.Tensor, signal: torch.Tensor, rule: str) -> torch.Tensor:
    if isinstance(layer, nn.ReLU):
        rectified = signal if rule == "gradient" else signal.clamp(min=0)
        return rectified if rule == "deconvnet" else rectified * (before > 0)
    if isinstance(layer, nn.Conv2d):
        return _filter_down(layer, before, signal)
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        return _pool_down(layer, before, signal)
    if isinstance(layer, nn.LocalResponseNorm) and rule == "gradient":
        return _normalise_down(layer, before, signal)
    if isinstance(layer, nn.BatchNorm2d):
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        return signal * scale[:, None, None]
    signal = signal @ layer.weight if isinstance(layer, nn.Linear) else signal
    return signal.reshape(before.shape)  # flatten, dropout, and normalisation passes through


def _filter_down(layer: nn.Conv2d, before: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
    """Each value paints its filter over the window that it was computed from."""
    unread = [
        size - ((count - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1)
        for size, count, stride, padding, dilation, kernel in zip(
            before.shape[2:],
            signal.shape[2:],
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.kernel_size,
            strict=True,
        )
    ]
    return nn.functional.conv_transpose2d(
        signal,
        layer.weight,
        None,
        layer.stride,
        layer.padding,
        unread,
        layer.groups,
        layer.dilation,
    )


def _pool_down(
    layer: nn.MaxPool2d | nn.AvgPool2d, before: torch.Tensor, signal: torch.Tensor
) -> torch.Tensor:
    """A maximum goes back to its place, the first by y then x; an average is shared out evenly."""
    size, stride, padding = (
        value if isinstance(value, tuple) else (value, value)
        for value in (layer.kernel_size, layer.stride, layer.padding)
    )
    values, result = before[0].numpy(), np.zeros_like(before[0].numpy())
    for unit, y, x in signal[0].nonzero().tolist():
        ranges = [
            range(p * s - pad, p * s - pad + k)
            for p, s, pad, k in zip((y, x), stride, padding, size, strict=True)
        ]
        places = [
            (unit, row, column)
            for row in ranges[0]
            for column in ranges[1]
            if 0 <= row < before.shape[2] and 0 <= column < before.shape[3]
        ]
        sent = float(signal[0, unit, y, x])
        if isinstance(layer, nn.MaxPool2d):
            places = [max(places, key=lambda place: values[place])]
        elif layer.count_include_pad:
            # A window of ceil mode that leaves the padding counts only as far as it goes.
            ends = [n + pad for n, pad in zip(before.shape[2:], padding, strict=True)]
            counts = [min(r.stop, end) - r.start for r, end in zip(ranges, ends, strict=True)]
            sent = sent / math.prod(counts)
        else:
            sent = sent / len(places)
        for place in places:
            result[place] += sent
    return torch.from_numpy(result)[None]


def _normalise_down(
    layer: nn.LocalResponseNorm, before: torch.Tensor, signal: torch.Tensor
) -> torch.Tensor:
    """b_c = a_c / d_c^beta with d_c = k + alpha / n * (sum of a^2 over c's neighbours)."""
    channels, share = before.shape[1], layer.alpha / layer.size
    around = [
        range(max(0, c - layer.size // 2), min(channels, c + (layer.size - 1) // 2 + 1))
        for c in range(channels)
    ]
    values = before[0]
    divisor = torch.stack([layer.k + share * (values[list(near)] ** 2).sum(0) for near in around])
    result = signal / divisor[None] ** layer.beta
    for c, near in enumerate(around):
        for other in near:
            slope = -2 * layer.beta * share * values[c] * values[other]
            result[0, other] += signal[0, c] * slope / divisor[c] ** (layer.beta + 1)
    return result


def occluded(
    model: nn.Module,
    frame: torch.Tensor,
    fill: torch.Tensor,
    windows: Sequence[tuple[int, int, int, int]],
    layer: nn.Module,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and a layer's maps with one window hidden, a window at a time (ZF 4.2).

    Args:
        model: in eval mode, float64.
        frame: [1, 3, S, S].
        fill: what a window shows instead, of the same shape.
        windows: (y, x, height, width) each.
        layer: the module whose output's sum over positions is wanted.

    Returns:
        Scores [windows, classes] and sums [windows, units].
    """
    scores, sums = [], []
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, value: seen.append(value.clone()))
    with torch.no_grad():
        for y, x, height, width in windows:
            picture = frame.clone()
            picture[:, :, y : y + height, x : x + width] = fill[:, :, y : y + height, x : x + width]
            scores.append(model(picture)[0])
            sums.append(seen.pop()[0].sum(dim=(1, 2)))
    handle.remove()
    return torch.stack(scores), torch.stack(sums)

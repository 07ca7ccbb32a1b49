"""Moved pictures and what a network makes of them, from the definitions: float64, pixel by pixel.

Invariant: nothing of the project's packages is imported here, so that no mistake is shared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Kernel = str


@dataclass(frozen=True)
class Frame:
    """A frame before rounding.

    Attributes:
        values: float64 [3, S, S], 0 to 255.
        filled: share of its pixels that lie outside the picture.
    """

    values: NDArray[np.float64]
    filled: float


def _triangle(x: float) -> float:
    return max(0.0, 1 - abs(x))


def _keys(x: float) -> float:
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def _weights(at: float, side: int, reach: float, kernel: Kernel) -> NDArray[np.float64]:
    """Of every pixel of a line, for one place on it."""
    shape = _keys if kernel == "bicubic" else _triangle
    weights = np.array([shape((pixel + 0.5 - at) / reach) for pixel in range(side)])
    return weights / weights.sum()


def source(transform: str, amount: float, y: float, x: float, side: int) -> tuple[float, float]:
    """Where the point (y, x) of a moved frame was, by complex numbers: real right, imaginary up."""
    if transform == "translation":
        return y - amount, x
    middle = side / 2
    point = complex(x - middle, middle - y)
    if transform == "scale":
        point /= amount
    else:
        point *= np.exp(-1j * math.radians(amount))
    return middle - point.imag, middle + point.real


def moved(
    pixels: NDArray[np.uint8],
    resized: tuple[int, int],
    side: int,
    move: tuple[str, float],
    fill: Sequence[float],
    kernel: Kernel = "bilinear",
) -> Frame:
    """The frame of a moved picture.

    Args:
        pixels: uint8 [3, H, W].
        resized: the picture's size after the preprocessing's resize.
        side: of the frame, which lies in the middle of the resized picture.
        move: transform and amount.
        fill: red, green, blue.
        kernel: bilinear or bicubic.
    """
    transform, amount = move
    magnified = amount if transform == "scale" else 1.0
    ratios = [old / new for old, new in zip(pixels.shape[1:], resized, strict=True)]
    reaches = [max(1.0, ratio / magnified) for ratio in ratios]
    corners = [round((new - side) / 2) for new in resized]
    values, outside = np.zeros((3, side, side)), 0
    for row in range(side):
        for column in range(side):
            place = source(transform, amount, row + 0.5, column + 0.5, side)
            at = [each + corner for each, corner in zip(place, corners, strict=True)]
            if not all(0 <= each < new for each, new in zip(at, resized, strict=True)):
                values[:, row, column], outside = fill, outside + 1
                continue
            down, across = (
                _weights(each * ratio, full, reach, kernel)
                for each, ratio, full, reach in zip(
                    at, ratios, pixels.shape[1:], reaches, strict=True
                )
            )
            for colour in range(3):
                value = float(down @ pixels[colour].astype(np.float64) @ across)
                values[colour, row, column] = min(max(value, 0.0), 255.0)
    return Frame(values, outside / side**2)


def responses(
    net: nn.Sequential, frame: NDArray[np.float64], layers: Sequence[str]
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """The values of layers and the softmax for one frame of whole levels, one layer by one."""
    mean = np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    std = np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    value = torch.from_numpy((frame / 255 - mean) / std)[None]
    found = {}
    with torch.no_grad():
        for name, layer in net.double().eval().named_children():
            value = layer(value)
            found[name] = value[0].clone().flatten().numpy()
    scores = value[0].numpy()
    powers = np.exp(scores - scores.max())
    return [found[name] for name in layers], powers / powers.sum()

"""The input frame that a network would see if the picture had been moved (ZF fig. 5).

The preprocessing resizes a picture by a kernel as wide as a pixel of the resized picture, which can
be evaluated between that picture's pixels as well. A moved frame is this: the decoded picture under
the preprocessing's own kernel, at the places where the move finds the pixels of the frame. So it is
as sharp as the plain frame, more of the picture comes in where there is more, and enlarging shows
the detail that the resized picture has lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.data.preprocess import framing
from schemas.jobs.invariance import Fill
from schemas.moves import Move
from schemas.specs import PreprocessSpec

# A kernel that is wider than this many pixels each way is laid over means of blocks of pixels: a
# picture of 12 megapixels would need 600 of them for one of the frame, and looks the same.
_WIDEST = 3

Kernel = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Taps:
    """Where a kernel lies along one axis, for every place of a frame.

    Attributes:
        places: int64 [taps, ...], pixels of the picture.
        weights: fp32 of that shape; they sum to 1.
    """

    places: Tensor
    weights: Tensor


class MovedPicture:
    """A picture, and the frames that it gives when it is moved.

    Args:
        pixels: uint8 [3, H, W], decoded, on the device to work on.
        spec: the preprocessing.
        fill: what stands where there is no picture. Of a picture that leaves a border in the plain
            frame it is black, which the preprocessing puts there.
    """

    def __init__(self, pixels: Tensor, spec: PreprocessSpec, fill: Fill) -> None:
        self._spec = spec
        self._size = (pixels.shape[-2], pixels.shape[-1])
        self._framing = framing(self._size, spec)
        self._blocks = {1: pixels.contiguous()}
        small = min(self._framing.size) < spec.crop_px
        colour = fill_colour("black" if small else fill, spec)
        self._fill = torch.tensor(colour, dtype=torch.float32, device=pixels.device).view(3, 1, 1)

    def frame(self, move: Move) -> tuple[Tensor, float]:
        """The frame of the moved picture.

        The plain one, to within a level where two roundings differ, for a move by nothing.

        Returns:
            uint8 [3, S, S]; and the share of its pixels at which there is no picture, 0 to 1.
        """
        places = sources(move, self._spec.crop_px, self._fill.device)
        inside = torch.ones((), dtype=torch.bool, device=self._fill.device)
        axes = zip(places, self._framing.corner, self._framing.size, strict=True)
        resized = [at + corner for at, corner, _ in axes]
        for at, side in zip(resized, self._framing.size, strict=True):
            inside = inside & (at >= 0) & (at < side)
        values = self._values(resized, 1 / move.amount if move.transform == "scale" else 1.0)
        frame = torch.where(inside, values, self._fill).round_().to(torch.uint8)
        outside = ~inside.expand(frame.shape[-2:])
        return frame, int(outside.sum()) / outside.numel()

    def _values(self, at: list[Tensor], width: float) -> Tensor:
        """The picture at places of the resized one, fp32 [3, S, S] from 0 to 255."""
        ratios = [full / side for full, side in zip(self._size, self._framing.size, strict=True)]
        if self._spec.interpolation == "nearest":
            lines = zip(at, self._size, self._framing.size, strict=True)
            return _sum_up(self._blocks[1], *(_nearest(*line) for line in lines))
        cubic = self._spec.interpolation == "bicubic"
        kernel, radius = (_bicubic, 2) if cubic else (_bilinear, 1)
        reaches = [max(1.0, ratio * width) for ratio in ratios]
        block = max(1, int(min(reaches) / _WIDEST))
        picture = self._averaged(block)
        down, across = (
            _taps(places * (ratio / block), side, reach / block, kernel, radius)
            for places, ratio, side, reach in zip(
                at, ratios, picture.shape[-2:], reaches, strict=True
            )
        )
        return _sum_up(picture, down, across).clamp_(0, 255)

    def _averaged(self, block: int) -> Tensor:
        """The picture, or the means of its blocks, [3, h, w]; the last ones may be smaller."""
        if block not in self._blocks:
            self._blocks[block] = torch.cat(
                [
                    torch.nn.functional.avg_pool2d(
                        channel[None].to(torch.float32), block, ceil_mode=True
                    )
                    for channel in self._blocks[1]
                ]
            )
        return self._blocks[block]


def sources(move: Move, frame_px: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each pixel of a moved frame was in the plain one.

    Args:
        move: what is done to the picture.
        frame_px: S.
        device: where the result lies.

    Returns:
        y and x of the pixels' middles, float64, of shapes that broadcast to [S, S]; the upper left
        pixel of the plain frame is from 0 to 1.
    """
    line = torch.arange(frame_px, dtype=torch.float64, device=device) + 0.5
    y, x = line[:, None], line[None, :]
    middle = frame_px / 2
    match move.transform:
        case "translation":
            return y - move.amount, x
        case "scale":
            return middle + (y - middle) / move.amount, middle + (x - middle) / move.amount
        case "rotation":
            turn = math.radians(move.amount)
            cosine, sine = math.cos(turn), math.sin(turn)
            down, across = y - middle, x - middle
            return (
                middle + sine * across + cosine * down,
                middle + cosine * across - sine * down,
            )


def fill_colour(fill: Fill, spec: PreprocessSpec) -> tuple[int, int, int]:
    """Red, green and blue of a fill, 0 to 255; ``mean`` to the nearest level."""
    if fill == "mean":
        red, green, blue = (min(max(round(255 * m / spec.value_range), 0), 255) for m in spec.mean)
        return red, green, blue
    level = 128 if fill == "grey" else 0
    return level, level, level


def _taps(at: Tensor, side: int, reach: float, kernel: Kernel, radius: int) -> _Taps:
    """The kernel around places of a picture, as Pillow and torch lay it for a resize.

    Args:
        at: float64, in pixels of the picture; places outside count as its border.
        side: pixels of the picture.
        reach: how many of them one unit of the kernel spans.
        kernel: its values.
        radius: it is 0 from there on.
    """
    at = at.clamp(0, side)
    support = radius * reach
    first = torch.floor(at - support + 0.5)
    # Of float64 only the small differences are needed, which fp32 holds as well.
    offset = (first + 0.5 - at).to(torch.float32)
    steps = torch.arange(math.ceil(2 * support), device=at.device).view(-1, *[1] * at.dim())
    places = first.to(torch.int64) + steps
    weights = kernel((offset + steps) / reach)
    weights = weights.masked_fill((places < 0) | (places >= side), 0)
    return _Taps(places.clamp(0, side - 1), weights / weights.sum(dim=0))


def _nearest(at: Tensor, full: int, side: int) -> _Taps:
    """The pixel that the preprocessing takes for the nearest pixel of the resized picture."""
    pixel = at.clamp(0, side - 1).floor().to(torch.float32)
    place = (pixel * torch.tensor(full / side, dtype=torch.float32)).floor().to(torch.int64)
    return _Taps(place.clamp(max=full - 1)[None], torch.ones_like(pixel)[None])


def _sum_up(picture: Tensor, down: _Taps, across: _Taps) -> Tensor:
    """The weighted sums of the picture's pixels, fp32 [3, S, S]."""
    flat, width = picture.flatten(1), picture.shape[-1]
    shape = (down.places[0] + across.places[0]).shape
    total = torch.zeros(3, *shape, device=picture.device)
    for row, weight in zip(down.places, down.weights, strict=True):
        line = torch.zeros_like(total)
        for column, share in zip(across.places, across.weights, strict=True):
            taken = flat.index_select(1, (row * width + column).flatten())
            line += taken.view(3, *shape) * share
        total += line.mul_(weight)
    return total


def _bilinear(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp_(min=0)


def _bicubic(distance: Tensor) -> Tensor:
    """Keys' kernel with a = -1/2, as Pillow and torch's antialiased resize have it."""
    x = distance.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))

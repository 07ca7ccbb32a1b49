"""Resize, centre crop and normalisation: from decoded pixels to the network's input frame.

Bit for bit what torchvision's `ImageClassification` preset computes (with ``value_range`` 1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torchvision.transforms import InterpolationMode, functional

from schemas.errors import ImageRejectedError
from schemas.specs import PreprocessSpec

LONGEST_ASPECT = 100
"""A picture whose long side is more than this many times its short side is not resized: its
resized form would need memory without bound (1 x 20000 pixels: 16 GB)."""

_INTERPOLATIONS = {
    "nearest": InterpolationMode.NEAREST,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}


class Framing(NamedTuple):
    """Where the input frame lies in a picture.

    Attributes:
        size: height and width of the resized picture, in pixels.
        corner: row and column of it at which the frame begins; below 0 where the picture is smaller
            than the frame.
    """

    size: tuple[int, int]
    corner: tuple[int, int]


def framing(size: tuple[int, int], spec: PreprocessSpec) -> Framing:
    """What `to_frame` does with a picture of that height and width."""
    resized = size
    if spec.resize_px is not None:
        short, long = sorted(size)
        # The long side is cut to whole pixels, so its own ratio is a little smaller.
        sides = (spec.resize_px, int(spec.resize_px * long / short))
        resized = sides if size[0] <= size[1] else sides[::-1]
    top, left = (_cut(side, spec.crop_px) for side in resized)
    return Framing(resized, (top, left))


def _cut(side: int, crop_px: int) -> int:
    """Where torchvision's centre crop begins; before the picture where that is smaller."""
    return -((crop_px - side) // 2) if side < crop_px else round((side - crop_px) / 2.0)


def to_frame(pixels: torch.Tensor, spec: PreprocessSpec) -> torch.Tensor:
    """Resize the short side and cut the centre, as the spec says.

    Args:
        pixels: uint8 [3, H, W].
        spec: ``resize_px`` (null: no resize), ``crop_px``, ``interpolation``.

    Returns:
        uint8 [3, crop_px, crop_px]; zeros where the picture is smaller than the crop.

    Raises:
        ImageRejectedError: ``too_large``: the sides differ by more than `LONGEST_ASPECT` times.
    """
    if spec.resize_px is not None:
        height, width = pixels.shape[-2:]
        short, long = sorted((height, width))
        if long > LONGEST_ASPECT * short:
            raise ImageRejectedError(
                "too_large",
                f"{width} x {height} pixels: the long side is more than {LONGEST_ASPECT} times "
                f"the short one, which would be resized to {spec.resize_px}",
            )
        pixels = functional.resize(
            pixels,
            [spec.resize_px],
            interpolation=_INTERPOLATIONS[spec.interpolation],
            antialias=True,
        )
    cut: torch.Tensor = functional.center_crop(pixels, [spec.crop_px])
    return cut


def normalise(frames: torch.Tensor, spec: PreprocessSpec, dtype: torch.dtype) -> torch.Tensor:
    """``(value_range * frames / 255 - mean) / std`` per channel, computed in fp32.

    Args:
        frames: uint8 [N, 3, S, S], on any device and in any memory format, which is kept.
        spec: ``value_range``, ``mean``, ``std``.
        dtype: what the fp32 result is rounded to.

    Returns:
        [N, 3, S, S] of ``dtype``, on the same device.
    """
    values = frames.to(torch.float32).div_(255)
    if spec.value_range != 1.0:
        values.mul_(spec.value_range)
    mean = torch.tensor(spec.mean, dtype=torch.float32, device=frames.device).view(3, 1, 1)
    std = torch.tensor(spec.std, dtype=torch.float32, device=frames.device).view(3, 1, 1)
    return values.sub_(mean).div_(std).to(dtype)

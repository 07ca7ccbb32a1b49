"""Resize, centre crop and normalisation: from decoded pixels to the network's input frame.

Bit for bit what torchvision's `ImageClassification` preset computes (with ``value_range`` 1).
"""

from __future__ import annotations

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

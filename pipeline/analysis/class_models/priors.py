"""What keeps an ascent's images smooth: waves weighed by 1/frequency, shifts and blur.

All take each image by itself, so that an image's bytes do not depend on its company, and all go
around the edges: the frame is a torus to them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def wave_weights(side: int, field_px: int) -> Tensor:
    """The weight of each wave of a square image, ``1 / max(1, field_px * frequency)``.

    Args:
        side: S, of the image in pixels.
        field_px: waves longer than this weigh 1. With S only the mean and the longest waves do;
            with the side of a small receptive field waves that it cannot tell apart are alike.

    Returns:
        float64 [S, S // 2 + 1], from 0 to 1, in the order of `torch.fft.rfft2`.
    """
    down = torch.fft.fftfreq(side, dtype=torch.float64)
    across = torch.fft.rfftfreq(side, dtype=torch.float64)
    return 1 / (field_px * torch.hypot(down[:, None], across)).clamp(min=1)


def weigh_waves(images: Tensor, weights: Tensor) -> Tensor:
    """Multiply each wave of each image by its weight.

    With `wave_weights` w once, it makes an image of coefficients in an orthonormal basis of waves,
    each weighed by 1/frequency (Olah et al. 2017, "Feature Visualization"); call that map A. It is
    symmetric, so that a step of ascent on the coefficients, r A'g for a gradient g with respect to
    the pixels, changes the pixels by r A A'g: that is g with the weights w^2.

    Args:
        images: [N, 3, S, S].
        weights: [N, S, S // 2 + 1], each symmetric in the sign of a frequency.

    Returns:
        [N, 3, S, S].
    """
    size = list(images.shape[-2:])
    weighed = [
        torch.fft.irfft2(torch.fft.rfft2(image) * own, s=size)
        for image, own in zip(images, weights, strict=True)
    ]
    return torch.stack(weighed)


def shifted(images: Tensor, shifts: Tensor) -> Tensor:
    """Each image moved around the edges by its own shift.

    Args:
        images: [N, 3, S, S].
        shifts: int64 [N, 2], pixels down and across.
    """
    moved = [
        torch.roll(image, shift, dims=(1, 2))
        for image, shift in zip(images, shifts.tolist(), strict=True)
    ]
    return torch.stack(moved)


def blurred(images: Tensor, deviation_px: float) -> Tensor:
    """Each image under a Gaussian, sampled at whole pixels up to four deviations.

    Args:
        images: [N, 3, S, S].
        deviation_px: its standard deviation, above 0.
    """
    reach = min(max(1, round(4 * deviation_px)), images.shape[-1] - 1)
    at = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (at / deviation_px) ** 2)
    kernel = (weights / weights.sum()).tolist()
    for dim in (2, 3):
        total = torch.zeros_like(images)
        for place, weight in enumerate(kernel):
            total = total.add(torch.roll(images, place - reach, dims=dim), alpha=weight)
        images = total
    return images


def root_mean_square(images: Tensor) -> Tensor:
    """Of each image, [N, 3, S, S] to [N, 1, 1, 1]."""
    return torch.stack([image.square().mean().sqrt() for image in images]).view(-1, 1, 1, 1)

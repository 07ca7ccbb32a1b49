"""Saliency maps written from their definitions: in float64, one image and one copy at a time.

Invariant: nothing of the project's packages is imported here, so that no mistake is shared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

STEP = 1e-6


def gradient(net: nn.Module, image: Tensor, target: int) -> Tensor:
    """d score / d image of one image [3, S, S]."""
    leaf = image.clone().requires_grad_()
    net(leaf[None])[0, target].backward()
    net.zero_grad(set_to_none=True)
    assert leaf.grad is not None
    return leaf.grad


def difference_quotient(net: nn.Module, image: Tensor, target: int, at: tuple[int, ...]) -> float:
    """The same at one value of the image, by central differences."""
    scores = []
    for sign in (1, -1):
        moved = image.clone()
        moved[at] += sign * STEP
        with torch.no_grad():
            scores.append(float(net(moved[None])[0, target]))
    return (scores[0] - scores[1]) / (2 * STEP)


def smooth_gradient(net: nn.Module, image: Tensor, target: int, noises: Sequence[Tensor]) -> Tensor:
    """SmoothGrad: the mean gradient over copies with these noises."""
    total = torch.zeros_like(image)
    for noise in noises:
        total += gradient(net, image + noise, target)
    return total / len(noises)


def integrated(net: nn.Module, image: Tensor, baseline: Tensor, target: int, steps: int) -> Tensor:
    """Integrated gradients by the midpoint rule, before the sum over colours."""
    total = torch.zeros_like(image)
    for step in range(steps):
        total += gradient(net, baseline + (image - baseline) * ((step + 0.5) / steps), target)
    return (image - baseline) * total / steps


def strongest_colour(values: Tensor, *, positive: bool = False) -> Tensor:
    """The largest magnitude, or the largest positive part, over the colours, pixel by pixel."""
    _, height, width = values.shape
    found = torch.zeros(height, width, dtype=values.dtype)
    for y in range(height):
        for x in range(width):
            colours = [float(v) for v in values[:, y, x]]
            found[y, x] = max(max(v, 0.0) if positive else abs(v) for v in colours)
    return found

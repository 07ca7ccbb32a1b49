"""Gradient ascent on an image written from its definition: in float64, one target at a time.

Invariant: nothing of the project's packages is imported here, so that no mistake is shared. Waves
are the orthonormal basis cas(u y) cas(v x), cas = cos + sin (Hartley 1942), as a matrix, and the
ascent moves their coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

STEP = 1e-6
Value = Callable[[Tensor], Tensor]
"""From an image [3, S, S] to the value that is raised, a scalar."""


def waves(side: int) -> Tensor:
    """The matrix of cas, [S, S], symmetric and its own inverse."""
    rows = [
        [
            math.cos(2 * math.pi * u * y / side) + math.sin(2 * math.pi * u * y / side)
            for y in range(side)
        ]
        for u in range(side)
    ]
    return torch.tensor(rows, dtype=torch.float64) / math.sqrt(side)


def weights(side: int, field: int) -> Tensor:
    """1 / max(1, cycles per field) of each wave, [S, S]."""
    cycles = [min(u, side - u) * field / side for u in range(side)]
    rows = [[1 / max(1.0, math.sqrt(u * u + v * v)) for v in cycles] for u in cycles]
    return torch.tensor(rows, dtype=torch.float64)


def in_waves(coefficients: Tensor, field: int) -> Tensor:
    """The image [3, S, S] of weighed coefficients [3, S, S]."""
    side = coefficients.shape[-1]
    basis = waves(side)
    return basis @ (weights(side, field) * coefficients) @ basis


def moved(image: Tensor, down: int, across: int) -> Tensor:
    """The image moved around the edges, pixel by pixel."""
    side = image.shape[-1]
    rows = [(y - down) % side for y in range(side)]
    columns = [(x - across) % side for x in range(side)]
    return image[:, rows][:, :, columns]


def blurred(image: Tensor, deviation: float) -> Tensor:
    """A Gaussian cut at four deviations, as a matrix on either side."""
    side = image.shape[-1]
    reach = min(max(1, round(4 * deviation)), side - 1)
    kernel = {d: math.exp(-0.5 * (d / deviation) ** 2) for d in range(-reach, reach + 1)}
    total = sum(kernel.values())
    matrix = torch.zeros(side, side, dtype=torch.float64)
    for y in range(side):
        for d, weight in kernel.items():
            matrix[y, (y + d) % side] += weight / total
    return matrix @ image @ matrix.T


def ascend(
    value: Value,
    image: Tensor,
    shifts: Tensor,
    *,
    rate: float,
    normalise: bool,
    l2: float,
    basis: str,
    field: int,
    lowest: tuple[float, ...],
    highest: tuple[float, ...],
    blur: float = 0.0,
    every: int = 1,
) -> tuple[Tensor, list[float], list[float]]:
    """The last image, and value and penalty before every step.

    Args:
        value: what is raised.
        image: [3, S, S], where it starts.
        shifts: [steps, 2].
        rate: of a step.
        normalise: each change's root mean square, over what is seen, is the rate.
        l2: lambda.
        basis: pixel or fourier.
        field: side of what is seen, in pixels.
        lowest: of each colour.
        highest: of each colour.
        blur: standard deviation; 0: none.
        every: steps from blur to blur.
    """
    side, count = image.shape[-1], len(shifts)
    matrix, weight = waves(side), weights(side, field)

    def coefficients(of: Tensor) -> Tensor:
        return (matrix @ of @ matrix) / weight

    values, penalties = [], []
    for step, (down, across) in enumerate(shifts.tolist()):
        start = coefficients(image) if basis == "fourier" else image
        leaf = start.clone().requires_grad_()
        shown = in_waves(leaf, field) if basis == "fourier" else leaf
        raised, penalty = value(moved(shown, down, across)), l2 * (shown**2).sum()
        (raised - penalty).backward()
        assert leaf.grad is not None
        change = in_waves(leaf.grad, field) if basis == "fourier" else leaf.grad
        length = math.sqrt((change**2).sum().item() / (3 * field**2)) if normalise else 1.0
        image = image + rate * change / length
        colours = [
            torch.clamp(plane, low, high)
            for plane, low, high in zip(image, lowest, highest, strict=True)
        ]
        image = torch.stack(colours)
        if blur and (step + 1) % every == 0 and step + 1 < count:
            image = blurred(image, blur)
        values.append(raised.item())
        penalties.append(penalty.item())
    return image, values, penalties


def difference_quotient(value: Value, image: Tensor, l2: float, at: tuple[int, ...]) -> float:
    """d (value - l2 |I|^2) / d I at one value of the image, by central differences."""
    found = []
    for sign in (1, -1):
        other = image.clone()
        other[at] += sign * STEP
        with torch.no_grad():
            found.append((value(other) - l2 * (other**2).sum()).item())
    return (found[0] - found[1]) / (2 * STEP)

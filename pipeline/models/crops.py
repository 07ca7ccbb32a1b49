"""Crop regions out of a batch of maps, one region per row, and paste them back.

A region may lie partly or wholly outside its map: what is outside is never read and never written.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def crop(
    maps: Tensor,
    dims: tuple[int, int],
    starts: tuple[Tensor, Tensor],
    size: tuple[int, int],
    rows: Iterable[int],
    fill: float = 0.0,
) -> Tensor:
    """Crop one region per row out of maps.

    Args:
        maps: [N, ...].
        dims: the dimensions of y and x.
        starts: int64 [n] each, where the regions begin; may lie outside.
        size: rows and columns of a region.
        rows: which of the N maps each region is cropped from, n of them.
        fill: stands outside the map.

    Returns:
        [n, ...] with ``size`` in the two dimensions.
    """
    shape = list(maps.shape)
    rows = list(rows)
    shape[0], shape[dims[0]], shape[dims[1]] = len(rows), *size
    layout = torch.channels_last if maps.dim() == 4 and dims == (2, 3) else torch.contiguous_format
    result = torch.empty(shape, dtype=maps.dtype, device=maps.device, memory_format=layout)
    inside = [_overlap(s, n, maps.shape[d]) for s, n, d in zip(starts, size, dims, strict=True)]
    if any(a != 0 or b != n for axis, n in zip(inside, size, strict=True) for _, a, b in axis):
        result.fill_(fill)
    for i, (row, (y, a, b), (x, c, e)) in enumerate(zip(rows, *inside, strict=True)):
        if b > a and e > c:
            target = _cut(result[i], dims, (a, b), (c, e))
            target.copy_(_cut(maps[row], dims, (y, y + b - a), (x, x + e - c)))
    return result


def paste(
    crops: Tensor, dims: tuple[int, int], starts: tuple[Tensor, Tensor], size: tuple[int, int]
) -> Tensor:
    """Paste each crop onto a map of zeros, where it came from; what lies outside is dropped.

    Args:
        crops: [n, ...].
        dims: the dimensions of y and x.
        starts: int64 [n] each.
        size: rows and columns of the map.

    Returns:
        [n, ...] with ``size`` in the two dimensions.
    """
    shape = list(crops.shape)
    shape[dims[0]], shape[dims[1]] = size
    result = torch.zeros(shape, dtype=crops.dtype, device=crops.device)
    own = (crops.shape[dims[0]], crops.shape[dims[1]])
    inside = [_overlap(s, n, m) for s, n, m in zip(starts, own, size, strict=True)]
    for i, ((y, a, b), (x, c, e)) in enumerate(zip(*inside, strict=True)):
        if b > a and e > c:
            target = _cut(result[i], dims, (y, y + b - a), (x, x + e - c))
            target.copy_(_cut(crops[i], dims, (a, b), (c, e)))
    return result


def pad_or_crop(value: Tensor, dim: int, first: int, size: int) -> Tensor:
    """Cut or pad with zeros along a dimension.

    Args:
        value: [...].
        dim: the dimension.
        first: where ``value`` begins in the result; may lie before it.
        size: of the result.
    """
    low = max(-first, 0)
    high = min(size - first, value.shape[dim])
    if low or high < value.shape[dim]:
        value = value.narrow(dim, low, high - low)
    before = max(first, 0)
    after = size - before - value.shape[dim]
    if not before and not after:
        return value
    padding = [0, 0] * (value.dim() - dim - 1) + [before, after]
    return torch.nn.functional.pad(value, padding)


def _overlap(starts: Tensor, size: int, length: int) -> list[tuple[int, int, int]]:
    """For each region: where its inside begins in the map, and its range within the region."""
    return [
        (max(s, 0), min(max(-s, 0), size), max(min(length - s, size), 0)) for s in starts.tolist()
    ]


def _cut(
    value: Tensor, dims: tuple[int, int], down: tuple[int, int], across: tuple[int, int]
) -> Tensor:
    """A region of one row: the batch dimension is gone, so every dimension is one lower."""
    value = value.narrow(dims[0] - 1, down[0], down[1] - down[0])
    return value.narrow(dims[1] - 1, across[0], across[1] - across[0])

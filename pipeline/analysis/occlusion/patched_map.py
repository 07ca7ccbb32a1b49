"""A clean map and the areas that many windows change of it, as one matrix of rows to gather from.

Each position of a rectangle comes from the window's own changed area where that covers it, else
from the clean map, else from the padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.analysis.occlusion.plan import Area
from schemas.arrays import Bools, Ints

ZERO, LOWEST = 0, 1
"""What may stand outside a map: zeros, or a value that never is a maximum."""


@dataclass(frozen=True)
class GatherIndex:
    """Which rows of a patched map make a rectangle for each window.

    Attributes:
        rows: of the patched map, int32 [n * height * width].
        height: rows of each rectangle.
        width: columns of each.
    """

    rows: Tensor
    height: int
    width: int


class PatchedMap:
    """One node's map, a row per position, with the changed areas of a batch behind it.

    Rows 0 to H * W - 1 are the clean map's positions, then come a row of zeros and a row of the
    lowest value, then the positions of the areas, window by window.

    Args:
        shape: of the node's value for one image.
        dims: its dimensions of y and x.
        capacity: positions of the largest batch's areas.
    """

    def __init__(self, shape: tuple[int, ...], dims: tuple[int, int], capacity: int) -> None:
        self.size = (shape[dims[0]], shape[dims[1]])
        rest = [d for d in range(1, len(shape)) if d not in dims]
        self._order = [0, *dims, *rest]
        self._inverse = [self._order.index(d) for d in range(len(shape))]
        self._rest = [shape[d] for d in rest]
        self._clean = self.size[0] * self.size[1]
        self._capacity = capacity
        self._rows = torch.empty(0)

    def set_clean(self, value: Tensor) -> None:
        """Take the map of a clean frame, [1, ...]."""
        rows = value.permute(self._order).reshape(self._clean, -1)
        wanted = (self._clean + 2 + self._capacity, rows.shape[1])
        if self._rows.shape != wanted:
            self._rows = rows.new_empty(wanted)
            self._rows[self._clean + ZERO] = 0
            self._rows[self._clean + LOWEST] = -torch.inf
        self._rows[: self._clean] = rows

    def set_changed(self, value: Tensor) -> None:
        """Take the areas of a batch, [n, ...] with an area for the map."""
        areas = value.permute(self._order)
        first, count = self._clean + 2, areas.shape[0] * areas.shape[1] * areas.shape[2]
        self._rows[first : first + count].view(areas.shape).copy_(areas)

    def gather(self, index: GatherIndex) -> Tensor:
        """The rectangles of an index, in the layout of the node's value."""
        rows = self._rows.index_select(0, index.rows)
        shaped = rows.view(-1, index.height, index.width, *self._rest)
        return shaped.permute(self._inverse)


def gather_index(
    wanted: Area, changed: Area | None, size: tuple[int, int], outside: int
) -> GatherIndex:
    """Which rows of a patched map hold each position of some rectangles.

    Args:
        wanted: the rectangles; they may reach outside the map.
        changed: the areas that the patched map will hold; None: the clean map alone.
        size: rows and columns of the map.
        outside: `ZERO` or `LOWEST`.
    """
    rows = wanted.top[:, None] + np.arange(wanted.height)
    columns = wanted.left[:, None] + np.arange(wanted.width)
    inside = _both(_within(rows, 0, size[0]), _within(columns, 0, size[1]))
    found = np.where(
        inside, rows[:, :, None] * size[1] + columns[:, None, :], size[0] * size[1] + outside
    )
    if changed is not None:
        y, x = rows - changed.top[:, None], columns - changed.left[:, None]
        own = _both(_within(y, 0, changed.height), _within(x, 0, changed.width)) & inside
        area = changed.height * changed.width
        first = size[0] * size[1] + 2 + np.arange(len(rows))[:, None, None] * area
        found = np.where(own, first + y[:, :, None] * changed.width + x[:, None, :], found)
    flat = torch.from_numpy(found.reshape(-1).astype(np.int32))
    return GatherIndex(flat, wanted.height, wanted.width)


def _within(positions: Ints, low: int, high: int) -> Bools:
    return (positions >= low) & (positions < high)


def _both(down: Bools, across: Bools) -> Bools:
    both: Bools = down[:, :, None] & across[:, None, :]
    return both

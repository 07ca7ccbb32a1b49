"""Sheets of filters: a grid of kernels, a small square per weight, the strongest filter first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.report.sections.filters.reader import Values

_ZOOM, _GAP = 4, 4
_ACROSS = ((64, 8), (256, 16), (1024, 32))
_MOST = 48


@dataclass(frozen=True)
class SheetGrid:
    """The layout of a sheet, in pixels.

    Attributes:
        count: filters.
        kernel: height and width, in weights.
        columns: filters in a row.
    """

    count: int
    kernel: tuple[int, int]
    columns: int

    @property
    def rows(self) -> int:
        """Of filters."""
        return -(-self.count // self.columns)

    @property
    def tile(self) -> tuple[int, int]:
        """Width and height of a filter."""
        return _ZOOM * self.kernel[1], _ZOOM * self.kernel[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        width, height = self.tile
        return self.columns * (width + _GAP) - _GAP, self.rows * (height + _GAP) - _GAP

    def corner(self, place: int) -> tuple[int, int]:
        """Where a filter's upper left corner lies, (x, y), by its place from 0."""
        row, column = divmod(place, self.columns)
        return column * (self.tile[0] + _GAP), row * (self.tile[1] + _GAP)


def grid_of(kernels: Sequence[Values]) -> SheetGrid:
    """The grid of a layer's filters; at least one."""
    count = len(kernels)
    columns = next((columns for most, columns in _ACROSS if count <= most), _MOST)
    return SheetGrid(count, (kernels[0].shape[0], kernels[0].shape[1]), min(columns, count))


def shown(values: Values, scale: float | None) -> Image.Image:
    """A kernel as RGB, mid-grey is 0.

    Args:
        values: [height, width, 3].
        scale: the absolute value that reaches black or white; None: the kernel's own largest.
    """
    largest = float(np.abs(values).max()) if scale is None else scale
    unit = values / largest if largest > 0 else values
    return Image.fromarray(np.rint(127.5 + 127.5 * np.clip(unit, -1, 1)).astype(np.uint8))


def draw_sheet(kernels: Sequence[Values], grid: SheetGrid, scale: float | None) -> Image.Image:
    """All kernels on one sheet, RGBA, the gaps transparent; ``scale`` as in `shown`."""
    sheet = Image.new("RGBA", grid.size, (0, 0, 0, 0))
    for place, values in enumerate(kernels):
        tile = shown(values, scale).resize(grid.tile, Image.Resampling.NEAREST)
        sheet.paste(tile, grid.corner(place))
    return sheet

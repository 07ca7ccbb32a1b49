"""Numbers that summarise a probability map: how far p falls, where, and whether on the object.

p is the target class's probability with the window at each position (ZF 4.2, fig. 7d). Every number
is of one picture and one window size, and none depends on another picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.analysis.occlusion.grid import Grid
from schemas.arrays import Bools, Floats, Ints

Box = tuple[float, float, float, float]
"""y0, x0, y1, x1, half-open, in input-frame pixels; may reach outside the frame."""


@dataclass(frozen=True)
class MapMetrics:
    """The columns of occlude/pictures that summarise a map; see `schemas.tables`.

    Attributes:
        largest_drop: ``p_clean - min(p)`` over the windows (ZF 4.2), -1 to 1; below 0 where every
            window raises p. NaN where no p is a number.
        drop_y_px, drop_x_px: upper left corner of that window, the first of equal ones.
        half_area: share of the pixels that windows cover where the mean p of the windows over the
            pixel is at most ``p_clean / 2``, 0 to 1; NaN where no p is a number.
        changed: share of the windows that change the predicted class, 0 to 1 (ZF 4.2, fig. 7e).
        drop_inside: share of the drop that falls on the object, 0 to 1: a pixel's drop is
            ``max(mean(p_clean - p), 0)`` over the windows that cover it; its sum inside the boxes
            over its sum in the frame. None without a box in the frame, or where nothing drops.
        pointed: the pointing game (Zhang et al. 2016, "Top-down Neural Attention by Excitation
            Backprop"): whether the middle of the window with the largest drop lies in a box. None
            without a box in the frame, or where no p is a number.
    """

    largest_drop: float
    drop_y_px: int
    drop_x_px: int
    half_area: float
    changed: float
    drop_inside: float | None
    pointed: bool | None


def summarise(
    p: Floats,
    predicted: Ints,
    clean: tuple[float, int],
    grid: Grid,
    boxes: Sequence[Box] = (),
) -> MapMetrics:
    """The metrics of one picture under one window size.

    Args:
        p: float64 [windows], probability of the target; a window where it is NaN counts only in
            ``changed``.
        predicted: int64 [windows].
        clean: p of the target and the predicted class without a window.
        grid: the windows.
        boxes: of the object; empty where none is known.

    Returns:
        The metrics; each one's formula stands in `MapMetrics`.
    """
    lowest = int(np.where(np.isnan(p), np.inf, p).argmin())
    largest_drop = clean[0] - float(p[lowest])
    y, x = grid.corners[lowest].tolist()
    # Means of differences, so that no drop at all is 0, and half of p is half, without rounding.
    above_half = pixel_means(p - clean[0] / 2, grid)
    above_half = above_half[~np.isnan(above_half)]
    drop = np.maximum(np.nan_to_num(pixel_means(clean[0] - p, grid)), 0.0)
    inside = _mask(boxes, grid.frame_px)
    known = bool(inside.any()) and not math.isnan(largest_drop)
    centre = (y + grid.size[0] // 2, x + grid.size[1] // 2)
    return MapMetrics(
        largest_drop=largest_drop,
        drop_y_px=y,
        drop_x_px=x,
        half_area=float((above_half <= 0).mean()) if above_half.size else math.nan,
        changed=float((predicted != clean[1]).mean()),
        drop_inside=float(drop[inside].sum() / drop.sum()) if known and drop.any() else None,
        pointed=bool(inside[centre]) if known else None,
    )


def pixel_means(values: Floats, grid: Grid) -> Floats:
    """The mean, at each pixel, over the windows that cover it.

    Args:
        values: float64 [windows]; those that are NaN are left out.
        grid: the windows.

    Returns:
        float64 [frame_px, frame_px]; NaN where no window covers the pixel.
    """
    missing = np.isnan(values)
    totals = _pixel_sums(np.where(missing, 0.0, values), grid)
    counts = _pixel_sums((~missing).astype(np.float64), grid)
    means: Floats = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    return means


def _pixel_sums(values: Floats, grid: Grid) -> Floats:
    """The sum, at each pixel, over the windows that cover it: first down, then across."""
    by_row = values.reshape(len(grid.rows), len(grid.columns))
    height, width = grid.size
    down = np.zeros((grid.frame_px, len(grid.columns)))
    for y, row in zip(grid.rows, by_row, strict=True):
        down[y : y + height] += row
    sums = np.zeros((grid.frame_px, grid.frame_px))
    for x, column in zip(grid.columns, down.T, strict=True):
        sums[:, x : x + width] += column[:, None]
    return sums


def _mask(boxes: Sequence[Box], frame_px: int) -> Bools:
    """The pixels whose centre lies in a box, bool [frame_px, frame_px]."""
    inside = np.zeros((frame_px, frame_px), dtype=bool)
    for box in boxes:
        y0, x0, y1, x1 = (min(max(math.ceil(edge - 0.5), 0), frame_px) for edge in box)
        inside[y0:y1, x0:x1] = True
    return inside

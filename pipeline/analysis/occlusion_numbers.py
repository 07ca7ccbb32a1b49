"""What a probability map says in a few numbers: how far p falls, where, and whether on the object.

The invariant: every number is of one picture and one window, and none depends on another picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.window_grid import Grid
from pipeline.models.fields import Ints

Box = tuple[float, float, float, float]
"""y0, x0, y1, x1, half-open, in input-frame pixels; may reach outside the frame."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Numbers:
    """The columns of occlude/pictures that sum a map up; see `schemas.tables`."""

    largest_drop: float
    drop_y_px: int
    drop_x_px: int
    half_area: float
    changed: float
    drop_inside: float | None
    pointed: bool | None


def sum_up(
    p: Floats,
    predicted: Ints,
    clean: tuple[float, int],
    grid: Grid,
    boxes: Sequence[Box] = (),
) -> Numbers:
    """The numbers of one picture.

    Args:
        p: float64 [windows], probability of the target.
        predicted: int64 [windows].
        clean: p of the target and the predicted class without a window.
        grid: the windows.
        boxes: of the object; none known: empty.
    """
    lowest = int(np.argmin(p))
    y, x = grid.corners[lowest].tolist()
    per_pixel = pixel_means(p, grid)
    covered = ~np.isnan(per_pixel)
    inside = _mask(boxes, grid.frame_px)
    drop = np.where(covered, np.maximum(clean[0] - per_pixel, 0.0), 0.0)
    known = bool(inside.any())
    centre = (y + grid.size[0] // 2, x + grid.size[1] // 2)
    return Numbers(
        largest_drop=clean[0] - float(p[lowest]),
        drop_y_px=y,
        drop_x_px=x,
        half_area=float((per_pixel[covered] <= clean[0] / 2).mean()),
        changed=float((predicted != clean[1]).mean()),
        drop_inside=float(drop[inside].sum() / drop.sum()) if known and drop.any() else None,
        pointed=bool(inside[centre]) if known else None,
    )


def pixel_means(values: Floats, grid: Grid) -> Floats:
    """The mean, at each pixel, over the windows that cover it.

    Args:
        values: float64 [windows].
        grid: the windows.

    Returns:
        float64 [frame_px, frame_px]; NaN where no window comes.
    """
    edges = np.zeros((2, grid.frame_px + 1, grid.frame_px + 1))
    top, left = grid.corners.T
    low, right = top + grid.size[0], left + grid.size[1]
    for each, weight in zip(edges, (values, np.ones_like(values)), strict=True):
        for rows, columns, sign in (
            (top, left, 1),
            (low, right, 1),
            (top, right, -1),
            (low, left, -1),
        ):
            np.add.at(each, (rows, columns), sign * weight)
    totals, counts = edges.cumsum(axis=1).cumsum(axis=2)[:, :-1, :-1]
    counts = np.rint(counts)
    means: Floats = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    return means


def _mask(boxes: Sequence[Box], frame_px: int) -> NDArray[np.bool_]:
    """The pixels whose middle lies in a box."""
    inside = np.zeros((frame_px, frame_px), dtype=bool)
    for box in boxes:
        y0, x0, y1, x1 = (min(max(round(edge), 0), frame_px) for edge in box)
        inside[y0:y1, x0:x1] = True
    return inside

from __future__ import annotations

import numpy as np
import pytest

from pipeline.analysis.occlusion.grid import Grid, require_fit, sliding_grid, windows_along
from schemas.errors import SpecError
from schemas.jobs.occlude import SlidingWindow


@pytest.mark.parametrize(
    ("frame", "window", "stride"), [(224, 16, 8), (224, 16, 5), (24, 24, 3), (10, 3, 7), (9, 2, 2)]
)
def test_windows_are_multiples_of_the_stride_and_one_flush_with_the_border(
    frame: int, window: int, stride: int
):
    corners = windows_along(frame, window, stride).tolist()

    regular = (frame - window) // stride + 1
    assert corners[:regular] == [stride * i for i in range(regular)]
    assert corners[-1] == frame - window
    assert len(corners) == regular + ((frame - window) % stride > 0)


@pytest.mark.parametrize("stride", [1, 3, 4])
def test_windows_no_wider_apart_than_their_size_cover_every_pixel(stride: int):
    covered = {x + i for x in windows_along(23, 4, stride).tolist() for i in range(4)}

    assert covered == set(range(23))


def test_corners_go_row_by_row():
    grid = Grid(np.array([0, 5]), np.array([0, 2, 4]), (3, 2), 8)

    assert grid.corners.tolist() == [[0, 0], [0, 2], [0, 4], [5, 0], [5, 2], [5, 4]]


def window(height: int, width: int) -> SlidingWindow:
    return SlidingWindow(height_px=height, width_px=width, stride_px=4)


def test_sliding_grid_ends_flush_with_the_border():
    grid = sliding_grid(window(5, 6), 24)

    assert grid.rows.tolist() == [0, 4, 8, 12, 16, 19]
    assert grid.columns.tolist() == [0, 4, 8, 12, 16, 18]
    assert (grid.size, grid.frame_px) == ((5, 6), 24)


def test_covered_rows_and_columns_are_those_of_each_window():
    down, across = Grid(np.array([0, 5]), np.array([0, 2, 4]), (3, 2), 8).covered

    assert (down.low.tolist(), down.high.tolist()) == ([0, 5], [3, 8])
    assert (across.low.tolist(), across.high.tolist()) == ([0, 2, 4], [2, 4, 6])


@pytest.mark.parametrize("size", [(25, 3), (3, 25)])
def test_window_larger_than_the_frame_is_refused(size: tuple[int, int]):
    for refuse in (
        lambda: require_fit([window(*size)], 24),
        lambda: sliding_grid(window(*size), 24),
    ):
        with pytest.raises(SpecError, match=f"{size[0]} x {size[1]} pixels .* 24 x 24"):
            refuse()

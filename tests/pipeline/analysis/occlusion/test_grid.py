from __future__ import annotations

import numpy as np
import pytest

from pipeline.analysis.occlusion.grid import Grid, windows_along


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

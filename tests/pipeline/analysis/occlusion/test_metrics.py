"""Metrics of a map against loops over pixels and windows, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.analysis.occlusion.grid import Grid, windows_along
from pipeline.analysis.occlusion.metrics import pixel_means, summarise

SIDE = 15


def grid_of(height: int, width: int, stride: int) -> Grid:
    rows, columns = (windows_along(SIDE, side, stride) for side in (height, width))
    return Grid(rows, columns, (height, width), SIDE)


def by_hand(values: np.ndarray, grid: Grid) -> np.ndarray:
    means = np.full((SIDE, SIDE), np.nan)
    for y in range(SIDE):
        for x in range(SIDE):
            over = [
                value
                for value, (top, left) in zip(values, grid.corners, strict=True)
                if top <= y < top + grid.size[0] and left <= x < left + grid.size[1]
            ]
            if over:
                means[y, x] = sum(over) / len(over)
    return means


GRIDS = [grid_of(4, 4, 2), grid_of(3, 5, 3), grid_of(2, 2, 5), grid_of(15, 15, 1)]


@pytest.mark.parametrize("grid", GRIDS)
def test_pixel_means_are_over_the_windows_that_cover_each(grid: Grid):
    values = np.random.default_rng(0).random(len(grid.corners))

    found = pixel_means(values, grid)

    np.testing.assert_allclose(found, by_hand(values, grid), rtol=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_summarise_equals_the_definitions(grid: Grid):
    random = np.random.default_rng(1)
    p = random.random(len(grid.corners)) * 0.6
    predicted = random.integers(0, 2, len(p))
    box = (2.0, 3.0, 9.0, 11.0)

    found = summarise(p, predicted, (0.5, 1), grid, [box])

    means = by_hand(p, grid)
    seen = ~np.isnan(means)
    drop = np.where(seen, np.maximum(0.5 - np.nan_to_num(means), 0), 0)
    lowest = int(p.argmin())
    y, x = grid.corners[lowest]
    assert found.largest_drop == pytest.approx(0.5 - p[lowest])
    assert (found.drop_y_px, found.drop_x_px) == (y, x)
    assert found.half_area == pytest.approx((means[seen] <= 0.25).mean())
    assert found.changed == pytest.approx((predicted != 1).mean())
    assert found.drop_inside == pytest.approx(drop[2:9, 3:11].sum() / drop.sum())
    centre = (y + grid.size[0] // 2, x + grid.size[1] // 2)
    assert found.pointed == (2 <= centre[0] < 9 and 3 <= centre[1] < 11)


def test_summarise_of_equal_drops_takes_the_first():
    grid = grid_of(4, 4, 4)
    p = np.full(len(grid.corners), 0.2)
    p[[3, 7]] = 0.1

    found = summarise(p, np.zeros(len(p), np.int64), (0.3, 0), grid)

    assert (found.drop_y_px, found.drop_x_px) == tuple(grid.corners[3])


@pytest.mark.parametrize("boxes", [[], [(20.0, 20.0, 30.0, 30.0)]])
def test_summarise_without_a_box_in_the_frame_says_nothing_of_it(
    boxes: list[tuple[float, float, float, float]],
):
    grid = grid_of(4, 4, 4)
    p = np.linspace(0.1, 0.2, len(grid.corners))

    found = summarise(p, np.zeros(len(p), np.int64), (0.3, 0), grid, boxes)

    assert (found.drop_inside, found.pointed) == (None, None)


def test_summarise_without_any_drop_has_no_share_of_it():
    grid = grid_of(4, 4, 4)
    p = np.full(len(grid.corners), 0.4)

    found = summarise(p, np.zeros(len(p), np.int64), (0.3, 0), grid, [(0.0, 0.0, 15.0, 15.0)])

    assert found.drop_inside is None
    assert found.pointed is True
    assert found.largest_drop == pytest.approx(-0.1)


def test_summarise_joins_boxes_that_overlap():
    grid = grid_of(3, 3, 3)
    p = np.full(len(grid.corners), 0.1)
    predicted = np.zeros(len(p), np.int64)
    left, right = (0.0, 0.0, 15.0, 9.0), (0.0, 6.0, 15.0, 15.0)

    assert summarise(p, predicted, (0.3, 0), grid, [left, right]).drop_inside == pytest.approx(1.0)


def test_pixel_means_leave_out_what_is_no_number():
    grid = grid_of(4, 4, 2)
    values = np.random.default_rng(2).random(len(grid.corners))
    values[[0, 5]] = np.nan
    kept = [place for place in range(len(values)) if place not in (0, 5)]

    found = pixel_means(values, grid)

    inside = [
        np.mean([values[i] for i in kept if _covers(grid, i, y, x)])
        if any(_covers(grid, i, y, x) for i in kept)
        else np.nan
        for y in range(SIDE)
        for x in range(SIDE)
    ]
    np.testing.assert_allclose(found.reshape(-1), inside, rtol=1e-12)


def _covers(grid: Grid, window: int, y: int, x: int) -> bool:
    top, left = grid.corners[window]
    return bool(top <= y < top + grid.size[0] and left <= x < left + grid.size[1])


def test_summarise_where_no_p_is_a_number_says_so():
    grid = grid_of(4, 4, 4)
    p = np.full(len(grid.corners), np.nan)

    found = summarise(p, np.ones(len(p), np.int64), (0.3, 0), grid, [(0.0, 0.0, 15.0, 15.0)])

    assert np.isnan(found.largest_drop)
    assert np.isnan(found.half_area)
    assert found.changed == 1.0
    assert (found.drop_inside, found.pointed) == (None, None)


def test_summarise_of_a_p_that_never_moves_finds_exactly_no_drop():
    grid = grid_of(4, 4, 1)
    p = np.full(len(grid.corners), 0.1 + 0.2)

    found = summarise(p, np.zeros(len(p), np.int64), (0.1 + 0.2, 0), grid, [(0.0, 0.0, 15.0, 15.0)])

    assert found.drop_inside is None
    assert found.half_area == 0.0


@pytest.mark.parametrize(("edge", "pixels"), [(2.5, 2), (2.51, 3), (3.49, 3), (1.5, 1)])
def test_summarise_takes_the_pixels_whose_middle_lies_in_a_box(edge: float, pixels: int):
    grid = grid_of(1, 1, 1)
    p = np.full(len(grid.corners), 0.1)

    found = summarise(p, np.zeros(len(p), np.int64), (0.3, 0), grid, [(0.0, 0.0, edge, 15.0)])

    assert found.drop_inside == pytest.approx(pixels / SIDE)

from __future__ import annotations

import numpy as np
import pytest

from pipeline.report.sections.filters.sheet import draw_sheet, grid_of, shown


def _kernels(count: int) -> list[np.ndarray]:
    return [np.full((2, 3, 3), (place + 1) / count) for place in range(count)]


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (8, 8, 1), (65, 16, 5), (300, 32, 10), (1100, 48, 23)]
)
def test_grid_holds_every_filter_inside_the_sheet(count: int, columns: int, rows: int):
    grid = grid_of(_kernels(count))
    assert (grid.columns, grid.rows) == (columns, rows)
    corners = [grid.corner(place) for place in range(count)]
    assert len(set(corners)) == count
    assert max(x for x, _ in corners) + grid.tile[0] == grid.size[0]
    assert max(y for _, y in corners) + grid.tile[1] == grid.size[1]


def test_draw_sheet_shows_every_filter_by_itself_or_on_one_scale():
    kernels = _kernels(10)
    grid = grid_of(kernels)
    own = np.asarray(draw_sheet(kernels, grid, None))
    layer = np.asarray(draw_sheet(kernels, grid, 1.0))
    for place in range(10):
        x, y = grid.corner(place)
        inside = slice(y, y + grid.tile[1]), slice(x, x + grid.tile[0])
        assert (own[inside] == 255).all()
        assert (layer[inside][..., :3] == round(127.5 + 127.5 * (place + 1) / 10)).all()
    covered = 10 * grid.tile[0] * grid.tile[1]
    assert (own[..., 3] == 255).sum() == covered


def test_shown_has_zero_in_the_middle_and_clips():
    values = np.array([[-4.0, 0.0, 4.0]])[:, :, None].repeat(3, axis=2)
    assert np.asarray(shown(values, 2.0))[0, :, 0].tolist() == [0, 128, 255]
    assert np.asarray(shown(values, None))[0, :, 0].tolist() == [0, 128, 255]
    assert np.asarray(shown(np.zeros((1, 1, 3)), None)).max() == 128

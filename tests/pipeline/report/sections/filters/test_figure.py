from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.report.sections.filters.figure import MOST, draw_beside, draw_filters
from pipeline.report.sections.filters.reader import FilterReader, LayerLook
from pipeline.store import open_run
from tests import made_up_run
from tests.filter_pictures import filters


@pytest.fixture
def look(tmp_path: Path) -> LayerLook:
    url = made_up_run.scan(tmp_path / "run", {"conv1": 7})
    filters(url, {"conv1": 7}, kernel=(3, 3))
    return FilterReader(open_run(url)).read("conv1")


def _coloured(look: LayerLook) -> LayerLook:
    """Every filter pure red, the first twice as strong as the others."""
    red = np.zeros((3, 3, 3))
    red[..., 0], red[..., 1:] = 1, -1
    own = [replace(each, values=red * (1 if place == 0 else 0.5)) for place, each in
           enumerate(look.filters)]  # fmt: skip
    return replace(look, filters=tuple(own), scale=1.0)


def _count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(axis=2).sum())


def test_draw_filters_shows_each_by_itself_and_all_on_one_scale(look: LayerLook):
    drawn = np.asarray(draw_filters(_coloured(look)))
    tile = 48 * 48
    assert _count(drawn, (255, 0, 0)) == (7 + 1) * tile
    assert _count(drawn, (191, 64, 64)) == 6 * tile


def test_draw_beside_shows_both_by_their_own_contrast(look: LayerLook):
    coloured = _coloured(look)
    few = replace(coloured, filters=coloured.filters[:2])
    drawn = np.asarray(draw_beside((("a", coloured), ("b", few))))
    assert _count(drawn, (255, 0, 0)) == 9 * 48 * 48


def test_draw_filters_of_many_draws_the_strongest(look: LayerLook):
    coloured = _coloured(look)
    many = replace(coloured, filters=coloured.filters[1:2] * (MOST + 30))
    drawn = np.asarray(draw_filters(many))
    assert _count(drawn, (255, 0, 0)) == MOST * 48 * 48


def test_draw_filters_keeps_the_shape_of_a_kernel(look: LayerLook):
    wide = replace(
        look, filters=(replace(look.filters[0], values=np.ones((1, 4, 3)) * [1, -1, -1]),)
    )
    drawn = np.asarray(draw_filters(wide))
    assert _count(drawn, (255, 0, 0)) == 2 * 48 * 12

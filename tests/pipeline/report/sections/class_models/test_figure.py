from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipeline.report.sections.class_models.figure import draw_models
from pipeline.report.sections.class_models.reader import StartModel, UnitModels

COLOURS = [(200, 30 * at, 40) for at in range(4)]


def _models(count: int, size: tuple[int, int] = (32, 32)) -> UnitModels:
    starts = tuple(
        StartModel(at, Image.new("RGB", size, COLOURS[at]), (("score", "0 to 9"),), ((0, 0, 0),))
        for at in range(count)
    )
    return UnitModels("fc", 3, "goldfish", is_class=True, starts=starts)


def _where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere((picture == colour).all(axis=2))


@pytest.mark.parametrize("count", [1, 3, 4])
def test_draw_models_shows_the_starts_three_in_a_row(count: int):
    drawn = np.asarray(draw_models(_models(count)))
    top, left = _where(drawn, COLOURS[0]).min(axis=0)
    for at in range(count):
        found = _where(drawn, COLOURS[at])
        assert len(found) == 336 * 336
        y, x = found.min(axis=0)
        assert x == left + at % 3 * (336 + 18)
        assert (y > top) == (at >= 3)


def test_draw_models_keeps_the_shape_of_a_picture():
    found = _where(np.asarray(draw_models(_models(1, (40, 20)))), COLOURS[0])
    assert (found.max(axis=0) - found.min(axis=0) + 1).tolist() == [168, 336]

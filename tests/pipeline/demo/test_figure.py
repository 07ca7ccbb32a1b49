from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.demo.figure import draw_figure
from pipeline.report.patches import Crop, Patch
from pipeline.report.unit_record import UnitRecord

BOX = (0, 0, 8, 8)
RED, BLUE = (250, 10, 20), (0, 20, 250)


def _plain(colour: tuple[int, int, int]) -> Crop:
    return Crop(8, 8, 0, 0, np.full((8, 8, 3), colour, np.uint8))


def _page(*, patches: int = 9, projected: bool = True) -> UnitRecord:
    one = Patch(1.0, "i.jpg", "cat", BOX, _plain(RED))
    if projected:
        one = replace(one, projection=_plain(BLUE))
    return UnitRecord("conv1", 3, "relu", (8, 8), 100, 25, (one,) * patches)


def _pixels(*units: tuple[UnitRecord, str]) -> np.ndarray:
    return np.asarray(draw_figure(units).convert("RGB")).astype(int)


def _near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where a colour is, but for what a palette of 256 makes of it."""
    found: np.ndarray = np.abs(pixels - colour).max(axis=2) < 16
    return found


def test_draw_figure_units_stand_two_by_two_projections_left():
    pixels = _pixels(*[(_page(), "a part")] * 3)
    red, blue = _near(pixels, RED), _near(pixels, BLUE)
    assert red.sum() == blue.sum() == 3 * 9 * 64 * 64
    half = pixels.shape[1] // 2
    assert red[:, :half].sum() == 2 * red[:, half:].sum()
    columns = np.flatnonzero(blue[:, :half].any(axis=0)), np.flatnonzero(red[:, :half].any(axis=0))
    assert columns[0].max() < columns[1].min()
    middle = pixels.shape[0] // 2
    assert red[:middle].sum() == 2 * red[middle:].sum()


def test_draw_figure_few_patches_and_no_projections_leave_places_empty():
    assert _near(_pixels((_page(patches=2), "")), RED).sum() == 2 * 64 * 64
    alone = _pixels((_page(projected=False), ""))
    assert _near(alone, RED).sum() == 9 * 64 * 64
    assert alone.shape[1] < _pixels((_page(), "")).shape[1]


@pytest.mark.parametrize("words", ["", "wheel", "w" * 500 + "\u202e\n"])
def test_draw_figure_words_never_widen_it_and_show(words: str):
    plain, told = draw_figure([(_page(), "")]), draw_figure([(_page(), words)])
    assert told.size == plain.size
    assert (told.tobytes() != plain.tobytes()) == bool(words)


def test_draw_figure_has_a_small_palette_and_is_the_same_twice():
    units = [(_page(), "wheel"), (_page(), "eye")]
    first, again = draw_figure(units), draw_figure(units)
    assert first.mode == "P"
    assert first.convert("RGB").tobytes() == again.convert("RGB").tobytes()

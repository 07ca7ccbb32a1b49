"""The objects: each stays in its square and has the parts that it promises."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pipeline.demo.objects import DRAW
from pipeline.demo.pen import FINER, Pen, Placement

SIDE, HALF = 96, 36
BACKDROP = (1, 2, 3)
PARTS = {
    "bicycle": Counter(wheel=2, saddle=1),
    "car": Counter(wheel=2, window=2),
    "checks": Counter(),
    "clock": Counter(dial=1, hands=1),
    "face": Counter(eye=2, nose=1, mouth=1),
    "fish": Counter(eye=1, tail=1, fin=1),
    "flower": Counter(blossom=1, centre=1, leaf=2),
    "stripes": Counter(),
}


def _drawn(name: str, seed: int) -> tuple[Pen, np.ndarray]:
    image = Image.new("RGB", (SIDE * FINER, SIDE * FINER), BACKDROP)
    pen = Pen(image, Placement(SIDE / 2, SIDE / 2, HALF))
    with pen.part(name):
        DRAW[name](pen, np.random.default_rng(seed))
    return pen, np.asarray(image)


@pytest.mark.parametrize("name", DRAW)
@pytest.mark.parametrize("seed", range(8))
def test_object_stays_in_its_square_and_fills_its_box(name: str, seed: int):
    pen, picture = _drawn(name, seed)
    drawn = (picture != BACKDROP).any(axis=2)

    margin = (SIDE / 2 - HALF - 1) * FINER
    rows, columns = np.nonzero(drawn)
    for places in (rows, columns):
        assert places.min() >= margin
        assert places.max() < SIDE * FINER - margin
    _, y0, x0, y1, x1 = pen.boxes[-1]
    assert not np.delete(drawn[:, x0 * FINER : x1 * FINER], np.s_[y0 * FINER : y1 * FINER], 0).any()
    assert drawn[y0 * FINER : y1 * FINER, x0 * FINER : x1 * FINER].mean() > 0.15


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("seed", range(3))
def test_object_has_its_parts_inside_its_own_box(name: str, seed: int):
    pen, _ = _drawn(name, seed)

    *parts, (own, y0, x0, y1, x1) = pen.boxes
    assert own == name
    assert Counter(box[0] for box in parts) == PARTS[name]
    for _, top, left, bottom, right in parts:
        assert y0 <= top < bottom <= y1
        assert x0 <= left < right <= x1


def test_house_and_text_have_parts_in_varying_number():
    houses = [Counter(box[0] for box in _drawn("house", seed)[0].boxes) for seed in range(20)]
    letters = [Counter(box[0] for box in _drawn("text", seed)[0].boxes) for seed in range(20)]

    assert {house["window"] for house in houses} == {2, 4}
    assert all(house["roof"] == house["door"] == 1 for house in houses)
    assert len({text["letter"] for text in letters}) > 3


def test_objects_of_other_seeds_look_otherwise():
    for name in DRAW:
        assert len({_drawn(name, seed)[1].tobytes() for seed in range(3)}) == 3, name


def test_classes_are_ten_and_sorted():
    assert len(DRAW) == 10
    assert list(DRAW) == sorted(DRAW)

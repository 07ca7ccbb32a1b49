"""The pen: what it draws lies in the boxes that it gives, turned and mirrored as it is told."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from PIL import Image

from pipeline.demo.pen import FINER, Pen, Placement, hsv, round_points, shaded

RED = (255, 0, 0)


def _drawn(image: Image.Image) -> tuple[int, int, int, int]:
    """(y0, x0, y1, x1) of the pixels of the finished picture that are not black."""
    rows, columns = np.nonzero(np.asarray(image.reduce(FINER)).any(axis=2))
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def _pen(place: Placement, size: int = 64) -> tuple[Pen, Image.Image]:
    image = Image.new("RGB", (size * FINER, size * FINER))
    return Pen(image, place), image


@pytest.mark.parametrize("turn", [0.0, 0.6, math.pi / 2])
@pytest.mark.parametrize("mirrored", [False, True])
def test_part_box_holds_what_was_drawn_closely(turn: float, mirrored: bool):
    pen, image = _pen(Placement(30, 26, 18, turn, mirrored=mirrored))

    with pen.part("arrow"):
        pen.polygon([(-0.5, -0.2), (0.9, 0.1), (-0.3, 0.6)], RED)
        pen.line([(0, 0), (0.2, -0.8)], RED, 0.1)

    (name, *box), drawn = pen.boxes[0], _drawn(image)
    assert name == "arrow"
    outside = [drawn[0] - box[0], drawn[1] - box[1], box[2] - drawn[2], box[3] - drawn[3]]
    assert min(outside) >= 0
    assert max(outside) <= 2


def test_part_inside_a_part_belongs_to_both():
    pen, _ = _pen(Placement(32, 32, 20))

    with pen.part("whole"):
        pen.ellipse((-0.5, 0), (0.2, 0.2), RED)
        with pen.part("detail"):
            pen.ellipse((0.5, 0), (0.2, 0.2), RED)

    detail, whole = pen.boxes
    assert (detail[0], whole[0]) == ("detail", "whole")
    assert whole[2] < detail[2]
    assert whole[4] == detail[4]


def test_part_reaching_out_of_the_picture_is_cut_at_its_border():
    pen, _ = _pen(Placement(60, 4, 20), size=64)

    with pen.part("large"):
        pen.polygon([(-1, -1), (1, -1), (1, 1), (-1, 1)], RED)

    assert pen.boxes == [("large", 0, 39, 25, 64)]


def test_mirrored_object_points_the_other_way():
    boxes = {}
    for mirrored in (False, True):
        pen, _ = _pen(Placement(32, 32, 20, mirrored=mirrored))
        with pen.part("right"):
            pen.ellipse((0.7, 0), (0.1, 0.1), RED)
        boxes[mirrored] = pen.boxes[0]

    assert boxes[False][2] > 40
    assert boxes[True][4] < 24


def test_pattern_colours_only_where_it_holds_inside_the_polygon():
    pen, image = _pen(Placement(32, 32, 20))

    pen.pattern([(-1, -1), (1, -1), (1, 1), (-1, 1)], RED, lambda x, _: x > 0)

    picture = np.asarray(image)[..., 0]
    assert picture[:, : 31 * FINER].max() == 0
    assert picture[20 * FINER : 44 * FINER, 33 * FINER : 51 * FINER].min() == 255
    assert picture[:, 53 * FINER :].max() == 0


def test_word_fills_its_room_and_has_a_box_for_each_letter():
    pen, image = _pen(Placement(64, 64, 60), size=128)

    with pen.part("text"):
        pen.word("gap", (-0.9, -0.5, 0.9, 0.5), RED)

    *letters, text = pen.boxes
    assert [box[0] for box in letters] == ["letter"] * 3
    assert all(before[2] < after[2] for before, after in itertools.pairwise(letters))
    drawn = _drawn(image)
    assert drawn[0] >= 64 - 30 - 1
    assert drawn[2] <= 64 + 30 + 1
    assert drawn[1] >= text[2] >= 64 - 54 - 2
    assert drawn[3] <= text[4] <= 64 + 54 + 2
    assert max((drawn[3] - drawn[1]) / 108, (drawn[2] - drawn[0]) / 60) == pytest.approx(1, abs=0.1)


def test_round_points_lie_on_the_turned_ellipse():
    points = np.array(round_points((1, 2), (3, 1), turn=math.pi / 2)) - (1, 2)

    assert ((points[:, 1] / 3) ** 2 + points[:, 0] ** 2).tolist() == pytest.approx([1] * 48)
    assert len({tuple(point) for point in points.round(6).tolist()}) == 48


def test_colours_are_as_named():
    assert hsv(0, 1, 1) == (255, 0, 0)
    assert hsv(1 / 3 + 2, 1, 1) == (0, 255, 0)
    assert shaded((100, 200, 0), 0.5) == (50, 100, 0)
    assert shaded((100, 200, 0), 2) == (255, 255, 255)

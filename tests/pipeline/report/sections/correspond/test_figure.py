from __future__ import annotations

import numpy as np

from pipeline.report.sections.correspond.chart import WIDTH
from pipeline.report.sections.correspond.figure import draw_consistency
from tests.corresponding import EYE, NOSE

ACCENT = (11, 107, 111)


def _large_dots(*layers: list) -> int:
    pixels = np.asarray(draw_consistency(layers))
    return int((pixels == ACCENT).all(axis=2).sum())


def test_draw_consistency_has_a_large_dot_for_each_part_at_each_layer():
    one = _large_dots([EYE])

    assert one > 80
    assert _large_dots([EYE, NOSE]) == 2 * one
    assert _large_dots([EYE, NOSE], [EYE]) == 3 * one


def test_draw_consistency_grows_with_layers_and_keeps_its_width():
    one, two = draw_consistency([[EYE]]), draw_consistency([[EYE], [EYE]])

    assert one.width == two.width > WIDTH
    assert two.height > one.height

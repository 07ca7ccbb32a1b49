from __future__ import annotations

import math

from pipeline.report.sections.class_models.sparkline import HEIGHT, WIDTH, sparkline


def test_sparkline_spans_the_box_and_lowers_the_value_by_the_penalty():
    line = sparkline(((0, 0.0, 0.0), (5, 5.0, 5.0), (10, 10.0, 2.5)))
    assert line is not None
    assert line.value == f"0.0,{HEIGHT}.0 {WIDTH / 2},{HEIGHT / 2} {WIDTH}.0,0.0"
    assert line.gap == f"0.0,{HEIGHT}.0 {WIDTH / 2},{HEIGHT}.0 {WIDTH}.0,{HEIGHT / 4}"
    assert line.words == "from 0 to 10 in 10 steps"


def test_sparkline_of_one_value_is_flat():
    line = sparkline(((0, 3.0, 0.0), (1, 3.0, 0.0)))
    assert line is not None
    assert line.value == line.gap == f"0.0,{HEIGHT}.0 {WIDTH}.0,{HEIGHT}.0"


def test_sparkline_of_no_number_is_none():
    assert sparkline(((0, 0.0, 0.0), (1, math.nan, 0.0))) is None
    assert sparkline(((0, 0.0, 0.0), (1, math.inf, 0.0))) is None

from __future__ import annotations

import math
from dataclasses import replace

from pipeline.report.sections.invariance.chart import HEIGHT, WIDTH, chart_of, top_of
from pipeline.report.sections.invariance.reader import Curve

CURVE = Curve(
    transform="translation",
    layer="conv1",
    amounts=(-10.0, 0.0, 10.0),
    mean=(0.5, 0.0, 1.0),
    low=(0.25, 0.0, 0.75),
    high=(0.75, 0.0, 1.1),
    lines={3: (0.6, 0.0, 1.14)},
)


def test_top_is_one_for_all_layers_and_above_all_that_is_drawn():
    assert top_of([CURVE]) == 1.2
    assert top_of([replace(CURVE, lines={}), replace(CURVE, layer=None, high=(9.0,) * 3)]) == 1.1
    assert top_of([replace(CURVE, mean=(math.nan,) * 3, high=(0.1,) * 3, lines={})]) == 1.0


def test_chart_puts_values_at_their_place_in_the_frame():
    chart = chart_of(CURVE, 2.0)

    left, top, right, bottom = chart.frame
    assert 0 < left < right < WIDTH
    assert 0 < top < bottom < HEIGHT
    middle = (left + right) / 2
    assert chart.mean == (
        ((left, bottom - (bottom - top) / 4), (middle, bottom), (right, (top + bottom) / 2)),
    )
    assert [text for _, text in chart.x_ticks] == ["-10", "0", "10"]
    assert chart.x_ticks[0][0] == left
    assert chart.y_ticks[0] == (bottom, "0")
    assert chart.y_ticks[-1] == (top, "2")
    [outline] = chart.band
    assert outline[0] == (left, chart_of(replace(CURVE, mean=CURVE.high), 2.0).mean[0][0][1])
    assert len(outline) == 6
    assert chart.lines[3][0][1] == (middle, bottom)


def test_chart_of_a_probability_ends_at_one():
    chart = chart_of(replace(CURVE, layer=None), 3.0)

    assert chart.y_ticks[-1] == (chart.frame[1], "1")


def test_chart_is_broken_where_there_is_no_value():
    gap = (0.5, math.nan, 1.0)

    chart = chart_of(replace(CURVE, mean=gap, low=gap, high=gap, lines={1: gap}), 1.0)

    assert [len(run) for run in chart.mean] == [1, 1]
    assert [len(run) for run in chart.lines[1]] == [1, 1]
    assert [len(outline) for outline in chart.band] == [2, 2]


def test_chart_of_one_amount_or_of_many_has_few_ticks():
    one = replace(CURVE, amounts=(90.0,), mean=(0.5,), low=(0.5,), high=(0.5,), lines={})
    values = tuple(float(place) for place in range(36))
    many = replace(CURVE, amounts=values, mean=values, low=values, high=values, lines={})

    assert [text for _, text in chart_of(one, 1.0).x_ticks] == ["90"]
    assert [text for _, text in chart_of(many, 36.0).x_ticks] == ["0", "9", "18", "27"]

from __future__ import annotations

import re

from pipeline.report.sections.evolve.chart import HEIGHT, LEFT, RIGHT, WIDTH, draw_chart
from pipeline.report.sections.evolve.history import LayerHistory, Step

NAMES = ("e1", "e2", "e3", "e4", "e5")


def _history(last: list[float | None], settled: int | None) -> LayerHistory:
    steps = [Step(0, None, None, None, None, value) for value in last]
    steps[1:] = [Step(0, 8, 2, 0.5, 0.25, value) for value in last[1:]]
    return LayerHistory("relu1", 8, tuple(steps), settled)


def test_curve_spans_the_drawing_and_grows_upwards():
    chart = draw_chart(_history([0.0, 0.25, 0.5, 0.75, 1.0], 2), NAMES, 0.5)

    xs, ys = zip(*((x, y) for x, y, _ in chart.points), strict=True)
    assert (xs[0], xs[-1]) == (LEFT, WIDTH - RIGHT)
    assert list(ys) == sorted(ys, reverse=True)
    assert [text for _, text in chart.shares] == ["0%", "50%", "100%"]
    assert [y for y, _ in chart.shares] == [ys[0], ys[2], ys[4]]
    assert (chart.threshold, chart.settled) == (ys[2], xs[2])
    assert 0 < ys[-1] < ys[0] < HEIGHT
    assert [title for *_, title in chart.points][1] == "e2: 25%"


def test_curve_has_gaps_where_nothing_is_compared():
    chart = draw_chart(_history([0.5, None, 0.5, 0.5, 1.0], None), NAMES, 0.5)

    assert re.findall("[ML]", chart.last) == ["M", "M", "L", "L"]
    assert re.findall("[ML]", chart.before) == ["M", "L", "L", "L"]
    assert len(chart.points) == 4
    assert chart.settled is None


def test_ticks_name_the_ends_and_where_it_settled_if_there_is_room():
    def texts(names: tuple[str, ...], settled: int | None) -> list[str]:
        history = _history([0.5] * len(names), settled)
        return [text for _, _, text in draw_chart(history, names, 0.5).ticks]

    assert texts(NAMES, 2) == ["e1", "e3", "e5"]
    assert texts(NAMES, 0) == texts(NAMES, 3) == texts(NAMES, None) == ["e1", "e5"]
    assert texts(("checkpoint-000500", "b"), None) == ["…kpoint-000500", "b"]

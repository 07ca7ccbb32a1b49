from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from pipeline.report.sections.units.histogram import HEIGHT, WIDTH, draw_histogram
from schemas.jobs.scan import HISTOGRAM_EDGES

BINS = len(HISTOGRAM_EDGES) + 1
BAR = re.compile(r"M([\d.]+) (\d+)v-([\d.]+)h([\d.]+)v([\d.]+)z")


def _counts(values: list[float]) -> list[int]:
    """The rule of the table's contract: bin i counts edges[i-1] < value <= edges[i]."""
    edges = [-np.inf, *HISTOGRAM_EDGES, np.inf]
    return [sum(low < value <= high for value in values) for low, high in pairwise(edges)]


def _bars(path: str) -> list[tuple[float, float, float]]:
    """(x, width, height) of each bar; nothing else may stand in the path."""
    assert BAR.sub("", path) == ""
    found = [tuple(float(number) for number in bar) for bar in BAR.findall(path)]
    assert all(bar[1] == HEIGHT and bar[2] == bar[4] for bar in found)
    return [(bar[0], bar[3], bar[2]) for bar in found]


def test_draw_histogram_heights_are_shares_of_the_tallest():
    drawn = draw_histogram(_counts([1.5] * 8 + [3.0] * 4 + [6.0] * 2), positive=True)
    assert drawn is not None
    assert drawn.peak == 8
    assert [height for _, _, height in _bars(drawn.path)] == [HEIGHT, HEIGHT / 2, HEIGHT / 4]


def test_draw_histogram_bars_stand_left_of_the_label_of_their_upper_edge():
    drawn = draw_histogram(_counts([2.0, 7.9]), positive=True)
    assert drawn is not None
    ticks = {label: x for x, label in drawn.ticks}
    ends = [x + width + 0.5 for x, width, _ in _bars(drawn.path)]
    assert ends == pytest.approx([ticks["2"], ticks["8"]], abs=0.2)
    assert all(0 <= x <= WIDTH for x in ticks.values())


def test_draw_histogram_silent_images_are_left_out_where_only_positive_ones_count():
    counts = _counts([0.0] * 1000 + [-1.0] * 5 + [1.5] * 3)
    rectified = draw_histogram(counts, positive=True)
    raw = draw_histogram(counts, positive=False)
    assert rectified is not None
    assert raw is not None
    assert (rectified.peak, len(_bars(rectified.path))) == (3, 1)
    assert (raw.peak, len(_bars(raw.path))) == (1000, 3)


@pytest.mark.parametrize("values", [[], [0.0, -3.0]])
def test_draw_histogram_without_an_image_left_is_none(values: list[float]):
    assert draw_histogram(_counts(values), positive=True) is None


@pytest.mark.parametrize("place", range(BINS))
def test_draw_histogram_any_single_bin_is_drawn_inside(place: int):
    counts = [0] * BINS
    counts[place] = 7
    drawn = draw_histogram(counts, positive=False)
    assert drawn is not None
    [(x, width, height)] = _bars(drawn.path)
    assert height == HEIGHT
    assert 0 <= x < x + width <= WIDTH
    assert width <= WIDTH / 12
    assert 1 <= len(drawn.ticks) <= 6
    assert all(0 <= tick <= WIDTH for tick, _ in drawn.ticks)


def test_draw_histogram_all_bins_fit():
    drawn = draw_histogram([1] * BINS, positive=False)
    assert drawn is not None
    assert len(_bars(drawn.path)) == BINS
    assert len({label for _, label in drawn.ticks}) == len(drawn.ticks) <= 6

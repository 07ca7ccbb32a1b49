from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.report.sections.correspond.chart import WIDTH, dot_plot, read_consistency
from pipeline.store import open_run
from schemas.errors import NotPublishedError, StoreError
from tests import made_up_run
from tests.corresponding import EYE, NOSE, publish


def test_read_consistency_gives_parts_by_layer_with_their_draws(tmp_path: Path):
    run = made_up_run.scan(tmp_path / "run", {"conv1": 2, "conv2": 2})
    publish(run, [EYE, NOSE, replace(EYE, layer="conv1")])

    layers = read_consistency(open_run(run))

    assert [[(part.layer, part.part) for part in own] for own in layers] == [
        [("conv2", "eye"), ("conv2", "nose")],
        [("conv1", "eye")],
    ]
    eye, nose = layers[0]
    assert (eye.delta, eye.random, eye.deviations) == (EYE.delta, EYE.random, EYE.deviations)
    assert (eye.changed, eye.random_changed) == pytest.approx((EYE.changed, EYE.random_changed))
    assert nose.deviations is None


def test_read_consistency_of_another_scan_or_of_none_is_refused(tmp_path: Path):
    run = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    with pytest.raises(NotPublishedError):
        read_consistency(open_run(run))
    publish(run, [EYE], of_scan="another")
    with pytest.raises(StoreError, match="correspondences were made from the scan another"):
        read_consistency(open_run(run))


def test_dot_plot_spans_all_that_it_draws_in_one_scale():
    chart = dot_plot([EYE, NOSE])

    xs = [x for row in chart.rows for x in (row.x, row.mean, *row.band, *row.random)]
    assert [row.part for row in chart.rows] == ["eye", "nose"]
    assert (chart.ticks[0][1], chart.ticks[-1][1]) == ("0.100", "0.300")
    assert (min(xs), max(xs)) == (chart.ticks[0][0], chart.ticks[-1][0])
    assert chart.rows[0].x == chart.ticks[0][0]
    assert 0 < min(xs) < max(xs) < WIDTH
    assert 0 < chart.rows[0].y < chart.rows[1].y < chart.axis < chart.height


def test_dot_plot_of_equal_values_is_drawn():
    chart = dot_plot([replace(NOSE, delta=0.3)])

    assert {chart.rows[0].x, *chart.rows[0].random} == {chart.ticks[0][0]}

"""Findings: each kind at its threshold, and its sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.analysis.filter_findings import LayerNumbers, findings, nyquist
from schemas.jobs.filters import WHOLE_LAYER, FiltersSpec

UNITS = 4
SPEC = FiltersSpec(run="r")


def _floats(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


PLAIN = LayerNumbers(
    rms=_floats(1, 1, 1, 1),
    dominance=_floats(1, 1, 1, 1),
    low=_floats(0.3, 0.3, 0.3, 0.3),
    middle=_floats(0.3, 0.3, 0.3, 0.3),
    high=_floats(0.4, 0.4, 0.4, 0.4),
    alias=_floats(0.2, 0.2, 0.2, 0.2),
    not_finite=np.zeros(UNITS, np.int64),
    active=np.full(UNITS, 150),
    images=np.full(UNITS, 300),
    activation=True,
    patterned=True,
    stride=(4, 4),
    position="pixel",
)


def _found(**changes: Any) -> list[tuple[int, str, float, str]]:
    found = findings(replace(PLAIN, **changes), SPEC)
    return [(each.unit, each.kind, each.value, each.sentence) for each in found]


def test_findings_of_a_sound_layer_are_none():
    assert _found() == []


@pytest.mark.parametrize(
    ("changes", "kind", "value", "sentence"),
    [
        (
            {"dominance": _floats(1, 1, 4.125, 1)}, "dominant", 4.125,
            "unit 2's RMS is 4.1 times the layer's median",
        ),
        ({"dominance": _floats(1, 1, 0.0425, 1)}, "weak", 0.0425,
         "unit 2's RMS is 0.043 of the layer's median"),
        ({"dominance": _floats(1, 1, 0, 1)}, "weak", 0, "unit 2's filter is all 0"),
        ({"active": np.array([9, 9, 0, 9])}, "dead", 0,
         "unit 2 is dead: it fires on none of 300 images"),
        ({"active": np.array([9, 9, 2, 9])}, "near_dead", 2 / 300,
         "unit 2 is nearly dead: it fires on 2 of 300 images"),
        ({"not_finite": np.array([0, 0, 1, 0])}, "not_finite", 1,
         "unit 2 has 1 weight that is NaN or infinite"),
        ({"not_finite": np.array([0, 0, 3, 0])}, "not_finite", 3,
         "unit 2 has 3 weights that are NaN or infinite"),
        ({"low": _floats(0, 0, 0.9, 0)}, "low_frequency", 0.9,
         "unit 2 has 90 % of its energy at low frequencies, below 1/6 cycles per pixel"),
        ({"high": _floats(0, 0, 0.91, 0)}, "high_frequency", 0.91,
         "unit 2 has 91 % of its energy at high frequencies, from 1/3 cycles per pixel"),
        ({"alias": _floats(0, 0, 0.93, 0)}, "aliasing", 0.93,
         "unit 2 aliases 93 % of its energy: it lies above 1/8 cycles per pixel"),
    ],
)  # fmt: skip
def test_findings_name_the_unit_that_stands_out(
    changes: dict[str, Any], kind: str, value: float, sentence: str
):
    assert _found(**changes) == [(2, kind, value, sentence)]


@pytest.mark.parametrize(
    "changes",
    [
        {"dominance": _floats(1, 1, 2.99, 1)},
        {"dominance": _floats(1, 1, 0.101, 1)},
        {"dominance": _floats(1, np.nan, np.inf, 1)},
        {"active": np.array([9, 9, 3, 9])},
        {"active": np.zeros(UNITS, np.int64), "activation": False},
        {"active": np.zeros(UNITS, np.int64), "images": np.zeros(UNITS, np.int64)},
        {"low": _floats(0.89, 0.89, 0.89, 0.89)},
        {"alias": _floats(0.2, 0.2, 0.9, 0.2), "stride": (1, 1)},
        {"alias": _floats(0.2, 0.2, 0.9, 0.2), "patterned": False},
        {"middle": _floats(0.15, 0.15, 0.15, 0.15)},
        {"middle": _floats(*[np.nan] * UNITS), "alias": _floats(*[np.nan] * UNITS)},
    ],
)
def test_findings_below_their_threshold_or_without_a_number_are_none(changes: dict[str, Any]):
    assert _found(**changes) == []


def test_findings_of_the_whole_layer_come_first():
    found = _found(
        middle=_floats(0.1, 0.1, np.nan, 0.1),
        alias=_floats(0.4, 0.5, 0.7, 0.9),
        stride=(2, 1),
        position="position",
    )
    assert [each[:2] for each in found] == [
        (WHOLE_LAYER, "aliasing"), (WHOLE_LAYER, "middle_missing"), (3, "aliasing"),
    ]  # fmt: skip
    assert found[0][2] == pytest.approx(0.6)
    assert found[0][3] == (
        "the layer aliases: half of its filters have 60 % or more of their energy above 1/4 (down) "
        "and 1/2 (across) cycles per position, which its stride folds onto lower frequencies"
    )
    assert found[1][3] == (
        "the layer misses the middle frequencies: they hold 10 % of a filter's energy in the mean, "
        "where filters of noise have 26 %"
    )


def test_nyquist_of_one_stride_each_way():
    assert nyquist((4, 4), "pixel") == "1/8 cycles per pixel"

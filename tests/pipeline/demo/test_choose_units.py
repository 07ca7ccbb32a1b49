from __future__ import annotations

import pandas as pd

from pipeline.demo.choose_units import ChosenUnit, choose_units

COLUMNS = ["layer", "unit", "part", "hits", "patches", "score", "class_name"]


def _scores(*rows: tuple[str, int, str, float, str]) -> pd.DataFrame:
    """(layer, unit, part, score, thing), the highest score first."""
    full = [(layer, unit, part, 8, 9, score, thing) for layer, unit, part, score, thing in rows]
    return pd.DataFrame(full, columns=COLUMNS).sort_values("score", ascending=False, kind="stable")


def test_choose_telling_gives_way_where_the_whole_gains():
    """The best unit of all is left out: with it, the other layer has only a poor one."""
    scores = _scores(
        ("low", 1, "wheel", 0.9, "car"),
        ("low", 2, "roof", 0.8, "house"),
        ("high", 3, "window", 0.85, "car"),
        ("high", 4, "fin", 0.1, "fish"),
    )
    assert choose_units(scores, ["low", "high"]) == [
        ChosenUnit("low", 2, "roof", 8, 9),
        ChosenUnit("high", 3, "window", 8, 9),
    ]


def test_choose_telling_takes_a_layers_best_unit_of_a_thing_and_the_first_of_equals():
    scores = _scores(
        ("low", 5, "saddle", 0.4, "car"),
        ("low", 7, "wheel", 0.6, "car"),
        ("low", 8, "window", 0.6, "car"),
    )
    assert choose_units(scores, ["low", "none"]) == [ChosenUnit("low", 7, "wheel", 8, 9)]


def test_choose_telling_of_nothing_is_nothing():
    assert choose_units(_scores(), ["low"]) == []
    assert choose_units(_scores(("low", 1, "eye", -0.2, "face")), ["low"]) == []

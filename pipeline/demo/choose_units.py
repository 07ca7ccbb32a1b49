"""Chooses units to show first: at most one per layer, each for another class, by their scores."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

_Row = Mapping[Hashable, Any]


@dataclass(frozen=True)
class ChosenUnit:
    """A unit that has a part of an object in the middle of ``hits`` of its ``patches``."""

    layer: str
    unit: int
    part: str
    hits: int
    patches: int


def choose_units(scores: pd.DataFrame, layers: Sequence[str]) -> list[ChosenUnit]:
    """Choose at most one unit per layer, and no class twice, with the largest sum of scores.

    All combinations are tried, so layers and classes must be few.

    Args:
        scores: rows of `pipeline.demo.part_scores.part_scores`, with ``class_name``, the class of
            the unit's strongest patch; the highest score first.
        layers: to choose for.

    Returns:
        In the order of ``layers``; a layer that adds nothing to the sum is left out.
    """
    best = scores.drop_duplicates(["layer", "class_name"])
    choices = [[None, *best[best["layer"] == layer].to_dict("records")] for layer in layers]
    chosen = max(itertools.product(*choices), key=_total_score)
    names = ("layer", "unit", "part", "hits", "patches")
    return [ChosenUnit(*(row[name] for name in names)) for row in chosen if row]


def _total_score(rows: Sequence[_Row | None]) -> float:
    """The sum of the scores; -1 where a class comes twice."""
    chosen = [row for row in rows if row]
    if len({row["class_name"] for row in chosen}) < len(chosen):
        return -1.0
    return float(sum(row["score"] for row in chosen))

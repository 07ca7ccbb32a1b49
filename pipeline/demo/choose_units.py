"""Which units to show first: one a layer, each of another kind of thing.

Invariant: the choice depends on the scores alone, and no other choice has a higher sum of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

_Row = Mapping[Hashable, Any]


@dataclass(frozen=True)
class ChosenUnit:
    """A unit with a part of some thing in the middle of ``hits`` of its ``patches``."""

    layer: str
    unit: int
    part: str
    hits: int
    patches: int


def choose_units(scores: pd.DataFrame, layers: Sequence[str]) -> list[ChosenUnit]:
    """Choose at most one unit a layer, and no kind of thing twice.

    All combinations are tried: meant for a handful of layers and of things.

    Args:
        scores: rows of `pipeline.demo.part_scores.part_scores`, with ``thing``, the kind of thing
            that a unit's patches show; the highest score first.
        layers: to choose for.

    Returns:
        In the order of ``layers``; a layer that adds nothing is left out.
    """
    best = scores.drop_duplicates(["layer", "thing"])
    choices = [[None, *best[best["layer"] == layer].to_dict("records")] for layer in layers]
    chosen = max(itertools.product(*choices), key=_worth)
    names = ("layer", "unit", "part", "hits", "patches")
    return [ChosenUnit(*(row[name] for name in names)) for row in chosen if row]


def _worth(rows: Sequence[_Row | None]) -> float:
    """The sum of the scores; less than nothing where a thing comes twice."""
    chosen = [row for row in rows if row]
    if len({row["thing"] for row in chosen}) < len(chosen):
        return -1.0
    return float(sum(row["score"] for row in chosen))

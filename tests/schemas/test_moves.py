"""Moves, and the steps that name them; the specs' tests hold what is refused."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.moves import MOST_STEPS, Move, Steps, amounts

STEPS: TypeAdapter[str] = TypeAdapter(Steps)


@pytest.mark.parametrize(
    ("steps", "values"),
    [
        ("-60..60/30", [-60, -30, 0, 30, 60]),
        ("1..1.8/0.1", [1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8]),
        ("0..10/4", [0, 4, 8]),
        ("-2.5..-2.5/1", [-2.5]),
    ],
)
def test_amounts_are_the_decimals_that_the_steps_name(steps: str, values: list[float]):
    assert list(amounts(steps)) == values


def test_move_by_nothing_is_the_identity():
    still = [Move("translation", 0), Move("scale", 1), Move("rotation", -360)]

    assert all(move.is_identity for move in still)
    assert not Move("rotation", 1).is_identity
    assert not Move("scale", 0).is_identity


def test_steps_are_counted_before_they_are_listed():
    assert len(amounts(STEPS.validate_python(f"1..{MOST_STEPS}/1"))) == MOST_STEPS
    with pytest.raises(ValidationError, match="take a larger step"):
        STEPS.validate_python("0..99999/0.0001")

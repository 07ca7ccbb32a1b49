"""Moves of a picture, and the steps by which specs name them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import AfterValidator, Field

from schemas.values import in_words

Transform = Literal["rotation", "scale", "translation"]
TRANSFORMS: tuple[Transform, ...] = get_args(Transform)
"""In the order of the tables."""
MOST_STEPS = 361
"""Of one transform."""

_NUMBER = r"(-?[0-9]{1,5}(?:\.[0-9]{1,4})?)"
_STEPS = rf"^{_NUMBER}\.\.{_NUMBER}/{_NUMBER}$"


class Move(NamedTuple):
    """One move of a picture.

    Attributes:
        transform: what is done.
        amount: translation: pixels of the input frame downwards, above 0 the picture sinks; scale:
            the factor about the frame's centre, above 1 it grows; rotation: degrees about the
            frame's centre, counter-clockwise.
    """

    transform: Transform
    amount: float

    @property
    def is_identity(self) -> bool:
        """Whether the picture stays where it is."""
        if self.transform == "rotation":
            return self.amount % 360 == 0
        return self.amount == (1 if self.transform == "scale" else 0)


def amounts(steps: str) -> tuple[float, ...]:
    """The amounts that `Steps` stand for, ascending: ``1..1.8/0.1`` has nine.

    The last one stands only where the steps meet it.
    """
    first, last, step = _numbers(steps)
    return tuple(float(first + place * step) for place in range(int((last - first) / step) + 1))


def _numbers(steps: str) -> tuple[Decimal, Decimal, Decimal]:
    # Decimals: 1 + 8 * 0.1 is 1.8.
    first, last, step = re.findall(_NUMBER, steps.replace("..", " ").replace("/", " "))
    return Decimal(first), Decimal(last), Decimal(step)


def _countable(steps: str) -> str:
    first, last, step = _numbers(steps)
    if step <= 0 or last < first:
        raise ValueError(f"{steps} counts no step; first..last/step goes upwards, -60..60/10")
    if (last - first) / step >= MOST_STEPS:
        raise ValueError(f"{steps} has more than {MOST_STEPS} steps; take a larger step")
    return steps


def within(low: float, high: float) -> AfterValidator:
    """Refuses steps with an amount outside of a range."""

    def check(steps: str) -> str:
        if any(not low <= amount <= high for amount in amounts(steps)):
            raise ValueError(f"{steps} leaves the range from {low:g} to {high:g}")
        return steps

    return AfterValidator(check)


Steps = Annotated[
    str,
    Field(pattern=_STEPS),
    in_words(_STEPS, "first..last/step is needed, -60..60/10"),
    AfterValidator(_countable),
]
"""Amounts of a transform, first, last and step: ``-60..60/10``; `amounts` reads it."""

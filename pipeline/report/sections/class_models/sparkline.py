"""The value of an ascent by its steps, as a line of SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass

WIDTH, HEIGHT = 120, 28


@dataclass(frozen=True)
class Sparkline:
    """Lines in a box of `WIDTH` by `HEIGHT`, as points of an SVG polyline.

    Attributes:
        value: of the value that is raised.
        gap: of the value less the penalty.
        words: what they show, for those who do not see them.
    """

    value: str
    gap: str
    words: str


def sparkline(curve: tuple[tuple[int, float, float], ...]) -> Sparkline | None:
    """Draw a curve of (steps done, value, penalty); None where a number is not finite."""
    lines = [[value for _, value, _ in curve], [value - lost for _, value, lost in curve]]
    numbers = [number for line in lines for number in line]
    if not all(map(math.isfinite, numbers)):
        return None
    low, high = min(numbers), max(numbers)
    last = curve[-1][0]
    value, gap = (
        " ".join(
            f"{step / last * WIDTH:.1f},{HEIGHT - (number - low) / (high - low or 1) * HEIGHT:.1f}"
            for (step, _, _), number in zip(curve, line, strict=True)
        )
        for line in lines
    )
    words = f"from {curve[0][1]:.3g} to {curve[-1][1]:.3g} in {last} steps"
    return Sparkline(value, gap, words)

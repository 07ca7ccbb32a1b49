"""Curves of the invariance as charts: mean, band and single lines, in pixels of the chart.

The page draws them as SVG and ``unitscope show`` as PNG, from the same coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.report.formats import three_digits
from pipeline.report.sections.invariance.reader import Curve, Values

WIDTH, HEIGHT = 340, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 10, 30
_STEPS = (0.1, 0.2, 0.25, 0.5, 1.0)
_MOST_TICKS = 5

Point = tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """A chart, `WIDTH` pixels wide.

    Attributes:
        layer: as of the curve.
        mean: runs of points: it is broken where there is no value.
        band: closed outlines between the quartiles.
        lines: runs of points by image_id.
        x_ticks: (x, text).
        y_ticks: (y, text).
        frame: left, top, right, bottom of the drawn area.
    """

    layer: str | None
    mean: tuple[tuple[Point, ...], ...]
    band: tuple[tuple[Point, ...], ...]
    lines: dict[int, tuple[tuple[Point, ...], ...]]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    frame: tuple[float, float, float, float]


def top_of(curves: Iterable[Curve]) -> float:
    """Where the axis of distances ends: all of them have one, so that layers can be compared."""
    values = [
        value
        for curve in curves
        if curve.layer is not None
        for own in (curve.high, curve.mean, *curve.lines.values())
        for value in own
        if math.isfinite(value)
    ]
    return max(1.0, math.ceil(10 * max(values, default=1.0)) / 10)


def chart_of(curve: Curve, top: float, height: int = HEIGHT) -> Chart:
    """Lay out a curve.

    Args:
        curve: with at least one amount.
        top: where the axis of a distance ends; a probability's ends at 1.
        height: of the chart, in pixels.
    """
    top = 1.0 if curve.layer is None else top
    first, last = curve.amounts[0], curve.amounts[-1]
    span = (last - first) or 1.0
    right, bottom = WIDTH - _RIGHT, height - _BOTTOM

    def x(amount: float) -> float:
        return round(_LEFT + (amount - first) / span * (right - _LEFT), 1)

    def y(value: float) -> float:
        return round(bottom - min(value, top) / top * (bottom - _TOP), 1)

    def points(values: Values) -> list[Point | None]:
        return [
            (x(amount), y(value)) if math.isfinite(value) else None
            for amount, value in zip(curve.amounts, values, strict=True)
        ]

    low, high = _runs(points(curve.low)), _runs(points(curve.high))
    step = next((step for step in _STEPS if top / step <= _MOST_TICKS), top)
    return Chart(
        layer=curve.layer,
        mean=_runs(points(curve.mean)),
        band=tuple((*up, *down[::-1]) for down, up in zip(low, high, strict=True)),
        lines={image_id: _runs(points(own)) for image_id, own in curve.lines.items()},
        x_ticks=tuple((x(amount), f"{amount:g}") for amount in _ticks(curve.amounts)),
        y_ticks=tuple(
            (y(step * place), three_digits(step * place)) for place in range(int(top / step) + 1)
        ),
        frame=(_LEFT, _TOP, right, bottom),
    )


def _ticks(amounts: Values) -> list[float]:
    """Some of the amounts, evenly, from the first on."""
    every = -(-(len(amounts) - 1) // (_MOST_TICKS - 1)) or 1
    return list(amounts[::every])


def _runs(points: Sequence[Point | None]) -> tuple[tuple[Point, ...], ...]:
    """The points in runs without a gap."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return tuple(tuple(run) for run in runs if run)

"""How a layer changes over the checkpoints, as curves of an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.sections.evolve.history import LayerHistory

WIDTH, HEIGHT = 340, 176
LEFT, RIGHT = 40, 8
_TOP, _BOTTOM = 10, 26
_SHARES = (0.0, 0.5, 1.0)
_LONGEST_NAME = 14


@dataclass(frozen=True)
class Chart:
    """The curves of one layer, `WIDTH` x `HEIGHT`; coordinates in pixels, y downwards.

    Attributes:
        last: SVG path of the overlap with the last checkpoint.
        before: SVG path of the overlap with the checkpoint before.
        stayed: SVG path of the share of units whose strongest image stayed.
        points: (x, y, title) of each value of ``last``.
        ticks: (x, anchor, text) below the axis: the first checkpoint, the last, and where it
            settled.
        shares: (y, text) of the lines across.
        threshold: y of the overlap from which a layer counts as settled.
        settled: x of the checkpoint at which it settled; None where it did not before the last.
    """

    last: str
    before: str
    stayed: str
    points: tuple[tuple[float, float, str], ...]
    ticks: tuple[tuple[float, str, str], ...]
    shares: tuple[tuple[float, str], ...]
    threshold: float
    settled: float | None


def draw_chart(history: LayerHistory, names: Sequence[str], threshold: float) -> Chart:
    """Lay out the curves of a layer.

    Args:
        history: the layer, with a step per checkpoint.
        names: of the checkpoints, at least two.
        threshold: of the overlap, from which it counts as settled.
    """
    steps, settled = history.steps, history.settled
    last = [step.overlap_last for step in steps]
    return Chart(
        last=_path(last),
        before=_path([step.overlap for step in steps]),
        stayed=_path([step.stayed for step in steps]),
        points=tuple(
            (_x(place, len(names)), _y(value), f"{names[place]}: {value:.0%}")
            for place, value in enumerate(last)
            if value is not None
        ),
        ticks=_ticks(names, settled),
        shares=tuple((_y(share), f"{share:.0%}") for share in _SHARES),
        threshold=_y(threshold),
        settled=None if settled is None else _x(settled, len(names)),
    )


def _ticks(names: Sequence[str], settled: int | None) -> tuple[tuple[float, str, str], ...]:
    """The ends, and the settled checkpoint where its text has room between theirs."""
    last = len(names) - 1
    ticks = [(_x(0, len(names)), "start", names[0]), (_x(last, len(names)), "end", names[last])]
    if settled and 0.3 < settled / last < 0.7:
        ticks.insert(1, (_x(settled, len(names)), "middle", names[settled]))
    return tuple((x, anchor, _short(text)) for x, anchor, text in ticks)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _path(values: Sequence[float | None]) -> str:
    """Lines between neighbours that both have a value; a value without neighbours is a dot."""
    parts, drawing = [], False
    for place, value in enumerate(values):
        if value is not None:
            letter = "L" if drawing else "M"
            parts.append(f"{letter}{_x(place, len(values))} {_y(value)}")
        drawing = value is not None
    return "".join(parts)


def _x(place: int, count: int) -> float:
    return round(LEFT + place / (count - 1) * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(_TOP + (1 - share) * (HEIGHT - _TOP - _BOTTOM), 1)

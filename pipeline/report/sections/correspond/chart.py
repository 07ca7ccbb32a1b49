"""Consistency of parts as a dot plot: a row per part, the draws of random places behind its dot.

The page draws it as SVG and ``unitscope show`` as PNG, from the same coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from pipeline.report.manifests import require_same_scan
from pipeline.store.run import Run
from schemas.jobs.correspond import PART_ITSELF

WIDTH = 720
_LEFT, _RIGHT, _TOP, _ROW, _AXIS = 170, 24, 8, 36, 26
_TICKS = 5


@dataclass(frozen=True)
class PartConsistency:
    """A part at a layer: what correspond/summary and correspond/consistency hold of it.

    Attributes:
        layer: the layer.
        part: the part's name.
        images: in which it was masked.
        delta: its consistency, 0 to 1; lower is more alike.
        random_mean: of delta over the random draws.
        random_std: the draws' standard deviation.
        deviations: how many of them delta lies below the mean; None where they are all equal.
        random: delta of every draw.
        changed: share of the layer's values that the masked part changes.
        random_changed: the same of the random places.
    """

    layer: str
    part: str
    images: int
    delta: float
    random_mean: float
    random_std: float
    deviations: float | None
    random: tuple[float, ...]
    changed: float
    random_changed: float


@dataclass(frozen=True)
class ChartRow:
    """A part's row; coordinates in pixels of the chart.

    Attributes:
        part: the part's name.
        y: middle of the row.
        x: the part's delta.
        mean: the mean of the random draws.
        band: one standard deviation below and above it.
        random: the draws.
    """

    part: str
    y: float
    x: float
    mean: float
    band: tuple[float, float]
    random: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """The dot plot of one layer, `WIDTH` pixels wide.

    Attributes:
        layer: the layer.
        height: in pixels.
        rows: one per part.
        ticks: (x, text) of the axis.
        axis: y of the axis.
    """

    layer: str
    height: int
    rows: tuple[ChartRow, ...]
    ticks: tuple[tuple[float, str], ...]
    axis: float


def read_consistency(run: Run) -> list[list[PartConsistency]]:
    """The parts of each layer, layers in the order of the network.

    Raises:
        NotPublishedError: nothing of this job is published.
        StoreError: the tables cannot be read, or are of another scan.
    """
    require_same_scan(run, "correspond", "correspondences were")
    rows = run.table("consistency", job="correspond")
    own = dict(list(rows.groupby(["layer", "part"])))
    parts = []
    for row in run.table("summary", job="correspond").to_dict("records"):
        draws = own[row["layer"], row["part"]].sort_values("draw")
        itself = draws["draw"] == PART_ITSELF
        deviations = row.pop("deviations")  # NaN where the table has none
        parts.append(
            PartConsistency(
                **{str(name): value for name, value in row.items()},
                deviations=None if pd.isna(deviations) else float(deviations),
                random=tuple(draws["delta"][~itself].tolist()),
                changed=1 - float(draws["zeros"][itself].iloc[0]),
                random_changed=1 - float(draws["zeros"][~itself].mean()),
            )
        )
    return [list(group) for _, group in groupby(parts, key=lambda part: part.layer)]


def dot_plot(parts: Sequence[PartConsistency]) -> Chart:
    """Lay out the parts of one layer; the axis spans all that is drawn."""
    values = [
        value
        for part in parts
        for value in (
            part.delta,
            *part.random,
            part.random_mean - part.random_std,
            part.random_mean + part.random_std,
        )
    ]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return round(_LEFT + (value - low) / span * (WIDTH - _LEFT - _RIGHT), 1)

    rows = tuple(
        ChartRow(
            part=part.part,
            y=_TOP + _ROW * (place + 0.5),
            x=x(part.delta),
            mean=x(part.random_mean),
            band=(x(part.random_mean - part.random_std), x(part.random_mean + part.random_std)),
            random=tuple(x(value) for value in part.random),
        )
        for place, part in enumerate(parts)
    )
    ticks = [low + span * step / (_TICKS - 1) for step in range(_TICKS)]
    axis = _TOP + _ROW * len(parts) + 4
    return Chart(
        layer=parts[0].layer,
        height=axis + _AXIS,
        rows=rows,
        ticks=tuple((x(tick), f"{tick:.3f}") for tick in ticks),
        axis=axis,
    )

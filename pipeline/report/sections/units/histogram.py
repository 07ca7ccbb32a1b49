"""Histograms of the units' per-image maxima as SVG: the path of the bars and the labels below.

A bar's height is its count divided by the largest count; the axis is logarithmic, since bins are
half-octaves and have equal widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.jobs.scan import HISTOGRAM_EDGES

WIDTH, HEIGHT = 360, 84
"""Of the drawing, in SVG units; labels stand below it."""

_ZERO_BIN = HISTOGRAM_EDGES.index(0.0)
_FEWEST_BINS = 12
_MOST_LABELS = 6


@dataclass(frozen=True)
class Histogram:
    """A histogram of a unit's per-image maxima, drawn `WIDTH` x `HEIGHT`.

    Attributes:
        path: the bars, as an SVG path's ``d``.
        ticks: (x, label) of the labels below.
        peak: images in the tallest bar.
    """

    path: str
    ticks: tuple[tuple[float, str], ...]
    peak: int


def draw_histogram(counts: Sequence[int], *, positive: bool) -> Histogram | None:
    """Draw the bins that hold images.

    Args:
        counts: images per bin, see `schemas.jobs.scan.HISTOGRAM_EDGES`.
        positive: leave out bins at or below zero: the images on which a rectified unit is silent
            would dwarf all others.

    Returns:
        The drawing; None where no image is left.
    """
    first = _ZERO_BIN + 1 if positive else 0
    occupied = [index for index in range(first, len(counts)) if counts[index]]
    if not occupied:
        return None
    start, stop = _shown_bins(occupied[0], occupied[-1] + 1, first, len(counts))
    step = WIDTH / (stop - start)
    peak = max(counts[index] for index in occupied)
    bars = [_bar((i - start) * step, step, counts[i] / peak) for i in occupied]
    return Histogram("".join(bars), _ticks(start, stop, step), peak)


def _shown_bins(start: int, stop: int, first: int, last: int) -> tuple[int, int]:
    """The bins shown: at least twelve, so that a single bar does not fill the drawing."""
    missing = max(0, _FEWEST_BINS - (stop - start))
    start = max(first, start - missing // 2)
    stop = min(last, max(stop, start + _FEWEST_BINS))
    return max(first, min(start, stop - _FEWEST_BINS)), stop


def _bar(x: float, width: float, share: float) -> str:
    height = max(1.0, share * HEIGHT)
    return f"M{x + 0.5:.1f} {HEIGHT}v-{height:.1f}h{width - 1:.1f}v{height:.1f}z"


def _ticks(start: int, stop: int, step: float) -> tuple[tuple[float, str], ...]:
    """Labels at whole octaves and at zero; bin i ends at edge i."""
    edges = [edge for edge in range(start, stop - 1) if (edge - _ZERO_BIN) % 2 or edge == _ZERO_BIN]
    thinned = edges[:: -(-len(edges) // _MOST_LABELS) or 1]
    return tuple(
        (round((edge - start + 1) * step, 1), _label(HISTOGRAM_EDGES[edge])) for edge in thinned
    )


def _label(edge: float) -> str:
    return f"{edge:.0f}" if edge == round(edge) else f"{edge:.2g}"

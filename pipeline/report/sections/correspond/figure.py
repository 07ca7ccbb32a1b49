"""The consistency of parts as one PNG for ``unitscope show``: a dot plot per layer."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from pipeline.report.pictures import INK, LINE, PAPER, SOFT, Colour, font_of, shortened, write
from pipeline.report.sections.correspond.chart import WIDTH, Chart, PartConsistency, dot_plot

_BAND, _DRAW, _PART = (226, 232, 236), (150, 160, 170), (11, 107, 111)
_MARGIN, _TITLE, _GAP, _HEAD = 24, 28, 14, 58
_LABEL = 150


def draw_consistency(layers: Sequence[Sequence[PartConsistency]]) -> Image.Image:
    """Draw the dot plots of layers below each other.

    Args:
        layers: the parts of each; at least one of each.
    """
    charts = [dot_plot(parts) for parts in layers]
    height = sum(_TITLE + chart.height + _GAP for chart in charts)
    page = Image.new("RGB", (WIDTH + 2 * _MARGIN, _HEAD + height + _MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, 16), "Consistency of masked parts: lower is more alike", INK, font_of(20))
    legend = "dot: the part   small dots: random places   band: their mean, one deviation each way"
    draw.text((_MARGIN, 42), legend, SOFT, font_of(12))
    top = _HEAD + 8
    for chart in charts:
        write(draw, (_MARGIN, top), chart.layer, 15, INK, WIDTH)
        _draw_chart(draw, chart, top + _TITLE)
        top += _TITLE + chart.height + _GAP
    return page


def _draw_chart(draw: ImageDraw.ImageDraw, chart: Chart, top: int) -> None:
    for row in chart.rows:
        y = top + row.y
        low, high = (_MARGIN + edge for edge in row.band)
        draw.rectangle((low, y - 11, high, y + 11), fill=_BAND)
        draw.line((_MARGIN + row.mean, y - 11, _MARGIN + row.mean, y + 11), _DRAW, 2)
        for x in row.random:
            _dot(draw, (_MARGIN + x, y), 2, _DRAW)
        _dot(draw, (_MARGIN + row.x, y), 6, _PART)
        label = shortened(row.part, _LABEL, font_of(14))
        draw.text((_MARGIN, y), label, INK, font_of(14), anchor="lm")
    axis = top + chart.axis
    draw.line((_MARGIN + chart.ticks[0][0], axis, _MARGIN + chart.ticks[-1][0], axis), LINE)
    for x, text in chart.ticks:
        draw.line((_MARGIN + x, axis, _MARGIN + x, axis + 4), SOFT)
        draw.text((_MARGIN + x, axis + 7), text, SOFT, font_of(12), anchor="ma")


def _dot(draw: ImageDraw.ImageDraw, at: tuple[float, float], radius: int, colour: Colour) -> None:
    x, y = at
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

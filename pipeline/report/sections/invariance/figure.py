"""The invariance as one PNG for ``unitscope show``, laid out as ZF fig. 5.

A row per transform; from the left: some of the moved pictures (a), the distance at the first layer
and at the last one, the target's probability.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from pipeline.report.pictures import (
    INK,
    LINE,
    MARGIN,
    PAPER,
    SOFT,
    Colour,
    draw_head,
    font_of,
    write,
)
from pipeline.report.sections.invariance.captions import AXES
from pipeline.report.sections.invariance.chart import HEIGHT, WIDTH, Chart, chart_of, top_of
from pipeline.report.sections.invariance.reader import Curve, MovedImage
from pipeline.report.sections.occlusion.heatmaps import PALETTE

MOST_IMAGES = 5
"""As many as in ZF fig. 5, and no more than there are colours."""
_STRIP, _GAP, _TOP, _CAPTION, _NAME, _AMOUNTS = 280, 28, 92, 40, 15, 18
_LARGEST_PX, _SMALLEST_PX = 56, 44
_BAND: Colour = (226, 232, 236)


def draw_invariance(
    title: str,
    facts: str,
    images: Sequence[MovedImage],
    curves: dict[str, tuple[Curve, ...]],
) -> Image.Image:
    """Draw the strips of some images, their lines, and mean and band of all.

    Args:
        title: of the picture.
        facts: below it.
        images: at most `MOST_IMAGES`; the curves have lines of them.
        curves: by transform.
    """
    rows = [(name, _ends(curves[name])) for name in AXES if name in curves]
    columns = len(rows[0][1])
    width = _STRIP + columns * (WIDTH + _GAP)
    top = top_of(curve for _, own in rows for curve in own)
    height = max(HEIGHT, len(images) * (_NAME + _side(images)) + _AMOUNTS)
    step = _CAPTION + height + _GAP
    page = Image.new("RGB", (width + 2 * MARGIN, _TOP + len(rows) * step + MARGIN // 2), PAPER)
    draw = ImageDraw.Draw(page)
    draw_head(draw, title, facts, width)
    for place, (name, own) in enumerate(rows):
        y = _TOP + place * step
        write(draw, (MARGIN, y), f"{'abc'[place]}  {AXES[name]}", 14, INK, _STRIP)
        _draw_strips(page, images, name, (MARGIN, y + _CAPTION))
        for column, curve in enumerate(own):
            x = MARGIN + _STRIP + _GAP + column * (WIDTH + _GAP)
            what = "probability of the class" if curve.layer is None else f"{curve.layer}: distance"
            write(draw, (x, y), what, 14, INK, WIDTH)
            note = "" if curve.layer is None else "of the norm of the plain picture's values"
            write(draw, (x, y + 19), note, 11, SOFT, WIDTH)
            _draw_chart(draw, chart_of(curve, top, height), (x, y + _CAPTION))
    return page


def _ends(curves: tuple[Curve, ...]) -> list[Curve]:
    """Of the first layer, of the last one, and of the probability."""
    *layers, probability = curves
    return [layers[0], *(layers[-1:] if layers[1:] else []), probability]


def _side(images: Sequence[MovedImage]) -> int:
    """Of one picture in a strip."""
    return _LARGEST_PX if len(images) < MOST_IMAGES - 1 else _SMALLEST_PX


def _draw_strips(
    page: Image.Image, images: Sequence[MovedImage], transform: str, at: tuple[int, int]
) -> None:
    """Some images' strips below each other, each with the colour of its lines."""
    draw, (x, y), side = ImageDraw.Draw(page), at, _side(images)
    amounts: tuple[str, ...] = ()
    for colour, image in zip(PALETTE, images, strict=False):
        [strip] = [each for each in image.strips if each.transform == transform]
        draw.rectangle((x, y + 3, x + 8, y + 11), colour)
        write(draw, (x + 14, y), image.title, 11, SOFT, _STRIP - 14)
        width = round(strip.picture.width * side / strip.picture.height)
        page.paste(strip.picture.resize((width, side), Image.Resampling.LANCZOS), (x, y + _NAME))
        y += _NAME + side
        amounts = strip.amounts
    for place, text in enumerate(amounts):
        draw.text((x + (place + 0.5) * side, y + 4), text, SOFT, font_of(11), anchor="ma")


def _draw_chart(draw: ImageDraw.ImageDraw, chart: Chart, at: tuple[int, int]) -> None:
    def moved(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(at[0] + x, at[1] + y) for x, y in points]

    left, top, right, bottom = chart.frame
    for y, text in chart.y_ticks:
        draw.line(moved([(left, y), (right, y)]), LINE)
        draw.text(moved([(left - 6, y)])[0], text, SOFT, font_of(11), anchor="rm")
    for outline in chart.band:
        if len(outline) > 2:
            draw.polygon(moved(outline), fill=_BAND)
    for x, text in chart.x_ticks:
        draw.line(moved([(x, bottom), (x, bottom + 4)]), SOFT)
        draw.text(moved([(x, bottom + 7)])[0], text, SOFT, font_of(11), anchor="ma")
    draw.line(moved([(left, top), (left, bottom), (right, bottom)]), SOFT)
    for run in chart.mean:
        draw.line(moved(run), INK, 3, joint="curve")
    for colour, runs in zip(PALETTE, chart.lines.values(), strict=False):
        for run in runs:
            draw.line(moved(run), colour, 2, joint="curve")

"""The class models of one class or unit as one PNG for ``unitscope show``, side by side."""

from __future__ import annotations

from PIL import Image, ImageDraw

from pipeline.report.formats import counted
from pipeline.report.pictures import MARGIN, PAPER, SOFT, draw_head, write
from pipeline.report.sections.class_models.reader import UnitModels, enlarged

_SIDE, _GAP, _ACROSS = 336, 18, 3
_TOP, _LINE = 92, 18


def draw_models(models: UnitModels) -> Image.Image:
    """Draw the images of all starts, three in a row, with their numbers below."""
    starts = models.starts
    lines = 1 + max(len(each.facts) for each in starts)
    step = _SIDE + lines * _LINE + 16
    rows, across = -(-len(starts) // _ACROSS), min(len(starts), _ACROSS)
    width = max(2 * _SIDE, across * (_SIDE + _GAP) - _GAP)
    page = Image.new("RGB", (width + 2 * MARGIN, _TOP + rows * step + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    where = f"{models.layer}, unit {models.unit}"
    words = f"{where}   |   {counted(len(starts), 'image')} that it answers to, by gradient ascent"
    draw_head(draw, models.title, words, width)
    for place, each in enumerate(starts):
        x = MARGIN + place % _ACROSS * (_SIDE + _GAP)
        y = _TOP + place // _ACROSS * step
        page.paste(enlarged(each.picture, _SIDE), (x, y))
        texts = [f"start {each.start}", *(f"{name}: {value}" for name, value in each.facts)]
        for line, text in enumerate(texts):
            write(draw, (x, y + _SIDE + 6 + _LINE * line), text, 13, SOFT, _SIDE)
    return page

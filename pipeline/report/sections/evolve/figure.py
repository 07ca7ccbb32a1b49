"""Units of a layer over the checkpoints as one PNG for ``unitscope show`` (ZF fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from pipeline.report.pictures import INK, MARGIN, PAPER, SOFT, Colour, draw_head, font_of, write
from pipeline.report.sections.evolve.cells import cell_size, draw_cell
from pipeline.report.sections.evolve.history import UnitHistory

_TILE, _GAP, _ROW_GAP, _LABEL, _TOP, _NAMES = 72, 8, 14, 78, 92, 24
_JUMP: Colour = (166, 61, 8)
LEGEND = "projection above, patch below   |   bar at the left: another image than before"


def draw_evolution(
    layer: str, checkpoints: Sequence[str], units: Sequence[UnitHistory]
) -> Image.Image:
    """Draw a row per unit and a column per checkpoint; a dead unit has empty cells.

    Args:
        layer: its name.
        checkpoints: names, at least one.
        units: each with a moment per checkpoint.
    """
    size, title = cell_size(_TILE), f"{layer}: the strongest image of each unit during training"
    step = (size[0] + _GAP, size[1] + _ROW_GAP)
    needed = max(font_of(22).getlength(title), font_of(14).getlength(LEGEND))
    width = max(_LABEL + len(checkpoints) * step[0], int(needed) + 1)
    height = _TOP + _NAMES + len(units) * step[1]
    page = Image.new("RGB", (width + 2 * MARGIN, height + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    draw_head(draw, title, LEGEND, width)
    for column, name in enumerate(checkpoints):
        write(draw, (MARGIN + _LABEL + column * step[0], _TOP), name, 13, SOFT, size[0])
    for row, history in enumerate(units):
        y = _TOP + _NAMES + row * step[1]
        write(draw, (MARGIN, y + 4), f"unit {history.unit}", 15, INK, _LABEL - _GAP)
        for moment in history.moments:
            x = MARGIN + _LABEL + moment.checkpoint * step[0]
            if moment.patch is None:
                write(draw, (x, y + size[1] / 2 - 8), "dead", 13, SOFT, size[0])
                continue
            cell = draw_cell(moment, _TILE)
            page.paste(cell, (x, y), cell)
            if moment.jumped:
                draw.rectangle((x - 5, y, x - 3, y + size[1] - 1), fill=_JUMP)
    return page

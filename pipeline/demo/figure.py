"""The demo's figure: units of several layers side by side, as in ZF fig. 2.

Every unit has a block of one size, its nine projections left and its nine patches right.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from pipeline.report.contact_sheet import SheetShape, draw_contact_sheet
from pipeline.report.pictures import INK, PAPER, SOFT, font_of, shortened, write
from pipeline.report.unit_record import UnitRecord

_ACROSS = 2
_MARGIN, _GAP, _HEAD = 16, 24, 34
_COLOURS = 256


def draw_figure(units: Sequence[tuple[UnitRecord, str]], *, tile_px: int = 64) -> Image.Image:
    """Draw units two by two.

    Args:
        units: at least one, each with its caption.
        tile_px: side of the square that a patch is fitted into, in pixels.

    Returns:
        A picture of 256 colours: a third of the bytes of full colour, and it looks the same.
    """
    paired = any(patch.projection is not None for unit, _ in units for patch in unit.patches)
    shape = SheetShape(tile_px, paired=paired)
    across, down = min(_ACROSS, len(units)), -(-len(units) // _ACROSS)
    step = (shape.width + _GAP, _HEAD + shape.height + _GAP)
    size = (across * step[0] - _GAP + 2 * _MARGIN, down * step[1] - _GAP + 2 * _MARGIN)
    figure = Image.new("RGB", size, PAPER)
    for index, (unit, caption) in enumerate(units):
        x = _MARGIN + index % _ACROSS * step[0]
        y = _MARGIN + index // _ACROSS * step[1]
        _write_head(figure, unit, caption, (x, y), shape.width)
        sheet = draw_contact_sheet(unit.patches, shape)
        figure.paste(sheet, (x, y + _HEAD), sheet)
    return figure.quantize(_COLOURS)


def _write_head(
    figure: Image.Image, unit: UnitRecord, caption: str, at: tuple[int, int], width: int
) -> None:
    """The unit's name, and after it as much of the caption as there is room for."""
    draw, large = ImageDraw.Draw(figure), font_of(17)
    name = shortened(f"{unit.layer}, unit {unit.unit}", width, large)
    draw.text(at, name, INK, large)
    left = large.getlength(name) + 12
    write(draw, (at[0] + left, at[1] + 3), caption, 14, SOFT, width - left)

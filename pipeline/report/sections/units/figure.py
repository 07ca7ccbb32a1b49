"""The top patches of units as one PNG for ``unitscope show``: one unit, or a sheet of many.

Where a unit has projections, each stands left of its patch, at the same size.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from pipeline.report.formats import three_digits
from pipeline.report.patches import Patch, draw_projection, draw_tile
from pipeline.report.pictures import INK, MARGIN, PAPER, SOFT, draw_head, font_of, write
from pipeline.report.unit_record import UnitRecord

_GAP, _PAIR_GAP = 14, 3
_TILE_PX, _SHEET_TILE_PX = (96, 224), (72, 96)
_CAPTION_WIDTH = 150
_SHEET_LABEL = 120


def draw_unit(record: UnitRecord) -> Image.Image:
    """The nine top patches of a unit, three by three, with value, class and file below each."""
    tiles, size = _tiles([record], _TILE_PX)
    cell = (max(size[0], _CAPTION_WIDTH), size[1] + 62)
    share = f"fires on {_share(record)} of {record.images:,} images"
    facts = "   |   ".join([record.kind, f"field {_field(record)}", share, *_legend([record])])
    rows = max(1, -(-min(len(record.patches), 9) // 3))
    height = rows * (cell[1] + _GAP)
    title = f"{record.layer}, unit {record.unit}"
    image, top = _titled(title, facts, 3 * cell[0] + 2 * _GAP, height)
    for index, (patch, tile) in enumerate(zip(record.patches[:9], tiles[0], strict=True)):
        x = MARGIN + (index % 3) * (cell[0] + _GAP)
        y = top + (index // 3) * (cell[1] + _GAP)
        image.paste(tile, (x, y))
        _caption(image, patch, (x, y + size[1] + 5), cell[0])
    if not record.patches:
        ImageDraw.Draw(image).text((MARGIN, top), "no image activates this unit", SOFT, font_of(15))
    return image


def draw_sheet(records: Sequence[UnitRecord], total: int) -> Image.Image:
    """Many units of a layer, one per row with its nine patches.

    Args:
        records: at least one; all of one layer.
        total: how many units the layer has.
    """
    all_tiles, size = _tiles(records, _SHEET_TILE_PX)
    row, step = size[1] + 10, size[0] + (10 if _paired(records) else 6)
    first, last = records[0], records[-1]
    which = f"units {first.unit} to {last.unit} of {total}, one a row"
    facts = "   |   ".join([first.kind, f"field {_field(first)}", which, *_legend(records)])
    columns = max(len(tiles) for tiles in all_tiles)
    image, top = _titled(first.layer, facts, _SHEET_LABEL + columns * step, len(records) * row)
    draw = ImageDraw.Draw(image)
    for index, (record, tiles) in enumerate(zip(records, all_tiles, strict=True)):
        y = top + index * row
        draw.text((MARGIN, y + 4), f"unit {record.unit}", INK, font_of(15))
        notes = [f"fires on {_share(record)}"]
        if record.patches:
            notes.append(f"max {three_digits(record.patches[0].value)}")
        draw.text((MARGIN, y + 24), "\n".join(notes), SOFT, font_of(12), spacing=3)
        for column, tile in enumerate(tiles):
            image.paste(tile, (MARGIN + _SHEET_LABEL + column * step, y))
    return image


def _titled(title: str, facts: str, width: int, height: int) -> tuple[Image.Image, int]:
    """An empty page with its head; returns it and the y at which the rest begins."""
    needed = max(font_of(22).getlength(title), font_of(14).getlength(facts))
    width = max(width, int(needed) + 1)
    top = 96
    image = Image.new("RGB", (width + 2 * MARGIN, top + height + MARGIN - _GAP), PAPER)
    draw_head(ImageDraw.Draw(image), title, facts, width)
    return image, top


def _caption(image: Image.Image, patch: Patch, at: tuple[int, int], width: int) -> None:
    draw = ImageDraw.Draw(image)
    lines = (
        (three_digits(patch.value), 15, INK),
        (patch.class_name or "", 13, INK),
        (patch.image, 12, SOFT),
    )
    y = at[1]
    for text, size, colour in lines:
        if text:
            write(draw, (at[0], y), text, size, colour, width)
            y += size + 4


def _tiles(
    records: Sequence[UnitRecord], bounds: tuple[int, int]
) -> tuple[list[list[Image.Image]], tuple[int, int]]:
    """A picture per patch, unit by unit, and the (width, height) that all share."""
    size = _tile_size(records, bounds)
    if not _paired(records):
        plain = [
            [draw_tile(p.crop, size, p.problem) for p in record.patches[:9]] for record in records
        ]
        return plain, size
    pair = (2 * size[0] + _PAIR_GAP, size[1])
    return [[_pair(patch, size, pair) for patch in record.patches[:9]] for record in records], pair


def _pair(patch: Patch, size: tuple[int, int], pair: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", pair, PAPER)
    image.paste(draw_projection(patch.projection, size, "not\nprojected"), (0, 0))
    image.paste(draw_tile(patch.crop, size, patch.problem), (pair[0] - size[0], 0))
    return image


def _paired(records: Sequence[UnitRecord]) -> bool:
    return any(patch.projection is not None for record in records for patch in record.patches)


def _legend(records: Sequence[UnitRecord]) -> list[str]:
    return ["projection left, patch right"] if _paired(records) else []


def _tile_size(records: Sequence[UnitRecord], bounds: tuple[int, int]) -> tuple[int, int]:
    """(width, height) that all tiles share, in picture pixels."""
    crops = [patch.crop for record in records for patch in record.patches if patch.crop is not None]
    height = max((crop.height for crop in crops), default=records[0].field[0])
    width = max((crop.width for crop in crops), default=records[0].field[1])
    scale = _scale(height, width, bounds)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _scale(height: int, width: int, bounds: tuple[int, int]) -> float:
    longest = max(height, width, 1)
    if longest < bounds[0]:
        return float(-(-bounds[0] // longest))
    return min(1.0, bounds[1] / longest)


def _field(record: UnitRecord) -> str:
    return f"{record.field[0]} x {record.field[1]} px"


def _share(record: UnitRecord) -> str:
    return f"{record.active / record.images:.1%}" if record.images else "0%"

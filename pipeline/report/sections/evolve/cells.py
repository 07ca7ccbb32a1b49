"""A unit at a checkpoint as a picture: its projection, and below it the patch, of one size."""

from __future__ import annotations

import io

from PIL import Image

from pipeline.report.patches import Crop, draw_projection, draw_tile
from pipeline.report.sections.evolve.history import Moment

GAP_PX = 2
_QUALITY = 80


def cell_size(tile_px: int) -> tuple[int, int]:
    """(width, height) of a cell in pixels; ``tile_px`` is the side of one of its two pictures."""
    return tile_px, 2 * tile_px + GAP_PX


def draw_cell(moment: Moment, tile_px: int) -> Image.Image:
    """Draw a cell, RGBA; the longer side of either picture is ``tile_px``, the rest transparent.

    Args:
        moment: of a unit that is not dead.
        tile_px: side of the square that a picture is fitted into.
    """
    cell = Image.new("RGBA", cell_size(tile_px), (0, 0, 0, 0))
    for crop, draw, top in (
        (moment.projection, draw_projection, 0),
        (moment.patch, draw_tile, tile_px + GAP_PX),
    ):
        tile = draw(crop, _fitted(crop, tile_px))
        corner = ((tile_px - tile.width) // 2, top + (tile_px - tile.height) // 2)
        cell.paste(tile, corner)
    return cell


def encode_cell(moment: Moment, tile_px: int) -> bytes:
    """The cell as a WebP."""
    data = io.BytesIO()
    draw_cell(moment, tile_px).save(data, "WEBP", quality=_QUALITY)
    return data.getvalue()


def _fitted(crop: Crop | None, tile_px: int) -> tuple[int, int]:
    """(width, height) of a picture whose longer side fills the square."""
    if crop is None:
        return tile_px, tile_px
    scale = tile_px / max(crop.height, crop.width)
    return max(1, round(crop.width * scale)), max(1, round(crop.height * scale))

"""An image and its saliency maps as one PNG for ``unitscope show``, all of one size."""

from __future__ import annotations

from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from pipeline.report.patches import INK, SOFT, Crop, draw_tile, shortened
from pipeline.report.sections.saliency.maps import SalientImage

_PAPER, _LINE = (255, 255, 255), (222, 225, 230)
_SIDE, _GAP, _MARGIN, _ACROSS = 252, 18, 28, 4
_TOP, _CAPTION, _NOTE = 92, 62, 46


def draw_saliency(image: SalientImage) -> Image.Image:
    """Draw the input frame and the maps, four in a row, a caption below each."""
    tiles = [("the image, as the network saw it", "", _photo(image))]
    tiles += [(each.title, each.note, _tile(each.picture)) for each in image.maps]
    rows, step = -(-len(tiles) // _ACROSS), _SIDE + _CAPTION
    width = _ACROSS * (_SIDE + _GAP) - _GAP
    page = Image.new("RGB", (width + 2 * _MARGIN, _TOP + rows * step + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(page)
    facts = "   |   ".join(f"{name}: {value}" for name, value in image.facts)
    _write(draw, (_MARGIN, 20), image.title, 22, width)
    _write(draw, (_MARGIN, 51), facts, 14, width)
    draw.line((_MARGIN, 80, _MARGIN + width, 80), _LINE)
    for place, (title, note, tile) in enumerate(tiles):
        x = _MARGIN + place % _ACROSS * (_SIDE + _GAP)
        y = _TOP + place // _ACROSS * step
        page.paste(tile, (x, y))
        _write(draw, (x, y + _SIDE + 6), title, 14, _SIDE)
        for line, words in enumerate(wrap(note, _NOTE)):
            _write(draw, (x, y + _SIDE + 25 + 14 * line), words, 11, _SIDE)
    return page


def _photo(image: SalientImage) -> Image.Image:
    if isinstance(image.frame, str):
        return draw_tile(None, (_SIDE, _SIDE), image.frame)
    side = image.frame_px
    return draw_tile(Crop(side, side, 0, 0, image.frame), (_SIDE, _SIDE))


def _tile(picture: Image.Image) -> Image.Image:
    return picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, width: float
) -> None:
    font = ImageFont.load_default(size=size)
    draw.text(at, shortened(text, width, font), INK if size >= 16 else SOFT, font)

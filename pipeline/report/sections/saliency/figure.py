"""An image and its saliency maps as one PNG for ``unitscope show``, all of one size."""

from __future__ import annotations

from textwrap import wrap

from PIL import Image, ImageDraw

from pipeline.report.patches import draw_frame
from pipeline.report.pictures import MARGIN, PAPER, SOFT, draw_head, write
from pipeline.report.sections.saliency.maps import SalientImage

_SIDE, _GAP, _ACROSS = 252, 18, 4
_TOP, _CAPTION, _NOTE = 92, 62, 46


def draw_saliency(image: SalientImage) -> Image.Image:
    """Draw the input frame and the maps, four in a row, a caption below each."""
    tiles = [("the image, as the network saw it", "", draw_frame(image.frame, _SIDE))]
    tiles += [(each.title, each.note, _enlarged(each.picture)) for each in image.maps]
    rows, step = -(-len(tiles) // _ACROSS), _SIDE + _CAPTION
    width = _ACROSS * (_SIDE + _GAP) - _GAP
    page = Image.new("RGB", (width + 2 * MARGIN, _TOP + rows * step + MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    facts = "   |   ".join(f"{name}: {value}" for name, value in image.facts)
    draw_head(draw, image.title, facts, width)
    for place, (title, note, tile) in enumerate(tiles):
        x = MARGIN + place % _ACROSS * (_SIDE + _GAP)
        y = _TOP + place // _ACROSS * step
        page.paste(tile, (x, y))
        write(draw, (x, y + _SIDE + 6), title, 14, SOFT, _SIDE)
        for line, words in enumerate(wrap(note, _NOTE)):
            write(draw, (x, y + _SIDE + 25 + 14 * line), words, 11, SOFT, _SIDE)
    return page


def _enlarged(picture: Image.Image) -> Image.Image:
    return picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)

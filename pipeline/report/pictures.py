"""What the pictures of the report share: their colours, their letters, their head, their bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER: Colour = (255, 255, 255)
INK: Colour = (24, 26, 30)
SOFT: Colour = (104, 110, 120)
LINE: Colour = (222, 225, 230)
MARGIN = 28
SCALE: tuple[Colour, ...] = (
    (68, 1, 84),
    (72, 37, 118),
    (65, 68, 135),
    (53, 95, 141),
    (42, 120, 142),
    (33, 145, 140),
    (34, 168, 132),
    (66, 190, 113),
    (122, 209, 81),
    (189, 223, 38),
    (253, 231, 37),
)
"""Viridis at equal steps, straight lines in between: equal steps look equal, also in grey."""

_PHOTO_QUALITY = 85


def coloured(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colours of `SCALE` for values from 0 to 1, [height, width]; whole numbers [..., 3]."""
    table = np.array(SCALE, np.float64)
    steps = share * (len(SCALE) - 1)
    planes = [np.interp(steps, range(len(SCALE)), table[:, channel]) for channel in range(3)]
    return np.rint(np.stack(planes, axis=2))


def font_of(size: int) -> Font:
    """The one typeface, in pixels."""
    return ImageFont.load_default(size=size)


def shortened(text: str, width: float, font: Font) -> str:
    """The text with its middle left out until it is at most ``width`` pixels wide."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)[:400]
    kept = len(text)
    short = text
    while font.getlength(short) > width and kept > 2:
        kept -= 1
        short = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
    return short


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    colour: Colour,
    width: float,
) -> None:
    """Write a line, `shortened` to ``width`` pixels; ``at`` is its upper left corner."""
    draw.text(at, shortened(text, width, font_of(size)), colour, font_of(size))


def draw_head(draw: ImageDraw.ImageDraw, title: str, facts: str, width: int) -> None:
    """The title, the facts below it and a line, 81 pixels in all; ``width`` is without margins."""
    write(draw, (MARGIN, 20), title, 22, INK, width)
    write(draw, (MARGIN, 51), facts, 14, SOFT, width)
    draw.line((MARGIN, 80, MARGIN + width, 80), LINE)


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures one below the other, on paper."""
    width = max(picture.width for picture in pictures)
    page = Image.new("RGB", (width, sum(picture.height for picture in pictures)), PAPER)
    top = 0
    for picture in pictures:
        page.paste(picture, (0, top))
        top += picture.height
    return page


def encode(picture: Image.Image, *, photo: bool) -> bytes:
    """A WebP: lossy for a photograph, exact for a map."""
    data = io.BytesIO()
    if photo:
        picture.save(data, "WEBP", quality=_PHOTO_QUALITY)
    else:
        picture.save(data, "WEBP", lossless=True)
    return data.getvalue()

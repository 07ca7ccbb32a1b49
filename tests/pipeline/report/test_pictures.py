from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.report.pictures import (
    INK,
    LINE,
    MARGIN,
    PAPER,
    SOFT,
    draw_head,
    encode,
    font_of,
    shortened,
    stacked,
    write,
)


def test_shortened_leaves_out_the_middle_and_hides_controls():
    font = font_of(12)
    text = shortened("begin" + "x" * 500 + "\u202e\n.jpg", 90, font)
    assert font.getlength(text) <= 90
    assert text.startswith("be")
    assert "..." in text
    assert shortened("a\nb", 90, font) == "a?b"


def test_write_stays_within_its_width():
    page = Image.new("RGB", (200, 40), PAPER)
    write(ImageDraw.Draw(page), (10, 5), "w" * 300, 15, INK, 100)
    rows, columns = np.nonzero((np.asarray(page) != PAPER).any(axis=2))
    assert rows.min() >= 5
    assert columns.min() >= 10
    assert 100 < columns.max() < 112


def test_draw_head_has_title_facts_and_a_line():
    page = Image.new("RGB", (400, 100), PAPER)
    draw_head(ImageDraw.Draw(page), "title", "facts " * 100, 400 - 2 * MARGIN)
    pixels = np.asarray(page)
    assert (pixels[80, MARGIN : 401 - MARGIN] == LINE).all()
    for rows, colour in ((slice(20, 50), INK), (slice(50, 78), SOFT)):
        assert (pixels[rows] == colour).all(axis=2).any()
    assert (pixels[:, : MARGIN - 1] == 255).all()
    assert (pixels[:, 402 - MARGIN :] == 255).all()
    assert (pixels[81:] == 255).all()


def test_stacked_pictures_stand_one_below_the_other_on_paper():
    red, blue = Image.new("RGB", (3, 2), (255, 0, 0)), Image.new("RGB", (5, 1), (0, 0, 255))
    pixels = np.asarray(stacked([red, blue]))
    assert pixels.shape == (3, 5, 3)
    assert (pixels[:2, :3] == (255, 0, 0)).all()
    assert (pixels[:2, 3:] == PAPER).all()
    assert (pixels[2] == (0, 0, 255)).all()


def _picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 4), np.uint8)
    pixels[..., 3] = np.where(pixels[..., 3] > 127, 255, 0)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("photo", [True, False])
def test_encode_is_the_same_twice(photo: bool):
    assert encode(_picture(), photo=photo) == encode(_picture(), photo=photo)


def test_encode_is_exact_for_a_map_and_near_and_smaller_for_a_photograph():
    drawn = np.asarray(_picture())
    read = np.asarray(Image.open(io.BytesIO(encode(_picture(), photo=False))).convert("RGBA"))
    assert (read[..., 3] == drawn[..., 3]).all()
    assert (read[drawn[..., 3] == 255] == drawn[drawn[..., 3] == 255]).all()
    ramp = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8)[:, None, None] * 4, (1, 64, 3)))
    data = encode(ramp, photo=True)
    near = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(near - np.asarray(ramp)).max() < 12

from __future__ import annotations

import numpy as np
import pytest

from pipeline.report.patches import (
    Box,
    Crop,
    crop_box,
    draw_frame,
    draw_projection,
    draw_tile,
    stored_crop,
    stretched,
)


def _frame() -> np.ndarray:
    y, x = np.mgrid[0:16, 0:16]
    return np.stack([y, x, y * 0 + 7], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "top", "left", "rows", "columns"),
    [
        ((2, 3, 6, 9), 0, 0, range(2, 6), range(3, 9)),
        ((-2, -1, 4, 3), 2, 1, range(4), range(3)),
        ((12, 10, 20, 18), 0, 0, range(12, 16), range(10, 16)),
        ((-9, 0, -3, 6), 9, 0, range(0), range(6)),
        ((20, 0, 26, 6), 0, 0, range(0), range(6)),
    ],
)
def test_cut_box_holds_the_pixels_inside_the_frame(
    box: Box, top: int, left: int, rows: range, columns: range
):
    cut = crop_box(_frame(), box)
    assert (cut.height, cut.width) == (box[2] - box[0], box[3] - box[1])
    assert (cut.top, cut.left) == (top, left)
    assert cut.pixels.shape == (len(rows), len(columns), 3)
    if cut.pixels.size:
        assert cut.pixels[:, 0, 0].tolist() == list(rows)
        assert cut.pixels[0, :, 1].tolist() == list(columns)


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((-4, -4, 20, 20), range(16), range(16)),
        ((3, -2, 19, 4), range(16), range(4)),
        ((5, 10, 8, 26), range(5, 8), range(16)),
    ],
)
def test_cut_box_as_large_as_the_frame_shows_the_frame_along_that_axis(
    box: Box, rows: range, columns: range
):
    cut = crop_box(_frame(), box)
    assert cut.pixels[:, 0, 0].tolist() == list(rows)
    assert cut.pixels[0, :, 1].tolist() == list(columns)
    assert cut.height == (16 if len(rows) == 16 else box[2] - box[0])
    assert cut.width == (16 if len(columns) == 16 else box[3] - box[1])


def test_draw_tile_enlarged_much_shows_pixels_and_little_blends():
    cut = crop_box(_frame(), (0, 0, 8, 8))
    pixels = np.asarray(draw_tile(cut, (64, 64)))
    assert np.array_equal(pixels[4::8, 4::8], cut.pixels)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == 64
    steps = crop_box(
        (np.indices((16, 16))[1][..., None] % 2 * 200).repeat(3, 2).astype(np.uint8), (0, 0, 16, 16)
    )
    assert len(np.unique(np.asarray(draw_tile(steps, (24, 24))))) > 2


def test_draw_tile_outside_the_frame_is_hatched_grey():
    red = np.full((6, 8, 3), (250, 10, 20), np.uint8)
    tile = np.asarray(draw_tile(Crop(8, 8, 2, 0, red), (64, 64))).astype(int)
    assert (tile[16:] == (250, 10, 20)).all()
    above = tile[:16]
    assert (above.max(axis=2) == above.min(axis=2)).all()
    assert len(np.unique(above)) == 2


def test_draw_tile_without_a_picture_says_why_where_there_is_room():
    told = np.asarray(draw_tile(None, (72, 72), "image gone"))
    assert told.min() < 100
    tiny = np.asarray(draw_tile(None, (16, 16), "image gone"))
    assert tiny.min() > 150


@pytest.mark.parametrize(
    "box", [(2, 3, 6, 9), (-2, -1, 4, 3), (12, 10, 20, 18), (-9, 0, -3, 6), (-4, -4, 20, 20),
            (3, -2, 19, 4), (-20, 4, -3, 8)]
)  # fmt: skip
@pytest.mark.parametrize("finer", [1, 2])
def test_stored_crop_is_what_the_box_cuts_out_of_the_frame(box: Box, finer: int):
    cut = crop_box(_frame(), box)
    stored = np.full((cut.height, cut.width, 3), 128, np.uint8)
    inside = cut.pixels.shape[:2]
    stored[cut.top : cut.top + inside[0], cut.left : cut.left + inside[1]] = cut.pixels

    found = stored_crop(stored.repeat(finer, 0).repeat(finer, 1), box, 16)

    assert (found.height, found.width) == (finer * cut.height, finer * cut.width)
    assert np.array_equal(found.pixels, cut.pixels.repeat(finer, 0).repeat(finer, 1))
    if cut.pixels.size:
        assert (found.top, found.left) == (finer * cut.top, finer * cut.left)


def test_stored_crop_of_a_smaller_picture_leaves_out_what_is_partly_outside():
    """Of 7 rows 2 lie above the frame: at 5 pixels that is 1.43, so the second is mixed."""
    found = stored_crop(np.zeros((5, 5, 3), np.uint8), (-2, 12, 5, 19), 16)
    assert (found.top, found.left, found.pixels.shape) == (2, 0, (3, 2, 3))


def test_stretched_brings_a_weak_projection_out_and_keeps_zero():
    signal = np.zeros((20, 20, 3), np.float32)
    signal[0, :10] = 20
    signal[1, :10] = -10
    signal[2, 0] = 127
    shown = stretched(signal).astype(int)
    assert (shown[3:] == 128).all()
    assert (shown[0, :10] == 255).all()
    assert np.abs(shown[1, :10] - (128 - 64)).max() <= 1
    assert (shown[2, 0] == 255).all()


@pytest.mark.parametrize("level", [0, 1, 5])
def test_stretched_noise_is_not_blown_up_without_bound(level: int):
    signal = np.full((8, 8, 3), level, np.float32)
    assert (stretched(signal) == 128 + 16 * level).all()


def test_stretched_full_range_stays_as_it_is():
    signal = np.linspace(-127, 127, 32, dtype=np.float32).round().repeat(6).reshape(8, 8, 3)
    assert np.array_equal(stretched(signal), signal + 128)


def test_draw_projection_made_smaller_has_its_contrast_back():
    """Stripes four pixels wide, of which the reduction leaves about half."""
    stripe = np.where(np.arange(64) // 2 % 2, 138, 118).astype(np.uint8)
    cut = Crop(64, 64, 0, 0, np.tile(stripe, (64, 1))[..., None].repeat(3, 2))
    shown = np.asarray(draw_projection(cut, (32, 32))).astype(int)
    assert np.ptp(np.asarray(draw_tile(cut, (32, 32)))) < 25
    assert np.ptp(shown) > 240


def test_draw_projection_enlarged_much_shows_pixels_and_hatches_outside():
    pixels = np.full((6, 8, 3), 128, np.uint8)
    pixels[2, 3] = (255, 128, 1)
    tile = np.asarray(draw_projection(Crop(8, 8, 2, 0, pixels), (64, 64))).astype(int)
    assert (tile[32:40, 24:32] == (255, 128, 0)).all()
    assert (tile[16:32] == 128).all()
    assert len(np.unique(tile[:16])) == 2


def test_draw_projection_without_a_picture_says_why():
    told = np.asarray(draw_projection(None, (72, 72), "not\nprojected"))
    assert np.array_equal(told, np.asarray(draw_tile(None, (72, 72), "not\nprojected")))


def test_draw_frame_is_the_frame_or_says_why_there_is_none():
    assert (np.asarray(draw_frame(_frame(), 16)) == _frame()).all()
    assert draw_frame(_frame(), 40).size == (40, 40)
    told = np.asarray(draw_frame("image gone", 72))
    assert (told == np.asarray(draw_tile(None, (72, 72), "image gone"))).all()

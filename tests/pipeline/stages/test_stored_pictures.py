from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.stages.stored_pictures import encode_png, scaled_pixels, shown_boxes


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_encode_png_gives_the_pixels_back(shape: tuple[int, ...]):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    assert (_pixels(encode_png(pixels)) == pixels).all()
    assert encode_png(pixels, 9) == encode_png(pixels)


def test_encode_png_of_a_picture_larger_than_allowed_is_the_mean_of_blocks():
    blocks = np.random.default_rng(0).integers(0, 256, (40, 20, 3), np.uint8)
    slow = blocks.reshape(8, 5, 4, 5, 3).astype(np.float64).mean(axis=(1, 3))

    small = _pixels(encode_png(blocks, 8))

    assert small.shape == (8, 4, 3)
    assert np.abs(small - slow).max() <= 1, "Pillow rounds along one axis and then the other"


@pytest.mark.parametrize("shape", [(9, 7), (3, 9, 7)])
def test_scaled_pixels_scale_undone_gives_the_values_back(shape: tuple[int, ...]):
    values = np.random.default_rng(0).normal(0, 40, shape).astype(np.float32)

    pixels, scale = scaled_pixels(values)

    back = (pixels.astype(np.float64) - 128) / 127 * scale
    back = back.transpose(2, 0, 1) if back.ndim == 3 else back
    assert scale == np.abs(values).max()
    assert np.abs(back - values).max() <= scale / 254 * 1.001


def test_scaled_pixels_of_values_without_sign_use_the_whole_range():
    pixels, scale = scaled_pixels(np.array([[0.0, 2.0], [4.0, 1.0]]), zero=0)

    assert (pixels.tolist(), scale) == ([[0, 128], [255, 64]], 4.0)


def test_scaled_pixels_of_zeros_are_grey():
    pixels, scale = scaled_pixels(np.zeros((3, 4, 4), np.float32))

    assert scale == 0.0
    assert (pixels == 128).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scaled_pixels_of_what_is_not_finite_are_grey_and_say_so(value: float):
    values = np.linspace(-1, 1, 75, dtype=np.float32).reshape(3, 5, 5)
    values[0, 2, 2] = value
    pixels, scale = scaled_pixels(values)

    assert not np.isfinite(scale)
    assert (pixels == 128).all()


def test_shown_boxes_larger_than_the_frame_are_the_frame():
    boxes = np.array([[-3, 5, 4, 12], [-50, -2, 80, 6], [-1, -1, 31, 33]])

    shown = shown_boxes(boxes, 32)

    assert shown.tolist() == [[-3, 5, 4, 12], [0, -2, 32, 6], [0, 0, 32, 32]]
    assert boxes[1, 0] == -50

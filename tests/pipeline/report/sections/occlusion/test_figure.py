from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.report.patches import Crop
from pipeline.report.pictures import SCALE
from pipeline.report.sections.occlusion.figure import draw_occlusion
from pipeline.report.sections.occlusion.heatmaps import PALETTE
from pipeline.report.sections.occlusion.reader import Evidence, Occluded
from tests.occluded import IMAGE, PATCH, WINDOW

PHOTO, PROJECTED, OTHER = (200, 20, 30), (128, 128, 255), (20, 180, 200)
SIDE = 252


def _cut(colour: tuple[int, int, int]) -> Crop:
    return Crop(8, 8, 0, 0, np.full((8, 8, 3), colour, np.uint8))


def _image() -> Occluded:
    own = replace(PATCH, projection=_cut((128, 128, 128)), crop=_cut(PHOTO))
    other = replace(PATCH, projection=_cut((128, 128, 128)), crop=_cut(OTHER))
    return replace(
        IMAGE,
        frame=np.full((32, 32, 3), PHOTO, np.uint8),
        projection=replace(IMAGE.projection, picture=_cut(PROJECTED), missing=""),
        evidence=Evidence((own, other), 0, scanned=True),
    )


def _drawn(image: Occluded) -> np.ndarray:
    return np.asarray(draw_occlusion(image, lambda index: f"class {index}")).astype(int)


def _where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The places of a colour, (y, x), in order."""
    return np.argwhere((picture == colour).all(axis=2))


def test_draw_occlusion_shows_a_b_d_e_in_a_row_and_c_below():
    picture = _drawn(_image())
    photo = _where(picture, PHOTO)
    (top, left), (bottom, right) = photo.min(axis=0), photo.max(axis=0) + 1
    assert (bottom - top, right - left) == (SIDE, SIDE)
    step = SIDE + 18
    for place, colour in ((1, SCALE[-1]), (2, SCALE[-1]), (3, PALETTE[0])):
        x = left + place * step
        tile = picture[top:bottom, x : x + SIDE]
        assert len(_where(tile, colour)) > 500, place
        assert not len(_where(tile, PHOTO))
    blue = _where(picture[bottom:], (128, 128, 255))
    assert len(blue) > 500
    assert len(_where(picture[bottom:], OTHER)) > 500
    assert blue[:, 1].max() < _where(picture[bottom:], OTHER)[:, 1].min()


def test_draw_occlusion_maps_lie_as_the_windows_do():
    picture = _drawn(_image())
    top, left = _where(picture, PHOTO).min(axis=0)
    tile = picture[top : top + SIDE, left + 2 * (SIDE + 18) :][:, :SIDE]
    # The windows' middles are y 8 and 12, x 4 and 8 of 32; p is largest (1) at the last.
    scale = SIDE / 32
    lightest = _where(tile, SCALE[-1])
    assert lightest.min(axis=0) == pytest.approx([10 * scale, 6 * scale], abs=1)
    assert lightest.max(axis=0) + 1 == pytest.approx([14 * scale, 10 * scale], abs=1)


def test_draw_occlusion_has_a_row_a_window():
    image = _image()
    one, two = (
        _drawn(replace(image, windows=windows))
        for windows in ((WINDOW,), (WINDOW, replace(WINDOW, window=1)))
    )
    assert two.shape[1] == one.shape[1]
    assert two.shape[0] - one.shape[0] > SIDE
    area = (len(_where(each, PHOTO)) for each in (one, two))
    assert 2 * next(area) == next(area)


def test_draw_occlusion_without_picture_projection_or_patches_says_so():
    bare = _drawn(IMAGE)
    whole = _drawn(_image())
    assert bare.shape[1] == whole.shape[1]
    assert whole.shape[0] - bare.shape[0] == SIDE
    assert not len(_where(bare, PHOTO))
    assert len(_where(bare, (206, 206, 206))) > 1000


def test_draw_occlusion_is_the_same_twice():
    assert (_drawn(_image()) == _drawn(_image())).all()


def test_draw_occlusion_endless_names_do_not_widen_it():
    long = replace(_image(), class_name="x" * 5000, image="y\u202e\n" * 900, layer="z" * 5000)
    assert _drawn(long).shape == _drawn(_image()).shape

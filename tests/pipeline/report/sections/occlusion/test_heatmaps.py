from __future__ import annotations

import numpy as np
import pytest

from pipeline.report.patches import crop_box
from pipeline.report.pictures import SCALE
from pipeline.report.sections.occlusion.heatmaps import (
    OTHERS,
    PALETTE,
    cells,
    class_map,
    colour_classes,
    finite_range,
    heat_map,
    projection_in_frame,
)
from pipeline.report.sections.occlusion.reader import WindowMap

SIDE = 32


def window_map(predicted: np.ndarray | None = None, side: int = 8, stride: int = 4) -> WindowMap:
    edges = np.arange(0, SIDE - side + 1, stride)
    count = len(edges)
    values = np.arange(count * count, dtype=np.float32).reshape(count, count)
    return WindowMap(
        window=0,
        size=(side, side),
        stride_px=stride,
        fill="grey",
        y_px=edges,
        x_px=edges,
        p=values,
        predicted=np.zeros((count, count), np.int32) if predicted is None else predicted,
        activity=values,
        largest_drop=0.5,
        drop_at=(4, 8),
        half_area=0.125,
        changed=0.5,
        drop_inside=None,
        pointed=None,
    )


def test_cells_lie_around_the_middles_of_their_windows():
    # Middles 4, 8, 12 ... 28: cells of 4 px from 2 to 30.
    places = cells(np.arange(0, 25, 4), 8, SIDE)
    assert places.tolist() == [-1, -1, *np.repeat(np.arange(7), 4).tolist(), -1, -1]


def test_cells_last_window_flush_with_the_border_has_a_narrower_cell():
    # Middles 8, 13, 18, 23, 24: borders 5.5, 10.5, 15.5, 20.5, 23.5, 24.5.
    places = cells(np.array([0, 5, 10, 15, 16]), 16, SIDE).tolist()
    assert [places.count(each) for each in range(5)] == [5, 5, 5, 3, 1]
    assert (places.index(0), places.index(4)) == (5, 23)


def test_cells_one_window_is_its_own_cell():
    assert cells(np.array([8]), 4, 16).tolist() == [-1] * 8 + [0] * 4 + [-1] * 4


def test_heat_map_has_each_value_at_its_window_s_middle_and_nothing_outside():
    window = window_map()
    picture = np.asarray(heat_map(window.p, window, (0.0, 48.0), SIDE))
    assert picture.shape == (SIDE, SIDE, 4)
    assert (picture[:2, :, 3] == 0).all()
    assert (picture[:, 30:, 3] == 0).all()
    assert (picture[2:30, 2:30, 3] == 255).all()
    assert tuple(picture[2, 2, :3]) == SCALE[0]
    assert tuple(picture[29, 29, :3]) == SCALE[-1]
    assert tuple(picture[16, 16, :3]) == SCALE[5], "24 of 48, at position 3, 3 of 7"
    # A row further down is 7 more, a column further right 1 more.
    assert (picture[2:6, 6:10] == picture[2, 6]).all()
    assert (picture[2, 6] != picture[2, 2]).any()


def test_heat_map_value_that_is_not_finite_is_transparent():
    window = window_map()
    window.p[0, 0] = np.nan
    picture = np.asarray(heat_map(window.p, window, finite_range(window.p, 0.0), SIDE))
    assert (picture[2:6, 2:6] == 0).all()
    assert (picture[2:6, 6:30, 3] == 255).all()


def test_heat_map_of_one_value_everywhere_is_drawn():
    window = window_map()
    window.p[:] = 0.0
    picture = np.asarray(heat_map(window.p, window, (0.0, 0.0), SIDE))
    assert (picture[2:30, 2:30, :3] == SCALE[0]).all()


def test_scale_grows_lighter_step_by_step():
    light = np.array(SCALE) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(light) > 8).all()


def test_finite_range_takes_in_the_clean_value():
    values = np.array([[1, np.inf], [3, np.nan]], np.float32)
    assert finite_range(values, 5.0) == (1.0, 5.0)
    assert finite_range(values, float("nan")) == (1.0, 3.0)
    assert finite_range(np.full((1, 1), np.nan, np.float32), float("inf")) == (0.0, 0.0)


def test_colour_classes_most_frequent_have_their_own_and_the_rest_one_grey():
    # Class c comes c times, 1 to 11.
    predicted = np.repeat(np.arange(1, 12), np.arange(1, 12)).astype(np.int32).reshape(6, 11)
    chosen = colour_classes([predicted])
    assert list(chosen.colours) == [11, 10, 9, 8, 7, 6, 5, 4]
    assert list(chosen.colours.values()) == list(PALETTE)
    assert chosen.others == {1, 2, 3}
    assert OTHERS not in PALETTE
    assert len(set(PALETTE)) == len(PALETTE)


def test_colour_classes_every_window_weighs_the_same():
    many, few = np.full((10, 10), 3, np.int32), np.full((2, 2), 7, np.int32)
    many[0] = 7
    assert list(colour_classes([many]).colours) == [3, 7]
    assert list(colour_classes([many, few]).colours) == [7, 3]


def test_class_map_draws_each_class_in_its_colour():
    predicted = np.arange(49, dtype=np.int32).reshape(7, 7)
    predicted[1:] = 5
    window = window_map(predicted)
    chosen = colour_classes([predicted])
    picture = np.asarray(class_map(window, chosen, SIDE))
    assert tuple(picture[20, 20]) == (*PALETTE[0], 255)
    row = [tuple(picture[3, 4 + 4 * column, :3]) for column in range(7)]
    assert row == [*PALETTE[1:6], PALETTE[0], PALETTE[6]]


def test_projection_in_frame_lies_at_its_box_on_grey():
    frame = np.full((SIDE, SIDE, 3), 128, np.uint8)
    frame[:, :, 2] = 255
    box = (-4, 20, 12, 36)
    picture = np.asarray(projection_in_frame(crop_box(frame, box), box, SIDE))
    blue = picture[:, :, 2] > 200
    assert blue[:12, 20:].all()
    assert blue.sum() == 12 * 12
    assert (picture[~blue] == 128).all()


@pytest.mark.parametrize("box", [(40, 0, 56, 16), (-20, 0, -4, 16)])
def test_projection_in_frame_outside_of_it_is_grey(box: tuple[int, int, int, int]):
    crop = crop_box(np.full((SIDE, SIDE, 3), 255, np.uint8), box)
    assert (np.asarray(projection_in_frame(crop, box, SIDE)) == 128).all()

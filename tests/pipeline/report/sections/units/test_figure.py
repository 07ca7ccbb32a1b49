from __future__ import annotations

import numpy as np
import pytest

from pipeline.report.patches import Crop, Patch, crop_box
from pipeline.report.sections.units.figure import draw_sheet, draw_unit
from pipeline.report.unit_record import UnitRecord

RED = (250, 10, 20)
BLUE = (0, 20, 250)
BOX = (0, 0, 8, 8)


def _frame() -> np.ndarray:
    y, x = np.mgrid[0:16, 0:16]
    return np.stack([y, x, y * 0 + 7], axis=2).astype(np.uint8)


def _red(height: int, width: int, *, top: int = 0, left: int = 0) -> Crop:
    pixels = np.broadcast_to(np.array(RED, np.uint8), (height - top, width - left, 3)).copy()
    return Crop(height, width, top, left, pixels)


def _page(*crops: Crop | None, unit: int = 3, field: tuple[int, int] = (8, 8)) -> UnitRecord:
    patches = tuple(
        Patch(9.0 - place, f"image{place}.jpg", "cat", BOX, crop, "" if crop else "image gone")
        for place, crop in enumerate(crops)
    )
    return UnitRecord("conv1", unit, "relu", field, 100, 25, patches)


def _red_area(
    picture: np.ndarray, colour: tuple[int, int, int] = RED
) -> list[tuple[int, int, int, int]]:
    """Bounding boxes (y0, x0, y1, x1) of the rectangles of a colour, in reading order."""
    mask = (picture == colour).all(axis=2)
    boxes = []
    while mask.any():
        y0, x0 = (int(v) for v in np.argwhere(mask)[0])
        x1 = x0 + int(np.argmin(np.append(mask[y0, x0:], False)))
        y1 = y0 + int(np.argmin(np.append(mask[y0:, x0], False)))
        assert mask[y0:y1, x0:x1].all()
        mask[y0:y1, x0:x1] = False
        boxes.append((y0, x0, y1, x1))
    return boxes


@pytest.mark.parametrize(
    ("side", "shown"), [(1, 96), (7, 98), (40, 120), (96, 96), (150, 150), (224, 224), (400, 224)]
)
def test_draw_unit_nine_patches_stand_three_by_three_in_one_size(side: int, shown: int):
    picture = np.asarray(draw_unit(_page(*[_red(side, side)] * 9, field=(side, side))))
    boxes = _red_area(picture)
    assert len(boxes) == 9
    assert {(y1 - y0, x1 - x0) for y0, x0, y1, x1 in boxes} == {(shown, shown)}
    assert len({box[0] for box in boxes}) == len({box[1] for box in boxes}) == 3


def test_draw_unit_small_field_shows_its_pixels_unblended():
    crop = crop_box(_frame(), (2, 4, 4, 7))
    picture = np.asarray(draw_unit(_page(crop, field=(2, 3))))
    blues = np.argwhere((picture[:, :, 2] == 7) & (picture[:, :, 0] < 16))
    (y0, x0), (y1, x1) = blues.min(axis=0), blues.max(axis=0) + 1
    assert (y1 - y0, x1 - x0) == (64, 96)
    shown = picture[y0:y1, x0:x1]
    assert np.array_equal(shown[16::32, 16::32, 0], [[2, 2, 2], [3, 3, 3]])
    assert np.array_equal(shown[16::32, 16::32, 1], [[4, 5, 6], [4, 5, 6]])
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 6


def test_draw_unit_outside_the_frame_is_hatched_grey_at_its_place():
    crop = _red(100, 100, top=25, left=40)
    picture = np.asarray(draw_unit(_page(crop, _red(100, 100), field=(100, 100))))
    (part, whole) = sorted(_red_area(picture), key=lambda box: box[1])
    y0, x0 = part[0] - 25, part[1] - 40
    assert y0 == whole[0]
    assert part == (y0 + 25, x0 + 40, y0 + 100, x0 + 100)
    outside = picture[y0 : y0 + 25, x0 : x0 + 100].reshape(-1, 3)
    assert (outside.max(axis=1) == outside.min(axis=1)).all()
    assert len(np.unique(outside)) == 2


def test_draw_unit_fewer_patches_are_not_made_up():
    picture = np.asarray(draw_unit(_page(*[_red(8, 8)] * 4)))
    assert len(_red_area(picture)) == 4
    empty = np.asarray(draw_unit(_page()))
    assert _red_area(empty) == []
    assert empty.shape[0] < picture.shape[0]


def test_draw_unit_more_than_nine_patches_show_the_first_nine():
    assert len(_red_area(np.asarray(draw_unit(_page(*[_red(8, 8)] * 12))))) == 9


def test_draw_unit_gone_image_leaves_a_grey_tile_of_the_same_size():
    picture = np.asarray(draw_unit(_page(_red(100, 100), None, field=(100, 100))))
    [(y0, x0, y1, x1)] = _red_area(picture)
    step = 150 + 14
    tile = picture[y0:y1, x0 + step : x1 + step].reshape(-1, 3)
    assert (tile == (206, 206, 206)).all(axis=1).mean() > 0.7
    assert tile.min() < 100, "the tile says nothing"


def test_draw_unit_title_and_captions_change_with_the_data():
    page = _page(_red(8, 8))
    other = _page(_red(8, 8), unit=4)
    assert draw_unit(page).tobytes() == draw_unit(page).tobytes()
    assert draw_unit(page).tobytes() != draw_unit(other).tobytes()


def test_draw_unit_long_and_strange_names_do_not_widen_the_page():
    plain = draw_unit(_page(_red(8, 8)))
    patch = Patch(1e-30, "n" * 5000 + "\n\x00.jpg", "klasse \u202e\n" * 50, BOX, _red(8, 8))
    strange = UnitRecord("conv1", 3, "relu", (8, 8), 0, 0, (patch,))
    assert draw_unit(strange).size == plain.size


def test_draw_sheet_one_row_a_unit_and_patches_in_rank_order():
    greys = [
        Crop(80, 80, 0, 0, np.full((80, 80, 3), (place * 20, 0, 200), np.uint8))
        for place in range(9)
    ]
    pages = [_page(*greys, unit=0), _page(unit=1), _page(*greys[:4], unit=2)]
    picture = np.asarray(draw_sheet(pages, total=64))
    row = picture[96 + 40]
    marks = [tuple(pixel) for pixel in row if pixel[1] == 0 and pixel[2] == 200]
    assert [mark[0] for mark in marks[::80]] == [place * 20 for place in range(9)]
    third = picture[96 + 40 + 2 * 90]
    assert len({pixel[0] for pixel in third if pixel[1] == 0 and pixel[2] == 200}) == 4


def test_draw_sheet_of_few_images_is_no_wider_than_its_longest_row():
    four, nine = (draw_sheet([_page(*[_red(80, 80)] * n), _page()], total=64) for n in (4, 9))
    assert nine.width - four.width == 5 * 86
    row = np.asarray(four)[96 + 40]
    assert (row == RED).all(axis=1).sum() == 4 * 80


def _pair(side: int = 8) -> Patch:
    projection = Crop(side, side, 0, 0, np.full((side, side, 3), BLUE, np.uint8))
    return Patch(1.0, "i.jpg", "cat", BOX, _red(side, side), projection=projection)


def test_draw_unit_projection_stands_left_of_its_patch_at_its_size():
    page = UnitRecord("conv1", 3, "relu", (8, 8), 100, 25, (_pair(),) * 9)
    picture = np.asarray(draw_unit(page))
    patches, projections = _red_area(picture), _red_area(picture, BLUE)
    assert len(patches) == len(projections) == 9
    for (y0, x0, y1, x1), (v0, u0, v1, u1) in zip(patches, projections, strict=True):
        assert (y0, y1, x1 - x0) == (v0, v1, u1 - u0)
        assert 0 < x0 - u1 < 10


def test_draw_sheet_one_projected_unit_keeps_all_patches_in_columns():
    projected = UnitRecord("conv1", 0, "relu", (80, 80), 100, 25, (_pair(80),) * 9)
    plain = _page(*[_red(80, 80)] * 9, unit=1, field=(80, 80))
    picture = np.asarray(draw_sheet([projected, plain], total=2))
    assert len(_red_area(picture, BLUE)) == 9
    areas = _red_area(picture)
    assert [area[1] for area in areas[:9]] == [area[1] for area in areas[9:]]

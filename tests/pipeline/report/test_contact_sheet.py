from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.report.contact_sheet import SheetShape, encode_contact_sheet
from pipeline.report.patches import Crop, Patch


def _plain(colour: tuple[int, int, int], height: int = 16, width: int = 16) -> Crop:
    return Crop(height, width, 0, 0, np.full((height, width, 3), colour, np.uint8))


def _patch(rank: int, *, projected: bool, size: tuple[int, int] = (16, 16)) -> Patch:
    projection = _plain((20, 28 + 25 * rank, 255), *size) if projected else None
    box = (0, 0, *size)
    return Patch(1.0, "i", None, box, _plain((220, 25 * rank, 20), *size), projection=projection)


def _decoded(patches: list[Patch], shape: SheetShape) -> np.ndarray:
    image = Image.open(io.BytesIO(encode_contact_sheet(patches, shape)))
    assert (image.format, image.size) == ("WEBP", (shape.width, shape.height))
    return np.asarray(image.convert("RGBA")).astype(int)


@pytest.mark.parametrize("tile_px", [16, 64])
def test_encode_sheet_projections_stand_left_and_patches_right_in_rank_order(tile_px: int):
    shape = SheetShape(tile_px, paired=True)
    sheet = _decoded([_patch(rank, projected=True) for rank in range(9)], shape)
    for rank in range(9):
        row, column = divmod(rank, 3)
        y = row * (tile_px + 2) + tile_px // 2
        left = column * (tile_px + 2) + tile_px // 2
        right = left + 3 * tile_px + 2 * 2 + 8
        assert np.abs(sheet[y, left] - (20, 28 + 25 * rank, 255, 255)).max() < 24
        assert np.abs(sheet[y, right] - (220, 25 * rank, 20, 255)).max() < 24


def test_encode_sheet_missing_pictures_leave_transparent_places():
    shape = SheetShape(32, paired=True)
    patches = [_patch(0, projected=True), _patch(1, projected=False)]
    alpha = _decoded(patches, shape)[:, :, 3]
    seen = [
        [bool(alpha[y + 16, x + 16]) for x, y in (shape.corner(i, projection=p) for i in range(9))]
        for p in (True, False)
    ]
    assert seen == [[True] + [False] * 8, [True] * 2 + [False] * 7]
    assert alpha.max() == 255


def test_encode_sheet_without_projections_is_patches_alone():
    shape = SheetShape(32, paired=False)
    assert (shape.width, shape.height) == (100, 100)
    sheet = _decoded([_patch(4, projected=True)] * 9, shape)
    assert (sheet[:, :, 0] > sheet[:, :, 2])[sheet[:, :, 3] > 0].all()


def test_encode_sheet_oblong_field_keeps_its_shape_in_the_middle():
    shape = SheetShape(32, paired=False)
    alpha = _decoded([_patch(0, projected=False, size=(8, 16))], shape)[:32, :32, 3]
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    assert (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) == (8, 24, 0, 32)


def test_encode_sheet_image_gone_leaves_a_plain_tile():
    gone = Patch(1.0, "i", None, (0, 0, 8, 8), None, "image gone")
    tile = _decoded([gone], SheetShape(64, paired=False))[:64, :64]
    assert (tile[:, :, 3] == 255).all()
    assert np.median(tile[:, :, :3]) == pytest.approx(206, abs=4)


def test_encode_sheet_equal_patches_give_equal_bytes_and_more_than_nine_show_nine():
    shape = SheetShape(64, paired=True)
    nine = [_patch(rank, projected=True) for rank in range(9)]
    assert encode_contact_sheet(nine, shape) == encode_contact_sheet([*nine, nine[0]], shape)

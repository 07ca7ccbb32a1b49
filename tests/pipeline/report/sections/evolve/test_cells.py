from __future__ import annotations

import io

import numpy as np
from PIL import Image

from pipeline.report.patches import Crop
from pipeline.report.sections.evolve.cells import GAP_PX, cell_size, draw_cell, encode_cell
from pipeline.report.sections.evolve.history import Moment


def _moment(height: int, width: int) -> Moment:
    red = np.full((height, width, 3), (200, 0, 0), np.uint8)
    grey = np.full((height, width, 3), 128, np.uint8)
    crops = [Crop(height, width, 0, 0, pixels) for pixels in (red, grey)]
    return Moment(0, box=(0, 0, height, width), patch=crops[0], projection=crops[1])


def test_cell_has_the_projection_above_the_patch():
    cell = np.asarray(draw_cell(_moment(8, 8), 32))

    assert cell.shape == (2 * 32 + GAP_PX, 32, 4)
    assert (cell[:32] == (128, 128, 128, 255)).all()
    assert (cell[32 + GAP_PX :] == (200, 0, 0, 255)).all()
    assert (cell[32 : 32 + GAP_PX, :, 3] == 0).all()


def test_cell_of_a_long_box_keeps_its_shape_in_the_middle():
    cell = np.asarray(draw_cell(_moment(8, 4), 32))

    assert (cell[:32, :8, 3] == 0).all()
    assert (cell[:32, 8:24, 3] == 255).all()
    assert (cell[:32, 24:, 3] == 0).all()


def test_encoded_cell_repeats_and_has_the_size_of_all():
    data = encode_cell(_moment(8, 4), 32)

    assert data == encode_cell(_moment(8, 4), 32)
    assert Image.open(io.BytesIO(data)).size == cell_size(32)

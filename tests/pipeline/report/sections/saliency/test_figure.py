from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline.report.sections.saliency.figure import draw_saliency
from pipeline.report.sections.saliency.maps import SaliencyMap, SalientImage

PHOTO, COLOURS = (200, 20, 30), [(10, 250, 40 * place) for place in range(5)]
IMAGE = SalientImage(
    image_id=12,
    title="cat",
    facts=(("file", "a.png"),),
    frame=np.full((32, 32, 3), PHOTO, np.uint8),
    frame_px=32,
    maps=tuple(
        SaliencyMap("gradient", "a map", "how to read it " * 5, Image.new("RGB", (32, 32), colour))
        for colour in COLOURS
    ),
)


def _where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere((picture == colour).all(axis=2))


@pytest.mark.parametrize("maps", [1, 3, 5])
def test_draw_saliency_shows_image_and_maps_four_in_a_row_at_one_size(maps: int):
    drawn = np.asarray(draw_saliency(replace(IMAGE, maps=IMAGE.maps[:maps])))
    top, left = _where(drawn, PHOTO).min(axis=0)
    for place, colour in enumerate([PHOTO, *COLOURS[:maps]]):
        found = _where(drawn, colour)
        assert len(found) == 252 * 252
        y, x = found.min(axis=0)
        assert x == left + place % 4 * (252 + 18)
        assert (y > top) == (place >= 4)


def test_draw_saliency_of_an_image_that_is_gone_says_so():
    drawn = np.asarray(draw_saliency(replace(IMAGE, frame="image gone")))
    assert not len(_where(drawn, PHOTO))
    assert len(_where(drawn, (206, 206, 206))) > 10_000

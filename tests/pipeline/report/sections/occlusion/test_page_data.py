from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.report.patches import Crop
from pipeline.report.sections.occlusion.heatmaps import colour_classes
from pipeline.report.sections.occlusion.page_data import (
    occlusion_card,
    page_name,
    watched_map,
    window_row,
)
from pipeline.report.sections.occlusion.reader import Evidence
from tests.occluded import IMAGE, PATCH, WINDOW


def _name(index: int) -> str:
    return f"class {index}"


def test_window_row_names_its_own_files():
    second = replace(WINDOW, window=1)
    colours = colour_classes([WINDOW.predicted])
    rows = [window_row(IMAGE, each, colours, _name) for each in (WINDOW, second)]
    files = [name for each in rows for name in (each.activity, each.p, each.classes)]
    assert len(set(files)) == 6
    assert files[1] == "occlusion/000012-0-p.webp"
    assert [key.name for key in rows[0].keys] == ["class 3", "class 9"]


def test_occlusion_card_is_of_the_window_with_the_largest_drop():
    deeper = replace(WINDOW, window=1, largest_drop=0.6, drop_at=(0, 0))
    frame = np.zeros((32, 32, 3), np.uint8)
    card = occlusion_card(replace(IMAGE, windows=(WINDOW, deeper), frame=frame), _name)
    assert (card.page, card.image) == (page_name(12), "occlusion/000012-image.webp")
    assert (card.p, card.drop) == ("occlusion/000012-1-p.webp", "0.6 of 0.75")
    assert (card.target, card.predicted) == ("class 9", "class 3")
    assert (card.spot.y, card.spot.x, card.side, card.problem) == (0, 0, 32, "")


def test_occlusion_card_of_an_image_that_is_gone_says_why():
    card = occlusion_card(replace(IMAGE, frame="no picture:\ntruncated", class_name=None), _name)
    assert (card.image, card.problem, card.title) == ("", "no picture: truncated", "a.png")


def test_watched_map_has_what_the_unit_and_the_image_have():
    grey = Crop(8, 8, 0, 0, np.full((8, 8, 3), 128, np.uint8))
    made = replace(IMAGE.projection, picture=grey, missing="")
    other = replace(PATCH, image="b.png")
    whole = watched_map(
        replace(IMAGE, projection=made, evidence=Evidence((PATCH, other), 0, scanned=True)),
        "page",
        16,
    )
    assert (whole.projection, whole.sheet, whole.shown) == (
        "occlusion/000012-projection.webp",
        "occlusion/000012-patches.webp",
        1,
    )
    assert (whole.note, whole.shape.paired, whole.link) == ("", False, "page")
    assert whole.projected.startswith("of its largest activation, 5")
    alone = watched_map(
        replace(IMAGE, projection=made, evidence=Evidence((PATCH,), 0, scanned=True)), "page", 16
    )
    assert (alone.sheet, bool(alone.projection)) == ("", True)
    none = watched_map(replace(IMAGE, evidence=Evidence((other,), None, scanned=True)), "page", 16)
    assert (none.projection, bool(none.sheet), bool(none.note)) == ("", True, True)

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.report.patches import Patch
from pipeline.report.section import UnitNote
from pipeline.report.sections.units.classes import ClassBar, UnitClasses
from pipeline.report.sections.units.histogram import draw_histogram
from pipeline.report.sections.units.page_data import (
    Known,
    LayerFacts,
    PatchDetail,
    UnitCard,
    UnitDetail,
    layer_facts,
    unit_card,
    unit_detail,
)

LAYER: dict[Any, Any] = {
    "layer": "block/a.relu",
    "position": 12,
    "kind": "relu",
    "activation": True,
    "map_height": 13,
    "map_width": 15,
    "stride_y": 16,
    "stride_x": 8,
    "field_height": 99,
    "field_width": 67,
    "gated": True,
    "whole_frame": "attention",
}
COUNTS = np.zeros(84, np.int64)
COUNTS[41], COUNTS[60] = 150, 50
ROW: dict[Any, Any] = {
    "unit": 7,
    "images": 200,
    "active": 50,
    "nonfinite": 3,
    "max": np.float32(1234.567),
    "mean": 2.00049,
    "std": 0.5,
    "histogram": COUNTS,
}
KNOWN = Known(
    UnitClasses((ClassBar("cat", "2", 100.0),), "words", 0.25), (UnitNote("title", "words"),)
)
PATCHES = (
    Patch(1234.567, "a.jpg", "cat", (0, -4, 16, 12), None),
    Patch(3.14159, "b.jpg", None, (5, 6, 21, 22), None),
)


def test_layer_facts_are_formatted_and_dead_units_counted():
    units = pd.DataFrame({"images": [200, 200, 200, 0], "active": [200, 50, 0, 0]})
    assert layer_facts(LAYER, units) == LayerFacts(
        name="block/a.relu",
        page="layers/012-block_a.relu.html",
        details="layers/012-block_a.relu.js",
        sheets="sheets/012-block_a.relu",
        kind="relu",
        units=4,
        dead=2,
        share="31.2%",
        map_size="13 x 15",
        stride="16 x 8 px",
        field="99 x 67 px",
        notes=("attention", "behind a whole-frame gate, which the boxes leave out"),
    )


def test_layer_facts_of_a_raw_layer_call_only_units_without_images_dead():
    units = pd.DataFrame({"images": [200, 0], "active": [0, 0]})
    plain = LAYER | {"activation": False, "gated": False, "whole_frame": None, "stride_y": 0}
    facts = layer_facts(plain, units)
    assert (facts.dead, facts.share, facts.stride, facts.notes) == (1, "0%", "", ())


def test_unit_card_says_what_the_table_says():
    assert unit_card(ROW, PATCHES, KNOWN, "sheets/x") == UnitCard(
        unit=7,
        maximum="1,230",
        share="25.0%",
        by_maximum=1234.57,
        by_share=0.25,
        dead=False,
        sheet="sheets/x/00007.webp",
        shown=2,
        by_selectivity=0.25,
    )


def test_unit_card_without_patches_is_dead_and_sorts_last():
    dead = unit_card(ROW | {"max": None, "images": 0, "active": 0}, (), Known(), "sheets/x")
    assert dead.by_selectivity == -1
    assert (dead.dead, dead.sheet, dead.maximum, dead.share) == (True, None, "", "0%")
    assert dead.by_maximum < -3.5e38


@pytest.mark.parametrize(
    ("active", "text"),
    [(0, "0%"), (1, "< 0.1%"), (100, "0.1%"), (99_999, "> 99.9%"), (100_000, "100%")],
)
def test_unit_card_share_is_never_rounded_to_none_or_all(active: int, text: str):
    row = ROW | {"images": 100_000, "active": active}
    assert unit_card(row, PATCHES, Known(), "s").share == text


def test_unit_detail_says_what_a_card_has_no_room_for():
    assert unit_detail(ROW, PATCHES, KNOWN, activation=True) == UnitDetail(
        maximum="1,230",
        mean="2",
        std="0.5",
        images="200",
        active="50 (25.0%)",
        nonfinite="3",
        histogram=draw_histogram(COUNTS.tolist(), positive=True),
        patches=(
            PatchDetail("1,230", "cat", "a.jpg", "y 0 to 15, x -4 to 11"),
            PatchDetail("3.14", "", "b.jpg", "y 5 to 20, x 6 to 21"),
        ),
        classes=KNOWN.classes,
        notes=KNOWN.notes,
    )


def test_unit_detail_without_images_leaves_the_numbers_empty():
    row = ROW | {"images": 0, "active": 0, "nonfinite": 0, "max": None, "mean": None, "std": None}
    row["histogram"] = np.zeros(84, np.int64)
    assert unit_detail(row, (), Known(), activation=True) == UnitDetail(
        "", "", "", "0", "0", "", None, (), None, ()
    )


def test_unit_detail_of_a_raw_layer_draws_what_is_not_above_zero_too():
    assert unit_detail(ROW, PATCHES, Known(), activation=False).histogram == draw_histogram(
        COUNTS.tolist(), positive=False
    )

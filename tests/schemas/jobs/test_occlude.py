"""The occlusion's spec: windows and strides that belong together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.jobs.occlude import OccludeSpec
from tests.wrong_values import (
    ABOVE,
    BELOW,
    COUNT,
    HUGE,
    LIST,
    NATURAL,
    PLACE,
    SWITCH,
    TEXT,
    Wrong,
)

WRONG: dict[str, Wrong] = {
    "run": PLACE,
    "window_px": {
        "16": LIST, "[]": "at least 1", "[0]": "16x24", "[25]": "24 x 24", "[true]": SWITCH,
        f'["{HUGE}"]': "16x24", '["0x4"]': "16x24", "[8, 8]": "give each once",
    },
    "stride_px": {
        "4": LIST, "[]": "at least 1", "[0]": ABOVE, "[8193]": BELOW, "[4, 4]": "one for all",
    },
    "fill": {"pink": "grey, mean, blur", '"#12"': "grey, mean, blur"},
    "target": NATURAL | {"5": "choices: 0 to 4"},
    "layer": {"3": TEXT, '""': "choices: input", "rellu1": "nearest: relu1"},
    "boxes": PLACE | {"/nowhere.csv": "check the path"},
    "engine": {"fast": "auto, incremental, dense"},
    "batch_bytes": COUNT | {"1048575": ABOVE},
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "windows"),
    [
        ({}, [(16, 16, 4)]),
        ({"window_px": [32, "16x24"], "stride_px": [8]}, [(32, 32, 8), (16, 24, 8)]),
        ({"window_px": ["16", 16], "stride_px": [8, 4]}, [(16, 16, 8), (16, 16, 4)]),
    ],
)
def test_occlude_spec_windows_have_one_stride_or_one_each(
    given: dict[str, Any], windows: list[tuple[int, int, int]]
):
    spec = OccludeSpec(run="r", **given)

    assert [(*window.size, window.stride_px) for window in spec.windows] == windows


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"window_px": [8, 16, 24], "stride_px": [4, 2]}, "2 steps for 3 windows"),
        ({"window_px": ["16", "16x16"]}, "one window stands twice in 16, 16x16"),
        ({"window_px": ["0"]}, "window_px"),
        ({"window_px": ["16x"]}, "window_px"),
        ({"stride_px": [0]}, "stride_px"),
        ({"fill": "pink"}, "fill"),
        ({"images": {"of_unit": "relu1"}}, "of_unit"),
        ({"images": {"ids": [-1]}}, "ids"),
        ({"target": -1}, "target"),
    ],
)
def test_occlude_spec_that_cannot_be_meant_is_refused(given: dict[str, Any], says: str):
    with pytest.raises(ValidationError, match=says):
        OccludeSpec(run="r", **given)

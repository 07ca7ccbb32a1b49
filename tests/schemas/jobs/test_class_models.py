"""The class models' spec: classes by number or name, units by glob, and starts that differ."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.jobs.class_models import ClassModelsSpec
from tests.wrong_values import (
    ABOVE,
    BELOW,
    COUNT,
    FINITE,
    LIST,
    NATURAL,
    PLACE,
    SWITCH,
    TEXT,
    Wrong,
)

NUMBER: Wrong = {"-1": ABOVE, ".nan": FINITE, ".inf": FINITE, "x": "valid number", "true": SWITCH}

WRONG: dict[str, Wrong] = {
    "run": PLACE,
    "classes": {
        "3": LIST, "[[1]]": TEXT, "[5]": "choices: 0 to 4", '["3-1"]': "choices: 0 to 4",
        "[aunts]": "nearest: ants", "[true]": SWITCH,
    },
    "units": {
        "relu1:3": LIST, "[relu1]": "relu*:0-8", '["relu1:3-1"]': "a range goes upwards, 1-3",
        '["rellu1:3"]': "nearest: relu1", '["relu1:6-9"]': "choices: 0 to 5", "[3]": "relu*:0-8",
    },
    "sample": COUNT,
    "seeds": COUNT | {"1001": BELOW},
    "steps": COUNT | {"100001": BELOW},
    "rate": NUMBER | {"0": ABOVE, "1000001": BELOW},
    "normalise": {"maybe": "valid boolean", "2": "valid boolean"},
    "l2": NUMBER | {"1000001": BELOW},
    "basis": {"pixels": "one of pixel, fourier", "3": "one of pixel, fourier"},
    "jitter_px": {"-1": ABOVE, "4097": BELOW, "1.5": "valid integer", "true": SWITCH},
    "blur_px": NUMBER | {"65": BELOW},
    "blur_every": COUNT | {"100001": BELOW},
    "noise": NUMBER | {"101": BELOW},
    "seed": NATURAL,
    "position": {"center": "one of centre, mean", "3": "one of centre, mean"},
    "batch_size": COUNT | {"65537": BELOW},
    "batch_bytes": COUNT | {"1048575": ABOVE},
    "picture_px": COUNT | {"15": ABOVE, "8193": BELOW},
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"units": ["relu1"]}, "a glob over layers"),
        ({"units": ["relu1:8-2"]}, "2-8"),
        ({"l2": -1}, "l2"),
        ({"rate": 0}, "rate"),
        ({"seeds": 2, "noise": 0, "jitter_px": 0}, "all 2 images of a target are the same"),
    ],
)
def test_class_models_spec_that_cannot_be_meant_is_refused(given: dict[str, Any], says: str):
    with pytest.raises(ValidationError, match=says):
        ClassModelsSpec(run="r", **given)


def test_class_models_spec_takes_numbers_ranges_and_names():
    spec = ClassModelsSpec(run="r", classes=[1, "0-9", "goldfish"], units=["relu*:3", "fc:0-8"])
    assert spec.classes == ("1", "0-9", "goldfish")
    assert spec.units == ("relu*:3", "fc:0-8")

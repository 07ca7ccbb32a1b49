"""The saliency's spec: methods, and numbers that make sense."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.jobs.saliency import SaliencySpec
from tests.wrong_values import ABOVE, BELOW, COUNT, FINITE, LIST, NATURAL, PLACE, SWITCH, Wrong

WRONG: dict[str, Wrong] = {
    "run": PLACE,
    "methods": {
        "gradient": LIST, "[]": "at least 1", "[gradients]": "'gradient', 'positive'",
        "[guided, guided]": "give each method once", "[3]": "'gradient', 'positive'",
        "[true]": SWITCH,
    },
    "target": NATURAL | {"5": "choices: 0 to 4"},
    "samples": COUNT | {"10001": BELOW},
    "noise_percent": {
        "0": ABOVE, "-1": ABOVE, "1001": BELOW, ".nan": FINITE, "x": "valid number", "true": SWITCH,
    },
    "steps": COUNT | {"10001": BELOW},
    "seed": NATURAL,
    "picture_px": COUNT | {"15": ABOVE, "8193": BELOW},
    "batch_bytes": COUNT | {"1048575": ABOVE},
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"methods": []}, "at least 1 item"),
        ({"methods": ["smoothgrad", "gradient", "smoothgrad"]}, "smoothgrad stands twice"),
        ({"methods": ["grad"]}, "methods"),
        ({"noise_percent": 0}, "noise_percent"),
        ({"target": -1}, "target"),
    ],
)
def test_saliency_spec_that_cannot_be_meant_is_refused(given: dict[str, Any], says: str):
    with pytest.raises(ValidationError, match=says):
        SaliencySpec(run="r", **given)

"""The correspondence's spec: boxes are needed, and a deviation needs two draws."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.jobs.correspond import CorrespondSpec
from tests.wrong_values import ABOVE, BELOW, COUNT, LIST, NATURAL, PLACE, TEXT, Wrong

WRONG: dict[str, Wrong] = {
    "run": PLACE,
    "boxes": PLACE | {"/nowhere.csv": "check the path"},
    "parts": {
        "nose": LIST, "[[1]]": TEXT, '[""]': "at least 1 character", "[noze]": "nearest: nose",
    },
    "draws": COUNT | {"1": ABOVE, "1001": BELOW},
    "seed": NATURAL,
    "fill": {"pink": "grey, mean, blur", '"#12"': "grey, mean, blur"},
}  # fmt: skip


def test_correspond_spec_needs_boxes_and_at_least_two_draws():
    assert CorrespondSpec(run="r", boxes="parts.csv").draws == 20
    with pytest.raises(ValidationError, match="boxes"):
        CorrespondSpec.model_validate({"run": "r"})
    with pytest.raises(ValidationError, match="draws"):
        CorrespondSpec(run="r", boxes="parts.csv", draws=1)

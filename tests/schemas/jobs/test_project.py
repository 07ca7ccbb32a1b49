"""The projections' spec: which units are meant."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.jobs.project import ProjectSpec
from tests.wrong_values import (
    ABOVE,
    BELOW,
    COUNT,
    FINITE,
    HUGE,
    PLACE,
    SWITCH,
    TEXT,
    Wrong,
)

WRONG: dict[str, Wrong] = {
    "run": PLACE,
    "units": {
        "a": "0-63", "-3": "0-63", "9-3": "3-9", "[3]": TEXT, "77-80": "choices: 0 to 7",
        f'"{HUGE}"': "0-63",
    },
    "top": COUNT | {"101": BELOW},
    "rule": {"deconv": "deconvnet, guided, gradient"},
    "tolerance": {"0": ABOVE, ".inf": FINITE, ".nan": "", "x": "valid number", "true": SWITCH},
    "batch_size": COUNT | {"65537": BELOW},
    "picture_px": COUNT | {"15": ABOVE, "8193": BELOW},
}  # fmt: skip


@pytest.mark.parametrize("units", ["3", "0-63"])
def test_project_units_as_a_number_or_a_range_are_taken(units: str):
    assert ProjectSpec(run="runs/a", units=units).units == units


@pytest.mark.parametrize("units", ["", "a", "-3", "0-", "1,2", "3 ", "0-63-64"])
def test_project_units_in_another_form_are_refused(units: str):
    with pytest.raises(ValidationError, match="units"):
        ProjectSpec(run="runs/a", units=units)

"""The spec of the filters: thresholds that make sense."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.jobs.filters import FiltersSpec
from tests.wrong_values import ABOVE, BELOW, FINITE, PLACE, SWITCH, Wrong

SHARE: Wrong = {"-0.1": ABOVE, "1.1": BELOW, ".nan": FINITE, "x": "valid number", "true": SWITCH}
WRONG: dict[str, Wrong] = {
    "run": PLACE,
    "dominant": {"1": ABOVE, "1e10": BELOW, ".inf": FINITE, "x": "valid number", "true": SWITCH},
    "weak": SHARE,
    "near_dead": SHARE,
    "extreme": SHARE,
    "aliasing": SHARE,
    "middle": SHARE,
}


@pytest.mark.parametrize("given", [{"dominant": 1.0}, {"weak": -0.5}, {"middle": 2}])
def test_filters_spec_that_cannot_be_meant_is_refused(given: dict[str, Any]):
    with pytest.raises(ValidationError, match=next(iter(given))):
        FiltersSpec(run="r", **given)

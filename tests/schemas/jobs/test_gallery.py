"""The gallery's spec."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.jobs.gallery import GallerySpec
from tests.wrong_values import (
    ABOVE,
    BELOW,
    COUNT,
    PLACE,
    Wrong,
)

WRONG: dict[str, Wrong] = {
    "run": PLACE | {"s4://b/x": "local folder"},
    "out": PLACE | {"s4://b/x": "local folder", "/dev/null": "give another one"},
    "sheet_px": COUNT | {"15": ABOVE, "257": BELOW},
}  # fmt: skip


@pytest.mark.parametrize("side", [15, 257])
def test_gallery_sheet_outside_its_range_is_refused(side: int):
    with pytest.raises(ValidationError, match="sheet_px"):
        GallerySpec(run="runs/a", sheet_px=side)

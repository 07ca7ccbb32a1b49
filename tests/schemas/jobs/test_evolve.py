"""The evolution's spec: checkpoints, and a share that makes sense."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.flags import paths_of
from schemas.jobs.evolve import EvolveSpec
from tests.wrong_values import (
    ABOVE,
    BELOW,
    FINITE,
    HUGE,
    LIST,
    NO_NULL,
    PLACE,
    SWITCH,
    TEXT,
    Wrong,
)

WRONG: dict[str, Wrong] = {
    "run": PLACE,
    "checkpoints": {
        "e.pth": LIST, "[]": "at least 1", "[3]": TEXT, '[""]': "at least 1 character",
        r'["\0"]': NO_NULL, "[a.pth, a.pth]": "give each once",
        "[none.pth]": "the only one", "[random]": "names no file",
        '["none*.pth"]': "matches no file", '["s3://key:word@b/x.pth"]': "give them to fsspec",
    },
    "units": {
        "a": "0-63", "-3": "0-63", "9-3": "3-9", "[3]": TEXT, "77-80": "choices: 0 to 7",
        f'"{HUGE}"': "0-63",
    },
    "rule": {"deconv": "deconvnet, guided, gradient"},
    "settled": {
        "0": ABOVE, "1.1": BELOW, ".nan": FINITE, "x": "valid number", "true": SWITCH,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"checkpoints": []}, "at least 1 item"),
        ({"checkpoints": ["a.pth", "b.pth", "a.pth"]}, "a.pth stands twice"),
        ({"checkpoints": ["a.pth"], "settled": 0}, "settled"),
        ({"checkpoints": ["a.pth"], "units": "all"}, "units"),
    ],
)
def test_evolve_spec_that_cannot_be_meant_is_refused(given: dict[str, Any], says: str):
    with pytest.raises(ValidationError, match=says):
        EvolveSpec(run="r", **given)


def test_every_checkpoint_is_a_path():
    spec = EvolveSpec(run="s3://b/r", checkpoints=("a.pth", "e*.pth"))

    assert list(paths_of(spec)) == [
        ("run", "s3://b/r"), ("checkpoints", "a.pth"), ("checkpoints", "e*.pth"),
    ]  # fmt: skip

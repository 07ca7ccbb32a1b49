"""The invariance's spec: steps that count upwards, within bounds, and move something."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.jobs.invariance import InvarianceFigure, InvarianceSpec
from schemas.moves import TRANSFORMS
from tests.wrong_values import ABOVE, COUNT, NATURAL, PLACE, Wrong

FORM = "first..last/step is needed"
STEPS: Wrong = {
    "3": FORM, '""': FORM, '"1:2:3"': FORM, "1..2": FORM, "2..1/1": "goes upwards",
    "1..2/0": "goes upwards", "1..2/-1": "goes upwards", "1..2/0.001": "take a larger step",
}  # fmt: skip
WRONG: dict[str, Wrong] = {
    "run": PLACE,
    "translation_px": STEPS | {"-9000..0/1000": "from -8192 to 8192"},
    "scale": STEPS | {"0..1/0.5": "from 0.1 to 10"},
    "rotation_degrees": STEPS | {"0..400/100": "from -360 to 360"},
    "fill": {"pink": "mean, grey, black", "3": "mean, grey, black"},
    "target": NATURAL | {"5": "choices: 0 to 4"},
    "batch_bytes": COUNT | {"1048575": ABOVE},
}


def test_invariance_spec_has_the_steps_of_the_paper_and_leaves_out_what_is_null():
    moves = InvarianceSpec(run="r").moves

    assert len(moves) == 36 + 9 + 13
    assert list(moves) == sorted(moves)
    assert tuple(dict.fromkeys(move.transform for move in moves)) == TRANSFORMS
    alone = InvarianceSpec(run="r", translation_px=None, rotation_degrees=None)
    assert {move.transform for move in alone.moves} == {"scale"}


@pytest.mark.parametrize(
    "given",
    [
        {"translation_px": None, "scale": None, "rotation_degrees": None},
        {"translation_px": "0..0/1", "scale": "1..1/1", "rotation_degrees": "0..360/360"},
    ],
)
def test_invariance_spec_that_moves_nothing_is_refused(given: dict[str, Any]):
    with pytest.raises(ValidationError, match="nothing is moved"):
        InvarianceSpec(run="r", **given)


@pytest.mark.parametrize("text", ["", "-1", "everything", "1.5"])
def test_invariance_figure_is_of_an_image_or_of_all(text: str):
    with pytest.raises(ValidationError, match="invariance"):
        InvarianceFigure(invariance=text)

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from jobs.flags import Flag, spec_command
from jobs.job_flags import (
    GALLERY_FLAGS,
    MODEL_FLAGS,
    OCCLUDE_FLAGS,
    PROJECT_FLAGS,
    SCAN_FLAGS,
)
from schemas.jobs import GallerySpec, OccludeSpec, ProjectSpec, ScanSpec
from schemas.specs import Spec


@pytest.mark.parametrize(
    ("spec", "flag"),
    [
        *((ScanSpec, flag) for flag in (*MODEL_FLAGS, *SCAN_FLAGS)),
        *((ProjectSpec, flag) for flag in PROJECT_FLAGS),
        *((OccludeSpec, flag) for flag in OCCLUDE_FLAGS),
        *((GallerySpec, flag) for flag in GALLERY_FLAGS),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_flags_each_names_a_field_of_the_spec(spec: type[Spec], flag: Flag):
    model: object = spec
    for step in flag.field.split("."):
        info = model.model_fields[step]  # type: ignore[attr-defined]
        model = info.annotation
    assert flag.help.endswith(".")


def _occlude(*arguments: str) -> OccludeSpec:
    seen: list[OccludeSpec] = []
    app = typer.Typer()
    app.command()(spec_command(OccludeSpec, OCCLUDE_FLAGS, seen.append))
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


def test_occlude_flags_reach_their_fields():
    spec = _occlude(
        "runs/a", "--images", "12,40", "--class", "kelpie", "--of-unit", "relu1:3", "--sample", "5",
        "--window-px", "16,8x24", "--stride-px", "4,6", "--fill", "#ff0080", "--target", "7",
        "--layer", "relu1", "--boxes", "b.csv",
    )  # fmt: skip

    assert (spec.images.ids, spec.images.classes) == ((12, 40), ("kelpie",))
    assert (spec.images.of_unit, spec.images.sample) == ("relu1:3", 5)
    assert [window.size for window in spec.windows] == [(16, 16), (8, 24)]
    assert [window.stride_px for window in spec.windows] == [4, 6]
    assert (spec.fill, spec.target, spec.layer, spec.boxes) == ("#ff0080", 7, "relu1", "b.csv")


def test_occlude_sample_of_all_is_no_sample():
    assert _occlude("runs/a").images.sample == 100
    assert _occlude("runs/a", "--sample", "all").images.sample is None

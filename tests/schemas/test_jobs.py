"""Job specs: what contradicts itself is refused, and each gives a schema that its YAML meets."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from schemas.jobs import JOBS, GallerySpec, OccludeSpec, ProjectSpec, ScanSpec
from schemas.specs import Spec

SCAN = {"model": {"arch": "zfnet"}, "data": {"uri": "photos"}, "out": "runs/a"}
SMALLEST: dict[str, dict[str, Any]] = {
    "scan": SCAN,
    "project": {"run": "runs/a"},
    "occlude": {"run": "runs/a"},
    "gallery": {"run": "runs/a"},
}
EVERY = pytest.mark.parametrize("name", JOBS)


def objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """A JSON schema and the objects that it defines."""
    return [schema, *schema.get("$defs", {}).values()]


def test_every_job_has_a_smallest_spec_here():
    assert SMALLEST.keys() == JOBS.keys()


@EVERY
def test_job_spec_through_json_and_yaml_comes_back_equal(name: str):
    spec = JOBS[name].model_validate(SMALLEST[name])
    text = yaml.safe_dump(spec.model_dump(mode="json"))

    assert JOBS[name].model_validate_json(spec.model_dump_json()) == spec
    assert JOBS[name].model_validate(yaml.safe_load(text)) == spec


@EVERY
def test_job_spec_with_an_unknown_field_is_refused(name: str):
    with pytest.raises(ValidationError) as raised:
        JOBS[name].model_validate({**SMALLEST[name], "batchsize": 3})

    assert raised.value.errors()[0]["loc"] == ("batchsize",)


@EVERY
def test_job_spec_without_its_required_fields_names_each(name: str):
    with pytest.raises(ValidationError) as raised:
        JOBS[name].model_validate({})

    assert {error["loc"] for error in raised.value.errors()} == {(f,) for f in SMALLEST[name]}


@EVERY
def test_job_spec_when_mutated_refuses(name: str):
    spec = JOBS[name].model_validate(SMALLEST[name])

    for field in type(spec).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(spec, field, None)


@EVERY
def test_job_schema_is_closed_and_describes_the_job(name: str):
    schema = JOBS[name].model_json_schema()

    assert all(part["additionalProperties"] is False for part in objects(schema))
    assert all(part["description"] for part in objects(schema))
    assert set(schema["required"]) == SMALLEST[name].keys()


@pytest.mark.parametrize("kind", [ProjectSpec, GallerySpec])
@pytest.mark.parametrize("run", ["s3://key:secret@bucket/run", ""])
def test_run_with_credentials_or_nothing_is_refused(kind: type[Spec], run: str):
    with pytest.raises(ValidationError) as raised:
        kind.model_validate({"run": run})

    assert raised.value.errors()[0]["loc"] == ("run",)


def test_scan_without_more_words_has_the_paper_s_nine_patches():
    spec = ScanSpec.model_validate(SCAN)

    assert (spec.top, spec.batch_size, spec.shard_size) == (9, 64, None)
    assert (spec.precision, spec.preprocess, spec.layers.include) == ("fp32", None, ())


def test_scan_shard_size_not_a_multiple_of_the_batch_is_refused():
    with pytest.raises(ValidationError, match="shard_size 100 is not a multiple of batch_size 64"):
        ScanSpec.model_validate({**SCAN, "shard_size": 100})
    assert ScanSpec.model_validate({**SCAN, "shard_size": 128}).shard_size == 128


@pytest.mark.parametrize("top", [0, 101])
def test_scan_top_outside_its_range_is_refused(top: int):
    with pytest.raises(ValidationError) as raised:
        ScanSpec.model_validate({**SCAN, "top": top})

    assert raised.value.errors()[0]["loc"] == ("top",)


def test_scan_tf32_needs_a_gpu():
    with pytest.raises(ValidationError, match="tf32 needs device cuda"):
        ScanSpec.model_validate({**SCAN, "precision": "tf32"})
    on_gpu = {**SCAN, "precision": "tf32", "resources": {"device": "cuda"}}
    assert ScanSpec.model_validate(on_gpu).precision == "tf32"
    assert ScanSpec.model_validate({**SCAN, "precision": "bf16"}).precision == "bf16"


@pytest.mark.parametrize("units", ["3", "0-63"])
def test_project_units_as_a_number_or_a_range_are_taken(units: str):
    assert ProjectSpec(run="runs/a", units=units).units == units


@pytest.mark.parametrize("units", ["", "a", "-3", "0-", "1,2", "3 ", "0-63-64"])
def test_project_units_in_another_form_are_refused(units: str):
    with pytest.raises(ValidationError, match="units"):
        ProjectSpec(run="runs/a", units=units)


@pytest.mark.parametrize("side", [15, 257])
def test_gallery_sheet_outside_its_range_is_refused(side: int):
    with pytest.raises(ValidationError, match="sheet_px"):
        GallerySpec(run="runs/a", sheet_px=side)


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

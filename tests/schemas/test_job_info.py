"""What every job says of itself: its spec is closed and frozen, its example and its schema hold."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from schemas.flags import flags_of
from schemas.jobs import JOBS
from tests.job_examples import smallest

EVERY = pytest.mark.parametrize("name", JOBS)


def objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """A JSON schema and the objects that it defines."""
    return [schema, *schema.get("$defs", {}).values()]


@EVERY
def test_job_spec_through_json_and_yaml_comes_back_equal(name: str):
    spec = JOBS[name].spec.model_validate(smallest(name))
    text = yaml.safe_dump(spec.model_dump(mode="json"))

    assert JOBS[name].spec.model_validate_json(spec.model_dump_json()) == spec
    assert JOBS[name].spec.model_validate(yaml.safe_load(text)) == spec


@EVERY
def test_job_spec_with_an_unknown_field_is_refused(name: str):
    with pytest.raises(ValidationError) as raised:
        JOBS[name].spec.model_validate({**smallest(name), "batchsize": 3})

    assert raised.value.errors()[0]["loc"] == ("batchsize",)


@EVERY
def test_job_spec_without_its_required_fields_names_each(name: str):
    with pytest.raises(ValidationError) as raised:
        JOBS[name].spec.model_validate({})

    assert {error["loc"] for error in raised.value.errors()} == {(f,) for f in smallest(name)}


@EVERY
def test_job_spec_when_mutated_refuses(name: str):
    spec = JOBS[name].spec.model_validate(smallest(name))

    for field in type(spec).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(spec, field, None)


@EVERY
def test_job_schema_is_closed_and_describes_the_job(name: str):
    schema = JOBS[name].spec.model_json_schema()

    assert all(part["additionalProperties"] is False for part in objects(schema))
    assert all(part["description"] for part in objects(schema))
    assert set(schema["required"]) == smallest(name).keys()


@pytest.mark.parametrize("name", [name for name in JOBS if "run" in JOBS[name].spec.model_fields])
@pytest.mark.parametrize("run", ["s3://key:secret@bucket/run", ""])
def test_run_with_credentials_or_nothing_is_refused(name: str, run: str):
    with pytest.raises(ValidationError) as raised:
        JOBS[name].spec.model_validate({**smallest(name), "run": run})

    assert raised.value.errors()[0]["loc"] == ("run",)


@EVERY
def test_job_publishes_tables_of_its_own_name(name: str):
    assert JOBS[name].name == name
    assert {table.job for table in JOBS[name].tables} <= {name}


def test_figures_of_all_jobs_share_no_flag():
    figures = [figure for info in JOBS.values() for figure in info.figures]
    names = [flag.name for figure in figures for flag in flags_of(figure)]

    assert len(set(names)) == len(names)
    assert all(any(flag.required for flag in flags_of(figure)) for figure in figures)

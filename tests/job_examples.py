"""Specs and command lines of every job, from the example that its help gives."""

from __future__ import annotations

import shlex
from typing import Any

import typer
from typer.testing import CliRunner

from jobs.flags import spec_command
from schemas.flags import paths_of
from schemas.jobs import JOBS
from schemas.specs import JobSpec, Spec


def words(job: str) -> list[str]:
    """The arguments of a job's example, without the command's name."""
    command, name, *rest = shlex.split(JOBS[job].example)
    assert (command, name) == ("unitscope", job)
    return rest


def elsewhere(job: str) -> list[str]:
    """The arguments of a job's example, every path in them a URL that a cluster can read."""
    paths = {path for _, path in paths_of(_spec(job))}
    return [f"s3://b/{word}" if word in paths else word for word in words(job)]


def smallest(job: str) -> dict[str, Any]:
    """Of a job's example the fields that must be given, as a spec is read from YAML."""
    return _required(_spec(job))


def _spec(job: str) -> JobSpec:
    seen: list[JobSpec] = []
    app = typer.Typer()
    app.command()(spec_command(JOBS[job].spec, seen.append))
    result = CliRunner().invoke(app, words(job), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


def _required(spec: Spec) -> dict[str, Any]:
    fields = type(spec).model_fields
    given = {name: getattr(spec, name) for name, info in fields.items() if info.is_required()}
    return {
        name: _required(value) if isinstance(value, Spec) else value
        for name, value in given.items()
    }

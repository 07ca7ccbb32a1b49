"""`unitscope submit`: hand a job to a Ray cluster.

A submitted job has the flags and the spec of the command that runs it here.
"""

# ruff: noqa: PLC0415 (heavy modules are imported by the command that needs them)
from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import typer

from jobs.flags import keyword, spec_command
from jobs.spec_io import dump_spec
from schemas.errors import InputError, JobError, SpecError
from schemas.flags import flags_of, paths_of
from schemas.jobs import JOBS
from schemas.specs import JobSpec, Spec

submit_app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@submit_app.callback()
def submit() -> None:
    """Run a job on a Ray cluster: `unitscope submit scan ... --address http://head:8265`."""


def _submit(
    job: str, spec: JobSpec, *, address: str, submission_id: str | None, wait: bool
) -> None:
    try:
        from pipeline.runtime import submit
    except ModuleNotFoundError as error:
        raise InputError(f"submit needs {error.name}; install unitscope[ray]") from error
    require_absolute(spec)
    known = submit.submit(job, dump_spec(spec), address=address, submission_id=submission_id)
    typer.echo(f"submitted: {known}")
    typer.echo(f"next: unitscope status {shlex.quote(spec.home)}")
    if wait:
        end = submit.wait(address, known, follow=lambda log: typer.echo(log, nl=False))
        typer.echo(f"{known}: {end}")
        if end != "SUCCEEDED":
            raise JobError(
                f"{known}: ended as {end}; its log: ray job logs --address {address} {known}"
            )


def require_absolute(spec: Spec) -> None:
    """Refuse a path that a node of the cluster would look for in a folder of its own.

    Raises:
        SpecError: names the flag and the path.
    """
    names = {flag.field: flag.name for flag in flags_of(type(spec))}
    for field, place in paths_of(spec):
        if "://" not in place and not Path(place).is_absolute():
            raise SpecError(
                f"{names.get(field, field)} {place}: a relative path means nothing on the cluster; "
                "give a URL, or an absolute path that every node mounts"
            )


def _command(job: str) -> Callable[..., None]:
    extra = (
        keyword(
            "address",
            str,
            typer.Option("--address", metavar="URL", help="The cluster's, like http://head:8265."),
            default=...,
        ),
        keyword(
            "submission_id",
            str,
            typer.Option(
                "--id",
                metavar="NAME",
                help="The job's name on the cluster; a name that was used before is refused, "
                f"so `{job}-$(date +%F)` runs once a day however often cron asks.",
            ),
        ),
        keyword(
            "wait",
            bool,
            typer.Option("--wait", help="Wait for its end, and exit with 3 if it failed."),
            default=False,
        ),
    )
    return spec_command(JOBS[job].spec, partial(_submit, job), extra=extra)


for _job in JOBS:
    submit_app.command(
        _job,
        help=f"Run {_job} as a job of a Ray cluster; the flags are those of `unitscope {_job}`.\n\n"
        f"Example: `unitscope submit {_job} --spec {_job}.yaml --address http://head:8265 --wait`",
    )(_command(_job))

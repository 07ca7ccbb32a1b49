"""`unitscope submit`: hand a job to a Ray cluster.

Invariant: a submitted job has the flags and the spec of the command that runs it here.
"""

# ruff: noqa: PLC0415 (heavy modules are imported by the command that needs them)
from __future__ import annotations

import operator
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import typer

from jobs.flags import Flag, keyword, spec_command
from jobs.job_flags import GALLERY_FLAGS, OCCLUDE_FLAGS, PROJECT_FLAGS, SCAN_FLAGS
from jobs.spec_io import dump_spec
from schemas.errors import InputError, JobError, SpecError
from schemas.jobs import JOBS
from schemas.specs import Spec

submit_app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

_FLAGS: dict[str, tuple[Flag, ...]] = {
    "scan": SCAN_FLAGS,
    "project": PROJECT_FLAGS,
    "occlude": OCCLUDE_FLAGS,
    "gallery": GALLERY_FLAGS,
}
_PLACES = {
    "scan": {"--data": "data.uri", "--out": "out"},
    "project": {"RUN": "run"},
    "occlude": {"RUN": "run", "--boxes": "boxes"},
    "gallery": {"RUN": "run", "--out": "out"},
}
"""By job: what names a file or folder, and its field. Every node must find it there."""


@submit_app.callback()
def submit() -> None:
    """Run a job on a Ray cluster: `unitscope submit scan ... --address http://head:8265`."""


def _submit(job: str, spec: Spec, *, address: str, submission_id: str | None, wait: bool) -> None:
    try:
        from pipeline.runtime import submit
    except ModuleNotFoundError as error:
        raise InputError(f"submit needs {error.name}; install unitscope[ray]") from error
    places = {name: operator.attrgetter(field)(spec) for name, field in _PLACES[job].items()}
    for name, value in places.items():
        if value is not None and "://" not in value and not Path(value).is_absolute():
            raise SpecError(
                f"{name} {value}: a relative path means nothing on the cluster; give a URL, or "
                "an absolute path that every node mounts"
            )
    known = submit.submit(job, dump_spec(spec), address=address, submission_id=submission_id)
    run = places["--out" if job == "scan" else "RUN"]
    typer.echo(f"submitted: {known}")
    typer.echo(f"next: unitscope status {shlex.quote(run)}")
    if wait:
        end = submit.wait(address, known, follow=lambda log: typer.echo(log, nl=False))
        typer.echo(f"{known}: {end}")
        if end != "SUCCEEDED":
            raise JobError(
                f"{known}: ended as {end}; its log: ray job logs --address {address} {known}"
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
    return spec_command(JOBS[job], _FLAGS[job], partial(_submit, job), extra=extra)


for _job in JOBS:
    submit_app.command(
        _job,
        help=f"Run {_job} as a job of a Ray cluster; the flags are those of `unitscope {_job}`.\n\n"
        f"Example: `unitscope submit {_job} --spec {_job}.yaml --address http://head:8265 --wait`",
    )(_command(_job))

"""The command `unitscope`.

Nothing heavy (torch, ray) is imported before a command that needs it runs, and every
expected error leaves as one message on stderr and its exit status.
"""

# ruff: noqa: PLC0415 (heavy modules are imported by the command that needs them)
from __future__ import annotations

import json
from typing import Annotated

import typer

from jobs.demo import demo
from jobs.exits import ExitGroup, run_and_exit, say
from jobs.flags import Run, keyword, spec_command
from jobs.show import HELP, show_command
from jobs.submit import submit_app
from schemas.errors import InputError, nearest
from schemas.jobs import JOBS
from schemas.specs import JobSpec, ModelSpec, PreprocessSpec, Spec

app = typer.Typer(
    cls=ExitGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(submit_app, name="submit")


_JSON = typer.Option("--json", help="JSON on stdout, for programs.")
AsJson = Annotated[bool, _JSON]


def main() -> None:
    """Run the command of ``sys.argv`` and exit with its status."""
    run_and_exit(app)


@app.callback()
def unitscope(
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; stands before the command.")
    ] = False,
) -> None:
    """What every unit of a convolutional network looks for, over a whole image data set.

    `unitscope demo` shows everything on pictures of its own. Begin with `unitscope scan`, look with
    `unitscope show`.

    Exit status: 0 done, or already done; 2 bad arguments or spec; 3 the job failed;
    130 interrupted. A command that was cut short resumes when it is run again.
    """


def _run(spec: JobSpec) -> None:
    from jobs import engine

    report = engine.run_and_report(spec)
    typer.echo(report.text)
    for warning in report.warnings:
        say(warning)


for _job in JOBS.values():
    _help = f"{_job.help}\n\nExample: `{_job.example}`"
    app.command(_job.name, help=_help)(spec_command(_job.spec, _run))


class _LayersSpec(Spec):
    """A model, and the preprocessing that decides its input frame."""

    model: ModelSpec
    preprocess: PreprocessSpec | None = None


def _layers(spec: _LayersSpec, *, every: bool, as_json: bool) -> None:
    from jobs import layers

    found = layers.table(spec.model, spec.preprocess)
    shown = found if every else found[found["selected"]]
    if as_json:
        typer.echo(shown.to_json(orient="records", indent=2))
    else:
        layers.show(shown, nodes=len(found))


app.command(
    "layers",
    help="List the layers of a model: names for `--layers`, units, maps and receptive fields.\n\n"
    "Example: `unitscope layers --arch resnet18 --weights random --all`",
)(
    spec_command(
        _LayersSpec,
        _layers,
        extra=(
            keyword(
                "every",
                bool,
                typer.Option("--all", help="Every node, not only what a scan takes by default."),
                default=False,
            ),
            keyword("as_json", bool, _JSON, default=False),
        ),
    )
)


@app.command()
def status(run: Run, *, as_json: AsJson = False) -> None:
    """Say what a run folder holds: jobs published, or shards done and time left.

    It reads the folder alone, so it works beside a running job and after a dead one.

    Example: `unitscope status runs/a`
    """
    from jobs import status as job

    found = job.read_status(run)
    typer.echo(job.as_json(found) if as_json else job.as_text(found))


app.command("show", help=HELP)(show_command())
app.command()(demo)


@app.command()
def schema(
    job: Annotated[str, typer.Argument(metavar="JOB", help=f"One of: {', '.join(JOBS)}.")],
) -> None:
    """Print the JSON schema of a job's spec, for editors and checks.

    Example: `unitscope schema scan > scan.schema.json`
    """
    if job not in JOBS:
        raise InputError(f"{job}: no such job; {nearest(job, JOBS)}")
    typer.echo(json.dumps(JOBS[job].spec.model_json_schema(), indent=2))

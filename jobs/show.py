"""`unitscope show`: what a job published of a run, as one PNG.

Every job whose `schemas.job_info.JobInfo` has a figure adds that figure's flags to the command.
"""

# ruff: noqa: PLC0415 (the command line reads this file, and heavy modules only when it runs)
from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import typer

from jobs.flags import RUN_ARGUMENT, keyword, parameter
from jobs.spec_io import load_spec
from schemas.errors import SpecError
from schemas.flags import flags_of
from schemas.jobs import JOBS
from schemas.specs import Spec

HELP = """Draw one picture of a run, as a PNG; the flags say which.

Units are drawn by their top patches, each beside its projection where `unitscope project` has made
them; without, the images are read again from where the scan read them.

Example: `unitscope show runs/a --layer features.12.cat --unit 7 -o unit.png`, or
`unitscope show runs/a --occlusion 12 -o occlusion.png`
"""


def show_command() -> Callable[..., None]:
    """A function for ``typer.Typer.command``: the run, a figure's flags, and the PNG to write."""
    figures = {name: info.figure for name, info in JOBS.items() if info.figure is not None}
    flags = {
        flag.field: parameter(figure, flag)
        for figure in figures.values()
        for flag in flags_of(figure)
    }

    def show(*, run: str, out: str, **given: Any) -> None:
        asked = {name: value for name, value in given.items() if value is not None}
        job = _asked_job(figures, asked.keys())
        names = {flag.field: flag.name for flag in flags_of(figures[job])}
        figure = load_spec(figures[job], flags=asked, flag_names=names)
        width, height = draw(run, job, figure, out)
        typer.echo(f"{out}: {width} x {height} pixels")

    to = typer.Option("--out", "-o", metavar="FILE", help="The PNG to write.")
    parameters = [RUN_ARGUMENT, *flags.values(), keyword("out", str, to, default=...)]
    show.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return show


def _asked_job(figures: dict[str, type[Spec]], given: AbstractSet[str]) -> str:
    """The one job whose figure the given fields ask for.

    Raises:
        SpecError: they ask for none, or for several.
    """
    ways, found = [], []
    for job, figure in figures.items():
        flags = flags_of(figure)
        needed = {flag.field for flag in flags if flag.required}
        if needed <= given <= {flag.field for flag in flags}:
            found.append(job)
        beside = " or ".join(flag.name for flag in flags if not flag.required)
        needs = " and ".join(flag.name for flag in flags if flag.required)
        ways.append(f"{needs} (with {beside})" if beside else needs)
    if len(found) != 1:
        raise SpecError(f"show draws one thing: give {', or '.join(ways)}")
    return found[0]


def draw(run_url: str, job: str, asked: Spec, out: str) -> tuple[int, int]:
    """Draw what a job published.

    Args:
        run_url: the run's folder, a path or URL.
        job: one whose `schemas.job_info.JobInfo` has a figure.
        asked: what to draw, in the form of that figure.
        out: the PNG to write, a local path.

    Returns:
        (width, height) of the picture in pixels.

    Raises:
        InputError: the run does not hold what is asked for, or ``out`` cannot be written.
        NotPublishedError: the run has no scan, or nothing of the job yet.
        StoreError: a table cannot be read, or is of another scan.
    """
    from pipeline.report.sections import DRAWN
    from pipeline.store import open_run

    picture = DRAWN[job].draw(open_run(run_url), asked)
    data = io.BytesIO()
    picture.save(data, "PNG")
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_bytes(data.getvalue())
    except OSError as error:
        raise SpecError(
            f"--out {out}: cannot be written ({error.strerror}); give a local path"
        ) from error
    return picture.size

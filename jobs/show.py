"""`unitscope show`: what a job published of a run, as one PNG or PDF.

Every figure of a `schemas.job_info.JobInfo` adds its flags to the command; the figures of the paper
that can be composed are the choices of ``--figure``.
"""

# ruff: noqa: PLC0415 (the command line reads this file, and heavy modules only when it runs)
from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import typer

from jobs.flags import RUN_ARGUMENT, keyword, parameter
from jobs.spec_io import load_spec
from schemas.errors import SpecError, nearest
from schemas.flags import flags_of
from schemas.jobs import JOBS
from schemas.specs import Spec

HELP = """Draw one picture of a run, as a PNG or PDF; the flags say which.

Units are drawn by their top patches, each beside its projection where `unitscope project` has made
them; without, the images are read again from where the scan read them.

Example: `unitscope show runs/a --layer features.12.cat --unit 7 -o unit.png`, or
`unitscope show runs/a --occlusion 12 -o occlusion.png`, or `unitscope show runs/a --figure 2 -o
figure2.pdf`
"""

_FORMATS = {".png": "PNG", ".pdf": "PDF"}
_PDF = {"resolution": 144.0, "quality": 95}
"""Two pixels per point: a picture of 1,000 px is 17.6 cm wide; a PDF's pixels are JPEG."""


def show_command() -> Callable[..., None]:
    """A function for ``typer.Typer.command``: the run, a figure's flags, and the file to write."""
    figures = [(name, figure) for name, info in JOBS.items() for figure in info.figures]
    flags = {
        flag.field: parameter(figure, flag) for _, figure in figures for flag in flags_of(figure)
    }
    named = [(info.paper, name) for name, info in JOBS.items() if info.paper is not None]
    papers = dict(sorted(named))

    def show(*, run: str, out: str, paper: str | None, **given: Any) -> None:
        asked = {name: value for name, value in given.items() if value is not None}
        figure = None
        if paper is not None:
            job = _of_paper(papers, paper, asked)
        else:
            job, kind = _asked_figure(figures, asked.keys())
            names = {flag.field: flag.name for flag in flags_of(kind)}
            figure = load_spec(kind, flags=asked, flag_names=names)
        width, height = draw(run, job, figure, out)
        typer.echo(f"{out}: {width} x {height} pixels")

    to = typer.Option("--out", "-o", metavar="FILE", help="The PNG or PDF to write, by its ending.")
    of_paper = typer.Option(
        "--figure",
        metavar="|".join(papers),
        rich_help_panel="What to draw",
        help="A figure or table of Zeiler & Fergus 2013, composed of what a job published: "
        + ", ".join(f"{figure} of {job}" for figure, job in papers.items())
        + ".",
    )
    parameters = [
        RUN_ARGUMENT,
        *flags.values(),
        keyword("paper", str, of_paper),
        keyword("out", str, to, default=...),
    ]
    show.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return show


def _asked_figure(
    figures: Sequence[tuple[str, type[Spec]]], given: AbstractSet[str]
) -> tuple[str, type[Spec]]:
    """The one figure that the given fields ask for, with its job.

    Raises:
        SpecError: they ask for none, or for several.
    """
    ways, found = [], []
    for job, figure in figures:
        flags = flags_of(figure)
        needed = {flag.field for flag in flags if flag.required}
        if needed <= given <= {flag.field for flag in flags}:
            found.append((job, figure))
        beside = " or ".join(flag.name for flag in flags if not flag.required)
        needs = " and ".join(flag.name for flag in flags if flag.required)
        ways.append(f"{needs} (with {beside})" if beside else needs)
    if len(found) != 1:
        raise SpecError(f"show draws one thing: give {', or '.join(ways)}, or --figure")
    return found[0]


def _of_paper(papers: dict[str, str], paper: str, given: dict[str, Any]) -> str:
    """The job of which a figure of the paper is composed.

    Raises:
        SpecError: there is no such figure, or another picture is asked for beside it.
    """
    if paper not in papers:
        raise SpecError(f"--figure: {paper!r} is not composed here; {nearest(paper, papers)}")
    if given:
        raise SpecError("--figure draws a whole figure of the paper; give no other picture with it")
    return papers[paper]


def draw(run_url: str, job: str, asked: Spec | None, out: str) -> tuple[int, int]:
    """Draw what a job published.

    Args:
        run_url: the run's folder, a path or URL.
        job: one whose `schemas.job_info.JobInfo` has figures.
        asked: what to draw, in the form of one of them; None: the job's figure of the paper.
        out: the file to write, a local path; it ends in .png or .pdf.

    Returns:
        (width, height) of the picture in pixels.

    Raises:
        InputError: the run does not hold what is asked for, or ``out`` cannot be written.
        NotPublishedError: the run has no scan, or nothing of the job yet.
        StoreError: a table cannot be read, or is of another scan.
    """
    from pipeline.report.sections import DRAWN, PAPER
    from pipeline.store import open_run

    kind = _FORMATS.get(Path(out).suffix.lower())
    if kind is None:
        raise SpecError(f"--out {out}: a picture is written as .png or .pdf; give such a name")
    run = open_run(run_url)
    picture = PAPER[job].draw_paper(run) if asked is None else DRAWN[job].draw(run, asked)
    data = io.BytesIO()
    picture.save(data, kind, **_PDF if kind == "PDF" else {})
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_bytes(data.getvalue())
    except OSError as error:
        raise SpecError(
            f"--out {out}: cannot be written ({error.strerror}); give a local path"
        ) from error
    return picture.size

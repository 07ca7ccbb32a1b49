"""`unitscope show`: what a job published of a run, as one PNG."""

from __future__ import annotations

import io
from pathlib import Path

from pipeline.report.sections import SECTIONS
from pipeline.store import open_run
from schemas.errors import SpecError
from schemas.specs import Spec


def run(run_url: str, job: str, asked: Spec, out: str) -> tuple[int, int]:
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
    picture = SECTIONS[job].draw(open_run(run_url), asked)
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

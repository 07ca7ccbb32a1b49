"""Every job killed at every named failpoint, as a program: ``crash_everywhere.py FOLDER``.

Children are forked from a process that has imported everything and has no threads: SIGKILL at the
point, a look as a reader, a rerun. One JSON line each. Of points that are come to often the first,
third, ninth ... time is tried, until the job ends before.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from pipeline.io.failpoints import POINTS, VARIABLE
from tests.forks import in_child
from tests.small_world import (
    JOBS,
    digests,
    do,
    draw_pictures,
    spec_of,
    strangers,
    whole_or_absent,
)


def _killed_at(point: str, nth: int, work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        os.environ[VARIABLE] = f"{point}:{nth}"
        work()

    return run


def main(root: Path) -> None:
    """Print a line for every kill."""
    # SIGKILL loses nothing that was written, so waiting for the disk would show nothing here.
    os.fsync = lambda _: None
    torch.set_num_threads(1)
    pictures, clean = root / "pictures", root / "clean"
    draw_pictures(pictures)
    for job in JOBS:
        assert in_child(lambda job=job: do(spec_of(job, clean, pictures))) == 0
        wanted = digests(clean, job)
        for point in POINTS:
            nth, ended = 1, -9
            while ended == -9:
                run = root / f"{job}-{point}-{nth}"
                if job != "scan":
                    shutil.copytree(clean / "scan", run / "scan")
                work = lambda job=job, run=run: do(spec_of(job, run, pictures))  # noqa: E731
                ended = in_child(_killed_at(point, nth, work))
                told = {"job": job, "point": point, "nth": nth, "ended": ended}
                told["seen"] = whole_or_absent(run, job, wanted)
                told["rerun"] = in_child(work)
                told["same"] = digests(run, job) == wanted
                told["strangers"] = strangers(run, job)
                print(json.dumps(told), flush=True)
                shutil.rmtree(run)
                nth *= 3


if __name__ == "__main__":
    main(Path(sys.argv[1]))

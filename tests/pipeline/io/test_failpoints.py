"""Every job killed at every named step is whole or absent, and a rerun ends alike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.io import failpoints
from pipeline.io.failpoints import POINTS, VARIABLE, failpoint
from tests.small_world import JOBS

ROOT = Path(__file__).resolve().parents[3]


def test_jobs_killed_at_every_point_are_whole_or_absent_and_a_rerun_ends_alike(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash_everywhere", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    told = [json.loads(line) for line in done.stdout.splitlines()]
    killed = {(one["job"], one["point"]) for one in told if one["ended"] == -9}
    assert killed == {(job, point) for job in JOBS for point in POINTS}
    assert len(told) > 2 * len(killed)
    for one in told:
        assert one["ended"] in (0, -9), done.stderr
        assert (one["seen"], one["rerun"], one["same"], one["strangers"]) == (True, 0, True, [])


def test_failpoint_without_the_variable_or_at_another_point_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
):
    killed: list[int] = []
    monkeypatch.setattr(failpoints.os, "kill", lambda pid, _: killed.append(pid))
    monkeypatch.delenv(VARIABLE, raising=False)
    for point in POINTS:
        failpoint(point)
    monkeypatch.setenv(VARIABLE, "marker-put:2")
    for point in POINTS:
        failpoint(point)

    assert killed == []
    failpoint("marker-put")
    assert len(killed) == 1

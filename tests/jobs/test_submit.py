from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner, Result

import pipeline.runtime
from jobs.cli import app
from schemas.jobs import JOBS
from schemas.jobs.occlude import OccludeSpec
from schemas.jobs.scan import ScanSpec
from tests.job_examples import elsewhere

SCAN = ("--arch", "vgg16", "--data", "/data", "--out", "s3://b/run")


class Cluster:
    """Stands for `pipeline.runtime.submit`; that one's own test knows a real job server."""

    def __init__(self, end: str) -> None:
        self.end = end
        self.calls: list[tuple[object, ...]] = []

    def submit(
        self, job: str, spec_yaml: str, *, address: str, submission_id: str | None = None
    ) -> str:
        self.calls.append((job, yaml.safe_load(spec_yaml), address, submission_id))
        return submission_id or "raysubmit_1"

    def wait(self, address: str, known: str, *, follow: Callable[[str], None]) -> str:
        follow("a line of its log\n")
        self.calls.append((address, known))
        return self.end


def submitted(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, *arguments: str) -> Result:
    fake = SimpleNamespace(submit=cluster.submit, wait=cluster.wait)
    monkeypatch.setitem(sys.modules, "pipeline.runtime.submit", fake)  # type: ignore[arg-type]
    monkeypatch.setattr(pipeline.runtime, "submit", fake, raising=False)
    call = ["submit", *arguments, "--address", "http://head:8265"]
    return CliRunner().invoke(app, call, catch_exceptions=False)


@pytest.mark.parametrize("job", JOBS)
def test_submit_sends_the_spec_and_says_how_to_look(monkeypatch: pytest.MonkeyPatch, job: str):
    cluster = Cluster("SUCCEEDED")

    result = submitted(monkeypatch, cluster, job, *elsewhere(job), "--id", f"{job}-2026-11-24")

    assert result.exit_code == 0
    [(name, sent, address, known)] = cluster.calls
    assert (name, address, known) == (job, "http://head:8265", f"{job}-2026-11-24")
    spec = JOBS[job].spec.model_validate(sent)
    assert spec.home == "s3://b/runs/a"
    assert f"submitted: {job}-2026-11-24" in result.stdout
    assert "unitscope status s3://b/runs/a" in result.stdout


def test_submit_sends_what_the_flags_say(monkeypatch: pytest.MonkeyPatch):
    cluster = Cluster("SUCCEEDED")
    submitted(monkeypatch, cluster, "scan", *SCAN, "--top", "3")
    submitted(monkeypatch, cluster, "occlude", "s3://b/run", "--window-px", "32,16")

    scan, occlude = (call[1] for call in cluster.calls)
    spec = ScanSpec.model_validate(scan)
    assert (spec.top, spec.model.arch) == (3, "vgg16")
    assert OccludeSpec.model_validate(occlude).window_px == ("32", "16")


@pytest.mark.parametrize(("end", "status"), [("SUCCEEDED", 0), ("FAILED", 3), ("STOPPED", 3)])
def test_submit_wait_exits_as_the_job_ended(monkeypatch: pytest.MonkeyPatch, end: str, status: int):
    result = submitted(monkeypatch, Cluster(end), "scan", *SCAN, "--wait")

    assert result.exit_code == status
    assert "a line of its log" in result.stdout
    assert f"raysubmit_1: {end}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("scan", *SCAN[:-1], "runs/a"), "--out runs/a"),
        (("scan", *SCAN[:3], "photos", *SCAN[4:]), "--data photos"),
        (("scan", *SCAN, "--weights", "mine.safetensors"), "--weights mine.safetensors"),
        (("scan", "--arch", "nets/mine.py:build", *SCAN[2:]), "--arch nets/mine.py"),
        (("project", "runs/a"), "RUN runs/a"),
        (("occlude", "/runs/a", "--boxes", "boxes.csv"), "--boxes boxes.csv"),
        (("gallery", "/runs/a", "--out", "pages"), "--out pages"),
    ],
)
def test_submit_relative_path_is_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
):
    cluster = Cluster("SUCCEEDED")

    result = submitted(monkeypatch, cluster, *arguments)

    assert (result.exit_code, cluster.calls) == (2, [])
    assert f"{words}: a relative path" in result.stderr

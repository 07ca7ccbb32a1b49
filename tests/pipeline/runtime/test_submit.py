from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.runtime import submit as module
from pipeline.runtime.submit import submit, wait
from schemas.errors import InputError, WorkerError

SPEC = 'model: {arch: "$(touch shell)"}\nout: \'`touch shell` é "; exit 7\'\n'

FAKE_JOBS = """
import pathlib, sys
print("arguments", *sys.argv[1:])
print(pathlib.Path(sys.argv[3]).read_text(encoding="utf-8"))
sys.exit(3 if "fail me" in pathlib.Path(sys.argv[3]).read_text() else 0)
"""

HEAD = """
import os, sys
import ray
context = ray.init(
    address="local", num_cpus=1, include_dashboard=True, dashboard_port=0,
    object_store_memory=100 * 2**20, log_to_driver=False, logging_level="ERROR",
)
print(f"http://{context.dashboard_url}", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of another process, whose ``python -m jobs`` prints its spec."""
    fake = tmp_path_factory.mktemp("fake")
    (fake / "jobs").mkdir()
    (fake / "jobs" / "__init__.py").touch()
    (fake / "jobs" / "__main__.py").write_text(FAKE_JOBS)
    places = {
        "PYTHONPATH": str(fake),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD],
        env=os.environ | places,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with head:
        try:
            yield head.stdout.readline().strip()
        finally:
            head.stdin.close()
            head.wait()


@pytest.mark.ray
def test_submitted_job_gets_its_spec_as_it_is_and_its_id_works_once(address: str):
    log: list[str] = []

    known = submit("scan", SPEC, address=address, submission_id="audit-2026-11-24")
    status = wait(address, known, follow=log.append, poll_seconds=0.2)

    assert (known, status) == ("audit-2026-11-24", "SUCCEEDED")
    assert SPEC in "".join(log)
    assert "arguments scan --spec spec.yaml" in "".join(log)
    with pytest.raises(InputError, match="'audit-2026-11-24' was already used"):
        submit("scan", SPEC, address=address, submission_id="audit-2026-11-24")


@pytest.mark.ray
def test_submitted_job_that_fails_is_told_and_ids_are_made_where_none_is_given(address: str):
    known = submit("scan", "fail me", address=address)

    assert wait(address, known, poll_seconds=0.2) == "FAILED"


@pytest.mark.ray
def test_wait_for_an_unknown_job_is_refused(address: str):
    with pytest.raises(WorkerError, match="about 'nobody'"):
        wait(address, "nobody")


STRANGER = """
import sys
from pipeline.runtime.submit import submit
from schemas.errors import WorkerError
try:
    submit("scan", "", address=sys.argv[1])
except WorkerError as error:
    print(error)
"""


@pytest.mark.ray
def test_submit_without_a_token_says_how_to_give_one(address: str, tmp_path: Path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    command = [sys.executable, "-c", STRANGER, address]

    done = subprocess.run(
        command, env=env | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )

    assert f"the job server at {address} wants a token" in done.stdout
    assert "RAY_AUTH_MODE=token" in done.stdout


def test_submit_of_an_unknown_job_names_the_known_ones():
    with pytest.raises(InputError, match="no job 'scam'; nearest: scan"):
        submit("scam", "", address="http://127.0.0.1:1")


def test_submit_to_nobody_names_the_address():
    with pytest.raises(WorkerError, match=r"no Ray job server at http://127\.0\.0\.1:1"):
        submit("scan", "", address="http://127.0.0.1:1")


def test_wait_outlasts_a_server_that_is_briefly_away(monkeypatch: pytest.MonkeyPatch):
    class Client:
        def __init__(self) -> None:
            self.answers = [ConnectionError("away"), RuntimeError("503"), "RUNNING", "STOPPED"]

        def get_job_status(self, _: str) -> object:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return module.JobStatus(answer)

    client = Client()
    monkeypatch.setattr(module, "_client", lambda _: client)

    assert wait("http://head:8265", "a", poll_seconds=0.0) == "STOPPED"

"""Hands a job to a Ray cluster's job server, and waits for it.

No word of the caller becomes part of a shell command. The job's name is one that
`schemas.jobs.JOBS` knows, and the spec travels as an uploaded file.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from schemas.errors import InputError, WorkerError, nearest
from schemas.jobs import JOBS

SPEC_FILE = "spec.yaml"
LOST_CONTACT_SECONDS = 300.0


def submit(job: str, spec_yaml: str, *, address: str, submission_id: str | None = None) -> str:
    """Start a job on a cluster; it runs ``python -m jobs <job>`` there, once.

    Args:
        job: a name of `schemas.jobs.JOBS`.
        spec_yaml: its spec; paths in it are the cluster's.
        address: the job server, ``http://head:8265``.
        submission_id: a name that makes the submission happen at most once; null: a new one.

    Returns:
        The submission's id.

    Raises:
        InputError: the job is unknown, or the id was used before on this cluster.
        WorkerError: the job server does not answer, wants a token, or refuses.
    """
    if job not in JOBS:
        raise InputError(f"there is no job {job!r}; {nearest(job, JOBS)}")
    client = _client(address)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, SPEC_FILE).write_text(spec_yaml, encoding="utf-8")
        try:
            return client.submit_job(
                entrypoint=f"python -m jobs {job} --spec {SPEC_FILE}",
                runtime_env={"working_dir": folder},
                submission_id=submission_id,
            )
        except RuntimeError as error:
            if submission_id is not None and "already exists" in str(error):
                raise InputError(
                    f"submission id {submission_id!r} was already used at {address}, so this job "
                    "was submitted before; look at that one, or take another id"
                ) from error
            raise WorkerError(f"the job server at {address} refused {job}: {error}") from error


def wait(
    address: str,
    submission_id: str,
    *,
    follow: Callable[[str], None] | None = None,
    poll_seconds: float = 1.0,
) -> str:
    """Wait until a submitted job has ended.

    Args:
        address: the job server.
        submission_id: as `submit` returned it.
        follow: given each new piece of the job's log.
        poll_seconds: time between two looks.

    Returns:
        ``SUCCEEDED``, ``FAILED`` or ``STOPPED``.

    Raises:
        WorkerError: the server does not know the job, or gives no answer for five minutes.
    """
    client = _client(address)
    shown = 0
    heard_at = time.monotonic()
    while True:
        try:
            status = client.get_job_status(submission_id)
            if follow is not None:
                log = client.get_job_logs(submission_id)
                if log[shown:]:
                    follow(log[shown:])
                shown = len(log)
        except (RuntimeError, OSError) as error:
            if "404" in str(error) or time.monotonic() - heard_at > LOST_CONTACT_SECONDS:
                raise WorkerError(
                    f"the job server at {address} gives no answer about {submission_id!r}: {error}"
                ) from error
        else:
            heard_at = time.monotonic()
            if JobStatus(status).is_terminal():
                return JobStatus(status).value
        time.sleep(poll_seconds)


def _client(address: str) -> JobSubmissionClient:
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise WorkerError(
            f"the job server at {address} wants a token, and had none or another's; set "
            "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's token or RAY_AUTH_TOKEN_PATH "
            "to its file (left out: ~/.ray/auth_token)"
        ) from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise WorkerError(
            f"no Ray job server at {address}: {error}; give the dashboard's address, such as "
            "http://head:8265"
        ) from error

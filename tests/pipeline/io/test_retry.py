from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from pipeline.io import retry
from pipeline.io.retry import http_status, is_transient, with_retry
from schemas.errors import StoreUnavailableError


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only moves when somebody sleeps; the pauses that were made."""
    slept: list[float] = []
    monkeypatch.setattr(retry.time, "monotonic", lambda: sum(slept))
    monkeypatch.setattr(retry.time, "sleep", slept.append)
    return slept


def failing(errors: list[Exception]) -> Callable[[], str]:
    def action() -> str:
        if errors:
            raise errors.pop(0)
        return "answer"

    return action


def with_cause(error: OSError, status: int) -> OSError:
    cause = Exception("client error")
    cause.response = {"ResponseMetadata": {"HTTPStatusCode": status}}
    error.__cause__ = cause
    return error


class FakeHTTPClientError(Exception):
    """Stands for botocore's, which is no OSError."""


FakeHTTPClientError.__name__ = "HTTPClientError"


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("slow"),
        ConnectionResetError("gone"),
        OSError(errno.EIO, "unknown code"),
        OSError(errno.EBUSY, "SlowDown"),
        OSError("no number"),
        FakeHTTPClientError("no route"),
        with_cause(OSError(errno.EIO, "x"), 503),
        with_cause(OSError(errno.EBUSY, "OperationAborted"), 409),
    ],
)
def test_is_transient_of_what_another_try_can_cure_is_true(error: Exception):
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("a"),
        PermissionError("a"),
        IsADirectoryError("a"),
        FileExistsError("a"),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EROFS, "read only"),
        with_cause(OSError(errno.EIO, "x"), 412),
        with_cause(OSError(errno.EIO, "x"), 501),
        ValueError("a"),
        KeyError("a"),
    ],
)
def test_is_transient_of_a_final_answer_is_false(error: Exception):
    assert not is_transient(error)


def test_http_status_of_a_translated_client_error_is_the_cause_s():
    assert http_status(with_cause(OSError(errno.EINVAL, "a"), 412)) == 412
    assert http_status(OSError(errno.EINVAL, "a")) is None


def test_with_retry_after_transient_errors_answers(pauses: list[float]):
    assert with_retry(failing([TimeoutError(), OSError("a")]), "reading a") == "answer"
    assert len(pauses) == 2


def test_with_retry_of_a_final_error_raises_it_at_once(pauses: list[float]):
    with pytest.raises(FileNotFoundError):
        with_retry(failing([FileNotFoundError("a")]), "reading a")

    assert pauses == []


def test_with_retry_used_up_names_the_object_and_the_last_error(pauses: list[float]):
    errors: list[Exception] = [ConnectionError("token=abc123") for _ in range(1000)]

    with pytest.raises(StoreUnavailableError) as caught:
        with_retry(failing(errors), "reading s3://me:hunter2@bucket/a", timeout_s=60)

    message = str(caught.value)
    assert "bucket/a" in message
    assert "ConnectionError" in message
    assert "hunter2" not in message
    assert "abc123" not in message
    assert sum(pauses) == pytest.approx(60)
    assert max(pauses) <= retry.LONGEST_DELAY_S


def test_with_retry_pauses_grow_and_differ(pauses: list[float]):
    with_retry(failing([TimeoutError()] * 6), "reading a", timeout_s=1000)

    assert pauses[-1] > 4 * pauses[0]
    assert len(set(pauses)) == 6


def test_with_retry_without_credentials_is_a_permission_error(pauses: list[float]):
    class NoCredentialsError(Exception):
        pass

    with pytest.raises(PermissionError, match="reading s3://b/a: no usable credentials"):
        with_retry(failing([NoCredentialsError("none found")]), "reading s3://b/a")

    assert pauses == []

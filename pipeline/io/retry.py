"""Retries of calls to a store, and which errors are worth one: timeouts, lost connections, 5xx."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

from schemas.errors import StoreUnavailableError
from schemas.secrets import mask

Answer = TypeVar("Answer")

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0

_FINAL_KINDS = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_FINAL_NUMBERS = {
    errno.EDQUOT,
    errno.EFBIG,
    errno.EINVAL,
    errno.ELOOP,
    errno.EMSGSIZE,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOSYS,
    errno.ENOTEMPTY,
    errno.ENOTSUP,
    errno.EROFS,
}
# Named, not imported: the libraries are optional, and only one that is loaded can raise them.
_TRANSIENT_NAMES = {
    "ClientConnectionError",
    "ClientPayloadError",
    "ConnectionError",
    "HTTPClientError",
    "IncompleteRead",
    "ProtocolError",
    "ResponseParserError",
    "ServerDisconnectedError",
}


def http_status(error: BaseException) -> int | None:
    """The HTTP status that an error of s3fs, gcsfs or aiohttp, or its cause, carries."""
    for link in (error, error.__cause__):
        response = getattr(link, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(link, "status", None) or getattr(link, "code", None)
        if isinstance(status, int) and 100 <= status < 600:
            return status
    return None


def is_transient(error: Exception) -> bool:
    """Whether another try may succeed: timeouts, lost connections, 5xx, 429, 408 and 409."""
    if isinstance(error, TimeoutError):
        return True
    if isinstance(error, _FINAL_KINDS):
        return False
    status = http_status(error)
    if status is not None:
        return status in (408, 409, 429) or (status >= 500 and status != 501)
    if isinstance(error, OSError):
        return error.errno not in _FINAL_NUMBERS
    return any(kind.__name__ in _TRANSIENT_NAMES for kind in type(error).__mro__)


def with_retry(action: Callable[[], Answer], what: str, timeout_s: float = 60.0) -> Answer:
    """Do ``action``, again after a transient error, with growing and jittered pauses.

    Args:
        action: safe to repeat.
        what: names the action and its object in the error: "reading s3://bucket/a".
        timeout_s: seconds after which no new try begins.

    Raises:
        StoreUnavailableError: still failing after ``timeout_s``.
        PermissionError: the store's library found no credentials.
        Exception: whatever ``action`` raised, unchanged, if another try cannot cure it.
    """
    deadline = time.monotonic() + timeout_s
    delay = FIRST_DELAY_S
    while True:
        try:
            return action()
        except Exception as error:
            if "Credentials" in type(error).__name__:
                raise PermissionError(
                    errno.EACCES, f"{mask(what)}: no usable credentials: {mask(str(error))}"
                ) from error
            if not is_transient(error):
                raise
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise StoreUnavailableError(
                    f"{mask(what)}: no answer for {timeout_s:.0f} s; the last error was "
                    f"{type(error).__name__}: {mask(str(error))}; what was committed stays, "
                    "run the same command again when the store is back"
                ) from error
        time.sleep(min(delay * random.uniform(0.5, 1.0), remaining))
        delay = min(2 * delay, LONGEST_DELAY_S)

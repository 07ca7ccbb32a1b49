"""Fixtures for every test: the shared data, and an S3 server on the loopback.

Invariant: nothing here runs unless a test asks for it, and what it starts it stops. Set for all
are Ray's token mode, because Ray reads it once, when it is imported, and what Hypothesis may do:
the same examples in every run, however slow the machine.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SLOW_S = 0.3

os.environ.setdefault("RAY_AUTH_MODE", "token")
settings.register_profile(
    "steady",
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data folder beside the project; a test that needs it is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside the project: this test needs its pictures or weights")
    return SHARED_DATA


class S3Server:
    """moto on a free loopback port, with one lock around writes and switches for faults.

    moto looks, then writes, without a lock, so that two conditional puts could both win.

    Attributes:
        lose_answers: so many next writes are done, but answered with status 500.
        refuse: so many next requests get status 503 and are not done.
        ignore_condition: If-None-Match is not looked at, as some servers do.
        trouble_every: after so many requests one meets the next of `TROUBLES`; 0: none does.
        troubled: how many requests did.
    """

    TROUBLES = ("refused", "answered with 503 when done", "dropped when done", "slow")

    def __init__(self) -> None:
        moto = pytest.importorskip("moto.moto_server.werkzeug_app", reason="needs moto[server]")
        serving = pytest.importorskip("werkzeug.serving", reason="needs moto[server]")

        class Quiet(serving.WSGIRequestHandler):
            def log(self, *_: object) -> None:
                """Say nothing."""

        self._moto = moto.DomainDispatcherApplication(moto.create_backend_app)
        self._writing = threading.Lock()
        self._server = serving.make_server(
            "127.0.0.1", 0, self, threaded=True, request_handler=Quiet
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.reset()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def reset(self) -> None:
        self.lose_answers = 0
        self.refuse = 0
        self.ignore_condition = False
        self.trouble_every = 0
        self.troubled = 0
        self._requests = itertools.count(1)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if self.refuse > 0:
            self.refuse -= 1
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return [b""]
        if self.trouble_every and next(self._requests) % self.trouble_every == 0:
            return self._in_trouble(environ, start_response)
        return self._do(environ, start_response)

    def _in_trouble(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        trouble = self.TROUBLES[self.troubled % len(self.TROUBLES)]
        self.troubled += 1
        if trouble == "slow":
            time.sleep(SLOW_S)
            return self._do(environ, start_response)
        if trouble != "refused":
            list(self._do(environ, lambda *_: None))
        if trouble == "dropped when done":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError("as asked for")
        start_response("503 Service Unavailable", [("Content-Length", "0")])
        return [b""]

    def _do(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("PUT", "POST"):
            return self._moto(environ, start_response)
        with self._writing:
            return self._write(environ, start_response)

    def _write(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if self.ignore_condition:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if self.lose_answers == 0:
            return list(self._moto(environ, start_response))
        self.lose_answers -= 1
        list(self._moto(environ, lambda *_: None))
        start_response("500 Internal Server Error", [("Content-Length", "0")])
        return [b""]


@pytest.fixture(scope="session")
def _s3_process() -> Iterator[S3Server]:
    pytest.importorskip("s3fs", reason="needs s3fs")
    server = S3Server()
    server.start()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", server.endpoint)
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        environment.setenv("AWS_CONFIG_FILE", os.devnull)
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        environment.setenv("NO_PROXY", "127.0.0.1")
        environment.delenv("AWS_SESSION_TOKEN", raising=False)
        environment.delenv("AWS_PROFILE", raising=False)
        yield server
    server.stop()


@pytest.fixture
def s3_server(_s3_process: S3Server) -> Iterator[S3Server]:
    """The server, to plant faults in; they end with the test."""
    yield _s3_process
    _s3_process.reset()


@pytest.fixture
def s3_url(s3_server: S3Server) -> str:
    """A fresh, empty bucket as ``s3://name``; fsspec and child processes find its server."""
    boto3 = pytest.importorskip("boto3", reason="needs moto[server]")
    bucket = f"bucket-{uuid.uuid4().hex}"
    client = boto3.client("s3", endpoint_url=s3_server.endpoint)
    client.create_bucket(Bucket=bucket)
    client.close()
    return f"s3://{bucket}"

from __future__ import annotations

import errno
import sys
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from jobs.exits import ExitGroup, run_and_exit, say
from schemas.errors import JobError, LayerError


def _app(error: BaseException) -> typer.Typer:
    app = typer.Typer(cls=ExitGroup)

    @app.callback()
    def options(*, debug: Annotated[bool, typer.Option("--debug")] = False) -> None: ...

    @app.command()
    def work() -> None:
        raise error

    return app


def _invoke(error: BaseException, *arguments: str) -> Result:
    return CliRunner().invoke(_app(error), [*arguments, "work"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("error", "status"), [(LayerError("no layer x; nearest: y"), 2), (JobError("disk full"), 3)]
)
def test_expected_error_is_one_message_and_its_status(error: Exception, status: int):
    result = _invoke(error)
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr == f"unitscope: {error}\n"
    shown = _invoke(error, "--debug")
    assert shown.exit_code == status
    assert "Traceback" in shown.stderr
    assert shown.stderr.endswith(f"unitscope: {error}\n")


def test_fault_of_the_machine_is_one_message_without_a_traceback():
    result = _invoke(OSError(errno.EIO, "Input/output error", "s3://me:hunter2@bucket/a"))
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("unitscope: [Errno 5] Input/output error: 's3://***@bucket/a'")
    assert result.stderr.endswith("run the same command again: it resumes\n")


def test_interrupt_says_how_to_resume():
    result = _invoke(KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr == "unitscope: interrupted; run again to resume\n"


def test_unexpected_error_has_a_traceback_and_status_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["unitscope", "work"])
    with pytest.raises(SystemExit) as end:
        run_and_exit(_app(ZeroDivisionError("one over none")))
    assert end.value.code == 3
    lines = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: one over none" in lines
    assert lines[-1].startswith("unitscope: this is an error of Unitscope")


def test_say_writes_to_stderr_alone(capsys: pytest.CaptureFixture[str]):
    say("a line")
    assert capsys.readouterr() == ("", "a line\n")

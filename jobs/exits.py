"""How a command ends: one message on stderr and an exit status.

Every expected error leaves as one message; what is not expected leaves as its traceback,
and never with the status 1, which says that an audit found something.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from schemas.errors import JobError, UnitscopeError
from schemas.secrets import mask

_MACHINE = (
    "; the disk, the network or a right on this machine is at fault; mend it, then run the same "
    "command again: it resumes"
)


class ExitGroup(TyperGroup):
    """Turns what a command raises into a message and an exit status."""

    def invoke(self, ctx: Any) -> object:
        """Run the command.

        Raises:
            typer.Exit: with the status of what it raised: 2 or 3, 130 where it was interrupted.
        """
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort) as stop:
            say("unitscope: interrupted; run again to resume")
            raise typer.Exit(130) from stop
        except BrokenPipeError as gone:
            # The reader has what it wanted; Python would still complain when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from gone
        except (UnitscopeError, OSError) as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            ours = isinstance(error, UnitscopeError)
            say(f"unitscope: {mask(str(error))}{'' if ours else _MACHINE}")
            status = getattr(error, "exit_status", JobError.exit_status)
            raise typer.Exit(status) from error


def run_and_exit(app: typer.Typer) -> None:
    """Run the command of ``sys.argv`` and exit with its status."""
    try:
        app(prog_name="unitscope")
    except Exception:  # noqa: BLE001 (Python would exit with 1, which says "an audit found something")
        traceback.print_exc()
        say("unitscope: this is an error of Unitscope itself; please report the lines above")
        sys.exit(JobError.exit_status)


def say(line: str) -> None:
    """One line on stderr."""
    typer.echo(line, err=True)

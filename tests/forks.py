"""Work in forks of this process, for the tests that kill.

Invariant: a fork never comes back into its parent's code. The parent must have no threads.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable


def in_child(work: Callable[[], None]) -> int:
    """Do ``work`` in a fork; how it ended, as `os.waitstatus_to_exitcode` says it."""
    return ended(fork(work))


def fork(work: Callable[[], None]) -> int:
    """Begin ``work`` in a fork of this process; its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - a fork must end here, whatever happened in it
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return child


def ended(child: int) -> int:
    """Wait for a fork; how it ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

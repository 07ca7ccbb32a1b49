"""Named points of the commit protocol at which a test can have this process killed.

``UNITSCOPE_CRASH_AT=NAME`` kills the process with SIGKILL when it comes to the point of that name,
``NAME:3`` when it comes there for the third time. Without the variable a point does nothing.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Final

VARIABLE: Final = "UNITSCOPE_CRASH_AT"

POINTS: Final = {
    "plan-put": "the image list and the plan stand, no shard is begun",
    "file-half-written": "half of a file's bytes are written, under a temporary name",
    "part-put": "a part of a shard stands, its marker does not",
    "marker-next": "all parts of a shard stand, its marker does not",
    "marker-put": "a shard's marker stands",
    "table-put": "a file of a final table stands, the manifest does not",
    "manifest-next": "all tables stand, the manifest does not",
    "manifest-put": "the manifest stands, and all the work beside it",
    "clean-up": "the work folder is gone, temporary files may be left",
}

_reached: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Die here if the environment says so; ``name`` is one of `POINTS`."""
    wanted, _, nth = os.environ.get(VARIABLE, "").partition(":")
    if wanted != name:
        return
    _reached[name] += 1
    if _reached[name] == int(nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)

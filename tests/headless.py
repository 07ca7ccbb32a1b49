"""A page of the gallery in a headless Chromium, where one is installed.

Invariant: the browser ends before `opened` returns, and its profile is in the test's own folder.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--virtual-time-budget=5000 --enable-logging=stderr --dump-dom"
)


class Opened(NamedTuple):
    """A page once its scripts have run.

    Attributes:
        dom: serialised.
        console: the messages of its console; a script that the page's policy stops is one.
    """

    dom: str
    console: list[str]


def opened(url: str, profile: Path) -> Opened:
    """Open a page; skips the test where there is no browser.

    A page that never ends, as one that shows an alert, is ended by the test's own limit.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine: the page is not opened")
    done = subprocess.run(
        [browser, *_FLAGS.split(), f"--user-data-dir={profile}", url],
        capture_output=True,
        text=True,
        check=True,
    )
    return Opened(done.stdout, re.findall(r".*:CONSOLE.*", done.stderr))

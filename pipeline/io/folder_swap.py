"""Replacing a local folder as a whole: at its path stands the old one or the new one, complete.

A writer that fails leaves the old folder as it was; what a killed writer left beside it is removed
by the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new, empty folder beside ``folder`` that takes its place when the block ends well.

    Args:
        folder: what to replace; it need not exist. Parents are made.

    Raises:
        OSError: a folder cannot be made, or moved.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".tmp-{folder.name}-"
    _sweep(folder.parent, prefix)
    fresh = folder.parent / f"{prefix}{uuid4().hex}"
    fresh.mkdir()
    try:
        with _locked(fresh):
            yield fresh
            _swap(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, folder: Path) -> None:
    """Put ``fresh`` at ``folder``, and remove what stood there."""
    old = fresh.with_name(f"{fresh.name}-old")
    try:
        folder.rename(old)
    except FileNotFoundError:
        fresh.rename(folder)
        return
    try:
        fresh.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds a lock that the kernel lets go when this process dies.

    Raises:
        BlockingIOError: another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _sweep(parent: Path, prefix: str) -> None:
    """Remove what killed writers left: their folders are locked no more."""
    for left in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError), _locked(left):
            shutil.rmtree(left, ignore_errors=True)

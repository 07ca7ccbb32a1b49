"""Where a run came from: code, versions, machine and command line, without credentials."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from schemas.manifest import Provenance
from schemas.secrets import mask_arguments

_PACKAGES = ("torch", "torchvision", "ray", "pyarrow", "pillow", "numpy")
_SOURCE = Path(__file__).resolve().parents[2]
_GIT_PATIENCE_S = 20


def collect(device: str) -> Provenance:
    """What to check out, and on what it ran.

    Args:
        device: the device's name, as the job knows it.
    """
    versions = {name: _version(name) for name in _PACKAGES}
    commit, dirty = _checkout(_SOURCE)
    return Provenance(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        argv=mask_arguments(sys.argv),
        unitscope_version=_version("unitscope") or "not installed",
        git_commit=commit,
        git_dirty=dirty,
        python=platform.python_version(),
        versions={name: version for name, version in versions.items() if version is not None},
        platform=platform.platform(),
        device=device,
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _checkout(root: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout at ``root``, and whether tracked files differ from it."""
    # An installed package may lie inside somebody else's repository, whose commit says nothing.
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return None, None
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return _git(root, "rev-parse", "HEAD"), None if changes is None else bool(changes)


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints; None where it is missing, fails or does not answer."""
    program = shutil.which("git")
    if program is None:
        return None
    command = [program, "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            command, capture_output=True, text=True, timeout=_GIT_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

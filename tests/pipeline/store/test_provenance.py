from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.store import provenance
from pipeline.store.provenance import collect


def test_collect_tells_versions_machine_and_time():
    told = collect("NVIDIA H200")

    made = datetime.fromisoformat(told.created_at)
    assert made.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - made) < timedelta(hours=1)
    assert told.device == "NVIDIA H200"
    assert told.python == platform.python_version()
    assert told.platform == platform.platform()
    assert told.versions["pyarrow"] == metadata.version("pyarrow")
    assert set(told.versions) <= {"torch", "torchvision", "ray", "pyarrow", "pillow", "numpy"}


def test_collect_imports_no_package_for_its_version():
    code = (
        "import sys; from pipeline.store.provenance import collect; collect('cpu'); "
        "print(sorted({'torch', 'ray', 'torchvision', 'PIL'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "[]"


def test_collect_masks_credentials_in_the_command_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["unitscope", "--token", "abc123", "--out", "s3://u:p9@b/a"])

    assert collect("cpu").argv == ("unitscope", "--token", "***", "--out", "s3://***@b/a")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    command = [shutil.which("git") or "git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_collect_in_a_checkout_tells_commit_and_dirt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "a")
    monkeypatch.setattr(provenance, "_SOURCE", tmp_path)

    clean = collect("cpu")
    (tmp_path / "a").write_text("2")
    dirty = collect("cpu")

    assert clean.git_commit == dirty.git_commit == git(tmp_path, "rev-parse", "HEAD")
    assert (clean.git_dirty, dirty.git_dirty) == (False, True)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_collect_installed_inside_another_checkout_tells_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "a")
    inside = tmp_path / ".venv" / "site-packages"
    inside.mkdir(parents=True)
    monkeypatch.setattr(provenance, "_SOURCE", inside)

    assert (collect("cpu").git_commit, collect("cpu").git_dirty) == (None, None)


def test_collect_without_git_tells_no_commit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provenance.shutil, "which", lambda _: None)

    assert (collect("cpu").git_commit, collect("cpu").git_dirty) == (None, None)

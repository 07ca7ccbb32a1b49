from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.io import local
from schemas.errors import UnsafeStoreError

ROOT = Path(__file__).resolve().parents[3]

RACER = """
import sys, time
from pathlib import Path
from pipeline.io import local
folder, me = Path(sys.argv[1]), sys.argv[2]
(folder / f"ready-{me}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
for i in range(20):
    data = (me * 2000).encode()
    if local.put_once(folder / "out" / str(i), data) is data:
        print(i, flush=True)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_put_once_of_a_new_name_stands_whole_and_alone(tmp_path: Path):
    assert local.put_once(tmp_path / "a" / "b" / "c.bin", b"data") == b"data"

    assert (tmp_path / "a" / "b" / "c.bin").read_bytes() == b"data"
    assert names(tmp_path / "a" / "b") == ["c.bin"]


def test_put_once_of_a_taken_name_gives_what_stands(tmp_path: Path):
    local.put_once(tmp_path / "a", b"first")

    assert local.put_once(tmp_path / "a", b"second") == b"first"
    assert names(tmp_path) == ["a"]


def test_put_once_by_eight_processes_has_one_winner_a_name(tmp_path: Path):
    command = [sys.executable, "-c", RACER, str(tmp_path)]
    racers = [
        subprocess.Popen([*command, str(me)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for me in range(8)
    ]
    try:
        while len(list(tmp_path.glob("ready-*"))) < 8:
            time.sleep(0.01)
            assert all(racer.poll() is None for racer in racers)
        (tmp_path / "go").touch()
        wins = [racer.communicate()[0].split() for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()

    assert sorted(int(name) for won in wins for name in won) == list(range(20))
    for me, won in enumerate(wins):
        assert all((tmp_path / "out" / n).read_bytes() == str(me).encode() * 2000 for n in won)
    assert len(names(tmp_path / "out")) == 20


@pytest.mark.parametrize("step", ["fsync", "link"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_put_once_that_fails_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
):
    def fail(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        local.put_once(tmp_path / "a", b"data")

    assert names(tmp_path) == []


def test_put_once_whose_temporary_file_is_swept_puts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = os.link

    def swept_first(*arguments: object) -> None:
        local.sweep_temporary(tmp_path)
        monkeypatch.setattr(os, "link", real)
        real(*arguments)

    monkeypatch.setattr(os, "link", swept_first)

    assert local.put_once(tmp_path / "a", b"data") == b"data"
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"data"


def test_put_once_without_hard_links_is_unsafe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "not supported")

    monkeypatch.setattr(os, "link", refuse)

    with pytest.raises(UnsafeStoreError, match="no hard links"):
        local.put_once(tmp_path / "a", b"data")
    assert names(tmp_path) == []


def test_put_once_syncs_the_content_before_the_name_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    events: list[str] = []
    sync, link = os.fsync, os.link

    def watch_sync(descriptor: int) -> None:
        events.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watch_sync)
    monkeypatch.setattr(os, "link", lambda *a: (events.append("link"), link(*a))[1])
    local.put_once(tmp_path / "a", b"data")

    assert events == ["file", "link", "folder"]


def test_read_of_a_range_is_half_open(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"0123456789")

    assert local.read(tmp_path / "a", None, None) == b"0123456789"
    assert local.read(tmp_path / "a", 2, 5) == b"234"
    assert local.read(tmp_path / "a", 8, None) == b"89"
    assert local.read(tmp_path / "a", 5, 5) == b""


def test_list_entries_shows_plain_files_or_folders_only(tmp_path: Path):
    for name in ("b", "a", ".tmp-1"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()

    assert local.list_entries(tmp_path, folders=False) == ["a", "b"]
    assert local.list_entries(tmp_path, folders=True) == ["folder"]
    assert local.list_entries(tmp_path / "absent", folders=False) == []
    assert local.list_entries(tmp_path / "a", folders=False) == []


def test_delete_tree_removes_all_and_accepts_absence(tmp_path: Path):
    local.put_once(tmp_path / "a" / "b" / "c", b"1")
    local.put_once(tmp_path / "a" / "d", b"1")

    local.delete_tree(tmp_path / "a")
    local.delete_tree(tmp_path / "a")

    assert names(tmp_path) == []


def test_delete_tree_while_another_deletes_too_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    local.put_once(tmp_path / "a" / "b" / "c", b"1")
    real = os.rmdir

    def twice(path: object) -> None:
        real(path)
        real(path)

    monkeypatch.setattr(os, "rmdir", twice)
    local.delete_tree(tmp_path / "a")

    assert names(tmp_path) == []


def test_sweep_temporary_removes_only_temporary_files(tmp_path: Path):
    (tmp_path / ".tmp-0123").touch()
    (tmp_path / "a").touch()

    local.sweep_temporary(tmp_path)
    local.sweep_temporary(tmp_path / "absent")

    assert names(tmp_path) == ["a"]

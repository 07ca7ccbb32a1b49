"""A scan on a disk that is full, read-only or in the way: one line that says so, and a way back.

Whatever the fault, a reader sees whole files or none, and the next run ends in the bytes of an
undisturbed one.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import tests.tiny_nets as nets
from jobs.cli import app
from pipeline.io import objects
from pipeline.store import JobFolder, JobStore, open_run
from schemas.errors import NotPublishedError
from tests.tiny_pictures import draw

ROOT = Path(__file__).resolve().parents[2]
NO_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root without the right to write where the mode forbids it."""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A local scan of eight pictures, but for its run folder, which comes last."""
    pictures = tmp_path_factory.mktemp("pictures")
    draw(pictures, 8)
    return [
        *("scan", "--arch", f"{nets.__file__}:small", "--weights", "random", "--trust-code"),
        *("--data", str(pictures), "--local", "--batch-size", "4", "--shard-size", "4"),
        *("--set", "preprocess={resize_px: null, crop_px: 24}", "--set", "resources.threads=1"),
        "--out",
    ]


@pytest.fixture(scope="module")
def undisturbed(
    command: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], list[tuple[str, int]]]:
    """The tables' sha256 of a scan that nothing befell, and every put with its bytes, in order."""
    run = tmp_path_factory.mktemp("plain") / "run"
    puts: list[tuple[str, int]] = []
    put_once = objects.put_once

    def recording(url: str, data: bytes) -> bytes:
        puts.append((url.removeprefix(str(run)), len(data)))
        return put_once(url, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "put_once", recording)
        invoke([*command, str(run)])
    return tables_of(run), puts


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """What a disk quota or a small disk does: a write beyond so many bytes of a file fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Something mounted on a folder; the test is skipped where that is not allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", *options, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def invoke(words: list[str], status: int = 0) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.output


def tables_of(run: Path) -> dict[str, str]:
    manifest = JobStore(JobFolder(str(run), "scan")).manifest()
    return {file.path: file.sha256 for files in manifest.tables.values() for file in files}


def require_whole_or_absent(run: Path) -> None:
    for file in run.rglob("*"):
        assert not file.name.startswith(".tmp-")
        if file.suffix == ".json":
            json.loads(file.read_bytes())
        elif file.is_file():
            pq.read_table(file)
    with pytest.raises(NotPublishedError):
        open_run(str(run)).table("images", job="scan")


def require_one_line(said: str, place: Path, *words: str) -> None:
    """The last line names the place, the fault and the way out; above it is progress alone."""
    *progress, last = said.splitlines()
    assert last.startswith(f"unitscope: {place}"), said
    for word in words:
        assert word in last
    assert all(line.startswith("{") for line in progress), said


def test_scan_that_meets_a_full_disk_at_any_file_says_so_and_the_next_run_ends_alike(
    command: list[str], undisturbed: tuple[dict[str, str], list[tuple[str, int]]], tmp_path: Path
):
    expected, puts = undisturbed
    largest = 0
    failed = set()
    for size in (size for _, size in puts):
        if size <= largest + 1:
            continue
        largest = size
        run = tmp_path / str(size)
        with no_file_above(size - 1):
            said = invoke([*command, str(run)], status=3)
        require_one_line(said, run, "cannot be written", "File too large", "make room")
        failed.add(said.rpartition("unitscope: ")[2].removeprefix(str(run)).split("/")[3])
        require_whole_or_absent(run)

        invoke([*command, str(run)])

        assert tables_of(run) == expected
        assert {file.suffix for file in run.rglob("*") if file.is_file()} == {".parquet", ".json"}
    assert len(failed) > 2, failed


def test_scan_that_fills_a_disk_goes_on_once_there_is_room(
    command: list[str], undisturbed: tuple[dict[str, str], object], tmp_path: Path
):
    disk = tmp_path / "disk"
    with mounted(disk, "-t", "tmpfs", "-o", "size=40k", "tmpfs"):
        said = invoke([*command, str(disk / "run")], status=3)
        require_one_line(said, disk / "run", "No space left on device", "make room")
        require_whole_or_absent(disk / "run")
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        invoke([*command, str(disk / "run")])
        assert tables_of(disk / "run") == undisturbed[0]
        assert not list(disk.rglob(".tmp-*"))


def test_scan_into_a_read_only_disk_says_so_and_ends_once_it_can_be_written(
    command: list[str], undisturbed: tuple[dict[str, str], object], tmp_path: Path
):
    run = tmp_path / "disk" / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobStore, "read_part", stop)
        invoke([*command, str(run)], status=3)
    with mounted(run.parent, "--bind", str(run.parent)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(run.parent)], check=True)
        said = invoke([*command, str(run)], status=3)
        require_one_line(said, run, "cannot be written", "Read-only file system", "give access")
        require_whole_or_absent(run)

    invoke([*command, str(run)])

    assert tables_of(run) == undisturbed[0]


def stop(*_: object) -> None:
    raise OSError("the power went")


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_scan_whose_disk_goes_says_so_and_ends_once_it_is_back(
    command: list[str],
    undisturbed: tuple[dict[str, str], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
):
    """Another disk stands in its place meanwhile, as the empty folder of a mount point does."""
    run = tmp_path / "disk" / "run"
    commit_shard = JobStore.commit_shard

    def committing(self: JobStore, *arguments: object) -> object:
        marker = commit_shard(self, *arguments)
        gone.enter_context(mounted(run.parent, "-t", "tmpfs", "-o", mode, "tmpfs"))
        return marker

    with monkeypatch.context() as patch, ExitStack() as gone:
        patch.setattr(JobStore, "commit_shard", committing)
        said = invoke([*command, str(run)], status=3)

    require_one_line(said, run, "again")
    require_whole_or_absent(run)
    invoke([*command, str(run)])
    assert tables_of(run) == undisturbed[0]


def test_published_scan_on_a_read_only_disk_is_already_done(command: list[str], tmp_path: Path):
    run = tmp_path / "disk" / "run"
    invoke([*command, str(run)])
    with mounted(run.parent, "--bind", str(run.parent)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(run.parent)], check=True)

        assert "already done" in invoke([*command, str(run)])


@pytest.mark.parametrize("below", ["", "below"])
def test_scan_where_a_file_stands_in_the_way_says_so(
    command: list[str], tmp_path: Path, below: str
):
    (tmp_path / "file").write_text("not a folder")

    said = invoke([*command, str(tmp_path / "file" / below)], status=3)

    require_one_line(said, tmp_path / "file", "a file stands where a folder", "another run folder")
    assert (tmp_path / "file").read_text() == "not a folder"


def test_scan_without_the_right_to_write_says_so_in_a_process_of_its_own(
    command: list[str], tmp_path: Path
):
    wall = tmp_path / "wall"
    wall.mkdir(mode=0o555)
    as_nobody = NO_RIGHTS if os.geteuid() == 0 else ()
    if as_nobody and shutil.which(as_nobody[0]) is None:
        pytest.skip("root may write everywhere, and there is no setpriv to take that from it")

    done = subprocess.run(
        [*as_nobody, sys.executable, "-m", "jobs", *command, str(wall / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (3, "")
    require_one_line(done.stderr, wall / "run", "Permission denied", "give access")
    assert list(wall.iterdir()) == []

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.io.folder_swap import replacing

HOLDER = """
import sys
from pathlib import Path
from pipeline.io.folder_swap import replacing
with replacing(Path(sys.argv[1])) as fresh:
    (fresh / "half").write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_replacing_new_folder_appears_at_the_end(tmp_path: Path):
    folder = tmp_path / "a" / "pages"
    with replacing(folder) as fresh:
        (fresh / "x").write_text("1")
        assert not folder.exists()
        assert fresh.parent == folder.parent
    assert _names(tmp_path / "a") == ["pages"]
    assert (folder / "x").read_text() == "1"


def test_replacing_old_folder_goes_whole(tmp_path: Path):
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "old").write_text("old")
    with replacing(folder) as fresh:
        (fresh / "new").write_text("new")
        assert _names(folder) == ["old"]
    assert _names(folder) == ["new"]
    assert _names(tmp_path) == ["pages"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_replacing_failure_leaves_the_old_folder_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
):
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "old").write_text("old")

    def write_and_fail() -> None:
        with replacing(folder) as fresh:
            (fresh / "new").write_text("new")
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert _names(folder) == ["old"]
    assert _names(tmp_path) == ["pages"]


def test_replacing_sweeps_what_the_dead_left_and_spares_the_living(tmp_path: Path):
    folder = tmp_path / "pages"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with replacing(folder) as fresh:
            (fresh / "x").write_text("1")
        [theirs] = [name for name in _names(tmp_path) if name != "pages"]
        assert _names(tmp_path / theirs) == ["half"]
        other.send_signal(signal.SIGKILL)
        other.wait()
        with replacing(folder) as fresh:
            (fresh / "x").write_text("2")
        assert _names(tmp_path) == ["pages"]
        assert (folder / "x").read_text() == "2"
    finally:
        other.kill()
        other.wait()
        for pipe in (other.stdin, other.stdout):
            assert pipe is not None
            pipe.close()

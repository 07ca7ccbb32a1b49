from __future__ import annotations

import io
from pathlib import Path

import pytest

from pipeline.io import objects
from pipeline.io.range_file import RangeFile

DATA = bytes(range(200))


@pytest.fixture
def file(tmp_path: Path) -> RangeFile:
    (tmp_path / "a").write_bytes(DATA)
    return RangeFile(str(tmp_path / "a"), len(DATA))


def test_range_file_moves_and_reads_as_a_file_does(file: RangeFile):
    model = io.BytesIO(DATA)
    moves = [(0, 0), (10, 0), (5, 1), (-20, 2), (0, 2), (500, 0), (-3, 1)]
    for offset, whence in moves:
        assert file.seek(offset, whence) == model.seek(offset, whence)
        for size in (0, 7, 30, -1):
            assert file.read(size) == model.read(size)
            assert file.tell() == model.tell()


def test_range_file_reads_nothing_but_what_is_asked(
    file: RangeFile, monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[int, int]] = []
    real = objects.read
    monkeypatch.setattr(objects, "read", lambda url, a, b: asked.append((a, b)) or real(url, a, b))
    file.seek(50)
    file.read(10)

    assert asked == [(50, 60)]

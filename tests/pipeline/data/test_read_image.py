"""Bytes of one image, or whose fault it is that there are none."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.image_rows import list_rows, number_rows
from pipeline.data.parquet_images import ParquetImages
from pipeline.data.read_image import ImageRow, image_rows, read_bytes
from pipeline.io import objects
from schemas.errors import ImageRejectedError, StoreUnavailableError


def reason(row: ImageRow, **options: int) -> str:
    with pytest.raises(ImageRejectedError) as caught:
        read_bytes(row, ParquetImages(), **options)
    return caught.value.reason


def file(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def test_image_rows_carry_what_reading_needs():
    table = number_rows(
        list_rows(["a", "t#b"], container=[None, "t"], offset=[None, 512], length=[None, 9])
    )

    assert image_rows(table) == [ImageRow(0, "a"), ImageRow(1, "t#b", "t", 512, 9)]


def test_read_bytes_of_a_file_gives_all_of_it(tmp_path: Path):
    uri = file(tmp_path / "a.jpg", b"0123456789")

    assert read_bytes(ImageRow(0, uri), ParquetImages()) == b"0123456789"
    assert read_bytes(ImageRow(0, uri), ParquetImages(), max_bytes=10) == b"0123456789"


def test_read_bytes_of_a_range_gives_that_range(tmp_path: Path):
    tar = file(tmp_path / "a.tar", b"0123456789")

    assert read_bytes(ImageRow(0, "x", tar, 3, 4), ParquetImages()) == b"3456"


def test_read_bytes_of_a_cell_gives_the_cell(tmp_path: Path):
    pq.write_table(pa.table({"bytes": [b"zero", b"one"]}), tmp_path / "t.parquet")

    row = ImageRow(1, "x", str(tmp_path / "t.parquet"), 1)

    assert read_bytes(row, ParquetImages()) == b"one"


def test_read_bytes_rejects_what_is_no_file_or_too_much(tmp_path: Path):
    ten = file(tmp_path / "ten", b"0123456789")
    empty = file(tmp_path / "empty", b"")

    assert reason(ImageRow(0, str(tmp_path / "none.jpg"))) == "missing"
    assert reason(ImageRow(0, str(tmp_path))) == "missing"
    assert reason(ImageRow(0, f"{ten}/below.jpg")) == "missing"
    assert reason(ImageRow(0, str(tmp_path / ("x" * 400)))) == "missing"
    assert reason(ImageRow(0, str(tmp_path / "a\0b.jpg"))) == "missing"
    assert reason(ImageRow(0, empty)) == "empty"
    assert reason(ImageRow(0, ten), max_bytes=9) == "too_large"
    assert reason(ImageRow(0, "x", ten, 0, 10), max_bytes=9) == "too_large"
    assert reason(ImageRow(0, "x", ten, 6, 10)) == "truncated"
    assert reason(ImageRow(0, "x", ten, 20, 5)) == "truncated"
    assert reason(ImageRow(0, "x", ten, 5, 0)) == "empty"
    assert reason(ImageRow(0, "x", str(tmp_path / "none.tar"), 0, 5)) == "missing"
    # A name that is not UTF-8 stands for no file, not even for one that is called what it shows.
    assert reason(ImageRow(0, ten, str(tmp_path))) == "missing"


@pytest.mark.timeout(120)
def test_read_bytes_of_what_could_be_read_for_ever_reads_nothing(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zeros.jpg").symlink_to("/dev/zero")

    assert reason(ImageRow(0, str(tmp_path / "pipe.jpg"))) == "missing"
    assert reason(ImageRow(0, str(tmp_path / "zeros.jpg"))) == "missing"


def test_read_bytes_of_bad_parquet_values_rejects_them(tmp_path: Path):
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"bytes": pa.array([None, b"", b"x" * 5000], pa.binary())}), path,
        compression="snappy",
    )  # fmt: skip
    damaged = bytearray(path.read_bytes())
    damaged[8:40] = b"\xff" * 32
    bad = file(tmp_path / "bad.parquet", bytes(damaged))

    assert reason(ImageRow(0, "x", str(path), 0)) == "missing"
    assert reason(ImageRow(0, "x", str(path), 1)) == "empty"
    assert reason(ImageRow(0, "x", str(path), 7)) == "missing"
    assert reason(ImageRow(0, "x", bad, 2)) == "corrupt"
    assert reason(ImageRow(0, "x", file(tmp_path / "no.parquet", b"no"), 0)) == "corrupt"
    assert reason(ImageRow(0, "x", str(tmp_path / "none.parquet"), 0)) == "missing"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, "no_permission"), (403, "no_permission"), (404, "missing"), (416, "empty")],
)
def test_read_bytes_understands_what_a_server_answers(
    monkeypatch: pytest.MonkeyPatch, status: int, expected: str
):
    class AnswerError(Exception):
        def __init__(self) -> None:
            self.status = status

    def read(*_: object) -> bytes:
        raise AnswerError

    monkeypatch.setattr(objects, "read", read)

    assert reason(ImageRow(0, "https://host.invalid/a.jpg")) == expected


def test_read_bytes_without_permission_rejects_the_image(monkeypatch: pytest.MonkeyPatch):
    def read(*_: object) -> bytes:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(objects, "read", read)

    assert reason(ImageRow(0, "a.jpg")) == "no_permission"
    assert reason(ImageRow(0, "x", "a.tar", 0, 5)) == "no_permission"


@pytest.mark.parametrize("error", [StoreUnavailableError("no answer"), OSError(5, "broken disk")])
def test_read_bytes_from_a_store_that_fails_does_not_blame_the_image(
    monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def read(*_: object) -> bytes:
        raise error

    monkeypatch.setattr(objects, "read", read)

    with pytest.raises(type(error)):
        read_bytes(ImageRow(0, "a.jpg"), ParquetImages())
    with pytest.raises(type(error)):
        read_bytes(ImageRow(0, "x", "a.tar", 0, 5), ParquetImages())


def test_read_bytes_from_s3_tells_whole_empty_and_missing_apart(s3_url: str):
    system = fsspec.filesystem("s3")
    system.pipe_file(f"{s3_url}/a b#c.jpg", b"0123456789")
    system.pipe_file(f"{s3_url}/empty.jpg", b"")

    assert read_bytes(ImageRow(0, f"{s3_url}/a b#c.jpg"), ParquetImages()) == b"0123456789"
    assert read_bytes(ImageRow(0, "x", f"{s3_url}/a b#c.jpg", 2, 3), ParquetImages()) == b"234"
    assert reason(ImageRow(0, f"{s3_url}/empty.jpg")) == "empty"
    assert reason(ImageRow(0, "x", f"{s3_url}/a b#c.jpg", 20, 5)) == "truncated"
    assert reason(ImageRow(0, f"{s3_url}/none.jpg")) == "missing"
    assert reason(ImageRow(0, f"{s3_url}-none/none.jpg")) == "missing"

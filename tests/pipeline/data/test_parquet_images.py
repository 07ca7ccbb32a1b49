"""Cells come from the right row, and a row group is fetched once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.parquet_images import ParquetImages, bytes_column, open_parquet
from pipeline.io import objects

STRUCT = pa.struct([("path", pa.string()), ("bytes", pa.binary())])


def write(path: Path, values: list[bytes | None], *, struct: bool = False, group: int = 3) -> str:
    if struct:
        rows = [None if v is None else {"path": "p", "bytes": v} for v in values]
        table = pa.table({"id": range(len(values)), "image": pa.array(rows, STRUCT)})
    else:
        table = pa.table({"id": range(len(values)), "bytes": pa.array(values, pa.binary())})
    pq.write_table(table, path, row_group_size=group)
    return str(path)


@pytest.mark.parametrize("struct", [False, True])
def test_cell_reader_gives_every_row_in_any_order(tmp_path: Path, struct: bool):
    values = [bytes([n]) * (n + 1) for n in range(10)]
    values[4] = None
    url = write(tmp_path / "t.parquet", values, struct=struct)
    reader = ParquetImages()

    for row in (9, 0, 4, 3, 2, 5, 8, 1, 7, 6):
        assert reader.read(url, row) == values[row]


def test_cell_reader_fetches_a_row_group_once_for_rows_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = write(tmp_path / "t.parquet", [b"x" * 500] * 30, group=10)
    reads = []
    real = objects.read
    monkeypatch.setattr(objects, "read", lambda *place: reads.append(place[1:]) or real(*place))
    reader = ParquetImages()

    first = reader.read(url, 0)
    after_first = len(reads)
    for row in range(1, 10):
        assert reader.read(url, row) == first
    assert len(reads) == after_first
    reader.read(url, 10)
    assert len(reads) > after_first


def test_cell_reader_keeps_no_more_groups_than_told(tmp_path: Path):
    url = write(tmp_path / "t.parquet", [b"x"] * 12, group=2)
    reader = ParquetImages(groups_kept=2)

    for row in range(12):
        reader.read(url, row)

    assert len(reader._groups) == 2


@pytest.mark.parametrize("row", [-1, 3, 100])
def test_cell_reader_of_a_row_that_is_not_there_says_so(tmp_path: Path, row: int):
    url = write(tmp_path / "t.parquet", [b"x"] * 3)

    with pytest.raises(FileNotFoundError, match=f"no row {row}"):
        ParquetImages().read(url, row)


def test_cell_reader_of_a_file_without_pictures_says_so(tmp_path: Path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "t.parquet")

    with pytest.raises(FileNotFoundError, match="no column of image bytes"):
        ParquetImages().read(str(tmp_path / "t.parquet"), 0)


def test_open_parquet_of_an_absent_file_says_so(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        open_parquet(str(tmp_path / "none.parquet"))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"image": pa.binary()}, "image"),
        ({"image": pa.large_binary()}, "image"),
        ({"image": STRUCT}, "image.bytes"),
        ({"bytes": pa.binary(), "path": pa.string()}, "bytes"),
        ({"image": pa.string(), "bytes": pa.binary()}, "bytes"),
        ({"image": pa.string()}, None),
        ({"image": pa.struct([("bytes", pa.string())])}, None),
        ({"path": pa.string()}, None),
    ],
)
def test_bytes_column_is_found_by_type(schema: dict[str, pa.DataType], expected: str | None):
    assert bytes_column(pa.schema(list(schema.items()))) == expected

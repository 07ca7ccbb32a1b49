"""Parquet manifests and tables of image bytes, told apart by their columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data.sources import parquet
from pipeline.data.sources.parquet import parquet_rows
from schemas.errors import DatasetError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(file: Path, **columns: object) -> str:
    pq.write_table(pa.table(columns), file, row_group_size=2)
    return str(file)


def test_parquet_rows_of_a_manifest_resolve_against_its_folder(tmp_path: Path):
    url = write(tmp_path / "m.parquet", path=["b.jpg", "/x/a.jpg"], label=[4, None], other=[1, 2])

    rows = parquet_rows([url]).to_pydict()

    assert rows["uri"] == [f"{tmp_path}/b.jpg", "/x/a.jpg"]
    assert rows["label"] == [4, None]
    assert rows["container"] == [None, None]


def test_parquet_rows_of_image_bytes_name_file_and_row(tmp_path: Path):
    images = [{"bytes": b"1", "path": "a.jpg"}, {"bytes": b"2", "path": None}, None,
              {"bytes": b"4", "path": ""}]  # fmt: skip
    one = write(tmp_path / "1.parquet", image=pa.array(images, STRUCT), label=[1, -1, 0, 2])
    two = write(tmp_path / "2.parquet", bytes=[b"5"], path=["ignored"], class_name=["cat"])

    rows = parquet_rows([one, two]).to_pydict()

    assert rows["uri"] == [f"{one}#0/a.jpg", f"{one}#1", f"{one}#2", f"{one}#3", f"{two}#0"]
    assert rows["container"] == [one] * 4 + [two]
    assert rows["offset"] == [0, 1, 2, 3, 0]
    assert rows["length"] == [None] * 5
    assert rows["label"] == [1, None, 0, 2, None]
    assert rows["class_name"] == [None] * 4 + ["cat"]


def test_parquet_rows_label_by_class_over_all_files(tmp_path: Path):
    urls = [
        write(tmp_path / f"{name}.parquet", image=[b"x"], class_name=[name]) for name in ("b", "a")
    ]

    assert parquet_rows(urls)["label"].to_pylist() == [1, 0]


def test_parquet_rows_without_extra_columns_count_the_rows(tmp_path: Path):
    url = write(tmp_path / "t.parquet", image=[b"x"] * 5)

    rows = parquet_rows([url])

    assert rows.num_rows == 5
    assert rows["label"].null_count == 5


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a"]}, r"neither a manifest .* the columns there are: text \(string\)"),
        ({"image": ["a.jpg"]}, r"image \(string\)"),
        ({"path": [1]}, "column path must hold text"),
        ({"path": ["a"], "labels": [1]}, "'labels' is not read, but looks like 'label'"),
        ({"image": [b"x"], "label": ["cat"]}, r"row 1 \(from 1\), column label: 'cat'"),
    ],
)
def test_parquet_rows_of_the_wrong_columns_say_which(
    tmp_path: Path, columns: dict[str, object], message: str
):
    with pytest.raises(DatasetError, match=message):
        parquet_rows([write(tmp_path / "t.parquet", **columns)])


def test_parquet_rows_of_a_damaged_file_say_so(tmp_path: Path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 but no more")

    with pytest.raises(DatasetError, match="no readable Parquet file"):
        parquet_rows([str(tmp_path / "t.parquet")])


def test_parquet_rows_with_a_row_group_too_large_for_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parquet, "LARGEST_ROW_GROUP_BYTES", 1000)
    url = write(tmp_path / "t.parquet", image=[bytes(range(256)) * 4] * 2)

    with pytest.raises(DatasetError, match="smaller row_group_size"):
        parquet_rows([url])

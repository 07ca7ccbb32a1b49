"""A manifest's rows keep their order; a wrong value is named by file, row, column and value."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.data.sources.manifest import csv_rows, manifest_rows, read_class_names, read_labels
from schemas.errors import DatasetError


def manifest(folder: Path, text: str) -> str:
    (folder / "list.csv").write_text(text, encoding="utf-8")
    return str(folder / "list.csv")


def test_csv_rows_keep_order_and_resolve_paths(tmp_path: Path):
    url = manifest(
        tmp_path,
        "label,other,path,class_name\n"
        '5,x,b.jpg,"cat, black"\n'
        ",1.5,/abs/a.jpg,\n"
        "0,,s3://bucket/c d.jpg,dog\n"
        "3.0,,sub/../é.jpg,NA\n",
    )

    rows = csv_rows(url).to_pydict()

    assert rows["uri"] == [
        f"{tmp_path}/b.jpg", "/abs/a.jpg", "s3://bucket/c d.jpg", f"{tmp_path}/é.jpg",
    ]  # fmt: skip
    assert rows["label"] == [5, None, 0, 3]
    assert rows["class_name"] == ["cat, black", None, "dog", "NA"]


def test_csv_rows_without_labels_take_the_place_among_sorted_classes(tmp_path: Path):
    url = manifest(tmp_path, "path,class_name\na,dog\nb,Cat\nc,\nd,dog\n")

    assert csv_rows(url)["label"].to_pylist() == [1, 0, None, 1]


def test_csv_rows_read_a_byte_order_mark_and_newlines_in_quotes(tmp_path: Path):
    url = manifest(tmp_path, '\ufeffpath,note\r\na.jpg,"two\nlines"\r\nb.jpg,\r\n')

    assert csv_rows(url)["uri"].to_pylist() == [f"{tmp_path}/a.jpg", f"{tmp_path}/b.jpg"]


def test_csv_rows_ignore_columns_whose_type_changes_midway(tmp_path: Path):
    lines = "".join(f"{n}.jpg,{n}\n" for n in range(200_000)) + "last.jpg,word\n"

    assert csv_rows(manifest(tmp_path, "path,id\n" + lines)).num_rows == 200_001


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na,1\n,2\n", r"list.csv: row 2 \(from 1\), column path: '' is empty"),
        ("path,label\na,1\nNaN,2\n", r"row 2 \(from 1\), column path: 'NaN'"),
        ("path,label\na,1\nb,cat\n", r"row 2 \(from 1\), column label: 'cat' is no class index"),
        ("path,label\na,1.5\n", r"row 1 \(from 1\), column label: '1.5'"),
        ("path,label\na,-2\n", r"column label: '-2'"),
        ("path,label\na,3000000000\n", r"column label: '3000000000'"),
        ("path,label\na,99999999999999999999\n", r"column label: '9+'"),
        ("path\nhttps://me:secret@host/a\n", r"row 1 .*holds credentials"),
        ("path\nhttps://host/a?x=1&sig=secret\n", r"row 1 .*holds credentials in its query"),
        ("Path,label\na,1\n", r"one column 'path'.*the columns there are: Path, label"),
        ("filename;label\na;1\n", r"the columns there are: filename;label"),
        ("path,path\na,b\n", r"one column 'path'"),
        ("path,lable\na,1\n", r"'lable' is not read, but looks like 'label'"),
        ("path,ClassName\na,1\n", r"'ClassName' is not read, but looks like 'class_name'"),
        ("path,label\na,1\nb\n", r"no readable CSV.*Expected 2 columns"),
        ("", r"no readable CSV"),
    ],
)
def test_csv_rows_with_a_mistake_name_it(tmp_path: Path, text: str, message: str):
    with pytest.raises(DatasetError, match=message) as caught:
        csv_rows(manifest(tmp_path, text))

    assert "secret" not in str(caught.value)


def test_csv_rows_that_are_not_utf8_say_so(tmp_path: Path):
    (tmp_path / "list.csv").write_bytes(b"path\n\xe9.jpg\n")

    with pytest.raises(DatasetError, match=r"UTF-?8"):
        csv_rows(str(tmp_path / "list.csv"))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([2, -1, None, 0], pa.int64()), [2, None, None, 0]),
        (pa.array([2, 255, None, 0], pa.uint8()), [2, 255, None, 0]),
        (pa.array([2.0, float("nan"), None, 0.0]), [2, None, None, 0]),
        (pa.array(["2", " 7 ", "", "+1"]), [2, 7, None, 1]),
        (pa.array(["2", "2", None, "0"]).dictionary_encode(), [2, 2, None, 0]),
        (pa.nulls(4), [None] * 4),
    ],
)
def test_read_labels_of_every_type_gives_integers(labels: pa.Array, expected: list[int | None]):
    found = read_labels(pa.table({"label": labels}), "t")

    assert found.type == pa.int32()
    assert found.to_pylist() == expected


@pytest.mark.parametrize(
    "labels", [pa.array([True]), pa.array([0.5]), pa.array([2**40]), pa.array([[1]])]
)
def test_read_labels_that_are_no_class_index_are_refused(labels: pa.Array):
    with pytest.raises(DatasetError, match=r"t: .*column label"):
        read_labels(pa.table({"label": labels}), "t")


def test_read_class_names_that_are_no_text_are_refused():
    with pytest.raises(DatasetError, match="must be text"):
        read_class_names(pa.table({"class_name": [["a"]]}), "t")


def test_manifest_rows_of_a_web_address_resolve_without_its_query():
    rows = manifest_rows(pa.table({"path": ["a.jpg"]}), "https://host/sets/list.csv?version=a/b")

    assert rows["uri"].to_pylist() == ["https://host/sets/a.jpg"]


def test_manifest_rows_of_a_null_path_name_the_row():
    with pytest.raises(DatasetError, match=r"row 2 \(from 1\), column path: None"):
        manifest_rows(pa.table({"path": ["a", None]}), "/x/t.parquet")

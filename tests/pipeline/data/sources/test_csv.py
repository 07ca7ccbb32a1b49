"""A CSV manifest's rows keep their order, and a mistake in it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.sources.csv import csv_rows, header, text_columns
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


def test_text_columns_read_no_value_as_a_number():
    data = b"a,b,c\n01,2020-01-01,x\n,1e3,y\n"

    assert header(data) == ["a", "b", "c"]
    assert text_columns(data, ["b", "a"]).to_pydict() == {
        "b": ["2020-01-01", "1e3"],
        "a": ["01", ""],
    }

"""A manifest's rows keep their order; a wrong value is named by file, row, column and value."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.data.sources.manifest import manifest_rows, read_class_names, read_labels
from schemas.errors import DatasetError


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


def test_manifest_rows_paths_that_are_no_text_are_refused():
    with pytest.raises(DatasetError, match=r"t: the column path is struct<.*must be text"):
        manifest_rows(pa.table({"path": [{"folder": "a", "file": "b.jpg"}]}), "t")


def test_read_class_names_that_are_no_text_are_refused():
    with pytest.raises(DatasetError, match="must be text"):
        read_class_names(pa.table({"class_name": [["a"]]}), "t")


def test_manifest_rows_of_a_web_address_resolve_without_its_query():
    rows = manifest_rows(pa.table({"path": ["a.jpg"]}), "https://host/sets/list.csv?version=a/b")

    assert rows["uri"].to_pylist() == ["https://host/sets/a.jpg"]


def test_manifest_rows_of_a_null_path_name_the_row():
    with pytest.raises(DatasetError, match=r"row 2 \(from 1\), column path: None"):
        manifest_rows(pa.table({"path": ["a", None]}), "/x/t.parquet")

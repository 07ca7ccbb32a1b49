from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.io import objects
from pipeline.store import work_list
from pipeline.store.encode import encode
from pipeline.store.work_list import WorkList
from schemas.errors import StoreError
from schemas.tables import IMAGE_LIST

COUNT = 100


def listing(ids: list[int]) -> pa.Table:
    columns: dict[str, list[object]] = {name: [None] * len(ids) for name in IMAGE_LIST.schema.names}
    columns |= {"image_id": ids, "uri": [f"{i}.jpg" for i in ids]}
    return pa.table(columns, schema=IMAGE_LIST.schema)


def put(folder: Path, ids: list[int]) -> WorkList:
    """A list of these images in row groups of 7."""
    objects.put_once(str(folder / "list"), encode(IMAGE_LIST, listing(ids), row_group_rows=7))
    return WorkList(str(folder / "list"))


@pytest.fixture
def images(tmp_path: Path) -> WorkList:
    return put(tmp_path, list(range(COUNT)))


def test_rows_of_every_slice_are_these_images(images: WorkList):
    for start in range(0, COUNT + 1, 3):
        for stop in range(start, COUNT + 1, 5):
            assert images.rows(start, stop)["image_id"].to_pylist() == list(range(start, stop))


def test_rows_reads_only_the_row_groups_around_them(
    images: WorkList, monkeypatch: pytest.MonkeyPatch
):
    images.rows(0, 1)
    asked: list[list[int]] = []
    real = work_list.pq.ParquetFile.read_row_groups

    def watched(file: object, groups: list[int]) -> pa.Table:
        asked.append(groups)
        return real(file, groups)

    monkeypatch.setattr(work_list.pq.ParquetFile, "read_row_groups", watched)
    images.rows(8, 15)
    images.rows(14, 15)
    images.rows(0, 7)

    assert asked == [[1, 2], [2], [0]]


def test_rows_of_one_row_group_are_fetched_once(images: WorkList, monkeypatch: pytest.MonkeyPatch):
    images.rows(0, 1)
    asked: list[str] = []
    real = objects.read

    def watched(url: str, start: int | None = None, end: int | None = None) -> bytes:
        asked.append(url)
        return real(url, start, end)

    monkeypatch.setattr(objects, "read", watched)
    slices = [images.rows(start, start + 2) for start in (7, 9, 11)]
    once = len(asked)
    images.rows(14, 16)

    assert [rows["image_id"].to_pylist() for rows in slices] == [[7, 8], [9, 10], [11, 12]]
    assert 2 * once == len(asked) > 0


def test_rows_by_many_threads_are_right(images: WorkList):
    with ThreadPoolExecutor(8) as pool:
        slices = list(pool.map(lambda i: images.rows(i, i + 10), range(90)))

    assert [rows["image_id"][0].as_py() for rows in slices] == list(range(90))


@pytest.mark.parametrize(("start", "stop"), [(0, 101), (-1, 3), (5, 4)])
def test_rows_outside_the_list_are_refused(images: WorkList, start: int, stop: int):
    with pytest.raises(StoreError, match="has 100 rows"):
        images.rows(start, stop)


def test_rows_of_a_list_with_gaps_are_counted_by_row(tmp_path: Path):
    images = put(tmp_path, [3, 7, 40])

    assert images.rows(1, 3)["image_id"].to_pylist() == [7, 40]


def test_rows_of_no_list_is_file_not_found(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        WorkList(str(tmp_path / "absent")).rows(0, 1)


def test_rows_of_an_empty_list_are_none(tmp_path: Path):
    images = put(tmp_path, [])

    assert len(images.rows(0, 0)) == 0

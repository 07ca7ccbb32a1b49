from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.io import objects
from pipeline.store import JobFolder
from pipeline.store.layout import layer_file
from pipeline.store.table_files import TableFiles
from schemas.errors import SpecError, StoreError
from schemas.manifest import FileRecord

UNITS = 40_000


def put(folder: JobFolder, filename: str, rows: pa.Table, row_group_rows: int) -> FileRecord:
    url = folder.table_file("t", filename)
    path = Path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, row_group_size=row_group_rows)
    return FileRecord(
        path=folder.relative(url), rows=len(rows), bytes=path.stat().st_size, sha256="0" * 64
    )


@pytest.fixture
def files(tmp_path: Path) -> TableFiles:
    """Two layers of a table, incompressible values in row groups of 2,000."""
    folder = JobFolder(str(tmp_path), "job")
    random = np.random.default_rng(0)
    records = []
    for position, layer in enumerate(("a", "b")):
        units = np.arange(UNITS, dtype=np.int32)
        rows = pa.table(
            {"layer": [layer] * UNITS, "unit": units, "value": random.random(UNITS)},
        )
        records.append(put(folder, layer_file(position, layer), rows, 2000))
    return TableFiles(folder, "t", tuple(records))


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all ranges that are read."""
    lengths: list[int] = []
    real = objects.read

    def counted(*arguments: object) -> bytes:
        data = real(*arguments)
        lengths.append(len(data))
        return data

    monkeypatch.setattr(objects, "read", counted)
    return lengths


def test_read_of_one_unit_fetches_a_small_share_of_the_bytes(files: TableFiles, fetched: list[int]):
    condition = (pc.field("layer") == "b") & (pc.field("unit") == 12_345)

    rows = files.read(None, condition, layer="b")

    assert (rows["layer"].to_pylist(), rows["unit"].to_pylist()) == (["b"], [12_345])
    assert sum(fetched) < sum(record.bytes for record in files.records) / 4


def test_read_of_some_columns_has_these_only(files: TableFiles):
    rows = files.read(["unit"])

    assert (rows.column_names, len(rows)) == (["unit"], 2 * UNITS)


def test_read_of_a_layer_without_a_file_has_columns_and_no_rows(files: TableFiles):
    rows = files.read(None, pc.field("layer") == "c", layer="c")

    assert (rows.column_names, len(rows)) == (["layer", "unit", "value"], 0)


def test_units_by_layer_counts_from_the_rows(files: TableFiles):
    assert files.units_by_layer() == {"a": UNITS, "b": UNITS}


def test_require_columns_of_an_unknown_one_names_the_nearest(files: TableFiles):
    files.require_columns(["unit", "value"])
    with pytest.raises(SpecError, match="table t has no column units; nearest: unit"):
        files.require_columns(["unit", "units"])


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_read_of_a_damaged_file_names_it(files: TableFiles, damage: str):
    path = Path(files.folder.at(files.records[1].path))
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000])

    with pytest.raises(StoreError, match=r"001-b\.parquet: "):
        files.read()

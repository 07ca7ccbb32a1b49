"""Published tables are read whole or in part, and what is not published is not read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.io import objects
from pipeline.store import JobFolder, open_run
from pipeline.store.layout import layer_file
from pipeline.store.run import TableFiles, within_units
from schemas.errors import (
    LayerError,
    NotPublishedError,
    SchemaMismatchError,
    SpecError,
    StoreError,
)
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


def test_within_units_filters_by_what_is_given():
    units = [("unit", ">=", 3), ("unit", "<=", 5)]

    assert within_units(None) is None
    assert within_units("3-5") == units
    assert within_units("3-5", 2) == [*units, ("rank", "<=", 2)]
    assert within_units(None, 1) == [("rank", "<=", 1)]


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


@pytest.fixture(params=["path", "s3"])
def published(request: pytest.FixtureRequest, tmp_path: Path, mini_job: ModuleType) -> str:
    """A published run of the miniature job, two layer files with three units each."""
    if request.param == "s3":
        url = request.getfixturevalue("s3_url") + "/run"
    else:
        url = str(tmp_path / "run")
    mini_job.run(url)
    return url


@pytest.fixture
def run_path(tmp_path: Path, mini_job: ModuleType) -> Path:
    mini_job.run(str(tmp_path / "run"))
    return tmp_path / "run"


def test_table_of_a_published_run_has_all_rows_in_order(published: str, mini_job: ModuleType):
    frame = open_run(published).table("top_patches")

    assert list(frame["layer"]) == ["features.1"] * 3 + ["features/2"] * 3
    assert list(frame["unit"]) == [0, 1, 2] * 2
    # The value is (slot * 7919 + image_id * 104729) % 1009, largest over images 0 to 9.
    best = [max((s * 7919 + i * 104729) % 1009 for i in range(10)) for s in range(6)]
    assert list(frame["value"]) == best
    assert open_run(published).manifest("scan").counts == {"images": mini_job.IMAGES}


def test_table_by_layer_and_unit_has_only_these_rows(published: str):
    run = open_run(published)

    assert list(run.table("top_patches", layer="features/2")["unit"]) == [0, 1, 2]
    assert len(run.table("top_patches", unit=1)) == 2
    one = run.table("top_patches", layer="features/2", unit=1, columns=["unit", "value"])
    assert (one.columns.tolist(), len(one)) == (["unit", "value"], 1)
    top = run.table("top_patches", job="scan", layer="features.1", filters=[("unit", ">", 0)])
    assert list(top["unit"]) == [1, 2]


def test_table_by_layer_reads_only_its_file(run_path: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    real = TableFiles._reading

    def watched(self: TableFiles, record: FileRecord, action: Callable[..., pa.Table]) -> pa.Table:
        if action is not pq.read_schema:
            read.append(record.path)
        return real(self, record, action)

    monkeypatch.setattr(TableFiles, "_reading", watched)
    open_run(str(run_path)).table("top_patches", layer="features/2", unit=1)

    assert read == ["top_patches/001-features_2.parquet"]


def test_table_with_an_unknown_layer_or_unit_names_the_choices(published: str):
    run = open_run(published)

    with pytest.raises(LayerError, match=r"no layer feature\.1 in top_patches; nearest: features"):
        run.table("top_patches", layer="feature.1")
    with pytest.raises(LayerError, match=r"no unit 3 in features\.1 .*choices: 0 to 2"):
        run.table("top_patches", layer="features.1", unit=3)
    with pytest.raises(LayerError, match="no unit -1 in any layer"):
        run.table("top_patches", unit=-1)


def test_table_without_rows_that_pass_a_filter_is_empty(published: str):
    frame = open_run(published).table(
        "top_patches", layer="features.1", unit=2, filters=[("value", ">", 1e9)]
    )

    assert len(frame) == 0
    assert "value" in frame.columns


def test_table_with_an_unknown_column_names_the_nearest(published: str):
    with pytest.raises(SpecError, match="no column valu; nearest: value"):
        open_run(published).table("top_patches", columns=["valu"])


def test_table_that_nobody_published_names_the_nearest(published: str):
    run = open_run(published)

    with pytest.raises(NotPublishedError, match="no published table top_patch in scan; nearest"):
        run.table("top_patch")
    with pytest.raises(NotPublishedError, match=r"no project/manifest\.json"):
        run.table("projections", job="project")


def test_table_of_an_empty_folder_is_not_published(tmp_path: Path):
    with pytest.raises(NotPublishedError, match="no job has published anything here"):
        open_run(str(tmp_path)).table("top_patches")


def test_table_of_a_job_without_manifest_is_not_read(run_path: Path):
    (run_path / "scan" / "manifest.json").unlink()

    with pytest.raises(NotPublishedError):
        open_run(str(run_path)).table("top_patches")


def test_table_file_that_the_manifest_does_not_list_is_not_read(run_path: Path):
    folder = run_path / "scan" / "top_patches"
    other = (folder / "000-features.1.parquet").read_bytes()
    (folder / "002-features.3.parquet").write_bytes(other)

    assert len(open_run(str(run_path)).table("top_patches")) == 6


def test_table_of_two_jobs_asks_which(run_path: Path):
    manifest = json.loads((run_path / "scan" / "manifest.json").read_text())
    (run_path / "scan2").mkdir()
    (run_path / "scan2" / "manifest.json").write_text(json.dumps(manifest | {"job": "scan2"}))
    run = open_run(str(run_path))

    with pytest.raises(SpecError, match=r"jobs scan, scan2 all have a table top_patches.*job="):
        run.table("top_patches")
    assert len(run.table("top_patches", job="scan")) == 6


def test_table_of_a_later_schema_version_is_refused(run_path: Path):
    path = run_path / "scan" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2, "new": 1}))

    with pytest.raises(SchemaMismatchError, match="schema version 2, this release reads 1"):
        open_run(str(run_path)).table("top_patches")


def test_table_whose_file_is_gone_names_it(run_path: Path):
    (run_path / "scan" / "top_patches" / "001-features_2.parquet").unlink()

    with pytest.raises(StoreError, match=r"001-features_2\.parquet: the manifest lists this file"):
        open_run(str(run_path)).table("top_patches")


def test_pandas_duckdb_and_polars_read_a_table_s_folder(run_path: Path):
    folder = str(run_path / "scan" / "top_patches")
    expected = open_run(str(run_path)).table("top_patches", layer="features/2", unit=1)
    where = "layer = 'features/2' and unit = 1"

    by_pandas = pd.read_parquet(folder, filters=[("layer", "==", "features/2"), ("unit", "==", 1)])
    by_duckdb = duckdb.sql(f"select * from '{folder}/*.parquet' where {where}").fetchall()
    by_polars = polars.scan_parquet(folder).sql(f"select * from self where {where}").collect()

    pd.testing.assert_frame_equal(by_pandas, expected)
    assert by_duckdb == [tuple(expected.iloc[0])]
    assert by_polars.rows() == by_duckdb
    assert len(pd.read_parquet(folder)) == 6

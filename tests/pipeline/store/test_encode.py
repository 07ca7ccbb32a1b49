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
import pyarrow.parquet as pq
import pytest

from pipeline.store import open_run
from pipeline.store.encode import decode, encode
from pipeline.store.table_files import TableFiles
from schemas.errors import (
    LayerError,
    NotPublishedError,
    SchemaMismatchError,
    SpecError,
    StoreError,
)
from schemas.jobs.scan import SCAN_LAYERS, SCAN_UNITS
from schemas.manifest import FileRecord
from schemas.tables import Column, Table
from tests.contracts import CONTRACTS

Make = Callable[..., pa.Table]

every_table = pytest.mark.parametrize(
    "contract", CONTRACTS, ids=[f"{contract.job}-{contract.name}" for contract in CONTRACTS]
)


@every_table
def test_encode_then_decode_of_every_table_gives_equal_rows(contract: Table, make_rows: Make):
    rows = make_rows(contract)

    back = decode(encode(contract, rows), contract)

    assert back.to_pylist() == rows.to_pylist()
    assert back.schema.equals(contract.schema, check_metadata=True)


@every_table
def test_encode_of_a_wrong_table_is_refused_with_both_schemas(contract: Table, make_rows: Make):
    rows = make_rows(contract)
    first = rows.schema.field(0)
    other = pa.float16() if first.type != pa.float16() else pa.int8()
    wrong = {
        "missing": rows.drop_columns([first.name]),
        "additional": rows.append_column("more", pa.array(range(len(rows)))),
        "renamed": rows.rename_columns(["renamed", *rows.schema.names[1:]]),
        "reordered": rows.select([*rows.schema.names[1:], first.name]),
        "type": rows.set_column(0, pa.field(first.name, other), pa.nulls(len(rows), other)),
        "nullability": rows.set_column(0, first.with_nullable(not first.nullable), rows[0]),
    }
    if len(rows.schema) == 1:
        del wrong["reordered"]
    for table in wrong.values():
        with pytest.raises(SchemaMismatchError) as caught:
            encode(contract, table)
        message = str(caught.value)
        promised, found = message.split("promised:")[1].split("found:")
        assert promised != found
        assert [line.split(":")[0].strip() for line in promised.split("\n") if line.strip()] == (
            contract.schema.names
        )
        assert all(name in found for name in table.schema.names)


@every_table
def test_encode_of_a_null_where_none_is_allowed_is_refused(contract: Table, make_rows: Make):
    rows = make_rows(contract)
    for i, field in enumerate(contract.schema):
        holed = rows.set_column(i, field, pa.nulls(len(rows), field.type))
        if field.nullable:
            encode(contract, holed)
        else:
            with pytest.raises(SchemaMismatchError, match=f"column {field.name} has 4 nulls"):
                encode(contract, holed)


@every_table
def test_encode_of_equal_rows_gives_equal_bytes(contract: Table, make_rows: Make):
    rows = make_rows(contract, 50)
    halves = pa.concat_tables([rows.slice(0, 20), rows.slice(20)])
    inside = pa.concat_tables([rows, rows, rows]).combine_chunks().slice(50, 50)
    plain = rows.replace_schema_metadata({"other": "note"})

    data = encode(contract, rows)

    assert [encode(contract, same) == data for same in (rows, halves, inside, plain)] == [True] * 4


def test_encode_of_many_small_chunks_gives_the_bytes_of_one():
    contract = Table(
        job="any",
        name="pictures",
        columns=(Column("text", "string", "any"),),
        key=("text",),
        sort=("text",),
    )
    random = np.random.default_rng(0)
    # Several pages a row group: where one ends depends on the chunks that are written.
    pictures = sorted(random.bytes(100).hex() for _ in range(30_000))
    whole = pa.table({"text": pictures}, schema=contract.schema)
    chunked = pa.concat_tables([whole.slice(i, 777) for i in range(0, len(whole), 777)])

    assert encode(contract, chunked) == encode(contract, whole)


@every_table
def test_contracts_have_no_dictionary_columns(contract: Table):
    assert not any(pa.types.is_dictionary(field.type) for field in contract.schema)


def test_encode_writes_zstd_row_groups_with_statistics_and_the_version(make_rows: Make):
    contract = SCAN_UNITS
    data = encode(contract, make_rows(contract, 100), row_group_rows=40)

    footer = pq.read_metadata(pa.BufferReader(data))
    group = footer.row_group(1)
    column = group.column(1)
    assert [footer.row_group(i).num_rows for i in range(3)] == [40, 40, 20]
    assert column.compression == "ZSTD"
    assert (column.statistics.min, column.statistics.max) == (40, 79)
    assert json.loads(footer.metadata[b"unitscope"]) == {"schema_version": 1}


def test_decode_of_damaged_bytes_is_refused(make_rows: Make):
    data = encode(SCAN_UNITS, make_rows(SCAN_UNITS))

    for wrong in (b"", b"not parquet", data[:-20], data[: len(data) // 2]):
        with pytest.raises(SchemaMismatchError, match=r"scan/units: .* not a whole Parquet file"):
            decode(wrong, SCAN_UNITS)


def test_decode_of_another_table_is_refused(make_rows: Make):
    with pytest.raises(SchemaMismatchError, match="scan/layers: the schema is not"):
        decode(encode(SCAN_UNITS, make_rows(SCAN_UNITS)), SCAN_LAYERS)


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

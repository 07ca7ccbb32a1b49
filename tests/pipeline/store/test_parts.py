"""Parts are read in the order of the shards, and put in files of about so many rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.store import JobFolder, JobStore, parts
from pipeline.store.parts import Parts
from schemas.errors import WorkGoneError
from schemas.jobs.scan import SCAN_REJECTS
from schemas.manifest import Plan, Shard

SHARDS = tuple(Shard(index=i, start=4 * i, stop=4 * i + 4) for i in range(3))
PLAN = Plan(job="scan", fingerprint="0", identity={}, shards=SHARDS)
CONTRACTS = {"rejects": SCAN_REJECTS}


def rows(shard: Shard) -> pa.Table:
    found = [
        {"image_id": i, "uri": f"{i}.png", "reason": "empty", "detail": "zero bytes"}
        for i in range(shard.start, shard.stop)
    ]
    return pa.Table.from_pylist(found, schema=SCAN_REJECTS.schema)


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    """A job whose shards were committed last one first."""
    store = JobStore(JobFolder(str(tmp_path / "run"), "scan"))
    for shard in reversed(SHARDS):
        store.commit_shard(shard, {"rejects": rows(shard)}, CONTRACTS, {"rejects": 4}, 0.1)
    return store


def test_parts_are_read_in_the_order_of_the_shards(store: JobStore):
    found = Parts(store, PLAN, CONTRACTS, {"rejects": 12})

    tables = list(found.read("rejects"))

    assert [table["image_id"].to_pylist()[0] for table in tables] == [0, 4, 8]
    assert found.counts == {"rejects": 12}


def test_parts_of_a_shard_that_is_not_done_are_an_error(store: JobStore):
    more = PLAN.model_copy(update={"shards": (*SHARDS, Shard(index=3, start=12, stop=13))})

    with pytest.raises(WorkGoneError):
        Parts(store, more, CONTRACTS, {})


def test_put_by_rows_ends_a_file_where_a_part_does(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parts, "_ROWS_A_FILE", 5)
    found = Parts(store, PLAN, CONTRACTS, {})

    records = found.put_by_rows(SCAN_REJECTS, found.read("rejects"))

    assert [record.rows for record in records] == [8, 4]
    assert [record.path for record in records] == [
        "rejects/rejects-00000.parquet",
        "rejects/rejects-00001.parquet",
    ]


def test_put_without_a_name_is_the_tables_only_file(store: JobStore):
    record = Parts(store, PLAN, CONTRACTS, {}).put(SCAN_REJECTS, rows(SHARDS[0]))

    assert (record.path, record.rows) == ("rejects/rejects.parquet", 4)

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.status import JobStatus, as_json, as_text, read_status
from pipeline.store import JobFolder, JobStore
from schemas.errors import NotPublishedError
from schemas.jobs.scan import SCAN_REJECTS
from schemas.manifest import Manifest, Plan, Provenance, Shard

SHARDS = tuple(
    Shard(index=index, start=start, stop=min(start + 64, 150))
    for index, start in enumerate(range(0, 150, 64))
)
PROVENANCE = Provenance(
    created_at="2026-11-24T03:00:00Z",
    argv=("unitscope",),
    unitscope_version="0",
    git_commit=None,
    git_dirty=None,
    python="3.11",
    versions={},
    platform="linux",
    device="cpu",
)


def _begun(run: Path) -> JobStore:
    store = JobStore(JobFolder(str(run), "scan"))
    store.open_plan(Plan(job="scan", fingerprint="f", identity={"top": 9}, shards=SHARDS))
    return store


def _rejects(count: int) -> pa.Table:
    rows = [
        {"image_id": i, "uri": f"{i}.jpg", "reason": "empty", "detail": "0"} for i in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=SCAN_REJECTS.schema)


def _do(store: JobStore, index: int, rejects: int, seconds: float) -> None:
    size = SHARDS[index].stop - SHARDS[index].start
    store.commit_shard(
        SHARDS[index],
        {"rejects": _rejects(rejects)},
        {"rejects": SCAN_REJECTS},
        {"images": size - rejects, "rejects": rejects},
        seconds,
    )


def _publish(store: JobStore) -> None:
    record = store.put_table(SCAN_REJECTS, "part-0.parquet", _rejects(3))
    store.publish(
        Manifest(
            job="scan",
            fingerprint="f",
            identity={"top": 9},
            spec={},
            tables={"rejects": (record,)},
            counts={"images": 147, "rejects": 3},
            provenance=PROVENANCE,
        )
    )


def _only(run: Path) -> JobStatus:
    [job] = read_status(str(run)).jobs
    return job


def test_status_in_progress_counts_shards_images_and_time(tmp_path: Path):
    store = _begun(tmp_path)
    _do(store, 0, rejects=2, seconds=4.0)
    _do(store, 2, rejects=1, seconds=4.6)
    job = _only(tmp_path)
    assert (job.state, job.shards_done, job.shards) == ("in progress", 2, 3)
    assert (job.done, job.total) == (86, 150)
    assert job.counts == {"images": 83, "rejects": 3}
    assert job.items_per_s == pytest.approx(10.0)
    assert job.worker_seconds_left == pytest.approx(6.4)


def test_status_before_the_first_shard_promises_nothing(tmp_path: Path):
    _begun(tmp_path)
    job = _only(tmp_path)
    assert (job.state, job.shards_done, job.done) == ("in progress", 0, 0)
    assert (job.items_per_s, job.worker_seconds_left) == (None, None)
    assert "0 of 150 images (0%)" in as_text(read_status(str(tmp_path)))


def test_status_all_shards_done_is_merging_until_published(tmp_path: Path):
    store = _begun(tmp_path)
    for index in range(3):
        _do(store, index, rejects=1, seconds=1.0)
    assert _only(tmp_path).state == "merging"
    assert "run the job again to publish" in as_text(read_status(str(tmp_path)))
    _publish(store)
    job = _only(tmp_path)
    assert (job.state, job.published_at) == ("published", "2026-11-24T03:00:00Z")
    assert job.counts == {"images": 147, "rejects": 3}


@pytest.mark.parametrize("when", ["before the list", "after the list"])
def test_status_work_that_goes_meanwhile_is_read_as_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
):
    store = _begun(tmp_path)
    _do(store, 0, rejects=0, seconds=1.0)
    method = "markers" if when == "before the list" else "marker"
    read = getattr(JobStore, method)

    def publish_first(self: JobStore, *arguments: int) -> object:
        _publish(store)
        return read(self, *arguments)

    monkeypatch.setattr(JobStore, method, publish_first)
    assert _only(tmp_path).state == "published"


def test_status_changes_nothing_in_the_folder(tmp_path: Path):
    _do(_begun(tmp_path), 0, rejects=0, seconds=1.0)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    read_status(str(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_status_folder_without_a_job_says_so(tmp_path: Path):
    (tmp_path / "gallery").mkdir()
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(NotPublishedError, match="no job has begun"):
            read_status(str(folder))


def test_as_json_and_text_hold_the_same_facts(tmp_path: Path):
    _do(_begun(tmp_path), 1, rejects=0, seconds=6.4)
    status = read_status(str(tmp_path))
    parsed = json.loads(as_json(status))
    assert parsed["run"] == str(tmp_path)
    assert parsed["jobs"][0]["items_per_s"] == pytest.approx(10.0)
    text = as_text(status)
    for words in (
        "in progress",
        "64 of 150 images (43%)",
        "1 done, 2 left",
        "10.0 images/s",
        "9 s",
    ):
        assert words in text

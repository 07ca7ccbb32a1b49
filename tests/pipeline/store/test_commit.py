from __future__ import annotations

import json
import pickle
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from pipeline.io import objects
from pipeline.store import JobFolder, JobStore, open_run
from schemas.errors import (
    ContentConflictError,
    NotPublishedError,
    PlanMismatchError,
    SchemaMismatchError,
    StoreError,
    UnsafeStoreError,
    WorkGoneError,
)
from schemas.manifest import Manifest, Marker, Plan, Shard, fingerprint
from schemas.tables import IMAGE_LIST, Column, Table

ROOT = Path(__file__).resolve().parents[3]
SHARD = Shard(index=3, start=0, stop=6)
UNITS = Table(
    job="any",
    name="units",
    columns=(
        Column("layer", "string", "a layer"),
        Column("unit", "int32", "one of its units"),
    ),
    key=("layer", "unit"),
    sort=("layer", "unit"),
)


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the store catches it."""


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(JobFolder(str(tmp_path / "run"), "scan"))


@pytest.fixture
def commit(mini_job: ModuleType) -> Callable[..., Marker]:
    """Commit shard 3 with the values moved by ``shift``."""

    def commit(
        store: JobStore, shift: float = 0.0, images: int = 6, seconds: float = 1.0
    ) -> Marker:
        ids = mini_job.image_list().slice(0, 6)
        part = mini_job.process(ids)["part_top"]
        values = pa.array([value + shift for value in part["value"].to_pylist()], pa.float32())
        part = part.set_column(2, part.schema.field(2), values)
        return store.commit_shard(
            SHARD, {"part_top": part}, mini_job.CONTRACTS, {"images": images}, seconds
        )

    return commit


def other_plan(mini_job: ModuleType) -> Plan:
    identity = {"model": "toy", "top": 9}
    return Plan(
        job="scan", fingerprint=fingerprint(identity), identity=identity, shards=mini_job.SHARDS
    )


def published(store: JobStore, mini_job: ModuleType) -> Manifest:
    mini_job.run(store.folder.run)
    return store.manifest()


def work_files(store: JobStore) -> list[str]:
    work = Path(store.folder.work)
    return sorted(path.relative_to(work).as_posix() for path in work.rglob("*") if path.is_file())


def test_open_plan_twice_joins_the_standing_plan(store: JobStore, mini_job: ModuleType):
    first = mini_job.plan()
    cut_otherwise = first.model_copy(update={"shards": (Shard(index=0, start=0, stop=10),)})

    assert store.plan() is None
    assert store.open_plan(first) == first
    assert store.open_plan(cut_otherwise) == first
    assert store.plan() == first
    assert work_files(store) == ["plan.json"]


def test_open_plan_with_another_fingerprint_is_refused(store: JobStore, mini_job: ModuleType):
    store.open_plan(mini_job.plan())

    for refused in (store.open_plan, store.require_same_plan):
        with pytest.raises(PlanMismatchError) as caught:
            refused(other_plan(mini_job))
        assert store.folder.run in str(caught.value)
        assert "top: 1 -> 9" in str(caught.value)


def test_open_plan_of_a_published_job_compares_with_the_manifest(
    store: JobStore, mini_job: ModuleType
):
    published(store, mini_job)

    assert store.open_plan(mini_job.plan()) == mini_job.plan()
    assert not Path(store.folder.work).exists()
    with pytest.raises(PlanMismatchError, match="top: 1 -> 9"):
        store.open_plan(other_plan(mini_job))


def test_open_plan_while_another_plan_is_published_is_refused(
    store: JobStore, mini_job: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    real = JobStore._probe_once

    def published_meanwhile(_: JobStore) -> None:
        monkeypatch.setattr(JobStore, "_probe_once", real)
        mini_job.run(store.folder.run)

    monkeypatch.setattr(JobStore, "_probe_once", published_meanwhile)
    with pytest.raises(PlanMismatchError, match="top: 1 -> 9"):
        store.open_plan(other_plan(mini_job))

    mini_job.run(store.folder.run)
    assert not Path(store.folder.work).exists()


def test_open_plan_and_work_list_on_an_unsafe_store_are_refused(
    s3_server: object, s3_url: str, mini_job: ModuleType
):
    s3_server.ignore_condition = True
    store = JobStore(JobFolder(s3_url, "scan"))

    with pytest.raises(UnsafeStoreError):
        store.put_work_list(IMAGE_LIST, mini_job.image_list())
    with pytest.raises(UnsafeStoreError):
        store.open_plan(mini_job.plan())
    assert store.plan() is None


def test_put_work_list_twice_needs_the_same_list(store: JobStore, mini_job: ModuleType):
    images = mini_job.image_list()
    store.put_work_list(IMAGE_LIST, images)
    store.put_work_list(IMAGE_LIST, images)

    assert store.work_rows(IMAGE_LIST, 4, 7)["uri"].to_pylist() == ["4.jpg", "5.jpg", "6.jpg"]
    with pytest.raises(ContentConflictError, match="image_list"):
        store.put_work_list(IMAGE_LIST, images.slice(0, 5))


@pytest.mark.parametrize("order", [[1, 0], [0, 0], [0, 2, 1]])
def test_put_work_list_that_does_not_ascend_is_refused(
    store: JobStore, mini_job: ModuleType, order: list[int]
):
    with pytest.raises(SchemaMismatchError, match="scan/image_list: row"):
        store.put_work_list(IMAGE_LIST, mini_job.image_list().take(order))
    assert work_files(store) == []


def test_work_list_of_units_is_one_as_well(store: JobStore):
    rows = pa.table({"layer": ["b", "b", "a"], "unit": [0, 4, 1]}, schema=UNITS.schema)
    store.put_work_list(UNITS, rows)

    assert work_files(store) == ["units.parquet"]
    assert store.work_rows(UNITS, 1, 3).to_pydict() == {"layer": ["b", "a"], "unit": [4, 1]}
    with pytest.raises(WorkGoneError, match=r"_work/image_list\.parquet: gone"):
        store.work_rows(IMAGE_LIST, 0, 1)


def test_commit_shard_then_read_part_gives_the_rows(
    store: JobStore, commit: Callable[..., Marker], mini_job: ModuleType
):
    assert (store.marker(3), store.markers()) == (None, {})

    marker = commit(store)

    assert store.marker(3) == marker
    assert store.markers() == {3: marker}
    expected = mini_job.process(mini_job.image_list().slice(0, 6))["part_top"]
    assert store.read_part(marker, "part_top", mini_job.PART).equals(expected)
    assert marker.counts == {"images": 6}


def test_commit_shard_twice_alike_keeps_the_first_and_drops_the_second(
    store: JobStore, commit: Callable[..., Marker]
):
    first = commit(store, seconds=1.0)
    before = work_files(store)

    assert commit(store, seconds=9.0) == first
    assert work_files(store) == before


@pytest.mark.parametrize("change", [{"shift": 1.0}, {"images": 5}])
def test_commit_shard_twice_differently_is_refused(
    store: JobStore, commit: Callable[..., Marker], change: dict[str, float]
):
    first = commit(store)

    with pytest.raises(ContentConflictError, match="shard 3 was done twice") as caught:
        commit(store, **change)
    assert first.content["part_top"].sha256 in str(caught.value)
    assert store.marker(3) == first


def test_commit_shard_by_many_at_once_has_one_marker(
    store: JobStore, commit: Callable[..., Marker]
):
    with ThreadPoolExecutor(6) as pool:
        markers = list(pool.map(lambda i: commit(store, seconds=float(i)), range(6)))

    assert all(marker == store.marker(3) for marker in markers)
    assert len(list(Path(store.folder.work, "parts").iterdir())) == 1


def test_commit_shard_whose_answers_are_lost_succeeds(
    s3_server: object, s3_url: str, commit: Callable[..., Marker], mini_job: ModuleType
):
    store = JobStore(JobFolder(s3_url, "scan"))
    s3_server.lose_answers = 2

    marker = commit(store)

    assert s3_server.lose_answers == 0
    assert store.marker(3) == marker
    assert len(store.read_part(marker, "part_top", mini_job.PART)) == 6


def test_read_part_of_damaged_bytes_is_refused(
    store: JobStore, commit: Callable[..., Marker], mini_job: ModuleType
):
    marker = commit(store)
    path = Path(store.folder.at(marker.content["part_top"].path))
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)

    with pytest.raises(ContentConflictError, match=r"sha256 is .* committed was"):
        store.read_part(marker, "part_top", mini_job.PART)


def test_read_part_that_another_run_took_away_says_so(
    store: JobStore, commit: Callable[..., Marker], mini_job: ModuleType
):
    marker = commit(store)
    objects.delete_tree(store.folder.work)

    with pytest.raises(WorkGoneError, match="another run has ended this job"):
        store.read_part(marker, "part_top", mini_job.PART)
    with pytest.raises(WorkGoneError):
        store.work_rows(IMAGE_LIST, 0, 1)
    assert not store.published()


def test_markers_of_one_taken_away_meanwhile_says_so(
    store: JobStore, commit: Callable[..., Marker], monkeypatch: pytest.MonkeyPatch
):
    commit(store)
    monkeypatch.setattr(objects, "list_names", lambda _: ["00003.json", "00004.json"])

    with pytest.raises(WorkGoneError, match=r"00004\.json"):
        store.markers()


def test_markers_asked_for_one_that_is_absent_say_that_it_is_gone(
    store: JobStore, commit: Callable[..., Marker]
):
    commit(store)

    with pytest.raises(WorkGoneError, match=r"done/00001\.json"):
        store.markers()[1]


def test_markers_ignores_foreign_files(store: JobStore, commit: Callable[..., Marker]):
    commit(store)
    objects.put_once(objects.join(store.folder.done_folder, "notes.txt"), b"x")

    assert list(store.markers()) == [3]


def test_put_table_twice_needs_the_same_rows(store: JobStore, mini_job: ModuleType):
    parts = [mini_job.process(mini_job.image_list())["part_top"]]
    rows = mini_job.merge(parts, 0)
    record = store.put_table(mini_job.TOP, "000-a.parquet", rows)

    assert store.put_table(mini_job.TOP, "000-a.parquet", rows) == record
    path = Path(store.folder.at(record.path))
    assert (record.rows, record.bytes) == (3, path.stat().st_size)
    with pytest.raises(ContentConflictError, match=r"000-a\.parquet"):
        store.put_table(mini_job.TOP, "000-a.parquet", mini_job.merge(parts, 1))


def test_publish_puts_the_manifest_and_removes_all_else(store: JobStore, mini_job: ModuleType):
    manifest = published(store, mini_job)

    assert store.published()
    assert store.plan() is None
    names = {record.path for records in manifest.tables.values() for record in records}
    assert set(mini_job.tree(Path(store.folder.url))) == {"manifest.json", *names}


def test_publish_again_with_the_same_result_keeps_the_first(store: JobStore, mini_job: ModuleType):
    first = published(store, mini_job)
    later = first.provenance.model_copy(update={"created_at": "2027-01-01T00:00:00+00:00"})

    assert store.publish(first.model_copy(update={"provenance": later})) == first


@pytest.mark.parametrize("change", [{"fingerprint": "0" * 64}, {"tables": {}}])
def test_publish_of_another_result_is_refused(
    store: JobStore, mini_job: ModuleType, change: dict[str, object]
):
    first = published(store, mini_job)

    with pytest.raises(ContentConflictError, match="another result stands"):
        store.publish(first.model_copy(update=change))
    assert store.manifest() == first


def test_publish_of_a_table_without_a_file_is_refused(store: JobStore, mini_job: ModuleType):
    first = published(JobStore(JobFolder(store.folder.run + "2", "scan")), mini_job)

    with pytest.raises(StoreError, match="rejects: no file"):
        store.publish(first.model_copy(update={"tables": {"rejects": ()}}))
    assert not store.published()


def test_publish_beside_a_foreign_file_is_refused(store: JobStore, mini_job: ModuleType):
    stray = store.folder.table_file("top_patches", "009-old.parquet")
    objects.put_once(stray, b"old")

    with pytest.raises(ContentConflictError, match=r"top_patches/009-old\.parquet"):
        mini_job.run(store.folder.run)
    assert not store.published()

    objects.delete(stray)
    mini_job.run(store.folder.run)
    assert store.published()


def test_finish_before_the_manifest_keeps_the_work(store: JobStore, mini_job: ModuleType):
    store.open_plan(mini_job.plan())

    with pytest.raises(NotPublishedError):
        store.finish()
    assert store.plan() == mini_job.plan()


def test_finish_removes_what_a_kill_left_beside_the_manifest(
    store: JobStore, mini_job: ModuleType, commit: Callable[..., Marker]
):
    published(store, mini_job)
    before = mini_job.tree(Path(store.folder.url))
    commit(store)
    Path(store.folder.url, ".tmp-1").touch()
    Path(store.folder.table("top_patches"), ".tmp-2").touch()

    store.finish()

    assert mini_job.tree(Path(store.folder.url)) == before


def test_job_store_pickled_works_elsewhere(store: JobStore, mini_job: ModuleType):
    store.put_work_list(IMAGE_LIST, mini_job.image_list())
    store.work_rows(IMAGE_LIST, 0, 1)

    copy = pickle.loads(pickle.dumps(store))

    assert copy.folder == store.folder
    assert len(copy.work_rows(IMAGE_LIST, 0, 10)) == 10


def test_job_killed_at_every_step_is_whole_or_absent_and_a_rerun_ends_alike(
    tmp_path: Path, mini_job: ModuleType
):
    mini_job.run(str(tmp_path / "clean"))
    expected = mini_job.tree(tmp_path / "clean")
    (tmp_path / "killed").mkdir()

    done = subprocess.run(
        [sys.executable, mini_job.__file__, str(tmp_path / "killed")],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert [step["ended"] for step in steps] == [-9] * (len(steps) - 1) + [0]
    assert len(steps) > 40
    seen = [step["seen"] for step in steps]
    assert seen == sorted(seen, key=lambda rows: rows is not None)
    assert set(seen) == {None, 6}
    for step in steps:
        assert step["rerun"] == 0, done.stderr
        assert step["tree"] == expected


@pytest.mark.parametrize(("kind", "stride"), [("memory", 1), ("s3", 7)])
def test_job_stopped_at_remote_calls_is_whole_or_absent_and_a_rerun_ends_alike(
    kind: str,
    stride: int,
    request: pytest.FixtureRequest,
    mini_job: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
):
    root = request.getfixturevalue("s3_url") if kind == "s3" else f"memory://{uuid.uuid4().hex}"
    real, left = objects.with_retry, [10**6]

    def stopping(action: Callable[[], object], what: str) -> object:
        left[0] -= 1
        if left[0] == -1:
            raise Killed
        return real(action, what)

    monkeypatch.setattr(objects, "with_retry", stopping)
    mini_job.run(f"{root}/clean")
    calls = 10**6 - left[0]
    expected = JobStore(JobFolder(f"{root}/clean", "scan")).manifest()
    assert calls > 30

    for step in range(0, calls, stride):
        url = f"{root}/{step}"
        left[0] = step
        with pytest.raises(Killed):
            mini_job.run(url)
        left[0] = 10**6
        assert mini_job.rows_seen(url) in (None, 6)
        mini_job.run(url)
        assert JobStore(JobFolder(url, "scan")).manifest() == expected
        assert objects.list_folders(f"{url}/scan") == ["top_patches"]
        assert open_run(url).table("top_patches")["value"].notna().all()


@pytest.mark.parametrize("kind", ["path", "s3"])
def test_job_by_four_drivers_at_once_ends_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, mini_job: ModuleType
):
    root = request.getfixturevalue("s3_url") if kind == "s3" else str(tmp_path)
    mini_job.run(f"{root}/alone")
    expected = JobStore(JobFolder(f"{root}/alone", "scan")).manifest()
    for attempt in range(3):
        url = f"{root}/{attempt}"
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(mini_job.run, [url] * 4))
        store = JobStore(JobFolder(url, "scan"))
        assert store.manifest() == expected
        assert objects.list_folders(store.folder.url) == ["top_patches"]
        assert objects.list_names(store.folder.url) == ["manifest.json"]

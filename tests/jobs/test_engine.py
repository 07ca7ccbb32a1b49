"""A published job is never worked on again, and two drivers at once end well for both."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from jobs import engine
from pipeline.stages.contract import StageOutput
from pipeline.store import JobFolder, JobStore
from schemas.errors import PlanMismatchError, StoreError, WorkerError
from schemas.jobs.scan import SCAN_REJECTS
from schemas.manifest import Manifest, Plan, Provenance, Shard
from schemas.specs import Resources

SHARDS = tuple(Shard(index=i, start=3 * i, stop=min(10, 3 * i + 3)) for i in range(4))
CONTRACTS = {"rejects": SCAN_REJECTS}


class Counting:
    """A stage that writes empty tables and counts its images."""

    name = "counting"
    resources = Resources(local=True)

    def setup(self, device: str) -> None:
        assert device == "cpu"

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        assert upcoming is None or upcoming.index == shard.index + 1
        return StageOutput(
            {"rejects": SCAN_REJECTS.schema.empty_table()}, {"images": shard.stop - shard.start}
        )


def plan_with(threads: int) -> Plan:
    identity = {"threads": threads}
    return Plan(job="scan", fingerprint=str(threads), identity=identity, shards=SHARDS)


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(JobFolder(str(tmp_path / "run"), "scan"))


@pytest.fixture
def publish(store: JobStore) -> Callable[[], Manifest]:
    """Publishes an empty table under the plan of two threads."""

    def put() -> Manifest:
        table = store.put_table(SCAN_REJECTS, "rejects.parquet", SCAN_REJECTS.schema.empty_table())
        return store.publish(
            Manifest(
                job="scan",
                fingerprint="2",
                identity={"threads": 2},
                spec={},
                tables={"rejects": (table,)},
                counts={},
                provenance=Provenance(
                    created_at="2026-11-24T03:00:00Z",
                    argv=(),
                    unitscope_version="0",
                    git_commit=None,
                    git_dirty=None,
                    python="3.11",
                    versions={},
                    platform="linux",
                    device="cpu",
                ),
            )
        )

    return put


def no_work() -> Manifest:
    pytest.fail("worked on a published job")


def test_finish_works_once_and_never_again(store: JobStore, publish: Callable[[], Manifest]):
    first = engine.finish(store, plan_with(2), publish)

    assert engine.finish(store, plan_with(2), no_work) == first == store.manifest()


def test_finish_of_a_published_job_clears_what_was_left(
    store: JobStore, publish: Callable[[], Manifest]
):
    publish()
    left = Path(store.folder.done(3))
    left.parent.mkdir(parents=True)
    left.write_text("{}")

    engine.finish(store, plan_with(2), no_work)

    assert not Path(store.folder.work).exists()


def test_finish_of_another_plan_is_refused_before_any_work(
    store: JobStore, publish: Callable[[], Manifest]
):
    publish()

    with pytest.raises(PlanMismatchError, match="threads: 2 -> 3"):
        engine.finish(store, plan_with(3), no_work)


def test_finish_overtaken_by_another_driver_takes_its_manifest(
    store: JobStore, publish: Callable[[], Manifest]
):
    def overtaken() -> Manifest:
        publish()
        raise StoreError("the work folder is gone")

    assert engine.finish(store, plan_with(2), overtaken) == store.manifest()


def test_finish_without_a_manifest_passes_the_store_error_on(store: JobStore):
    def fail() -> Manifest:
        raise StoreError("the bucket is gone")

    with pytest.raises(StoreError, match="the bucket is gone"):
        engine.finish(store, plan_with(2), fail)


def test_finish_passes_a_failure_of_the_work_on(store: JobStore, publish: Callable[[], Manifest]):
    def fail() -> Manifest:
        publish()
        raise WorkerError("no worker is left")

    with pytest.raises(WorkerError, match="no worker is left"):
        engine.finish(store, plan_with(2), fail)


def test_run_plan_does_what_is_left_and_tells_what_was_done(
    store: JobStore, capsys: pytest.CaptureFixture[str]
):
    engine.run_plan(Counting(), store, CONTRACTS, SHARDS[:2], threads=1)
    capsys.readouterr()

    summary = engine.run_plan(Counting(), store, CONTRACTS, SHARDS, threads=1)

    assert summary.counts == {"images": 10}
    assert sorted(store.markers()) == [0, 1, 2, 3]
    start, *_, end = map(json.loads, capsys.readouterr().err.splitlines())
    assert (start["job"], start["done"], start["total"]) == ("counting", 6, 10)
    assert (end["done"], end["total"]) == (10, 10)


def test_resolved_threads_are_the_specs_then_the_folders_then_the_machines(
    store: JobStore, publish: Callable[[], Manifest], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "default_threads", lambda: 7)
    assert engine.resolved_threads(Resources(), store) == 7

    store.open_plan(plan_with(5))
    assert engine.resolved_threads(Resources(), store) == 5
    assert engine.resolved_threads(Resources(threads=3), store) == 3

    publish()
    assert engine.resolved_threads(Resources(), store) == 2


def test_versions_name_what_is_installed():
    found = engine.versions()

    assert sorted(found) == ["pillow", "torch", "torchvision", "unitscope"]
    assert found["torch"] == version("torch")

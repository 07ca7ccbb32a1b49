"""The frame of every job: planned, cut, run, merged and published once, whoever does it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pyarrow as pa
import pytest
import torch

from jobs import engine
from jobs.engine import Work
from pipeline.stages.contract import StageOutput
from pipeline.store import JobFolder, JobStore, open_run
from schemas.errors import PlanMismatchError, SpecError, StoreError, WorkerError
from schemas.job_info import JobInfo
from schemas.jobs import JOBS
from schemas.manifest import SCHEMA_VERSION, Shard, fingerprint
from schemas.specs import JobSpec, Resources
from schemas.tables import IMAGE_ID, IMAGE_LIST, Column, Table

SQUARES = Table(
    job="square",
    name="squares",
    columns=(IMAGE_ID, Column("square", "int64", "of the image's number")),
    key=("image_id",),
    sort=("image_id",),
)


class SquareSpec(JobSpec):
    """Squares the numbers of images."""

    out: str
    resources: Resources = Resources(local=True, threads=2)

    @property
    def home(self) -> str:
        return self.out


class Squares:
    """A stage that squares; it notes the shards that it does."""

    name = "square"
    items = "numbers"
    can_exclude = False
    parts: ClassVar = {"squares": SQUARES}

    def __init__(self, resources: Resources, done: list[int]) -> None:
        self.resources = resources
        self.done = done

    def setup(self, device: str) -> None:
        assert device == "cpu"

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        assert upcoming is None or upcoming.index == shard.index + 1
        self.done.append(shard.index)
        ids = range(shard.start, shard.stop)
        rows = pa.table({"image_id": ids, "square": [i * i for i in ids]}, schema=SQUARES.schema)
        return StageOutput({"squares": rows}, {"images": len(rows), "rejects": 0})


@pytest.fixture(autouse=True)
def done(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The shards that the job ``square`` has done, ten images in shards of three."""
    shards: list[int] = []

    def plan(spec: SquareSpec) -> Work:
        missing = dict.fromkeys(IMAGE_LIST.schema.names[1:])
        rows = [{"image_id": i, **missing, "uri": f"{i}.png"} for i in range(10)]
        items = pa.Table.from_pylist(rows, schema=IMAGE_LIST.schema)
        return Work(items, Squares(spec.resources, shards), identity={"power": 2}, shard_size=3)

    info = JobInfo("square", SquareSpec, "Square.", "unitscope square", tables=(SQUARES,))
    monkeypatch.setitem(JOBS, "square", info)
    monkeypatch.setitem(sys.modules, "jobs.square", SimpleNamespace(plan=plan))
    return shards


@pytest.fixture
def spec(tmp_path: Path) -> SquareSpec:
    return SquareSpec(out=str(tmp_path / "run"))


def store_of(spec: SquareSpec) -> JobStore:
    return JobStore(JobFolder(spec.out, "square"))


def test_run_publishes_the_parts_one_after_another(spec: SquareSpec, done: list[int]):
    manifest = engine.run(spec)

    rows = open_run(spec.out).table("squares")
    assert rows["square"].tolist() == [i * i for i in range(10)]
    assert manifest.counts == {"images": 10, "rejects": 0, "retries": 0, "shards": 4}
    assert (done, manifest.spec["out"]) == ([0, 1, 2, 3], spec.out)


def test_run_identity_is_the_jobs_and_what_every_job_depends_on(spec: SquareSpec):
    identity = engine.run(spec).identity

    ids = fingerprint({"image_id": list(range(10))})
    assert identity["numbers"] == {"count": 10, "sha256": ids}
    assert (identity["power"], identity["threads"], identity["device"]) == (2, 2, "cpu")
    assert (identity["shard_size"], identity["schema_version"]) == (3, SCHEMA_VERSION)
    assert sorted(identity["versions"]) == ["pillow", "torch", "torchvision", "unitscope"]
    assert identity["versions"]["torch"] == version("torch")


def test_run_of_a_job_that_sets_what_the_engine_sets_is_an_error(
    spec: SquareSpec, monkeypatch: pytest.MonkeyPatch
):
    plan = sys.modules["jobs.square"].plan
    work = replace(plan(spec), identity={"threads": 9})
    monkeypatch.setitem(sys.modules, "jobs.square", SimpleNamespace(plan=lambda _: work))

    with pytest.raises(ValueError, match=r"square: the engine itself sets \['threads'\]"):
        engine.run(spec)


def test_run_of_a_published_job_works_no_more_and_clears_what_was_left(
    spec: SquareSpec, done: list[int]
):
    first = engine.run(spec)
    done.clear()
    left = Path(store_of(spec).folder.done(3))
    left.parent.mkdir(parents=True)
    left.write_text("{}")

    assert engine.run(spec) == first
    assert (done, Path(store_of(spec).folder.work).exists()) == ([], False)


def test_run_of_another_plan_is_refused_before_any_work(spec: SquareSpec, done: list[int]):
    engine.run(spec)
    done.clear()

    with pytest.raises(PlanMismatchError, match="threads: 2 -> 3"):
        engine.run(spec.model_copy(update={"resources": Resources(local=True, threads=3)}))
    assert done == []


def test_run_overtaken_by_another_driver_takes_its_manifest(
    spec: SquareSpec, monkeypatch: pytest.MonkeyPatch
):
    run_shards = engine.run_shards

    def overtaken(*arguments: object, **options: object) -> object:
        monkeypatch.setattr(engine, "run_shards", run_shards)
        others.append(engine.run(spec))
        return run_shards(*arguments, **options)

    others: list[object] = []
    monkeypatch.setattr(engine, "run_shards", overtaken)

    assert [engine.run(spec)] == others


@pytest.mark.parametrize("error", [StoreError("the bucket is gone"), WorkerError("none is left")])
def test_run_passes_a_failure_of_the_work_on(
    spec: SquareSpec, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(engine, "run_shards", fail)

    with pytest.raises(type(error), match=str(error)):
        engine.run(spec)


def test_run_does_what_is_left_and_tells_what_was_done(
    spec: SquareSpec,
    done: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    process = Squares.process

    def stop_at_two(self: Squares, shard: Shard, upcoming: Shard | None = None) -> StageOutput:
        if shard.index == 2:
            raise KeyboardInterrupt
        return process(self, shard, upcoming)

    with monkeypatch.context() as patch:
        patch.setattr(Squares, "process", stop_at_two)
        with pytest.raises(KeyboardInterrupt):
            engine.run(spec)
    capsys.readouterr()

    manifest = engine.run(spec)

    assert (manifest.counts["images"], done) == (10, [0, 1, 2, 3])
    start, *_, end = map(json.loads, capsys.readouterr().err.splitlines())
    assert (start["job"], start["done"], start["total"]) == ("square", 6, 10)
    assert (end["done"], end["total"]) == (10, 10)


@pytest.fixture
def needed(monkeypatch: pytest.MonkeyPatch) -> list[SquareSpec]:
    """What the job ``cube`` asks for: squares in two folders, the second in a folder of the first.

    It notes what it was given, and that the first was published when it asked for the second.
    """
    asked: list[SquareSpec] = []

    def needs(spec: CubeSpec) -> Iterator[JobSpec]:
        for name in ("a", "b"):
            assert all(store_of(before).published() for before in asked)
            asked.append(SquareSpec(out=f"{spec.out}/{name}"))
            yield asked[-1]

    def plan(spec: CubeSpec) -> Work:
        assert all(store_of(before).published() for before in asked)
        work: Work = sys.modules["jobs.square"].plan(spec)
        return work

    info = JobInfo("cube", CubeSpec, "Cube.", "unitscope cube", tables=(SQUARES,))
    monkeypatch.setitem(JOBS, "cube", info)
    module = SimpleNamespace(needs=needs, plan=plan)
    monkeypatch.setitem(sys.modules, "jobs.cube", module)
    return asked


class CubeSpec(SquareSpec):
    """Builds on squares."""


def test_run_finishes_what_a_job_needs_one_after_another_and_tells(
    tmp_path: Path, needed: list[SquareSpec], done: list[int], capsys: pytest.CaptureFixture[str]
):
    spec = CubeSpec(out=str(tmp_path / "run"))

    engine.run(spec)

    assert [one.out for one in needed] == [f"{spec.out}/a", f"{spec.out}/b"]
    assert done == [0, 1, 2, 3] * 3
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unitscope")]
    assert told == [f"unitscope: cube needs square in {spec.out}/{name}" for name in "ab"]


def test_run_again_does_not_do_again_what_a_job_needs(
    tmp_path: Path, needed: list[SquareSpec], done: list[int], capsys: pytest.CaptureFixture[str]
):
    spec = CubeSpec(out=str(tmp_path / "run"))
    engine.run(SquareSpec(out=f"{spec.out}/a"))
    done.clear()

    capsys.readouterr()
    first = engine.run(spec)
    assert done == [0, 1, 2, 3] * 2
    assert engine.run(spec) == first
    assert (done, len(needed)) == ([0, 1, 2, 3] * 2, 4)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unitscope")]
    assert told == [f"unitscope: cube needs square in {spec.out}/b"]


def test_report_counts_and_says_how_to_go_on_and_that_it_was_done(spec: SquareSpec):
    first, again = engine.run_and_report(spec), engine.run_and_report(spec)

    assert first.text.startswith("square done in ")
    assert "images/s): 10 images, 0 rejects, in " in first.text
    assert first.text.endswith(f"next: unitscope gallery {spec.out}")
    assert again.text.startswith("square already done (20")


def test_report_of_a_job_without_shards_is_its_own_text(
    spec: SquareSpec, monkeypatch: pytest.MonkeyPatch
):
    module = SimpleNamespace(run=lambda spec: spec.out, as_text=lambda out: f"looked at {out}")
    monkeypatch.setitem(sys.modules, "jobs.square", module)

    assert engine.run_and_report(spec) == engine.Report(f"looked at {spec.out}")


def test_resolved_threads_are_the_specs_then_the_folders_then_the_machines(
    spec: SquareSpec, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "default_threads", lambda: 7)
    assert engine.resolved_threads(Resources(), store_of(spec)) == 7

    engine.run(spec)

    assert engine.resolved_threads(Resources(), store_of(spec)) == 2
    assert engine.resolved_threads(Resources(threads=3), store_of(spec)) == 3


def test_require_device_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(SpecError, match="cuda finds no GPU"):
        engine.require_device(Resources(local=True, device="cuda"))
    engine.require_device(Resources(device="cuda"))


def test_every_job_has_a_module_that_plans_or_runs():
    modules: list[Callable[..., object]] = [engine._module(info) for info in JOBS.values()]

    assert all(hasattr(module, "plan") != hasattr(module, "run") for module in modules)

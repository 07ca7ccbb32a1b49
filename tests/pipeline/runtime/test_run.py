from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pipeline.runtime.run import default_threads, run_shards
from schemas.errors import SpecError
from schemas.specs import Resources

if TYPE_CHECKING:
    from conftest import Bench, Cut

POOL = "pipeline.runtime.ray_pool"


def run(bench: Bench, cut: Cut, *, local: bool) -> object:
    stage = bench.stage()
    stage.resources = Resources(local=local, workers=None if local else 3)
    return run_shards(
        stage, bench.folder, bench.contracts, cut(5, 2), threads=2, progress=bench.told
    )


def test_run_shards_local_works_in_this_process_without_ray(
    bench: Bench, cut: Cut, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, POOL, raising=False)

    summary = run(bench, cut, local=True)

    assert summary.counts == {"images": 5, "rejects": 0}
    assert bench.rows() == [0, 1, 2, 3, 4]
    assert bench.pids() == {os.getpid()}


def test_run_shards_without_ray_installed_says_what_to_do(
    bench: Bench, cut: Cut, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, POOL, raising=False)

    with pytest.raises(SpecError, match=r"install unitscope\[ray\].*--local"):
        run(bench, cut, local=False)
    assert bench.pids() == set()


def test_run_shards_elsewhere_hands_everything_to_ray(
    bench: Bench, cut: Cut, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def run_on_ray(*arguments: object, **options: object) -> str:
        calls.append((arguments[1:], options))
        return "summary"

    monkeypatch.setitem(sys.modules, POOL, SimpleNamespace(run_on_ray=run_on_ray))

    assert run(bench, cut, local=False) == "summary"
    options = {"resources": Resources(workers=3), "threads": 2, "progress": bench.told}
    assert calls == [((bench.folder, bench.contracts, cut(5, 2)), options)]


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (64, 4)])
def test_default_threads_are_half_the_usable_cores_from_one_to_four(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
):
    monkeypatch.setattr("pipeline.runtime.run.usable_cores", lambda: cores)

    assert default_threads() == threads

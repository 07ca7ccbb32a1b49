from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import ray
from ray.cluster_utils import Cluster

from pipeline.runtime import driver
from pipeline.runtime.driver import Driver
from pipeline.runtime.ledger import Ledger, Patience
from pipeline.runtime.local import run_local
from pipeline.runtime.ray_pool import run_on_ray
from pipeline.runtime.worker import Receipt
from schemas.errors import WorkerError

if TYPE_CHECKING:
    from conftest import Bench, Cut, Processes, Told

# Asked so often, a node that is gone, whose port refuses at once, counts as dead in half a second
# instead of a quarter of a minute. One that is only slow to answer does not.
OFTEN_ASKED = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 60_000,
    "health_check_failure_threshold": 3,
}


@pytest.fixture
def two_nodes() -> Iterator[tuple[Cluster, Any]]:
    """A head and a node of one CPU each; the node may be removed."""
    cluster = Cluster()
    try:
        small = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
        cluster.add_node(**small, include_dashboard=False, _system_config=OFTEN_ASKED)
        node = cluster.add_node(**small)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield cluster, node
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.ray
@pytest.mark.usefixtures("by_value")
def test_driver_that_loses_a_node_ends_with_the_same_content(
    bench: Bench,
    other_bench: Bench,
    cut: Cut,
    processes: Processes,
    two_nodes: tuple[Cluster, Any],
):
    cluster, node = two_nodes
    advance = bench.told.advance

    def lose_the_node() -> None:
        """Both workers stand in the middle of a shard: the one that is lost, and the other."""
        processes.wait_until(lambda: len(bench.pids("held")) == 2)
        cluster.remove_node(node, allow_graceful=False)
        processes.wait_until(lambda: not all(map(processes.alive, bench.pids("held"))))
        bench.unflag("hold")

    loser = threading.Thread(target=lose_the_node)

    def hold_after_two_shards(**told: int) -> None:
        advance(**told)
        if bench.told.images >= 8 and loser.ident is None:
            bench.flag("hold")
            loser.start()

    bench.told.advance = hold_after_two_shards
    summary = bench.run(run_on_ray, cut(120, 4), workers=2)
    loser.join()
    other_bench.run(run_local, cut(120, 4))

    assert bench.content() == other_bench.content()
    assert (summary.counts, summary.retries) == ({"images": 120, "rejects": 0}, 1)


class FakeRay:
    """Actors that answer at once; each method's answers are dealt from a script."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.calls: list[str] = []
        self.script: dict[str, list[Any]] = {}
        monkeypatch.setattr(ray, "wait", self.wait)
        monkeypatch.setattr(ray, "get", self.get)
        monkeypatch.setattr(ray, "kill", lambda _: self.calls.append("killed"))
        monkeypatch.setattr(driver.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(driver.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, refs: list[Any], *, num_returns: int, timeout: float) -> tuple[list[Any], Any]:
        self.now += timeout
        return refs[:num_returns], []

    def get(self, ref: Any) -> Any:
        if isinstance(ref.answer, Exception):
            raise ref.answer
        return ref.answer

    def actor(self) -> Any:
        return _FakeActor(self)


class _FakeRef:
    def __init__(self, answer: Any) -> None:
        self.answer = answer


class _FakeActor:
    def __init__(self, fake: FakeRay) -> None:
        self.fake = fake

    def __getattr__(self, method: str) -> Any:
        def remote(*arguments: Any) -> Any:
            self.fake.calls.append(method)
            scripted = self.fake.script.get(method)
            if scripted:
                return _FakeRef(scripted.pop(0))
            receipt = Receipt(arguments[0].index, {}, 0.1, 1) if method == "run" else None
            return _FakeRef(receipt)

        return type("Method", (), {"remote": staticmethod(remote)})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    return FakeRay(monkeypatch)


def make_driver(fake: FakeRay, cut: Cut, told: Told, *, shards: int, **limits: Any) -> Driver:
    patience = Patience(**limits)
    return Driver(
        ledger=Ledger(
            cut(shards, 1),
            workers=1,
            patience=patience,
            items="images",
            can_exclude=True,
            note=told.note,
        ),
        make_actor=fake.actor,
        device="cpu",
        threads=1,
        progress=told,
        patience=patience,
    )


def gone(why: str = "socket closed") -> Exception:
    return ray.exceptions.ActorUnavailableError(why, None)


def test_driver_feeds_only_after_an_answer_and_ends_its_workers(
    fake: FakeRay, bench: Bench, cut: Cut
):
    fake.script = {"pid": [gone(), gone()]}

    assert len(make_driver(fake, cut, bench.told, shards=1).work(1)) == 1
    assert fake.calls == ["pid", "pid", "pid", "start_assigned", "run", "killed"]


def test_driver_after_a_death_asks_and_sets_up_before_it_feeds(
    fake: FakeRay, bench: Bench, cut: Cut
):
    fake.script = {"run": [gone(), gone()]}

    assert len(make_driver(fake, cut, bench.told, shards=2).work(1)) == 2
    assert fake.calls[:6] == ["pid", "start_assigned", "run", "run", "pid", "start_assigned"]
    assert bench.told.retries == 1


def test_driver_asks_an_idle_worker_before_it_feeds_it_again(fake: FakeRay, bench: Bench, cut: Cut):
    work = make_driver(fake, cut, bench.told, shards=1)
    slot = driver._Slot(fake.actor(), state="ready", fresh=True)
    held_back = work._ledger.next_task(held=0)
    work._ask(slot)
    work._ledger.give_back([held_back])

    work._ask(slot)

    assert (slot.state, fake.calls) == ("away", ["pid"])


def test_driver_replaces_an_actor_that_is_dead_for_good(fake: FakeRay, bench: Bench, cut: Cut):
    made = []
    work = make_driver(fake, cut, bench.told, shards=1)
    work._make_actor = lambda: made.append(1) or fake.actor()
    fake.script = {"pid": [ray.exceptions.ActorDiedError()]}

    assert len(work.work(1)) == 1
    assert len(made) == 2


def test_driver_with_deaths_without_end_says_how_many_and_where(
    fake: FakeRay, bench: Bench, cut: Cut
):
    fake.script = {"run": [gone("signal 9")] * 100, "probe": [1] * 100}

    with pytest.raises(WorkerError, match=r"died 6 times .* shard 0 \(images 0 to 0\): .*signal 9"):
        make_driver(fake, cut, bench.told, shards=1, barren_deaths=3).work(1)
    assert fake.calls[-1] == "killed"


def test_driver_with_nobody_answering_warns_then_gives_up(
    fake: FakeRay, bench: Bench, cut: Cut, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(driver, "node_resources", lambda: [{"CPU": 0.5}])
    fake.script = {"pid": [gone()] * 10_000}

    with pytest.raises(WorkerError, match=r"each takes 1 CPUs, the cluster has 0\.5 CPUs"):
        make_driver(fake, cut, bench.told, shards=1, answer_seconds=60).work(1)
    assert [note for note in bench.told.notes if "wait for a place" in note] == bench.told.notes
    assert len(bench.told.notes) == 1


def test_driver_reports_a_failure_of_ray_itself(fake: FakeRay, bench: Bench, cut: Cut):
    fake.script = {"pid": [ray.exceptions.RuntimeEnvSetupError("no disk")]}

    with pytest.raises(WorkerError, match=r"Ray cannot run the workers[^;]*no disk"):
        make_driver(fake, cut, bench.told, shards=1).work(1)

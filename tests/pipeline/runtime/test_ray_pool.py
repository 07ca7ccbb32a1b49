from __future__ import annotations

import dataclasses
import logging
import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import ray

from pipeline.runtime.ledger import Patience
from pipeline.runtime.local import run_local
from pipeline.runtime.ray_pool import run_on_ray
from schemas.errors import LayerError, ModelError, WorkerError

if TYPE_CHECKING:
    from conftest import Bench, Cut, Processes

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster", "by_value")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One embedded cluster for the module; two CPUs on any machine."""
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100 * 2**20,
    )
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def no_worker_stays(bench: Bench, processes: Processes) -> Iterator[None]:
    yield
    processes.wait_until(lambda: not any(map(processes.alive, bench.pids())))
    assert ray.is_initialized(), "a cluster that was there before stays"


def expected(other_bench: Bench, cut: Cut, images: int, size: int) -> dict[int, str]:
    other_bench.run(run_local, cut(images, size))
    return other_bench.content()


@pytest.mark.parametrize(("workers", "backwards"), [(1, False), (2, False), (2, True)])
def test_ray_any_number_of_workers_in_any_order_gives_the_same_content(
    bench: Bench, other_bench: Bench, cut: Cut, workers: int, backwards: bool
):
    shards = cut(30, 4)
    bench.flag(f"together-{workers}")

    summary = bench.run(run_on_ray, shards[::-1] if backwards else shards, workers=workers)

    assert bench.content() == expected(other_bench, cut, 30, 4)
    assert (summary.counts, summary.retries) == ({"images": 30, "rejects": 0}, 0)
    assert bench.told.images == 30
    assert len(bench.pids("working")) == workers


def test_ray_one_worker_is_told_the_next_shard(bench: Bench, cut: Cut):
    bench.run(run_on_ray, cut(5, 1), workers=1)

    assert bench.processed() == ["0:1", "1:2", "2:3", "3:4", "4:None"]


def test_ray_workers_are_no_more_than_shards_left(bench: Bench, cut: Cut):
    bench.run(run_local, cut(8, 2)[:3])
    (bench.flags / f"pid-{os.getpid()}").unlink()

    summary = bench.run(run_on_ray, cut(8, 2))

    assert summary.counts == {"images": 8, "rejects": 0}
    assert bench.told.images == 6 + 2
    assert bench.processed()[3:] == ["3:None"]
    assert len(bench.pids()) == 1


def test_ray_worker_killed_twice_from_outside_loses_nothing_and_blames_nobody(
    bench: Bench, other_bench: Bench, cut: Cut, processes: Processes
):
    killed: set[int] = set()

    def kill_who_is_held() -> None:
        for image in (9, 21):
            processes.wait_until(lambda: bench.pids("held") - killed)
            (victim,) = bench.pids("held") - killed
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
            bench.unflag(f"hold-{image}")

    bench.flag("hold-9", "hold-21")
    killer = threading.Thread(target=kill_who_is_held)
    killer.start()
    summary = bench.run(run_on_ray, cut(30, 6), workers=1)
    killer.join()

    assert len(killed) == 2
    assert bench.content() == expected(other_bench, cut, 30, 6)
    assert (summary.counts, summary.retries) == ({"images": 30, "rejects": 0}, 2)


def test_ray_poisonous_image_is_excluded_and_its_neighbours_are_not(
    bench: Bench, cut: Cut, impatience: Patience
):
    bench.flag("kill-10")

    summary = bench.run(run_on_ray, cut(16, 4), workers=2, patience=impatience)

    assert bench.rows() == [image for image in range(16) if image != 10]
    assert summary.counts == {"images": 15, "rejects": 1}
    assert (bench.told.images, bench.told.rejects) == (16, 1)
    assert summary.retries == 2
    assert [note for note in bench.told.notes if "kills_worker" in note] == [
        "image 10 ends its worker when run alone; it is rejected as kills_worker"
    ]


def test_ray_row_that_may_not_be_missing_is_named_and_what_is_done_stays(
    bench: Bench, cut: Cut, impatience: Patience
):
    bench.flag("needs_all", "kill-10")

    with pytest.raises(WorkerError, match="row 10 of the work list"):
        bench.run(
            run_on_ray,
            cut(16, 4),
            workers=1,
            patience=dataclasses.replace(impatience, answer_seconds=60),
        )
    assert bench.rows()[:8] == list(range(8))
    assert 10 not in bench.rows()


@pytest.mark.parametrize(
    ("flag", "kind", "words"),
    [
        ("fail-7", WorkerError, r"shard 1 \(images 4 to 7\): ValueError: image 7 is odd"),
        ("layer-7", LayerError, "image 7 has no layer"),
        ("setup_fails", WorkerError, "set up on cpu: ValueError: the weights are torn"),
        ("setup_refuses", ModelError, "no such weights"),
    ],
)
def test_ray_error_of_the_stage_ends_the_run_with_its_own_type(
    bench: Bench, cut: Cut, flag: str, kind: type[Exception], words: str
):
    bench.flag(flag)

    with pytest.raises(kind, match=words) as caught:
        bench.run(run_on_ray, cut(12, 4), workers=2)
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, ray.exceptions.RayTaskError)


def test_ray_run_after_a_failure_does_only_what_is_missing(bench: Bench, cut: Cut):
    bench.flag("fail-9")
    with pytest.raises(WorkerError):
        bench.run(run_on_ray, cut(12, 4), workers=1)
    (bench.flags / "fail-9").unlink()
    (bench.flags / "order").unlink()

    summary = bench.run(run_on_ray, cut(12, 4), workers=1)

    assert bench.processed() == ["2:None"]
    assert summary.counts == {"images": 12, "rejects": 0}


def test_ray_workers_that_die_while_starting_stop_the_run(
    bench: Bench, cut: Cut, impatience: Patience
):
    bench.flag("setup_kills")

    with pytest.raises(WorkerError, match="2 times in a row while they set up"):
        bench.run(run_on_ray, cut(8, 4), workers=1, patience=impatience)


def test_ray_workers_without_room_stop_the_run_with_both_numbers(
    bench: Bench, cut: Cut, impatience: Patience
):
    hasty = dataclasses.replace(impatience, answer_seconds=0.5)

    with pytest.raises(WorkerError, match=r"each takes 5 CPUs, the cluster has 2 CPUs"):
        bench.run(run_on_ray, cut(8, 4), threads=5, patience=hasty)


def test_ray_interrupt_ends_the_workers_and_says_how_to_resume(bench: Bench, cut: Cut):
    advance = bench.told.advance

    def interrupted(**told: int) -> None:
        advance(**told)
        if bench.told.images >= 4:
            raise KeyboardInterrupt

    bench.told.advance = interrupted
    with pytest.raises(KeyboardInterrupt):
        bench.run(run_on_ray, cut(40, 4), workers=1)

    assert "the same command resumes" in bench.told.notes[-1]
    assert 1 <= len(bench.content()) < 10

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pipeline.runtime.ledger import Ledger, Patience, Task
from schemas.errors import WorkerError
from schemas.manifest import Shard

Dies = Callable[[Shard, str], bool]


def make_ledger(
    shards: list[Shard],
    *,
    workers: int = 1,
    patience: Patience | None = None,
    can_exclude: bool = True,
) -> tuple[Ledger, list[str]]:
    notes: list[str] = []
    ledger = Ledger(
        shards,
        workers=workers,
        patience=patience or Patience(),
        items="images",
        can_exclude=can_exclude,
        note=notes.append,
    )
    return ledger, notes


def cut(images: int, size: int) -> list[Shard]:
    return [
        Shard(index=i, start=start, stop=min(start + size, images))
        for i, start in enumerate(range(0, images, size))
    ]


def play(
    ledger: Ledger, *, dies: Dies, workers: int = 1, limit: int = 20_000
) -> tuple[dict[int, Shard], int]:
    """A world with no Ray: workers hold up to two tasks; ``dies(shard, kind)`` ends one.

    Returns the shards as they were committed, by index, and the number of deaths.
    """
    flights = [[] for _ in range(workers)]
    committed, deaths = {}, 0
    for _ in range(limit):
        if not ledger.open:
            return committed, deaths
        for flight in flights:
            while len(flight) < 2 and (not flight or flight[-1].kind == "run"):
                task = ledger.next_task(held=len(flight))
                if task is None:
                    break
                flight.append(task)
        for flight in flights:
            if not flight:
                continue
            running, *queued = flight
            if dies(running.shard, running.kind):
                deaths += 1
                flight.clear()
                ledger.give_back(queued)
                ledger.lost(running, "killed")
            else:
                flight.pop(0)
                ledger.finished(running)
                if running.kind != "probe":
                    committed[running.shard.index] = running.shard
    pytest.fail("the ledger did not come to an end")


def poison(*images: int) -> Dies:
    return lambda shard, _: any(
        shard.start <= image < shard.stop and image not in shard.excluded for image in images
    )


def test_ledger_without_deaths_hands_out_every_shard_once_in_order():
    ledger, notes = make_ledger(cut(10, 3))
    handed = []
    while ledger.open:
        task = ledger.next_task(held=0)
        handed.append((task.shard.index, task.kind))
        ledger.finished(task)

    assert handed == [(0, "run"), (1, "run"), (2, "run"), (3, "run")]
    assert (notes, ledger.retries) == ([], 0)


@pytest.mark.parametrize(("shards", "workers", "share"), [(12, 2, 3), (5, 2, 2), (3, 2, 1)])
def test_ledger_near_the_end_lets_no_worker_hoard(shards: int, workers: int, share: int):
    ledger, _ = make_ledger(cut(shards, 1), workers=workers)
    held = 0
    while ledger.next_task(held=held) is not None:
        held += 1

    assert held == share


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("guilty", [(0,), (63,), (37,), (5, 6), (2, 30, 61), (17, 40)])
def test_ledger_poisonous_images_are_excluded_and_no_others(workers: int, guilty: tuple[int, ...]):
    ledger, _ = make_ledger(cut(64, 16), workers=workers)

    committed, deaths = play(ledger, dies=poison(*guilty), workers=workers)

    assert sorted(committed) == [0, 1, 2, 3]
    excluded = [image for shard in committed.values() for image in shard.excluded]
    assert sorted(excluded) == list(guilty)
    assert all(s.start <= i < s.stop for s in committed.values() for i in s.excluded)
    # Twice among others, once alone, four halvings of sixteen, once more to convict.
    assert deaths <= len(guilty) * (2 + 1 + 4 + 1)


def test_ledger_shard_of_one_poisonous_image_is_committed_without_it():
    committed, _ = play(make_ledger(cut(1, 4))[0], dies=poison(0))

    assert committed[0].excluded == (0,)


def test_ledger_image_excluded_by_the_plan_stays_excluded():
    shard = Shard(index=0, start=0, stop=4, excluded=(1,))
    committed, _ = play(make_ledger([shard])[0], dies=poison(1, 2))

    assert committed[0].excluded == (1, 2)


def test_ledger_row_that_may_not_be_missing_stops_the_run_by_its_number():
    ledger, _ = make_ledger(cut(64, 16), can_exclude=False)

    with pytest.raises(WorkerError, match=r"^row 21 of the work list ends its worker"):
        play(ledger, dies=poison(21))
    assert ledger.open >= 1


def test_ledger_neighbour_queued_behind_a_death_is_not_blamed():
    ledger, _ = make_ledger(cut(4, 2))
    first, second = ledger.next_task(held=0), ledger.next_task(held=1)
    for _ in range(2):
        ledger.give_back([second])
        ledger.lost(first, "killed")
        first = ledger.next_task(held=0)
        if first.kind == "run":
            second = ledger.next_task(held=1)

    assert (first.shard.index, first.kind) == (0, "alone")
    ledger.finished(first)
    assert ledger.next_task(held=0) == Task(Shard(index=1, start=2, stop=4), "run")


def test_ledger_waiting_lonely_task_lets_busy_workers_run_dry():
    ledger, _ = make_ledger(cut(8, 1), patience=Patience(suspect_after=1))
    ledger.lost(ledger.next_task(held=0), "killed")

    assert ledger.next_task(held=1) is None
    assert ledger.next_task(held=0).kind == "alone"
    assert ledger.next_task(held=1).kind == "run"


def test_ledger_death_alone_that_no_image_repeats_blames_nobody():
    ledger, notes = make_ledger(cut(8, 8))
    died = []

    def three_times(_: Shard, kind: str) -> bool:
        died.append(kind)
        return len(died) <= 3

    committed, _ = play(ledger, dies=three_times)

    assert committed[0].excluded == ()
    assert died == ["run", "run", "alone", "probe", "probe", "run"]
    assert "goes back" in notes[-1]
    assert ledger.retries == 3


@pytest.mark.parametrize("seed", range(20))
def test_ledger_random_kills_blame_nobody_and_every_shard_is_committed(seed: int):
    chance = random.Random(seed)
    ledger, _ = make_ledger(cut(96, 8), workers=3)
    # A worker that dies at random dies in proportion to the work at hand.
    committed, deaths = play(
        ledger, dies=lambda s, _: chance.random() < 0.04 * (s.stop - s.start), workers=3
    )

    assert deaths > 0
    assert len(committed) == 12
    assert all(shard.excluded == () for shard in committed.values())


def test_ledger_deaths_without_end_and_without_progress_stop_the_run():
    ledger, _ = make_ledger(cut(4, 4), patience=Patience(barren_deaths=10))

    with pytest.raises(WorkerError, match=r"died 20 times.*shard 0 \(images 0 to 3\): killed"):
        play(ledger, dies=lambda _, kind: kind != "probe")


def test_ledger_many_culprits_in_the_only_shard_are_all_found():
    guilty = tuple(range(3, 120, 5))

    committed, deaths = play(make_ledger(cut(128, 128))[0], dies=poison(*guilty))

    assert committed[0].excluded == guilty
    assert deaths > Patience().barren_deaths * 2


def test_ledger_everything_kills_stops_instead_of_convicting_every_image():
    ledger, _ = make_ledger(cut(4096, 256))

    with pytest.raises(WorkerError, match=r"32 images.*fault lies with the workers"):
        play(ledger, dies=lambda *_: True)

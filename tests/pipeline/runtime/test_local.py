from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch

from pipeline.runtime.local import run_local
from schemas.errors import ModelError, WorkerError

if TYPE_CHECKING:
    from conftest import Bench, Cut


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_local_run_does_every_shard_in_order_and_announces_the_next(bench: Bench, cut: Cut):
    summary = bench.run(run_local, cut(10, 4))

    assert (summary.counts, summary.retries) == ({"images": 10, "rejects": 0}, 0)
    assert bench.processed() == ["0:1", "1:2", "2:None"]
    assert bench.rows() == list(range(10))
    assert bench.told.images == 10


def test_local_run_in_reverse_order_gives_the_same_content(
    bench: Bench, other_bench: Bench, cut: Cut
):
    bench.run(run_local, cut(10, 4))
    other_bench.run(run_local, cut(10, 4)[::-1])

    assert other_bench.processed() == ["2:1", "1:0", "0:None"]
    assert other_bench.content() == bench.content()


def test_local_run_after_a_failure_resumes_with_what_is_missing(bench: Bench, cut: Cut):
    bench.flag("fail-5")
    with pytest.raises(WorkerError, match="image 5 is odd"):
        bench.run(run_local, cut(10, 4))
    (bench.flags / "fail-5").unlink()
    (bench.flags / "order").unlink()

    summary = bench.run(run_local, cut(10, 4))

    assert bench.processed() == ["1:2", "2:None"]
    assert summary.counts == {"images": 10, "rejects": 0}
    assert bench.told.images == 10


def test_local_run_with_nothing_left_sets_nothing_up(bench: Bench, cut: Cut):
    bench.run(run_local, cut(10, 4))
    bench.flag("setup_fails")

    assert bench.run(run_local, cut(10, 4)).counts == {"images": 10, "rejects": 0}


def test_local_run_counts_excluded_images_as_rejects(bench: Bench, cut: Cut):
    shard = cut(4, 4)[0].model_copy(update={"excluded": (1,)})

    assert bench.run(run_local, [shard]).counts == {"images": 3, "rejects": 1}
    assert (bench.told.images, bench.told.rejects) == (4, 1)


def test_local_run_with_a_bad_model_keeps_the_error(bench: Bench, cut: Cut):
    bench.flag("setup_refuses")

    with pytest.raises(ModelError, match="no such weights"):
        bench.run(run_local, cut(4, 4))

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from pipeline.runtime.worker import (
    Receipt,
    ShardWorker,
    add_counts,
    describe,
    is_device_failure,
)
from schemas.errors import LayerError, ModelError, WorkerError
from schemas.manifest import Shard

if TYPE_CHECKING:
    from conftest import Bench

DEVICE_LOST = """
import sys, torch
from pipeline.runtime.worker import ShardWorker
from pipeline.store.layout import JobFolder
from schemas.manifest import Shard
class Lost:
    name = "lost"
    items = "images"
    def setup(self, device): pass
    def process(self, shard, upcoming=None): raise RuntimeError(sys.argv[2])
worker = ShardWorker(Lost(), JobFolder(sys.argv[1], "lost"), {}, replaceable=sys.argv[3] == "yes")
try:
    worker.run(Shard(index=0, start=0, stop=1))
except Exception as error:
    print(type(error).__name__)
print("alive")
"""


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def worker(bench: Bench):
    return ShardWorker(bench.stage(), bench.folder, bench.contracts)


def test_worker_start_sets_threads_and_stage_once(bench: Bench, worker: ShardWorker):
    assert worker.start("cpu", 1) == os.getpid()
    assert torch.get_num_threads() == 1

    bench.flag("setup_fails")
    assert worker.start("cpu", 1) == os.getpid()


def test_worker_run_commits_the_shard_and_says_so(bench: Bench, worker: ShardWorker):
    worker.start("cpu", 1)
    receipt = worker.run(Shard(index=3, start=2, stop=5, excluded=(4,)))

    assert receipt == Receipt(3, {"images": 2, "rejects": 1}, receipt.seconds, os.getpid())
    assert bench.rows() == [2, 3]


def test_worker_run_of_a_committed_shard_does_no_work(bench: Bench, worker: ShardWorker):
    worker.start("cpu", 1)
    shard = Shard(index=0, start=0, stop=4)
    first = worker.run(shard)
    bench.flag("fail-2")

    assert worker.run(shard) == first
    assert bench.processed() == ["0:None"]


def test_worker_run_passes_the_upcoming_shard(bench: Bench, worker: ShardWorker):
    worker.start("cpu", 1)
    worker.run(Shard(index=0, start=0, stop=2), Shard(index=7, start=2, stop=4))

    assert bench.processed() == ["0:7"]


def test_worker_probe_commits_nothing(bench: Bench, worker: ShardWorker):
    worker.start("cpu", 1)

    assert worker.probe(Shard(index=0, start=0, stop=4)) == os.getpid()
    assert bench.processed() == ["0:None"]
    assert bench.store.markers() == {}


def test_worker_error_of_the_stage_names_stage_shard_and_cause(bench: Bench, worker: ShardWorker):
    worker.start("cpu", 1)
    bench.flag("fail-11")

    with pytest.raises(
        WorkerError, match=r"stage fake .*shard 1 \(images 10 to 19\): ValueError: image 11 is odd"
    ) as caught:
        worker.run(Shard(index=1, start=10, stop=20))
    assert isinstance(caught.value.__cause__, ValueError)


def test_worker_error_of_our_own_keeps_its_type(bench: Bench, worker: ShardWorker):
    worker.start("cpu", 1)
    bench.flag("layer-0")

    with pytest.raises(LayerError, match="image 0 has no layer"):
        worker.run(Shard(index=0, start=0, stop=1))


@pytest.mark.parametrize(
    ("flag", "kind", "words"),
    [
        ("setup_fails", WorkerError, "set up on cpu: ValueError: the weights are torn"),
        ("setup_refuses", ModelError, "no such weights"),
    ],
)
def test_worker_start_failure_is_reported(
    bench: Bench, worker: ShardWorker, flag: str, kind: type, words: str
):
    bench.flag(flag)

    with pytest.raises(kind, match=words):
        worker.start("cpu", 1)


@pytest.mark.parametrize(
    ("message", "replaceable", "status", "printed"),
    [
        ("CUDA error: device-side assert triggered", "yes", 1, []),
        ("CUDA error: device-side assert triggered", "no", 0, ["WorkerError", "alive"]),
        ("shapes do not fit", "yes", 0, ["WorkerError", "alive"]),
    ],
)
def test_worker_with_a_failed_device_ends_only_where_it_is_replaced(
    tmp_path: Path, message: str, replaceable: str, status: int, printed: list[str]
):
    done = subprocess.run(
        [sys.executable, "-c", DEVICE_LOST, str(tmp_path / "run"), message, replaceable],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout.split()) == (status, printed)
    assert message in done.stderr or status == 0


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access"), True),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("CUDA error"), False),
    ],
)
def test_device_failure_is_told_from_an_error_of_the_program(error: Exception, lost: bool):
    assert is_device_failure(error) is lost


def test_add_counts_sums_by_name():
    assert add_counts([{"b": 1, "a": 2}, {}, {"b": 3}]) == {"a": 2, "b": 4}
    assert list(add_counts([{"b": 1}, {"a": 2}])) == ["a", "b"]


def test_describe_names_the_last_image():
    assert describe(Shard(index=2, start=5, stop=9), "images") == "shard 2 (images 5 to 8)"

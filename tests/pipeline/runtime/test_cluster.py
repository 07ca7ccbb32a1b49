from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import ray
from ray._private import ray_constants

from pipeline.runtime import cluster
from pipeline.runtime.ray_pool import run_on_ray
from schemas.errors import WorkerError
from schemas.specs import Resources

if TYPE_CHECKING:
    from conftest import Bench, Cut, Processes

GPU = Resources(device="cuda")
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", f"{'0' * 24}01000000"}
"""127.0.0.1, the same as IPv6, and ::1."""
TWO_NODES = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0}]


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "node_resources", lambda: TWO_NODES)


def listening(pid: int) -> set[str]:
    """The ``address:port`` that a process listens on, in the hexadecimal of /proc/net."""
    try:
        links = [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
        rows = [
            line.split()
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        ]
    except OSError:
        # It ended meanwhile, or this machine has no /proc.
        return set()
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links}


@pytest.mark.ray
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks at sockets in /proc")
@pytest.mark.usefixtures("by_value")
def test_embedded_cluster_listens_on_the_loopback_and_is_gone_after_a_run_that_failed(
    bench: Bench, cut: Cut, processes: Processes, monkeypatch: pytest.MonkeyPatch
):
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR):
        monkeypatch.delenv(name, raising=False)
    before, before_ports = processes.descendants(), listening(os.getpid())
    seen: set[int] = set()
    ports: set[str] = set()
    modes: set[str | None] = set()
    advance = bench.told.advance

    def watch(**told: int) -> None:
        new = processes.descendants() - before
        seen.update(new)
        ports.update(*map(listening, new), listening(os.getpid()) - before_ports)
        modes.add(os.environ.get("RAY_AUTH_MODE"))
        advance(**told)

    bench.told.advance = watch
    bench.flag("fail-5")
    with pytest.raises(WorkerError, match="image 5 is odd"):
        bench.run(run_on_ray, cut(8, 4), workers=1)

    assert bench.content().keys() == {0}
    assert not ray.is_initialized()
    assert seen
    assert ports
    assert {port.rpartition(":")[0] for port in ports} <= LOOPBACK
    assert modes == {"token"}
    assert ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR not in os.environ
    processes.wait_until(lambda: not any(map(processes.alive, seen | bench.pids())))


def test_cluster_that_does_not_start_in_time_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, cut: Cut
):
    """Its raylet killed while it starts: Ray raises a plain Exception then."""

    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # noqa: TRY002 - as Ray does

    monkeypatch.setattr(ray, "init", late)

    with pytest.raises(WorkerError, match=r"timed out during startup.*use --local"):
        bench.run(run_on_ray, cut(8, 4), workers=1)


@pytest.mark.parametrize("by_environment", [False, True])
def test_cluster_that_is_not_there_is_reported_with_its_address(
    monkeypatch: pytest.MonkeyPatch, by_environment: bool
):
    with socket.socket() as deaf:
        # Bound, so that no other process gets the port, and not listening.
        deaf.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        if by_environment:
            monkeypatch.setenv("RAY_ADDRESS", address)
        resources = Resources(ray_address=None if by_environment else address)

        with (
            pytest.raises(WorkerError, match=f"no Ray cluster at '{address}'.*--local"),
            cluster.connected(resources, 1),
        ):
            pytest.fail("there is nothing to connect to")


@pytest.mark.usefixtures("two_nodes")
def test_workers_fill_whole_nodes_only():
    assert cluster.capacity("cpu", 2) == 4 + 1
    assert cluster.capacity("cpu", 8) == 1
    assert cluster.capacity("cpu", 9) == 0
    assert cluster.capacity("cuda", 4) == 2


@pytest.mark.usefixtures("two_nodes")
@pytest.mark.parametrize(
    ("resources", "threads", "shards", "count"),
    [
        (Resources(), 2, 100, 5),
        (Resources(), 2, 3, 3),
        (Resources(), 16, 100, 1),
        (Resources(workers=7), 2, 100, 7),
        (Resources(workers=7), 2, 2, 2),
        (GPU, 2, 100, 2),
    ],
)
def test_worker_count_is_what_is_asked_or_carried_and_never_more_than_shards(
    resources: Resources, threads: int, shards: int, count: int
):
    assert cluster.worker_count(resources, threads, shards) == count


def test_actor_on_cpu_takes_its_threads_and_restarts_without_end():
    assert cluster.actor_options(Resources(), 3) == {
        "num_cpus": 3,
        "max_restarts": -1,
        "max_task_retries": 0,
    }


def test_actor_on_cuda_takes_one_gpu_and_limits_its_threads():
    assert cluster.actor_options(GPU, 3) == {
        "num_gpus": 1,
        "num_cpus": 0,
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "3"}},
        "max_restarts": -1,
        "max_task_retries": 0,
    }


@pytest.mark.parametrize(
    ("given", "visible", "device"),
    [
        (["1"], "1", "cuda:0"),
        (["1"], "0,1", "cuda:1"),
        (["2"], None, "cuda:2"),
        (["GPU-5f"], "GPU-5f", "cuda:0"),
    ],
)
def test_assigned_device_is_the_one_that_ray_gave(
    monkeypatch: pytest.MonkeyPatch, given: list[str], visible: str | None, device: str
):
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: given)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert cluster.assigned_device("cuda") == device
    assert cluster.assigned_device("cpu") == "cpu"


def test_assigned_device_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray, "get_gpu_ids", list)

    with pytest.raises(WorkerError, match="gave this worker no GPU"):
        cluster.assigned_device("cuda")

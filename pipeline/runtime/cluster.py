"""The Ray cluster under a run: find or start one, count what it carries, name a worker's device.

What was started here is shut down here, and a cluster or connection that somebody else
made is left as it was.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import ray
from ray._private import ray_constants

from pipeline.runtime.cores import usable_cores
from schemas.errors import WorkerError
from schemas.specs import Resources

OBJECT_STORE_BYTES = 128 * 2**20
"""For an embedded cluster: only receipts and a small stage pass through Ray."""

CONNECT_SECONDS = 10.0


@contextmanager
def connected(resources: Resources, threads: int) -> Iterator[None]:
    """A connection to Ray for the time of the ``with``.

    A connection that this process has already is used and kept. Else the address of the spec or of
    RAY_ADDRESS is joined, else a cluster is started on this machine: reached from this machine
    alone, with the token authentication that Ray 2.59 and later turn on by themselves, and without
    a dashboard.

    Raises:
        WorkerError: no cluster answers at the address, or none can be started.
    """
    if ray.is_initialized():
        yield
        return
    address = resources.ray_address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        _require_listener(address)
        options = _init_options(address, resources, threads)
        with _loopback_only() if address == "local" else nullcontext():
            ray.init(address=address, log_to_driver=False, **options)
    except Exception as error:  # Ray raises no less where its processes do not start in time
        ray.shutdown()
        raise WorkerError(
            f"no Ray cluster at {address!r}: {error}; check the address and that the cluster is "
            "up, or use --local to work in this process"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Ray itself waits for minutes where nothing listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


@contextmanager
def _loopback_only() -> Iterator[None]:
    """A cluster that is started meanwhile listens on 127.0.0.1; Ray's default is every address.

    Ray knows this from the platforms where it forms no clusters, by one variable. Its processes
    inherit it, and this one has read it already.
    """
    variable = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before = os.environ.get(variable), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[variable], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        if before[0] is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before[0]


def _init_options(address: str, resources: Resources, threads: int) -> dict[str, Any]:
    options: dict[str, Any] = {"logging_level": logging.ERROR}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        # Ray's CPUs are tickets, not cores: who asks for more workers than cores shall get them.
        options["num_cpus"] = max(usable_cores(), threads * (resources.workers or 1))
    return options


def actor_options(resources: Resources, threads: int) -> dict[str, Any]:
    """The Ray options of one worker: its share of a node, restarts without end, no task retries."""
    options: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 0}
    if resources.device == "cpu":
        # Ray sets OMP_NUM_THREADS to num_cpus; an environment of our own would cost each start the
        # seconds that a process takes, for Ray keeps none ready with it.
        return {"num_cpus": threads, **options}
    environment = {"env_vars": {"OMP_NUM_THREADS": str(threads)}}
    return {"num_gpus": 1, "num_cpus": 0, "runtime_env": environment, **options}


def worker_count(resources: Resources, threads: int, shards: int) -> int:
    """How many workers to ask for: what the spec says, else what the live nodes carry.

    Returns:
        At least 1, at most one per shard.
    """
    wanted = resources.workers or capacity(resources.device, threads)
    return max(1, min(wanted, shards))


def capacity(device: Literal["cpu", "cuda"], threads: int) -> int:
    """Workers that the live nodes of the cluster have room for, 0 or more."""
    if device == "cuda":
        return sum(int(node.get("GPU", 0)) for node in node_resources())
    return sum(int(node.get("CPU", 0)) // threads for node in node_resources())


def node_resources() -> list[dict[str, float]]:
    """What each live node of the cluster has: ``CPU``, ``GPU`` and more, used or not."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


def assigned_device(kind: Literal["cpu", "cuda"]) -> str:
    """Inside an actor: the device that Ray gave it, ``cpu`` or ``cuda:N``.

    Ray, not torch, is asked: an actor without a GPU of its own still sees all GPUs of its node.

    Raises:
        WorkerError: a GPU is wanted and Ray gave none.
    """
    if kind == "cpu":
        return "cpu"
    given = [str(number) for number in ray.get_gpu_ids()]
    if not given:
        raise WorkerError(
            "device cuda, but Ray gave this worker no GPU; start the nodes with --num-gpus, or "
            "take device cpu"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return f"cuda:{visible.index(given[0]) if given[0] in visible else int(given[0])}"

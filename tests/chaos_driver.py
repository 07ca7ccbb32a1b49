"""One job on Ray, for the campaign to kill at: ``chaos_driver.py JOB RUN PICTURES [SECONDS]``.

With SECONDS the cluster has a second node, which is lost so long after the start.
"""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from tests.small_world import do, spec_of

RESOURCES = {"workers": 2, "threads": 1}
# Asked so often, a node that is gone, whose port refuses at once, counts as dead in half a second
# instead of a quarter of a minute. One that is only slow to answer does not.
OFTEN_ASKED = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 60_000,
    "health_check_failure_threshold": 3,
}


def main(job: str, run: str, pictures: str, lose_after: str = "") -> None:
    """Do the job."""
    spec = spec_of(job, Path(run), Path(pictures), RESOURCES)
    if not lose_after:
        do(spec)
        return
    cluster = Cluster()
    small = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster.add_node(**small, include_dashboard=False, _system_config=OFTEN_ASKED)
    node = cluster.add_node(**small)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    loser = threading.Timer(
        float(lose_after), lambda: cluster.remove_node(node, allow_graceful=False)
    )
    loser.start()
    try:
        do(spec)
    finally:
        loser.cancel()
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])

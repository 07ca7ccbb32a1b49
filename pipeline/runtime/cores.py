"""How many CPU cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

CONTAINER_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """CPU cores that this process may use, by its affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = CONTAINER_QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        quota = "max"
    share = cores or 1
    return share if quota == "max" else max(1, min(share, int(quota) // int(period)))

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.runtime import cores


@pytest.mark.parametrize(
    ("quota", "share"), [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("", 8)]
)
def test_usable_cores_heed_the_containers_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, share: int
):
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    monkeypatch.setattr(cores, "CONTAINER_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    assert cores.usable_cores() == share


def test_usable_cores_where_no_affinity_is_known_are_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cores, "CONTAINER_QUOTA", tmp_path / "absent")
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores.usable_cores() == 6

    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.usable_cores() == 1

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.manifests import published, require_same_scan
from pipeline.store import open_run
from schemas.errors import NotPublishedError, StoreError
from tests import made_up_run


def test_published_is_the_manifest_or_none(tmp_path: Path):
    run = open_run(made_up_run.scan(tmp_path / "run", {"conv1": 2}))
    assert published(run, "scan") == run.manifest("scan")
    assert published(run, "project") is None


def test_require_same_scan_refuses_results_of_another(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})
    made_up_run.project(url, {"conv1": 2})
    made_up_run.occlude(url, [2], of_scan="another")
    run = open_run(url)
    require_same_scan(run, "project", "projections were")
    words = r"its occlusion was made from the scan another, .* delete its folder occlude and run"
    with pytest.raises(StoreError, match=words):
        require_same_scan(run, "occlude", "occlusion was")


def test_require_same_scan_without_results_is_refused(tmp_path: Path):
    run = open_run(made_up_run.scan(tmp_path / "run", {"conv1": 2}))
    with pytest.raises(NotPublishedError):
        require_same_scan(run, "project", "projections were")

"""A run in miniature for the tests that kill: pictures, a tiny network, and all jobs on them.

Invariant: a job here ends within a second, uses one thread, and gives the same bytes each time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import tests.tiny_nets as nets
from jobs import engine
from pipeline.store import open_run
from schemas.errors import NotPublishedError
from schemas.jobs.occlude import OccludeSpec
from schemas.jobs.project import ProjectSpec
from schemas.jobs.scan import ScanSpec
from tests.tiny_pictures import draw

JOBS = ("scan", "project", "occlude")
TABLES = {
    "scan": ("images", "layers", "rejects", "top_patches", "units"),
    "project": ("projections",),
    "occlude": ("map_projections", "maps", "pictures"),
}
IMAGES = 24
LOCAL = {"local": True, "threads": 1}


def draw_pictures(folder: Path) -> None:
    """The data set of every spec below."""
    draw(folder / "ants", IMAGES // 2)
    draw(folder / "bees", IMAGES // 2)


def spec_of(
    job: str, run: Path, pictures: Path, resources: dict[str, Any] | None = None
) -> ScanSpec | ProjectSpec | OccludeSpec:
    """What ``job`` is asked to do; project and occlude need the scan in ``run``."""
    own = {"resources": resources or LOCAL}
    if job == "scan":
        model = {"arch": f"{nets.__file__}:small", "weights": "random", "trust_code": True}
        fields = {
            "model": model,
            "data": {"uri": str(pictures)},
            "out": str(run),
            "preprocess": {"resize_px": None, "crop_px": 24},
            "top": 4,
            "batch_size": 4,
            "shard_size": 4,
        }
        return ScanSpec.model_validate(fields | own)
    if job == "project":
        return ProjectSpec.model_validate({"run": str(run), "batch_size": 4} | own)
    fields = {"run": str(run), "window_px": [6], "stride_px": [9]}
    return OccludeSpec.model_validate(fields | own)


def do(spec: ScanSpec | ProjectSpec | OccludeSpec) -> None:
    """Run the job of a spec in this process."""
    engine.run(spec)


def digests(run: Path, job: str) -> dict[str, str]:
    """sha256 of a job's table files, by their paths, and of nothing else in its folder."""
    files = sorted(file for table in TABLES[job] for file in (run / job / table).rglob("*"))
    return {
        file.relative_to(run).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def strangers(run: Path, job: str) -> list[str]:
    """What a finished job should not have left: temporary files, and its work folder."""
    known = {run / job / "manifest.json"}
    known |= {file for table in TABLES[job] for file in (run / job / table).glob("*.parquet")}
    files = [file for file in (run / job).rglob("*") if file.is_file()]
    return sorted(str(file) for file in files if file not in known)


def whole_or_absent(run: Path, job: str, wanted: dict[str, str]) -> bool:
    """What a reader finds is nothing at all, or every byte of the tables."""
    try:
        opened = open_run(str(run))
        for name in TABLES[job]:
            opened.table(name, job=job)
    except NotPublishedError:
        return True
    return digests(run, job) == wanted

"""`unitscope status`: what a run folder holds, read from the folder alone.

It needs no driver and changes nothing; what it says of a job that is under way comes
from the plan and the markers of the shards that are done.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import Literal

from pipeline.io.objects import list_folders
from pipeline.store import JobFolder, JobStore
from schemas.errors import NotPublishedError, WorkGoneError
from schemas.manifest import Manifest, Marker, Plan


@dataclasses.dataclass(frozen=True)
class JobStatus:
    """How far one job of a run is.

    Attributes:
        job: its name.
        state: ``merging`` says that every shard is done but nothing is published yet.
        published_at: UTC, ISO; None before it is published.
        items: what the job works on: images, units, classes or checkpoints; None once published.
        total: items in the plan; None once published (see ``counts``).
        done: items in shards that are done; None once published.
        shards: in the plan; None once published.
        shards_done: None once published.
        counts: what the stage counted so far (images, rejects ...).
        items_per_s: of one worker, mean over the shards done; None while there are none.
        worker_seconds_left: time left for one worker; divide it by the number of workers.
    """

    job: str
    state: Literal["published", "merging", "in progress"]
    published_at: str | None
    items: str | None
    total: int | None
    done: int | None
    shards: int | None
    shards_done: int | None
    counts: dict[str, int]
    items_per_s: float | None
    worker_seconds_left: float | None


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """What a run folder holds: its jobs, by name."""

    run: str
    jobs: tuple[JobStatus, ...]


def read_status(run: str) -> RunStatus:
    """The status of every job of a run.

    Args:
        run: the run's folder, a path or URL.

    Raises:
        NotPublishedError: no job has begun there.
    """
    folders = (JobFolder(run, name) for name in list_folders(run))
    jobs = tuple(found for folder in folders if (found := _job_status(folder)) is not None)
    if not jobs:
        raise NotPublishedError(
            f"{run}: no job has begun in this folder; check the path, or begin one with "
            f"`unitscope scan --out {run} ...`"
        )
    return RunStatus(run=run, jobs=jobs)


def as_json(status: RunStatus) -> str:
    """The status as indented JSON, the dataclasses' fields as keys."""
    return json.dumps(dataclasses.asdict(status), indent=2)


def as_text(status: RunStatus) -> str:
    """The status for a person, a few lines a job."""
    return "\n".join([status.run, *(line for job in status.jobs for line in _lines(job))])


def _job_status(folder: JobFolder) -> JobStatus | None:
    store = JobStore(folder)
    gone: WorkGoneError | None = None
    plan, markers = store.plan(), {}
    try:
        markers = store.markers() if plan is not None else {}
    except WorkGoneError as error:
        gone = error
    # Read last: the work folder goes only after the manifest stands, so one of them is whole.
    manifest = store.manifest()
    if manifest is not None:
        return _published(folder.job, manifest)
    if gone is not None:
        raise gone
    return _under_way(plan, markers) if plan is not None else None


def _published(job: str, manifest: Manifest) -> JobStatus:
    return JobStatus(
        job=job,
        state="published",
        published_at=manifest.provenance.created_at,
        items=None,
        total=None,
        done=None,
        shards=None,
        shards_done=None,
        counts=dict(sorted(manifest.counts.items())),
        items_per_s=None,
        worker_seconds_left=None,
    )


def _under_way(plan: Plan, markers: dict[int, Marker]) -> JobStatus:
    sizes = {shard.index: shard.stop - shard.start for shard in plan.shards}
    counts: Counter[str] = Counter()
    for marker in markers.values():
        counts.update(marker.counts)
    total, done = sum(sizes.values()), sum(sizes[index] for index in markers)
    seconds = sum(marker.seconds for marker in markers.values())
    rate = done / seconds if seconds > 0 else None
    return JobStatus(
        job=plan.job,
        state="merging" if len(markers) == len(sizes) else "in progress",
        published_at=None,
        items=plan.items,
        total=total,
        done=done,
        shards=len(sizes),
        shards_done=len(markers),
        counts=dict(sorted(counts.items())),
        items_per_s=rate,
        worker_seconds_left=(total - done) / rate if rate else None,
    )


def _lines(job: JobStatus) -> list[str]:
    counts = ", ".join(f"{name} {count:,}" for name, count in job.counts.items())
    if job.state == "published":
        return [f"  {job.job}: published {job.published_at}", f"    {counts}"]
    share = job.done / job.total if job.total and job.done else 0.0
    left = (job.shards or 0) - (job.shards_done or 0)
    lines = [
        f"  {job.job}: {job.state}, {job.done:,} of {job.total:,} {job.items} ({share:.0%})",
        f"    shards: {job.shards_done:,} done, {left:,} left",
    ]
    if counts:
        lines.append(f"    {counts}")
    if job.state == "merging":
        lines.append("    every shard is done; if nothing is running, run the job again to publish")
    elif job.items_per_s and job.worker_seconds_left is not None:
        lines.append(
            f"    {job.items_per_s:,.1f} {job.items}/s per worker; left: "
            f"{_duration(job.worker_seconds_left)} of one worker's time"
        )
    return lines


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), round(seconds / 3600, 1)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{hours:g} h"

"""Every job: its spec, its tables, and what the command line says of it, one file per job."""

from __future__ import annotations

from importlib import import_module

from schemas.job_info import JobInfo

JOBS: dict[str, JobInfo] = {
    name: import_module(f"schemas.jobs.{name.replace('-', '_')}").JOB
    for name in (
        "scan",
        "project",
        "occlude",
        "correspond",
        "saliency",
        "class-models",
        "evolve",
        "invariance",
        "gallery",
    )
}
"""By name, in the order of ``unitscope --help``. A new job is one line here."""

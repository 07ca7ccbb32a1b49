"""Every job: its spec, its tables, and what the command line says of it, one file per job."""

from __future__ import annotations

from schemas.job_info import JobInfo
from schemas.jobs import gallery, occlude, project, scan

JOBS: dict[str, JobInfo] = {
    job.JOB.name: job.JOB
    for job in (
        scan,
        project,
        occlude,
        gallery,
    )
}
"""By name, in the order of ``unitscope --help``. A new job is one line here."""

"""Whether a run holds a job's results, and whether they belong to its scan."""

from __future__ import annotations

from pipeline.store.run import Run
from schemas.errors import NotPublishedError, StoreError
from schemas.manifest import Manifest


def published(run: Run, job: str) -> Manifest | None:
    """What a job published in the run; None where it has published nothing."""
    try:
        return run.manifest(job)
    except NotPublishedError:
        return None


def require_same_scan(run: Run, job: str, results: str) -> None:
    """Refuse a job's results that were made from another scan than the run holds.

    Args:
        run: scan and the job must be published.
        job: the job.
        results: the results and their verb: ``projections were``.

    Raises:
        NotPublishedError: the scan or the job is not published.
        StoreError: the results are of another scan.
    """
    scan, made_from = run.manifest("scan").fingerprint, run.manifest(job).identity["scan"]
    if made_from != scan:
        raise StoreError(
            f"{run.url}: its {results} made from the scan {made_from}, the folder holds the scan "
            f"{scan}; delete its folder {job} and run `unitscope {job}` again"
        )

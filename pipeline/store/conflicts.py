"""Errors of two runs in one folder: another plan, other results, or work that was taken away.

Every message names the object, what both runs have there, and what to do.
"""

from __future__ import annotations

from pipeline.store.layout import JobFolder
from pipeline.store.records import sha256
from schemas.errors import ContentConflictError, PlanMismatchError, WorkGoneError
from schemas.manifest import Manifest, Marker, Plan, differences

_DIFFERENCES_SHOWN = 12


def work_gone(folder: JobFolder, url: str) -> WorkGoneError:
    """For an object of the work folder that was there, or must have been."""
    return WorkGoneError(
        f"{url}: gone; if {folder.manifest} stands, another run has ended this job and nothing is "
        "left to do, else run the job again"
    )


def other_plan(folder: JobFolder, standing: Plan | Manifest, plan: Plan) -> PlanMismatchError:
    """For a folder that was begun or published with another fingerprint."""
    lines = differences(standing.identity, plan.identity)
    more = len(lines) - _DIFFERENCES_SHOWN
    shown = [*lines[:_DIFFERENCES_SHOWN], *([f"... and {more} more"] if more > 0 else [])]
    return PlanMismatchError(
        f"{folder.run}: its {folder.job} was begun with another plan\n"
        f"  standing:  {standing.fingerprint}\n  this one:  {plan.fingerprint}\n"
        "  differs (standing -> this one):\n    "
        + "\n    ".join(shown)
        + "\ntake another run folder, give the standing values again, or delete "
        f"{folder.url} to begin anew"
    )


def other_shard(folder: JobFolder, standing: Marker, marker: Marker) -> ContentConflictError:
    """For a shard that was done twice with different rows or counts."""
    return ContentConflictError(
        f"{folder.done(marker.shard)}: shard {marker.shard} was done twice with different results\n"
        f"  first: {_content(standing)}\n  now:   {_content(marker)}\n"
        "the machines differ, or data or code changed under the run; delete the folder "
        f"{folder.url} and run the job again on one kind of machine"
    )


def other_manifest(
    folder: JobFolder, standing: Manifest, manifest: Manifest
) -> ContentConflictError:
    """For a job that was published with another plan or other files."""
    return ContentConflictError(
        f"{folder.manifest}: another result stands\n"
        f"  standing: fingerprint {standing.fingerprint}, files {_files(standing)}\n"
        f"  this run: fingerprint {manifest.fingerprint}, files {_files(manifest)}\n"
        "take another run folder"
    )


class Markers(dict[int, Marker]):
    """Markers by shard. One that is asked for was committed: if absent, it was taken away since.

    So it is where a disk is gone and the empty folder that it was mounted on stands in its place.
    """

    def __init__(self, folder: JobFolder) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, index: int) -> Marker:
        raise work_gone(self._folder, self._folder.done(index))


def _content(marker: Marker) -> str:
    parts = [f"{name} {part.rows} rows {part.sha256}" for name, part in marker.content.items()]
    return ", ".join([*parts, f"counts {marker.counts}"])


def _files(manifest: Manifest) -> str:
    """One hash over the paths and hashes of all files."""
    records = [record for table in manifest.tables.values() for record in table]
    return sha256("".join(f"{record.path} {record.sha256}\n" for record in records).encode())

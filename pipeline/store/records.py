"""Plan, marker and manifest as JSON objects; one of a release unknown to this one is refused."""

from __future__ import annotations

import hashlib
import json
from typing import TypeVar

from pydantic import ValidationError

from pipeline.io import objects
from pipeline.store.layout import JobFolder
from schemas.errors import ContentConflictError, SchemaMismatchError, StoreError
from schemas.manifest import SCHEMA_VERSION, Manifest, Record

AnyRecord = TypeVar("AnyRecord", bound=Record)


def sha256(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def put_same(url: str, data: bytes, folder: JobFolder) -> None:
    """Put ``data``, or find it standing.

    Raises:
        ContentConflictError: another content stands at ``url``.
    """
    standing = objects.put_once(url, data)
    if standing != data:
        raise ContentConflictError(
            f"{url}: other content stands there (sha256 {sha256(standing)}, this run's is "
            f"{sha256(data)}); take another run folder, or delete {folder.url} to begin anew"
        )


def put_record(url: str, record: AnyRecord) -> AnyRecord:
    """Put a record if none stands; the one that stands."""
    data = (record.model_dump_json(indent=1) + "\n").encode()
    return _parse(objects.put_once(url, data), type(record), url)


def read_record(url: str, kind: type[AnyRecord]) -> AnyRecord | None:
    """A record; None where there is none.

    Raises:
        StoreError: it cannot be read or understood.
    """
    data = _read(url)
    return None if data is None else _parse(data, kind, url)


def read_manifest(folder: JobFolder) -> Manifest | None:
    """A job's manifest; None while it has published nothing.

    Raises:
        SchemaMismatchError: it is of a schema version that this release does not know.
        StoreError: it cannot be read or understood.
    """
    data = _read(folder.manifest)
    if data is None:
        return None
    try:
        version = json.loads(data)["schema_version"]
    except (ValueError, TypeError, LookupError) as error:
        raise StoreError(
            f"{folder.manifest}: not a manifest ({error}); delete {folder.url} and run the job "
            "again"
        ) from error
    # Before the fields are looked at: a later version may have fields that this one refuses.
    if version != SCHEMA_VERSION:
        raise SchemaMismatchError(
            f"{folder.manifest}: written with schema version {version}, this release reads "
            f"{SCHEMA_VERSION}; use the release that wrote it, or run the job again"
        )
    return _parse(data, Manifest, folder.manifest)


def _read(url: str) -> bytes | None:
    try:
        return objects.read(url)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise StoreError(
            f"{url}: a file stands where a folder should be ({error}); take another run folder"
        ) from error
    except OSError as error:
        raise StoreError(
            f"{url}: cannot be read ({error}); give access or bring the disk back, then run the "
            "same command again"
        ) from error


def _parse(data: bytes, kind: type[AnyRecord], url: str) -> AnyRecord:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            f"{url}: not a {kind.__name__} of this release ({error}); use the release that wrote "
            "it, or delete the job's folder and run the job again"
        ) from error

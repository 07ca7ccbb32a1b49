"""Plan, marker and manifest: what a run folder says of itself, and the fingerprint of a plan."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1
"""Raised when a table changes its columns' meaning; readers refuse what they do not know."""


class Record(BaseModel):
    """Base of what is written as JSON beside the tables."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Shard(Record):
    """A fixed, numbered slice [start, stop) of the work list.

    Attributes:
        excluded: rows of an image list inside the slice that are not touched but rejected as
            ``kills_worker``: each was seen to end its process when run alone.
    """

    index: int
    start: int
    stop: int
    excluded: tuple[int, ...] = ()


class Plan(Record):
    """What a job will do: everything that can change a byte of its tables, and its shards.

    Attributes:
        job: the job's name.
        fingerprint: `fingerprint` of ``identity``.
        identity: the values that decide the tables' content.
        shards: the slices of the work list, in order.
        items: what its rows are: images, units, classes or checkpoints.
    """

    job: str
    fingerprint: str
    identity: dict[str, Any]
    shards: tuple[Shard, ...]
    items: str = "images"


class FileRecord(Record):
    """One written file: its path relative to the job's folder, and what is in it."""

    path: str
    rows: int
    bytes: int
    sha256: str


class Marker(Record):
    """``_work/done/<shard>.json``: the parts that stand for one shard.

    Attributes:
        content: parts by table name; path, rows and hash.
        counts: what the stage counted (images, rejects ...), summed into the manifest.
        seconds: how long the shard took, for `unitscope status`; not part of the content.
    """

    shard: int
    content: dict[str, FileRecord]
    counts: dict[str, int]
    seconds: float

    def same_content(self, other: Marker) -> bool:
        """Whether both markers stand for the same rows, whatever attempt wrote them."""

        def digest(marker: Marker) -> dict[str, tuple[int, str]]:
            return {name: (part.rows, part.sha256) for name, part in marker.content.items()}

        return digest(self) == digest(other) and self.counts == other.counts


class Provenance(Record):
    """Where a run came from: enough to say what to check out and on what it ran."""

    created_at: str
    argv: tuple[str, ...]
    unitscope_version: str
    git_commit: str | None
    git_dirty: bool | None
    python: str
    versions: dict[str, str]
    platform: str
    device: str


class Manifest(Record):
    """``manifest.json``, written last: readers trust only a folder that has one."""

    schema_version: int = SCHEMA_VERSION
    job: str
    fingerprint: str
    identity: dict[str, Any]
    spec: dict[str, Any]
    tables: dict[str, tuple[FileRecord, ...]]
    counts: dict[str, int]
    provenance: Provenance


def canonical_json(value: object) -> str:
    """JSON with one form a value, the same in every process.

    Args:
        value: dicts with string keys, lists, tuples, strings, ints, finite floats, bools, None.

    Raises:
        TypeError: a value has no stable form (a set, a lambda, an object's repr); it is refused
            because a fallback such as ``str()`` would change the fingerprint silently.
        ValueError: a float is not finite.
    """
    return json.dumps(_stable(value, "$"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _stable(value: object, where: str) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where}: {value} is not finite; a fingerprint needs a finite number")
        return value
    if isinstance(value, list | tuple):
        return [_stable(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where}: the key {key!r} is not a string; use string keys")
        return {key: _stable(item, f"{where}.{key}") for key, item in value.items()}
    raise TypeError(
        f"{where}: {type(value).__name__} has no stable form; pass strings, numbers, lists or dicts"
    )


def fingerprint(identity: dict[str, Any]) -> str:
    """sha256 (64 hex digits) of the canonical JSON of ``identity``."""
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()


class _Absent:
    """Stands for a field that is not there, which null is not."""

    def __str__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def differences(old: object, new: object, where: str = "") -> list[str]:
    """The fields in which two identities differ, one line a field: ``name: old -> new``.

    None exactly where their fingerprints are equal; a field that one side lacks is ``absent``.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            mine, theirs = old.get(key, _ABSENT), new.get(key, _ABSENT)
            lines += differences(mine, theirs, f"{where}.{key}" if where else key)
        return lines
    same = old is not _ABSENT and new is not _ABSENT and canonical_json(old) == canonical_json(new)
    return [] if same else [f"{where}: {old} -> {new}"]

"""A whole job in miniature, for the tests of what a kill leaves behind.

As a program, ``mini_job.py FOLDER`` does the job once for every step at which it can be killed:
SIGKILL just before that step (a file then being synced is cut to half), a look as a reader, and
a rerun. It prints one JSON line a step. Children are forked from a process without threads.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pandas  # noqa: F401 - once, before the forks that read
import pyarrow as pa

from pipeline.store import JobFolder, JobStore, open_run
from pipeline.store.layout import layer_file
from schemas import tables
from schemas.errors import NotPublishedError, WorkGoneError
from schemas.manifest import Manifest, Plan, Provenance, Shard, fingerprint
from tests.forks import in_child

STEPS = ("fsync", "link", "unlink", "mkdir", "rmdir")
LAYERS = ("features.1", "features/2")
UNITS = 3
IMAGES = 10
SHARDS = (Shard(index=0, start=0, stop=6), Shard(index=1, start=6, stop=IMAGES))
PART = tables.Table(
    job="scan",
    name="part_top",
    columns=(
        tables.Column("slot", "int32", "layer * UNITS + unit"),
        tables.Column("image_id", "int64", "the best image"),
        tables.Column("value", "float32", "its value"),
    ),
    key=("slot",),
    sort=("slot",),
)
TOP = tables.Table(
    job="scan",
    name="top_patches",
    columns=(
        tables.Column("layer", "string", "the layer"),
        tables.Column("unit", "int32", "the unit"),
        tables.Column("image_id", "int64", "the best image"),
        tables.Column("value", "float32", "its value"),
    ),
    key=("layer", "unit"),
    sort=("layer", "unit"),
)
CONTRACTS = {"part_top": PART}
IDENTITY = {"model": "toy", "top": 1}
PROVENANCE = Provenance(
    created_at="2026-01-01T00:00:00+00:00",
    argv=(),
    unitscope_version="0",
    git_commit=None,
    git_dirty=None,
    python="3",
    versions={},
    platform="any",
    device="cpu",
)


def plan() -> Plan:
    return Plan(job="scan", fingerprint=fingerprint(IDENTITY), identity=IDENTITY, shards=SHARDS)


def image_list() -> pa.Table:
    ids = list(range(IMAGES))
    return pa.table(
        {
            "image_id": ids,
            "uri": [f"{i}.jpg" for i in ids],
            **{name: [None] * IMAGES for name in tables.IMAGE_LIST.schema.names[2:]},
        },
        schema=tables.IMAGE_LIST.schema,
    )


def process(images: pa.Table) -> dict[str, pa.Table]:
    """Per slot the image with the largest value, which is a hash's."""

    def value(slot: int, image_id: int) -> float:
        return float((slot * 7919 + image_id * 104729) % 1009)

    best = [
        (slot, max(images["image_id"].to_pylist(), key=lambda i, s=slot: value(s, i)))
        for slot in range(len(LAYERS) * UNITS)
    ]
    columns = {
        "slot": [slot for slot, _ in best],
        "image_id": [image_id for _, image_id in best],
        "value": [value(*pair) for pair in best],
    }
    return {"part_top": pa.table(columns, schema=PART.schema)}


def merge(parts: list[pa.Table], layer: int) -> pa.Table:
    rows = [row for part in parts for row in part.to_pylist() if row["slot"] // UNITS == layer]
    out = []
    for slot in range(layer * UNITS, (layer + 1) * UNITS):
        row = max((row for row in rows if row["slot"] == slot), key=lambda row: row["value"])
        out.append(row | {"layer": LAYERS[layer], "unit": slot % UNITS})
    return pa.Table.from_pylist(out, schema=TOP.schema)


def run(url: str) -> None:
    """The job, as a driver does it; what another driver finished meanwhile is success."""
    store = JobStore(JobFolder(url, "scan"))
    try:
        _run(store)
    except WorkGoneError:
        if not store.published():
            raise
    store.finish()


def _run(store: JobStore) -> None:
    store.require_same_plan(plan())
    if store.published():
        return
    store.put_work_list(tables.IMAGE_LIST, image_list())
    standing = store.open_plan(plan())
    for shard in standing.shards:
        if store.marker(shard.index) is None:
            output = process(store.work_rows(tables.IMAGE_LIST, shard.start, shard.stop))
            store.commit_shard(shard, output, CONTRACTS, {"images": shard.stop - shard.start}, 0.5)
    markers = store.markers()
    if len(markers) < len(SHARDS) and store.published():
        return
    parts = [store.read_part(markers[s.index], "part_top", PART) for s in SHARDS]
    records = tuple(
        store.put_table(TOP, layer_file(i, layer), merge(parts, i))
        for i, layer in enumerate(LAYERS)
    )
    store.publish(
        Manifest(
            job="scan",
            fingerprint=standing.fingerprint,
            identity=standing.identity,
            spec={},
            tables={"top_patches": records},
            counts={"images": sum(marker.counts["images"] for marker in markers.values())},
            provenance=PROVENANCE,
        )
    )


def rows_seen(url: str) -> int | None:
    """What a reader gets: the number of rows, or None where nothing is published."""
    try:
        return len(open_run(url).table("top_patches"))
    except NotPublishedError:
        return None


def tree(folder: Path) -> dict[str, str]:
    """sha256 of every file by its path in ``folder``."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _die_at(step: int) -> None:
    """Plant the kill: SIGKILL to this process at its step-th call that changes the disk."""
    calls = iter(range(sys.maxsize))

    def planted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            if next(calls) == step:
                if name == "fsync" and Path(f"/proc/self/fd/{arguments[0]}").is_file():
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    for name in STEPS:
        setattr(os, name, planted(name, getattr(os, name)))


def _kill_everywhere(root: Path) -> None:
    # SIGKILL loses nothing that was written, so waiting for the disk would show nothing here.
    os.fsync = lambda _: None
    step = 0
    while True:
        folder = root / f"{step:04d}"

        def killed(folder: Path = folder, step: int = step) -> None:
            _die_at(step)
            run(str(folder))

        def look_and_rerun(folder: Path = folder) -> None:
            (root / "seen").write_text(json.dumps(rows_seen(str(folder))))
            run(str(folder))

        ended = in_child(killed)
        rerun = in_child(look_and_rerun)
        seen = json.loads((root / "seen").read_text())
        told = {"step": step, "ended": ended, "seen": seen, "rerun": rerun, "tree": tree(folder)}
        print(json.dumps(told), flush=True)
        if ended == 0:
            return
        step += 1


if __name__ == "__main__":
    _kill_everywhere(Path(sys.argv[1]))

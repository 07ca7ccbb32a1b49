"""The scan: plan, run, merge, publish.

The invariant: everything that can change a byte of the tables is in the plan's identity, and
nothing else is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import pyarrow as pa

from jobs import engine
from pipeline.data.listing import dataset_digest, list_images
from pipeline.data.shards import default_shard_size, shard_plan
from pipeline.models.layer import Layer
from pipeline.models.load import LoadedModel, load_model
from pipeline.models.network import Network, open_network
from pipeline.runtime.worker import RunSummary
from pipeline.stages import scan_tables
from pipeline.stages.scan import ScanStage
from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder, layer_file
from pipeline.store.provenance import collect
from schemas.errors import TooManyRejectsError
from schemas.jobs import ScanSpec
from schemas.manifest import SCHEMA_VERSION, FileRecord, Manifest, Plan, fingerprint
from schemas.specs import PreprocessSpec
from schemas.tables import (
    SCAN_IMAGES,
    SCAN_LAYERS,
    SCAN_REJECTS,
    SCAN_TOP_PATCHES,
    SCAN_UNITS,
    Table,
)


@dataclass(frozen=True)
class _Work:
    """A scan that has been thought through."""

    spec: ScanSpec
    store: JobStore
    rows: pa.Table
    layers: tuple[Layer, ...]
    stage: ScanStage
    threads: int
    plan: Plan


def run(spec: ScanSpec) -> Manifest:
    """Scan a data set, or finish a scan that was begun.

    Args:
        spec: what to scan, with what, and where to.

    Returns:
        The published manifest; at once where the same scan is already published.

    Raises:
        InputError: the spec, the model or the data set is wrong, or the folder holds another scan.
        JobError: the work failed; what was committed stays, and the same call resumes.
    """
    work = _prepare(spec)
    return engine.finish(work.store, work.plan, lambda: _work_through(work))


def _prepare(spec: ScanSpec) -> _Work:
    engine.require_device(spec.resources)
    rows = list_images(spec.data)
    loaded = load_model(spec.model)
    preprocess = spec.preprocess or loaded.preprocess
    network = open_network(loaded.module, preprocess.crop_px)
    layers = network.select(spec.layers)
    folder = JobFolder(spec.out, "scan")
    store = JobStore(folder)
    threads = engine.resolved_threads(spec.resources, store)
    shard_size = spec.shard_size or default_shard_size(rows.num_rows, spec.batch_size)
    identity = _identity(spec, loaded, preprocess, network, layers)
    identity["images"] = {"count": rows.num_rows, "sha256": dataset_digest(rows)}
    identity |= {"threads": threads, "shard_size": shard_size}
    stage = ScanStage(
        folder=folder,
        model=spec.model,
        weights_sha256=loaded.weights_sha256,
        preprocess=preprocess,
        data=spec.data,
        layers=tuple(layer.name for layer in layers),
        top=spec.top,
        batch_size=spec.batch_size,
        precision=spec.precision,
        resources=spec.resources,
    )
    plan = Plan(
        job="scan",
        fingerprint=fingerprint(identity),
        identity=identity,
        shards=shard_plan(rows.num_rows, shard_size=shard_size),
    )
    return _Work(spec, store, rows, layers, stage, threads, plan)


def _identity(
    spec: ScanSpec,
    loaded: LoadedModel,
    preprocess: PreprocessSpec,
    network: Network,
    layers: tuple[Layer, ...],
) -> dict[str, Any]:
    """Everything that decides the tables' bytes, but for the images and how they are cut."""
    return {
        "schema_version": SCHEMA_VERSION,
        "arch": spec.model.arch,
        "weights_sha256": loaded.weights_sha256,
        "weights_nonfinite": loaded.nonfinite,
        "network_note": network.note,
        "preprocess": preprocess.model_dump(),
        "max_pixels": spec.data.max_pixels,
        "layers": [layer.name for layer in layers],
        "top": spec.top,
        "batch_size": spec.batch_size,
        "precision": spec.precision,
        "device": spec.resources.device,
        "versions": engine.versions(),
    }


def _work_through(work: _Work) -> Manifest:
    work.store.put_image_list(work.rows)
    plan = work.store.open_plan(work.plan)
    summary = engine.run_plan(
        work.stage, work.store, scan_tables.PARTS, plan.shards, threads=work.threads
    )
    _require_few_rejects(work, summary)
    return work.store.publish(
        Manifest(
            job="scan",
            fingerprint=plan.fingerprint,
            identity=plan.identity,
            spec=work.spec.model_dump(mode="json"),
            tables=_merge(work, plan),
            counts=summary.counts | {"shards": len(plan.shards), "retries": summary.retries},
            provenance=collect(work.spec.resources.device),
        )
    )


def _require_few_rejects(work: _Work, summary: RunSummary) -> None:
    rejects, total = summary.counts.get("rejects", 0), work.rows.num_rows
    allowed = work.spec.data.max_reject_fraction
    if rejects > allowed * total:
        raise TooManyRejectsError(
            f"{work.spec.out}: {rejects} of {total} images were rejected, more than "
            f"max_reject_fraction {allowed} allows; look at them with `unitscope status "
            f"{work.spec.out}`, mend the data and scan into a new folder, or run again with "
            "--set data.max_reject_fraction=1 to publish without them"
        )


def _merge(work: _Work, plan: Plan) -> dict[str, tuple[FileRecord, ...]]:
    """Fold all parts into the final tables, shard after shard."""
    store, markers = work.store, work.store.markers()
    ordered = [markers[shard.index] for shard in plan.shards]

    def parts(name: str) -> Iterable[pa.Table]:
        return (store.read_part(marker, name, scan_tables.PARTS[name]) for marker in ordered)

    tops = scan_tables.TopMerge(work.spec.top)
    for part in parts("part_top"):
        tops.add(part)
    # One at a time: a shard's sums are megabytes, and a large data set has hundreds of shards.
    total = reduce(add, map(scan_tables.sums_of, parts("part_units")))
    top_tables = tops.tables(work.layers, work.rows["uri"])
    return {
        "images": engine.put_by_rows(store, SCAN_IMAGES, parts("images")),
        "top_patches": tuple(
            store.put_table(SCAN_TOP_PATCHES, layer_file(layer.position, layer.name), table)
            for layer, table in zip(work.layers, top_tables, strict=True)
        ),
        "units": (_put_one(store, SCAN_UNITS, scan_tables.unit_table(work.layers, total)),),
        "layers": (_put_one(store, SCAN_LAYERS, scan_tables.layer_table(work.layers)),),
        "rejects": engine.put_by_rows(store, SCAN_REJECTS, parts("rejects")),
    }


def _put_one(store: JobStore, contract: Table, rows: pa.Table) -> FileRecord:
    return store.put_table(contract, f"{contract.name}.parquet", rows)

"""The scan: what to scan, and how its shards become the index."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from jobs.engine import Summary, Work
from pipeline.data.listing import dataset_digest, list_images
from pipeline.models.layer import Layer
from pipeline.models.load import LoadedModel, load_model
from pipeline.models.network import Network, open_network
from pipeline.stages import scan_tables
from pipeline.stages.model_stage import ScanSource
from pipeline.stages.scan import ScanStage
from pipeline.store.layout import layer_file
from pipeline.store.parts import Parts
from pipeline.store.run import open_run
from schemas.errors import TooManyRejectsError
from schemas.jobs.scan import (
    SCAN_IMAGES,
    SCAN_LAYERS,
    SCAN_REJECTS,
    SCAN_TOP_PATCHES,
    SCAN_UNITS,
    ScanSpec,
)
from schemas.manifest import FileRecord, Manifest
from schemas.specs import PreprocessSpec


@dataclass(frozen=True, kw_only=True)
class ScanWork(Work):
    """The work of a scan.

    Attributes:
        spec: what to scan.
        layers: the selected ones, in the order of the network.
    """

    spec: ScanSpec
    layers: tuple[Layer, ...]


def plan(spec: ScanSpec) -> ScanWork:
    """What to scan.

    Raises:
        InputError: the model or the data set is wrong.
    """
    rows = list_images(spec.data)
    loaded = load_model(spec.model)
    preprocess = spec.preprocess or loaded.preprocess
    network = open_network(loaded.module, preprocess.crop_px)
    layers = network.select(spec.layers)
    identity = _identity(spec, loaded, preprocess, network, layers)
    identity["images"] = {"count": rows.num_rows, "sha256": dataset_digest(rows)}
    source = ScanSource(spec.out, spec.model, loaded.weights_sha256, preprocess, spec.data)
    names = tuple(layer.name for layer in layers)
    return ScanWork(
        items=rows,
        stage=ScanStage(source, spec.resources, spec, names),
        identity=identity,
        batch_size=spec.batch_size,
        shard_size=spec.shard_size,
        spec=spec,
        layers=layers,
    )


def merge(work: ScanWork, parts: Parts) -> dict[str, tuple[FileRecord, ...]]:
    """Fold all parts into the final tables, shard after shard.

    Raises:
        TooManyRejectsError: more images were rejected than the spec allows.
    """
    _require_few_rejects(work, parts.counts.get("rejects", 0))
    tops = scan_tables.TopMerge(work.spec.top)
    for part in parts.read("part_top"):
        tops.add(part)
    # One at a time: a shard's sums are megabytes, and a large data set has hundreds of shards.
    total = reduce(add, map(scan_tables.sums_of, parts.read("part_units")))
    top_tables = tops.tables(work.layers, work.items["uri"])
    return {
        "images": parts.put_by_rows(SCAN_IMAGES, parts.read("images")),
        "top_patches": tuple(
            parts.put(SCAN_TOP_PATCHES, table, layer_file(layer.position, layer.name))
            for layer, table in zip(work.layers, top_tables, strict=True)
        ),
        "units": (parts.put(SCAN_UNITS, scan_tables.unit_table(work.layers, total)),),
        "layers": (parts.put(SCAN_LAYERS, scan_tables.layer_table(work.layers)),),
        "rejects": parts.put_by_rows(SCAN_REJECTS, parts.read("rejects")),
    }


def summary(spec: ScanSpec, manifest: Manifest) -> Summary:
    """Images and rejects, and how to look at a unit of the last layer."""
    images, rejects = manifest.counts.get("images", 0), manifest.counts.get("rejects", 0)
    warnings = []
    if sick := manifest.identity.get("weights_nonfinite"):
        warnings.append(
            f"unitscope: weights that are NaN or infinite: {sick:,}; no activation that they spoil "
            "is ranked, and the column nonfinite of scan/units counts them"
        )
    layer = open_run(spec.out).table("layers", job="scan", columns=["layer"])["layer"].iloc[-1]
    return Summary(
        f"{images:,} images, {rejects:,} rejects",
        f"unitscope show {shlex.quote(spec.out)} --layer {layer} --unit 0 -o unit.png",
        tuple(warnings),
    )


def _identity(
    spec: ScanSpec,
    loaded: LoadedModel,
    preprocess: PreprocessSpec,
    network: Network,
    layers: tuple[Layer, ...],
) -> dict[str, Any]:
    return {
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
    }


def _require_few_rejects(work: ScanWork, rejects: int) -> None:
    total, allowed = work.items.num_rows, work.spec.data.max_reject_fraction
    if rejects > allowed * total:
        raise TooManyRejectsError(
            f"{work.spec.out}: {rejects} of {total} images were rejected, more than "
            f"max_reject_fraction {allowed} allows; look at them with `unitscope status "
            f"{work.spec.out}`, mend the data and scan into a new folder, or run again with "
            "--set data.max_reject_fraction=1 to publish without them"
        )

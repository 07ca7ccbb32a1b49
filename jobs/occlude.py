"""The occlusion of a scan's images: plan, run, merge, publish (ZF 4.2, fig. 7).

The invariant: it looks at images that the scan could read, with the model that the scan used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from jobs import engine
from jobs.published_scan import Scanned, open_scanned
from pipeline.analysis.occlusion.grid import require_fit
from pipeline.data.object_boxes import Boxes, manifest_boxes, read_boxes
from pipeline.data.shards import default_shard_size, shard_plan
from pipeline.models.network import Network
from pipeline.stages.occlude import PARTS, OccludeStage
from pipeline.store.commit import JobStore
from pipeline.store.layout import JobFolder
from pipeline.store.provenance import collect
from schemas.errors import DatasetError, LayerError, ModelError, SpecError, nearest
from schemas.jobs import ImageSelection, OccludeSpec
from schemas.manifest import SCHEMA_VERSION, Manifest, Plan, fingerprint
from schemas.secrets import mask
from schemas.tables import Table


@dataclass(frozen=True)
class _Work:
    spec: OccludeSpec
    store: JobStore
    images: pa.Table
    stage: OccludeStage
    threads: int
    plan: Plan


def run(spec: OccludeSpec) -> Manifest:
    """Occlude images of a published scan, or finish what was begun.

    Args:
        spec: which images, with which windows.

    Returns:
        The published manifest.

    Raises:
        InputError: no image is chosen, a window does not fit, the layer or the target is unknown,
            a box is wrong, or weights or pictures are others than the scan's.
        JobError: the work failed; the same call resumes.
    """
    work = _prepare(spec)
    return engine.finish(work.store, work.plan, lambda: _work_through(work))


def _prepare(spec: OccludeSpec) -> _Work:
    engine.require_device(spec.resources)
    scanned = open_scanned(spec.run)
    network = scanned.network()
    layer = watched_layer(network, spec.layer)
    require_fit(spec.windows, scanned.preprocess.crop_px)
    _require_possible(spec, network)
    images = scanned.images(_chosen(scanned, spec.images))
    boxes = _boxes(spec, scanned, images)
    store = JobStore(JobFolder(spec.run, "occlude"))
    threads = engine.resolved_threads(spec.resources, store)
    shard_size = default_shard_size(images.num_rows, 1)
    identity = _identity(spec, scanned, layer, images, boxes)
    identity |= {"threads": threads, "shard_size": shard_size}
    stage = OccludeStage(
        folder=store.folder,
        model=scanned.spec.model,
        weights_sha256=scanned.weights_sha256,
        preprocess=scanned.preprocess,
        data=scanned.spec.data,
        spec=spec,
        layer=layer,
        boxes=boxes,
        resources=spec.resources,
    )
    plan = Plan(
        job="occlude",
        fingerprint=fingerprint(identity),
        identity=identity,
        shards=shard_plan(images.num_rows, shard_size=shard_size),
    )
    return _Work(spec, store, images, stage, threads, plan)


def _identity(
    spec: OccludeSpec, scanned: Scanned, layer: str, images: pa.Table, boxes: Boxes
) -> dict[str, Any]:
    """Everything that decides the tables' bytes, but for how the images are cut."""
    ids = images["image_id"].to_pylist()
    edges = {uri: [list(box) for box in own] for uri, own in boxes.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "scan": scanned.manifest.fingerprint,
        "images": {"count": len(ids), "sha256": fingerprint({"image_id": ids})},
        "windows": [window.model_dump() for window in spec.windows],
        "fill": spec.fill,
        "target": spec.target,
        "layer": layer,
        "boxes": fingerprint(edges) if edges else None,
        "engine": spec.engine,
        "batch_bytes": spec.batch_bytes,
        "device": spec.resources.device,
        "versions": engine.versions(),
    }


def watched_layer(network: Network, name: str | None) -> str:
    """The layer whose strongest map is watched; left open, the last convolutional one (ZF 4.2).

    That is the last activation function's output that still is a map, but for one with a map a
    class and no weights after it, which would only say again what the probability says.

    Raises:
        LayerError: there is no such layer, or none with a map.
    """
    if name is not None:
        return network.layer(name).name
    maps = [layer for layer in network.layers if layer.activation and layer.default]
    maps = [layer for layer in maps if layer.layout.map_size != (1, 1)]
    classes = network.layers[-1].units
    weighted = [layer.position for layer in network.layers if layer.kind in ("conv2d", "linear")]
    last = max(weighted, default=-1)
    features = [layer for layer in maps if layer.units != classes or layer.position < last] or maps
    if not features:
        raise LayerError(
            "layer: no activation of the model has a map; name a layer, `unitscope layers --all` "
            "lists them"
        )
    return features[-1].name


def _require_possible(spec: OccludeSpec, network: Network) -> None:
    """Refuse here what a worker would refuse: then the folder is not yet bound to the plan."""
    classes = network.layers[-1].units
    if spec.target is not None and spec.target >= classes:
        raise SpecError(
            f"target: {spec.target} is no class of the network; choices: 0 to {classes - 1}"
        )
    if spec.engine == "incremental" and network.geometry is None:
        raise ModelError(
            f"engine incremental needs a network that can be traced: {network.note}; take engine "
            "dense"
        )


def _boxes(spec: OccludeSpec, scanned: Scanned, images: pa.Table) -> Boxes:
    """The chosen images' boxes: of the spec's file, else of the manifest's own column."""
    if spec.boxes is None:
        known = manifest_boxes(scanned.spec.data.uri)
    else:
        known = read_boxes(spec.boxes)
        scan_uris = scanned.run.table("images", job="scan", columns=["uri"])["uri"]
        if known.keys().isdisjoint(scan_uris):
            raise DatasetError(
                f"boxes: {mask(spec.boxes)} names {len(known)} pictures, none of them scanned, the "
                f"first {next(iter(known), None)}; a relative path is relative to the CSV's folder"
            )
    return {uri: known[uri] for uri in images["uri"].to_pylist() if uri in known}


def _chosen(scanned: Scanned, selection: ImageSelection) -> set[int]:
    """The images that a selection names, of those that the scan could read."""
    images = scanned.run.table("images", job="scan", columns=["image_id", "label", "class_name"])
    if images.empty:
        raise DatasetError(f"images: the scan in {scanned.run.url} could read none")
    if unknown := sorted(set(selection.ids) - set(images["image_id"])):
        raise DatasetError(
            f"images.ids: the scan has no image {unknown[0]}; choices: 0 to "
            f"{images['image_id'].max()}, but for its rejects"
        )
    if selection.ids:
        images = images[images["image_id"].isin(selection.ids)]
    if selection.classes:
        images = _of_classes(images, selection.classes)
    if selection.of_unit is not None:
        images = images[images["image_id"].isin(_of_unit(scanned, selection.of_unit))]
    ids = np.sort(images["image_id"].to_numpy())
    if selection.sample is not None and selection.sample < len(ids):
        ids = np.random.default_rng(selection.seed).choice(ids, selection.sample, replace=False)
    if not len(ids):
        raise DatasetError("images: the selection leaves none; widen ids, classes or of_unit")
    return set(ids.tolist())


def _of_unit(scanned: Scanned, name: str) -> pd.Series:
    layer, _, unit = name.rpartition(":")
    try:
        tops = scanned.run.table("top_patches", job="scan", layer=layer, unit=int(unit))
    except LayerError as error:
        raise LayerError(f"images.of_unit: {name}: {error}") from error
    return tops["image_id"]


def _of_classes(images: pd.DataFrame, classes: Iterable[str]) -> pd.DataFrame:
    names = images["class_name"].astype("string")
    labels = images["label"].astype("Int64").astype("string")
    for name in classes:
        if not ((names == name) | (labels == name)).any():
            known = sorted(names.dropna().unique()) or sorted(labels.dropna().unique())
            raise DatasetError(
                f"images.classes: no image of class {name!r}; {nearest(name, known)}"
            )
    wanted = list(classes)
    return images[names.isin(wanted) | labels.isin(wanted)]


def _work_through(work: _Work) -> Manifest:
    work.store.put_image_list(work.images)
    plan = work.store.open_plan(work.plan)
    summary = engine.run_plan(work.stage, work.store, PARTS, plan.shards, threads=work.threads)
    markers = work.store.markers()

    def parts(table: Table) -> Iterable[pa.Table]:
        ordered = (markers[shard.index] for shard in plan.shards)
        return (work.store.read_part(marker, table.name, table) for marker in ordered)

    return work.store.publish(
        Manifest(
            job="occlude",
            fingerprint=plan.fingerprint,
            identity=plan.identity,
            spec=work.spec.model_dump(mode="json"),
            tables={
                name: engine.put_by_rows(work.store, table, parts(table))
                for name, table in PARTS.items()
            },
            counts=summary.counts | {"shards": len(plan.shards), "retries": summary.retries},
            provenance=collect(work.spec.resources.device),
        )
    )

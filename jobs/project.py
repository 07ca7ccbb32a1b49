"""The projection of a scan's top patches: plan, run, merge, publish.

The invariant: it reads the index alone to know what to draw, and the model and pictures that the
index was made with, or refuses.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs import engine
from jobs.published_scan import Scanned, open_scanned
from pipeline.analysis.deconvnet.projector import Projector
from pipeline.data.shards import default_shard_size, shard_plan
from pipeline.stages.project import ProjectStage, part_name, parts
from pipeline.store.commit import JobStore
from pipeline.store.encode import Run
from pipeline.store.layout import JobFolder, layer_file
from pipeline.store.provenance import collect
from schemas.errors import LayerError, ModelError, nearest
from schemas.jobs import ProjectSpec
from schemas.manifest import SCHEMA_VERSION, FileRecord, Manifest, Plan, fingerprint
from schemas.specs import LayerSelection, Precision
from schemas.tables import PROJECTIONS

_ROWS_A_GROUP = 512  # pictures of about 20 KB: row groups of about 20 MB
_ROUNDING: dict[Precision, float] = {"fp32": 0.0, "tf32": 5e-3, "bf16": 5e-2}
"""How far an index of that precision lies from the fp32 that is projected, as a tolerance."""


@dataclass(frozen=True)
class _Work:
    spec: ProjectSpec
    store: JobStore
    images: pa.Table
    positions: dict[str, int]
    stage: ProjectStage
    threads: int
    plan: Plan


def run(spec: ProjectSpec) -> Manifest:
    """Project the top patches of a published scan, or finish what was begun.

    Args:
        spec: which run, which units, and by which rule.

    Returns:
        The published manifest.

    Raises:
        InputError: the index belongs to other weights or pictures, a layer or unit is unknown, or
            the rule is not defined for the network.
        JobError: the work failed; the same call resumes.
    """
    work = _prepare(spec)
    return engine.finish(work.store, work.plan, lambda: _work_through(work))


def _prepare(spec: ProjectSpec) -> _Work:
    engine.require_device(spec.resources)
    scanned = open_scanned(spec.run)
    scan = scanned.spec
    layers = _selected(scanned.run, spec.layers)
    _require_projectable(spec, scanned, tuple(layers))
    units = _units(spec.units)
    images = scanned.images(_images_with_patches(scanned.run, tuple(layers), units))
    store = JobStore(JobFolder(spec.run, "project"))
    threads = engine.resolved_threads(spec.resources, store)
    shard_size = default_shard_size(images.num_rows, spec.batch_size)
    identity = _identity(spec, scanned.manifest, list(layers))
    identity |= {"threads": threads, "shard_size": shard_size}
    stage = ProjectStage(
        folder=store.folder,
        model=scan.model,
        weights_sha256=scanned.weights_sha256,
        preprocess=scanned.preprocess,
        data=scan.data,
        layers=tuple(layers),
        units=units,
        rule=spec.rule,
        tolerance=max(spec.tolerance, _ROUNDING[scan.precision]),
        batch_size=spec.batch_size,
        picture_px=spec.picture_px,
        resources=spec.resources,
    )
    plan = Plan(
        job="project",
        fingerprint=fingerprint(identity),
        identity=identity,
        shards=shard_plan(images.num_rows, shard_size=shard_size),
    )
    return _Work(spec, store, images, layers, stage, threads, plan)


def _identity(spec: ProjectSpec, scan: Manifest, layers: list[str]) -> dict[str, Any]:
    """Everything that decides the tables' bytes, but for how the images are cut."""
    return {
        "schema_version": SCHEMA_VERSION,
        "scan": scan.fingerprint,
        "layers": layers,
        "units": spec.units,
        "rule": spec.rule,
        "tolerance": spec.tolerance,
        "batch_size": spec.batch_size,
        "picture_px": spec.picture_px,
        "device": spec.resources.device,
        "versions": engine.versions(),
    }


def _selected(source: Run, selection: LayerSelection) -> dict[str, int]:
    """The scanned layers that a selection names, with their positions."""
    table = source.table("layers", job="scan", columns=["layer", "position"])
    known = dict(zip(table["layer"], table["position"].astype(int), strict=True))
    for glob in (*selection.include, *selection.exclude):
        if not fnmatch.filter(known, glob):
            raise LayerError(f"layers: {glob!r} was not scanned; {nearest(glob, known)}")
    include = selection.include or ("*",)
    chosen = {
        name: position
        for name, position in known.items()
        if any(fnmatch.fnmatchcase(name, glob) for glob in include)
        and not any(fnmatch.fnmatchcase(name, glob) for glob in selection.exclude)
    }
    if not chosen:
        raise LayerError("layers: the selection leaves no layer; widen include or drop exclude")
    return chosen


def _units(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _require_projectable(spec: ProjectSpec, scanned: Scanned, layers: tuple[str, ...]) -> None:
    """Refuse other weights, or a rule that the network has no use of, before anything is put."""
    network = scanned.network()
    known = {layer.name for layer in network.layers}
    gone = [name for name in layers if name not in known]
    if gone:
        raise ModelError(
            f"arch: {scanned.spec.model.arch} has no layer {gone[0]!r} any more, which the index "
            f"in {spec.run} has; give back the code that was scanned, or scan again"
        )
    Projector(network, tuple(network.layer(name) for name in layers), spec.rule)


def _images_with_patches(
    source: Run, layers: tuple[str, ...], units: tuple[int, int] | None
) -> set[int]:
    filters = None if units is None else [("unit", ">=", units[0]), ("unit", "<=", units[1])]
    ids: set[int] = set()
    for layer in layers:
        frame = source.table(
            "top_patches", job="scan", layer=layer, columns=["image_id"], filters=filters
        )
        ids.update(frame["image_id"].tolist())
    if not ids:
        wanted = "none" if units is None else f"none of {'-'.join(map(str, sorted({*units})))}"
        known = source.table("layers", job="scan", columns=["layer", "units"])
        most = known.loc[known["layer"].isin(layers), "units"].max()
        raise LayerError(
            f"units: {wanted} has a top patch; choices: 0 to {most - 1}, but for dead ones"
        )
    return ids


def _work_through(work: _Work) -> Manifest:
    work.store.put_image_list(work.images)
    plan = work.store.open_plan(work.plan)
    summary = engine.run_plan(
        work.stage, work.store, parts(work.stage.layers), plan.shards, threads=work.threads
    )
    return work.store.publish(
        Manifest(
            job="project",
            fingerprint=plan.fingerprint,
            identity=plan.identity,
            spec=work.spec.model_dump(mode="json"),
            tables={PROJECTIONS.name: _merge(work, plan)},
            counts=summary.counts | {"shards": len(plan.shards), "retries": summary.retries},
            provenance=collect(work.spec.resources.device),
        )
    )


def _merge(work: _Work, plan: Plan) -> tuple[FileRecord, ...]:
    """One file a layer, a layer in memory at a time."""
    markers = work.store.markers()
    ordered = [markers[shard.index] for shard in plan.shards]
    records = []
    for index, layer in enumerate(work.stage.layers):
        read = [work.store.read_part(m, part_name(index), PROJECTIONS) for m in ordered]
        rows = pa.concat_tables(read).sort_by([("unit", "ascending"), ("rank", "ascending")])
        records.append(
            work.store.put_table(
                PROJECTIONS,
                layer_file(work.positions[layer], layer),
                rows,
                row_group_rows=_ROWS_A_GROUP,
            )
        )
    return tuple(records)

"""The projection of a scan's top patches: which images have any, and one file per layer."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.engine import Summary, Work
from jobs.published_scan import PublishedScan
from pipeline.analysis.deconvnet.projector import Projector
from pipeline.stages.project import ProjectStage, part_name
from pipeline.store import within_units
from pipeline.store.layout import layer_file
from pipeline.store.parts import Parts
from schemas.errors import LayerError, ModelError
from schemas.jobs.project import PROJECTIONS, ProjectSpec
from schemas.manifest import FileRecord, Manifest
from schemas.specs import Precision

_ROWS_A_GROUP = 512  # pictures of about 20 KB: row groups of about 20 MB
_ROUNDING: dict[Precision, float] = {"fp32": 0.0, "tf32": 5e-3, "bf16": 5e-2}
"""How far an index of that precision lies from the fp32 that is projected, as a tolerance."""


@dataclass(frozen=True, kw_only=True)
class ProjectWork(Work):
    """The work of a projection.

    Attributes:
        positions: the selected layers, with their positions in the network.
    """

    positions: dict[str, int]


def plan(spec: ProjectSpec, scan: PublishedScan) -> ProjectWork:
    """The images that hold a top patch of the selected units.

    Raises:
        InputError: the index belongs to other weights or pictures, a layer or unit is unknown, or
            the rule is not defined for the network.
    """
    positions = scan.layers(spec.layers)
    layers = tuple(positions)
    _require_projectable(spec, scan, layers)
    tolerance = max(spec.tolerance, _ROUNDING[scan.spec.precision])
    return ProjectWork(
        items=scan.images(_images_with_patches(spec, scan, layers)),
        stage=ProjectStage(scan.source, spec.resources, spec, layers, tolerance),
        identity=_identity(spec, layers),
        batch_size=spec.batch_size,
        implied=True,
        positions=positions,
    )


def merge(work: ProjectWork, parts: Parts) -> dict[str, tuple[FileRecord, ...]]:
    """One file per layer, a layer in memory at a time."""
    records = []
    for index, (layer, position) in enumerate(work.positions.items()):
        rows = pa.concat_tables(parts.read(part_name(index)))
        rows = rows.sort_by([("unit", "ascending"), ("rank", "ascending")])
        name = layer_file(position, layer)
        records.append(parts.put(PROJECTIONS, rows, name, row_group_rows=_ROWS_A_GROUP))
    return {PROJECTIONS.name: tuple(records)}


def summary(spec: ProjectSpec, manifest: Manifest) -> Summary:
    """How many were made."""
    made, images = manifest.counts["projections"], manifest.counts["images"]
    return Summary(
        f"{made:,} projections of {images:,} images", f"unitscope gallery {shlex.quote(spec.run)}"
    )


def _identity(spec: ProjectSpec, layers: tuple[str, ...]) -> dict[str, Any]:
    identity = {
        "layers": list(layers),
        "units": spec.units,
        "rule": spec.rule,
        "tolerance": spec.tolerance,
        "batch_size": spec.batch_size,
        "picture_px": spec.picture_px,
    }
    # Only where it is asked for: a run that was begun before there was such a choice goes on.
    return identity if spec.top is None else identity | {"top": spec.top}


def _require_projectable(spec: ProjectSpec, scan: PublishedScan, layers: tuple[str, ...]) -> None:
    """Refuse other weights, or a rule that the network has no use of, before anything is put."""
    network = scan.network()
    known = {layer.name for layer in network.layers}
    gone = [name for name in layers if name not in known]
    if gone:
        raise ModelError(
            f"arch: {scan.spec.model.arch} has no layer {gone[0]!r} any more, which the index "
            f"in {spec.run} has; give back the code that was scanned, or scan again"
        )
    Projector(network, tuple(network.layer(name) for name in layers), spec.rule)


def _images_with_patches(
    spec: ProjectSpec, scan: PublishedScan, layers: tuple[str, ...]
) -> set[int]:
    ids: set[int] = set()
    for layer in layers:
        frame = scan.run.table(
            "top_patches",
            job="scan",
            layer=layer,
            columns=["image_id"],
            filters=within_units(spec.units, spec.top),
        )
        ids.update(frame["image_id"].tolist())
    if not ids:
        wanted = "none" if spec.units is None else f"none of {spec.units}"
        known = scan.run.table("layers", job="scan", columns=["layer", "units"])
        most = known.loc[known["layer"].isin(layers), "units"].max()
        raise LayerError(
            f"units: {wanted} has a top patch; choices: 0 to {most - 1}, but for dead ones"
        )
    return ids

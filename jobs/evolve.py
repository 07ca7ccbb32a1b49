"""The evolution of a network's units: which checkpoints, and the scans and projections it needs."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from torch import nn

from jobs.engine import Summary, Work
from jobs.published_scan import PublishedScan
from pipeline.analysis.deconvnet.projector import Projector
from pipeline.analysis.evolution import settled_at
from pipeline.models.checkpoints import Checkpoint, find_checkpoints
from pipeline.models.load import load_model
from pipeline.stages.evolve import EvolveStage
from pipeline.stages.project import part_name
from pipeline.store import JobFolder, JobStore, open_run, within_units
from pipeline.store.layout import checkpoint_run, layer_file
from pipeline.store.parts import Parts
from schemas.errors import LayerError, ModelError, NotPublishedError, PlanMismatchError
from schemas.jobs.evolve import CHANGES, CHECKPOINTS, SETTLED, STRONGEST, EvolveSpec
from schemas.jobs.project import ProjectSpec
from schemas.manifest import FileRecord, Manifest, differences
from schemas.secrets import mask
from schemas.specs import JobSpec, LayerSelection, ModelSpec
from schemas.values import bounds

_ROWS_A_GROUP = 512  # the pictures of a projected unit are about 20 KB


@dataclass(frozen=True)
class _Weights:
    """A checkpoint whose weights fit the scanned network."""

    name: str
    url: str
    weights_sha256: str


@dataclass(frozen=True, kw_only=True)
class EvolveWork(Work):
    """The work of an evolution.

    Attributes:
        positions: the selected layers, with their positions in the network.
    """

    positions: dict[str, int]


def needs(spec: EvolveSpec, scan: PublishedScan) -> Iterator[JobSpec]:
    """A scan of each checkpoint, and the projection of its units' strongest images.

    What is wrong is refused before the first.

    Raises:
        InputError: the checkpoints are fewer than two, or of another network than the scan's; a
            layer or unit is unknown; the images are others than the scan's; or the run holds the
            evolution of other checkpoints.
    """
    checkpoints = _load(spec, scan)
    layers = _layers(spec, scan)
    network = scan.network()
    Projector(network, tuple(network.layer(name) for name in layers), spec.rule)
    scan.images(set())
    _require_same_checkpoints(spec, checkpoints)
    threads = spec.resources.threads or int(scan.manifest.identity["threads"])
    where = spec.resources.model_copy(update={"threads": threads})
    for checkpoint in checkpoints:
        run = checkpoint_run(spec.run, checkpoint.name)
        own = {
            "model": _model(scan, checkpoint.url),
            "out": run,
            "preprocess": scan.source.preprocess,
            "resources": where,
        }
        yield scan.spec.model_copy(update=own)
        if _has_patches(run, layers, spec.units):
            yield ProjectSpec(
                run=run,
                layers=LayerSelection(include=tuple(layers)),
                units=spec.units,
                top=1,
                rule=spec.rule,
                resources=where,
            )


def plan(spec: EvolveSpec, scan: PublishedScan) -> EvolveWork:
    """The checkpoints, each of them scanned.

    Raises:
        InputError: as `needs`.
    """
    checkpoints, layers = _load(spec, scan), _layers(spec, scan)
    positions = scan.layers(spec.layers)
    rows = [{"checkpoint": place, **asdict(each)} for place, each in enumerate(checkpoints)]
    names = tuple(each.name for each in checkpoints)
    return EvolveWork(
        items=pa.Table.from_pylist(rows, schema=CHECKPOINTS.schema),
        stage=EvolveStage(spec.run, spec.resources, names, layers, spec.units),
        identity={
            "checkpoints": _listed(checkpoints),
            "runs": [_fingerprints(checkpoint_run(spec.run, name)) for name in names],
            "layers": list(layers),
            "units": spec.units,
            "rule": spec.rule,
            "settled": spec.settled,
        },
        contract=CHECKPOINTS,
        positions=positions,
    )


def merge(work: EvolveWork, parts: Parts) -> dict[str, tuple[FileRecord, ...]]:
    """One file of strongest images per layer; and per layer when it settled."""
    strongest = []
    for place, (layer, position) in enumerate(work.positions.items()):
        rows = pa.concat_tables(parts.read(part_name(place)))
        rows = rows.sort_by([("unit", "ascending"), ("checkpoint", "ascending")])
        file = layer_file(position, layer)
        strongest.append(parts.put(STRONGEST, rows, file, row_group_rows=_ROWS_A_GROUP))
    by_layer: dict[str, list[dict[str, Any]]] = {layer: [] for layer in work.positions}
    for table in parts.read(CHANGES.name):  # by shard, so that each layer's are by checkpoint
        for row in table.to_pylist():
            by_layer[row["layer"]].append(row)
    changes = [row for own in by_layer.values() for row in own]
    settled = [_settled(own, work.identity["settled"]) for own in by_layer.values()]
    return {
        STRONGEST.name: tuple(strongest),
        CHANGES.name: (parts.put(CHANGES, pa.Table.from_pylist(changes, schema=CHANGES.schema)),),
        SETTLED.name: (parts.put(SETTLED, pa.Table.from_pylist(settled, schema=SETTLED.schema)),),
    }


def _settled(changes: list[dict[str, Any]], threshold: float) -> dict[str, Any]:
    """The row of `SETTLED` of one layer, from its rows of `CHANGES`."""
    at = settled_at([row["overlap_last"] for row in changes], threshold)
    return {
        "layer": changes[0]["layer"],
        "checkpoint": at,
        "name": None if at is None else changes[at]["name"],
        "threshold": threshold,
    }


def summary(spec: EvolveSpec, manifest: Manifest) -> Summary:
    """The checkpoints in their order, when each layer settled, and equal weights."""
    names = [each["name"] for each in manifest.identity["checkpoints"]]
    rows = open_run(spec.run).table("settled", job="evolve")
    ends = [
        f"{row['layer']} {'at the last alone' if pd.isna(row['name']) else 'from ' + row['name']}"
        for row in rows.to_dict("records")
    ]
    same = defaultdict(list)
    for each in manifest.identity["checkpoints"]:
        same[each["weights_sha256"]].append(each["name"])
    return Summary(
        f"checkpoints in this order: {', '.join(names)}; layers settled (overlap with the last of "
        f"at least {spec.settled:g}): {', '.join(ends)}",
        f"unitscope gallery {shlex.quote(spec.run)}",
        tuple(
            f"{' and '.join(several)} hold the same weights, so that nothing changes between them"
            for several in same.values()
            if len(several) > 1
        ),
    )


def _load(spec: EvolveSpec, scan: PublishedScan) -> list[_Weights]:
    """The checkpoints with the hashes of their weights, each held against the scanned network."""
    shapes = _shapes(scan.source.load().module)
    return [_fitting(scan, each, shapes) for each in find_checkpoints(spec.checkpoints)]


def _fitting(
    scan: PublishedScan, checkpoint: Checkpoint, shapes: dict[str, tuple[int, ...]]
) -> _Weights:
    loaded = load_model(_model(scan, checkpoint.url))
    # A file with another number of classes loads, since the network takes its width from it.
    if wrong := differences(shapes, _shapes(loaded.module)):
        raise ModelError(
            f"checkpoints: {mask(checkpoint.url)} is of another network than the scan in "
            f"{scan.run.url}: {wrong[0]}; give checkpoints of one training"
        )
    return _Weights(checkpoint.name, checkpoint.url, loaded.weights_sha256)


def _model(scan: PublishedScan, url: str) -> ModelSpec:
    return scan.spec.model.model_copy(update={"weights": url})


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _layers(spec: EvolveSpec, scan: PublishedScan) -> dict[str, int]:
    """Units by layer, in the order of the network."""
    table = scan.run.table("layers", job="scan", columns=["layer", "units"])
    units = dict(zip(table["layer"], table["units"].tolist(), strict=True))
    layers = {name: units[name] for name in scan.layers(spec.layers)}
    if bounds(spec.units)[0] >= max(layers.values()):
        raise LayerError(
            f"units: no layer has unit {spec.units}; choices: 0 to {max(layers.values()) - 1}"
        )
    return layers


def _require_same_checkpoints(spec: EvolveSpec, checkpoints: list[_Weights]) -> None:
    """Refuse other checkpoints than the folder's before they are scanned, which may take hours."""
    store = JobStore(JobFolder(spec.run, "evolve"))
    begun = store.manifest() or store.plan()
    if begun is None or begun.identity["checkpoints"] == _listed(checkpoints):
        return
    before, now = (
        [f"{each['name']} ({each['weights_sha256'][:8]})" for each in own]
        for own in (begun.identity["checkpoints"], _listed(checkpoints))
    )
    raise PlanMismatchError(
        f"{spec.run}: its evolve is of the checkpoints {', '.join(before)}; asked for are "
        f"{', '.join(now)}; delete {store.folder.url} to begin anew (the checkpoints' own runs "
        "stay, and are not scanned again)"
    )


def _listed(checkpoints: list[_Weights]) -> list[dict[str, str]]:
    return [{"name": each.name, "weights_sha256": each.weights_sha256} for each in checkpoints]


def _has_patches(run: str, layers: dict[str, int], units: str) -> bool:
    """Whether there is anything to project: in an untrained network, all of some units are dead."""
    tables = open_run(run)
    return any(
        len(
            tables.table(
                "top_patches",
                job="scan",
                layer=layer,
                columns=["unit"],
                filters=within_units(units, 1),
            )
        )
        for layer in layers
    )


def _fingerprints(run: str) -> dict[str, str | None]:
    """What was made of a checkpoint, which decides all that is compared."""
    tables = open_run(run)
    try:
        project = tables.manifest("project").fingerprint
    except NotPublishedError:
        project = None
    return {"scan": tables.manifest("scan").fingerprint, "project": project}

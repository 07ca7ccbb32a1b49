"""The class models of a scanned network: which classes and units, how many at once."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from jobs.engine import Summary, Work
from jobs.published_scan import PublishedScan
from pipeline.analysis.saliency import copies_at_once
from pipeline.models.network import Network
from pipeline.report.class_names import known_names
from pipeline.stages.class_models import ClassModelsStage
from schemas.errors import LayerError, SpecError, nearest
from schemas.jobs.class_models import TARGET_LIST, ClassModelsSpec
from schemas.manifest import Manifest
from schemas.specs import LayerSelection
from schemas.values import bounds

_NUMBERS = re.compile(r"[0-9]{1,9}(-[0-9]{1,9})?")
_OWN = (
    "seeds", "steps", "rate", "normalise", "l2", "basis", "jitter_px", "blur_px", "blur_every",
    "noise", "seed", "position", "picture_px",
)  # fmt: skip


def plan(spec: ClassModelsSpec, scan: PublishedScan) -> Work:
    """The targets that the spec names, each with all its starts.

    Raises:
        InputError: a class, a layer or a unit is unknown, or the weights are others than the
            scan's.
    """
    network = scan.network()
    names = known_names(scan.run)
    chosen = _chosen_units(spec, scan, network, names)
    scores = network.layers[-1].name
    rows = [
        {
            "layer": layer,
            "unit": unit,
            "start": start,
            "class_name": names.get(unit) if layer == scores else None,
        }
        for layer, units in chosen.items()
        for unit in sorted(units)
        for start in range(spec.seeds)
    ]
    at_once = copies_at_once(network, scan.source.preprocess.crop_px, spec.batch_bytes)
    size = min(spec.batch_size, at_once, len(rows))
    size = -(-len(rows) // -(-len(rows) // size))  # as many passes, as full as they can be
    return Work(
        pa.Table.from_pylist(rows, schema=TARGET_LIST.schema),
        ClassModelsStage(scan.source, spec.resources, spec, size),
        identity={name: getattr(spec, name) for name in _OWN} | {"batch_size": size},
        contract=TARGET_LIST,
        batch_size=size,
    )


def summary(spec: ClassModelsSpec, manifest: Manifest) -> Summary:
    """How many were made, and how many are of nothing."""
    made, missed = manifest.counts["targets"], manifest.counts["missed"]
    warning = (
        f"{missed:,} of {made:,} images miss their target: its value did not rise, or the network "
        "calls the image another class; a smaller --l2, a larger --rate or more --steps may reach "
        "it"
    )
    return Summary(
        f"{made:,} images of classes and units",
        f"unitscope gallery {shlex.quote(spec.run)}",
        (warning,) if missed else (),
    )


def _chosen_units(
    spec: ClassModelsSpec, scan: PublishedScan, network: Network, names: dict[int, str]
) -> dict[str, set[int]]:
    """Units by layer, in the order of the network."""
    scores = network.layers[-1]
    chosen: dict[str, set[int]] = {}
    if spec.classes:
        chosen[scores.name] = _classes(spec.classes, scores.units, names)
    elif not spec.units:
        count = min(spec.sample or scores.units, scores.units)
        drawn = np.random.default_rng(spec.seed).choice(scores.units, count, replace=False)
        chosen[scores.name] = set(drawn.tolist())
    for glob in spec.units:
        for layer, units in _units(glob, scan).items():
            chosen.setdefault(layer, set()).update(units)
    known = {layer.name: layer.position for layer in network.layers}
    if gone := [name for name in chosen if name not in known]:
        raise LayerError(
            f"units: the network has no layer {gone[0]!r} any more, which the scan has; give back "
            "the code that was scanned, or scan again"
        )
    return {name: chosen[name] for name in sorted(chosen, key=lambda name: known[name])}


def _classes(asked: Iterable[str], count: int, names: dict[int, str]) -> set[int]:
    """The numbers of classes that are named by number, by a range, or by the data set's name."""
    found: set[int] = set()
    for name in asked:
        if _NUMBERS.fullmatch(name):
            first, last = bounds(name)
            if not first <= last < count:
                raise SpecError(
                    f"classes: {name} is no class of the network, or no range of them; choices: 0 "
                    f"to {count - 1}"
                )
            found |= set(range(first, last + 1))
            continue
        own = {label for label, known in names.items() if known == name and label < count}
        if not own:
            raise SpecError(
                f"classes: the data set names no class {name!r}; {nearest(name, names.values())}, "
                f"or a number, 0 to {count - 1}"
            )
        found |= own
    return found


def _units(asked: str, scan: PublishedScan) -> dict[str, range]:
    """Those of the units that the layers have."""
    glob, _, numbers = asked.rpartition(":")
    first, last = bounds(numbers)
    try:
        layers = scan.layers(LayerSelection(include=(glob,)))
    except LayerError as error:
        raise LayerError(f"units: {asked}: {error}") from error
    table = scan.run.table("layers", job="scan", columns=["layer", "units"])
    sizes = dict(zip(table["layer"], table["units"].astype(int), strict=True))
    found = {
        layer: range(first, min(last + 1, sizes[layer])) for layer in layers if first < sizes[layer]
    }
    if not found:
        most = max(sizes[layer] for layer in layers)
        raise LayerError(f"units: {asked} names no unit; choices: 0 to {most - 1}")
    return found

"""The filters behind the layers of a scan: which convolution makes each layer's units."""

from __future__ import annotations

import shlex

import pyarrow as pa

from jobs.engine import Summary, Work
from jobs.published_scan import PublishedScan
from pipeline.models.filters import find_convolution, require_traced
from pipeline.stages.filters import FiltersStage
from schemas.errors import LayerError
from schemas.jobs.filters import CONVOLUTIONS, FiltersSpec
from schemas.manifest import Manifest

_FEW = 3
_THRESHOLDS = ("dominant", "weak", "near_dead", "extreme", "aliasing", "middle")


def plan(spec: FiltersSpec, scan: PublishedScan) -> Work:
    """The chosen layers that a convolution makes, in the order of the network.

    Raises:
        InputError: no such layer is chosen, the network cannot be traced, or its weights are others
            than the scan's.
    """
    positions = scan.layers(spec.layers)
    network = scan.network()
    geometry = require_traced(network)
    rows, left_out = [], {}
    for layer, position in positions.items():
        found = find_convolution(geometry, network.layer(layer).name)
        if isinstance(found, str):
            left_out[layer] = found
        else:
            rows.append({"layer": layer, "position": position, "convolution": found.name})
    if not rows:
        layer, why = next(iter(left_out.items()))
        raise LayerError(
            f"layers: no convolution makes the units of {layer}: {why}; choose layers after a "
            "convolution, `unitscope layers` lists them"
        )
    return Work(
        items=pa.Table.from_pylist(rows, schema=CONVOLUTIONS.schema),
        stage=FiltersStage(scan.source, spec.resources, spec),
        identity={
            "layers": [row["layer"] for row in rows],
            "left_out": left_out,
            **{name: getattr(spec, name) for name in _THRESHOLDS},
        },
        contract=CONVOLUTIONS,
    )


def summary(spec: FiltersSpec, manifest: Manifest) -> Summary:
    """What was looked at, how much was found, and which layers were left out."""
    counts, left_out = manifest.counts, manifest.identity["left_out"]
    warnings = []
    if left_out:
        first = ", ".join(f"{layer}: {why}" for layer, why in [*left_out.items()][:_FEW])
        warnings.append(
            f"layers without a convolution of their own, which are left out: {len(left_out)}, the "
            f"first: {first}"
        )
    return Summary(
        f"{counts['filters']:,} filters of {counts['layers']:,} layers, {counts['findings']:,} "
        "findings",
        f"unitscope gallery {shlex.quote(spec.run)}",
        tuple(warnings),
    )

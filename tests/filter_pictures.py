"""Filters of a made-up run (`tests.made_up_run`): no network ran."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.stages.filters import filter_png
from pipeline.store import JobFolder, JobStore
from schemas.jobs.filters import FILTER_LAYERS, FILTERS, FINDINGS, FiltersSpec
from schemas.manifest import Manifest
from schemas.tables import Table
from tests.made_up_run import DEAD, FINGERPRINT, PROVENANCE

WHITE = 0
"""The unit whose filter is 1 everywhere, the largest; unit u's is 1 / (u + 1), grey."""


def filters(
    run: str,
    layers: dict[str, int],
    *,
    kernel: tuple[int, int] = (3, 5),
    unpatterned: tuple[str, ...] = (),
    position: int = 0,
    of_scan: str = FINGERPRINT,
) -> None:
    """Publish filters of layers (name -> units) of a run that `made_up_run.scan` made.

    Args:
        run: its folder.
        layers: which, and how many units of each.
        kernel: height and width.
        unpatterned: layers whose kernels are 1 x 1 instead.
        position: of the first layer.
        of_scan: the fingerprint of the scan that they say they are of.
    """
    store = JobStore(JobFolder(run, "filters"))
    sizes = {layer: (1, 1) if layer in unpatterned else kernel for layer in layers}
    rows = [
        _filter(layer, unit, sizes[layer])
        for layer, count in layers.items()
        for unit in range(count)
    ]
    about = [
        _layer(place, layer, layers[layer], sizes[layer])
        for place, layer in enumerate(layers, start=position)
    ]
    found = [each for layer, count in layers.items() for each in _findings(layer, count)]
    tables = {FILTERS: rows, FILTER_LAYERS: about, FINDINGS: found}
    store.publish(
        Manifest(
            job="filters",
            fingerprint="filters-fingerprint",
            identity={"scan": of_scan},
            spec=FiltersSpec(run=run).model_dump(mode="json"),
            tables={table.name: (_put(store, table, own),) for table, own in tables.items()},
            counts={"layers": len(layers), "filters": len(rows), "findings": len(found)},
            provenance=PROVENANCE,
        )
    )


def _put(store: JobStore, table: Table, rows: list[dict[str, Any]]) -> Any:
    content = pa.Table.from_pylist(rows, schema=table.schema)
    return store.put_table(table, "part-0.parquet", content)


def _filter(layer: str, unit: int, kernel: tuple[int, int]) -> dict[str, Any]:
    png, scale = filter_png(np.full((2, *kernel), 1 / (unit + 1)), colour=False)
    patterned = kernel != (1, 1)
    bands = dict.fromkeys(("low", "middle", "high"), 1 / 3 if patterned else None)
    return {
        "layer": layer,
        "unit": unit,
        "rms": 1 / (unit + 1),
        "dominance": 2 / (unit + 1),
        "gain": 1.0,
        **bands,
        "alias_share": 0.25,
        "active_share": 0.0 if unit == DEAD else 0.5,
        "dead": unit == DEAD,
        "near_dead": False,
        "findings": "dead" if unit == DEAD else "",
        "picture": {"bytes": png, "path": None},
        "scale": scale,
    }


def _layer(position: int, layer: str, units: int, kernel: tuple[int, int]) -> dict[str, Any]:
    patterned = kernel != (1, 1)
    return {
        "layer": layer,
        "position": position,
        "convolution": f"{layer}.conv",
        "units": units,
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_y": 2,
        "stride_x": 2,
        "dilation_y": 1,
        "dilation_x": 3,
        "groups": 2,
        "in_channels": 2,
        "colour": False,
        "rms_median": 0.5,
        "rms_max": 1.0,
        "dominance_max": 2.0,
        **dict.fromkeys(("low", "middle", "high"), 1 / 3 if patterned else None),
        "alias_median": 0.25,
        "dominant": 0,
        "dead": int(units > DEAD),
        "near_dead": 0,
        "not_finite": 0,
        "scale": 1.0,
    }


def _findings(layer: str, units: int) -> list[dict[str, Any]]:
    found: list[tuple[int, str, float, str]] = [(-1, "aliasing", 0.6, "the layer aliases")]
    found += [
        (unit, "weak", unit / 100, f"unit {unit} is weak") for unit in range(1, min(units, 12))
    ]
    if units > DEAD:
        found.append((DEAD, "dead", 0.0, f"unit {DEAD} is dead"))
    rows = [
        {"layer": layer, "unit": unit, "kind": kind, "value": value, "sentence": sentence}
        for unit, kind, value, sentence in found
    ]
    return sorted(rows, key=lambda row: (row["unit"], row["kind"]))

"""Reads units of a published scan with their patches, as the PNG figures need them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.report.patch_reader import PatchReader
from pipeline.report.patches import Patch
from pipeline.store.run import Run


@dataclass(frozen=True)
class UnitRecord:
    """A unit and its top patches, the strongest first.

    Attributes:
        layer: its layer.
        unit: its channel.
        kind: the layer's operation.
        field: (height, width) of its receptive field in input pixels.
        images: images in which its largest activation is finite.
        active: those of them in which it is above zero.
        patches: at most nine.
    """

    layer: str
    unit: int
    kind: str
    field: tuple[int, int]
    images: int
    active: int
    patches: tuple[Patch, ...]


def read_units(run: Run, layer: Mapping[Hashable, Any], units: range) -> list[UnitRecord]:
    """Units of one layer, with their patches and projections.

    Args:
        run: scan must be published; projections are read where they are published too.
        layer: its row of `schemas.jobs.scan.SCAN_LAYERS`.
        units: consecutive, all of them the layer's.

    Raises:
        StoreError: a table cannot be read, or the projections are of another scan.
    """
    name = layer["layer"]
    within: list[tuple[str, str, object]] = [("unit", ">=", units.start), ("unit", "<", units.stop)]
    facts = run.table("units", job="scan", layer=name, filters=within)
    images = dict(zip(facts["unit"], facts["images"].tolist(), strict=True))
    active = dict(zip(facts["unit"], facts["active"].tolist(), strict=True))
    patches = PatchReader(run).read(name, units)
    return [
        UnitRecord(
            layer=name,
            unit=unit,
            kind=layer["kind"],
            field=(int(layer["field_height"]), int(layer["field_width"])),
            images=images[unit],
            active=active[unit],
            patches=patches[unit],
        )
        for unit in units
    ]

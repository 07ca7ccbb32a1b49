"""What a gallery says of layers and units, worked out from a run's tables.

Invariant: every text and number of a page stands in these dataclasses, formatted; a template only
prints them, and equal tables give equal data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.report.contact_sheet import SheetShape
from pipeline.report.patches import Box, Patch, three_digits
from pipeline.report.section import Row, layer_page, layer_stem
from pipeline.report.sections.units.histogram import Histogram, draw_histogram


@dataclass(frozen=True)
class UnitCard:
    """A unit on its layer's page.

    Attributes:
        unit: its channel; the card's anchor is ``unit-<unit>``.
        maximum: its largest activation, to be read; empty without images.
        share: of the images that fire it, to be read.
        by_maximum: what it is sorted by.
        by_share: what it is sorted by.
        dead: no image ranks, so there is no sheet.
        sheet: its contact sheet, relative to the gallery; None where dead.
        shown: pictures on the sheet.
    """

    unit: int
    maximum: str
    share: str
    by_maximum: float
    by_share: float
    dead: bool
    sheet: str | None
    shown: int


@dataclass(frozen=True)
class PatchDetail:
    """A top patch in a unit's detail; ``box`` says where in the input frame it lies."""

    value: str
    class_name: str
    image: str
    box: str


@dataclass(frozen=True)
class UnitDetail:
    """What a card has no room for."""

    maximum: str
    mean: str
    std: str
    images: str
    active: str
    nonfinite: str
    histogram: Histogram | None
    patches: tuple[PatchDetail, ...]


@dataclass(frozen=True)
class LayerFacts:
    """A layer, as the overview and its own page name it.

    Attributes:
        name: the node's name.
        page: its page, relative to the gallery.
        details: its units' details, a script, relative to the gallery.
        sheets: the folder of its sheets, relative to the gallery.
        kind: the operation.
        units: how many.
        dead: units that no image fires.
        share: of the images that fire a unit, the mean over its units.
        map_size: positions down x across.
        stride: input pixels between positions; empty where there is one position.
        field: the receptive field in input pixels.
        notes: what a reader should know of its boxes.
    """

    name: str
    page: str
    details: str
    sheets: str
    kind: str
    units: int
    dead: int
    share: str
    map_size: str
    stride: str
    field: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class LayerPage:
    """A layer's own page.

    Attributes:
        facts: the layer.
        shape: of its sheets.
        cards: all its units.
        before: the layer before it in the gallery.
        after: the layer after it in the gallery.
        hint: a command that would add projections; empty where they are there.
    """

    facts: LayerFacts
    shape: SheetShape
    cards: tuple[UnitCard, ...]
    before: LayerFacts | None
    after: LayerFacts | None
    hint: str


def layer_facts(layer: Row, units: pd.DataFrame) -> LayerFacts:
    """A layer's facts.

    Args:
        layer: its row of `schemas.jobs.scan.SCAN_LAYERS`.
        units: its rows of `schemas.jobs.scan.SCAN_UNITS`.
    """
    stem = layer_stem(layer)
    notes = [str(layer["whole_frame"])] if isinstance(layer["whole_frame"], str) else []
    if layer["gated"]:
        notes.append("behind a whole-frame gate, which the boxes leave out")
    shares = units["active"] / units["images"].where(units["images"] > 0)
    return LayerFacts(
        name=layer["layer"],
        page=layer_page(layer),
        details=f"layers/{stem}.js",
        sheets=f"sheets/{stem}",
        kind=layer["kind"],
        units=len(units),
        dead=int((ranking_images(layer, units) == 0).sum()),
        share=percent(float(shares.fillna(0.0).mean()) if len(units) else 0.0),
        map_size=f"{layer['map_height']} x {layer['map_width']}",
        stride=f"{layer['stride_y']} x {layer['stride_x']} px" if layer["stride_y"] else "",
        field=f"{layer['field_height']} x {layer['field_width']} px",
        notes=tuple(notes),
    )


def ranking_images(layer: Row, units: pd.DataFrame) -> pd.Series:
    """Images that could be a top patch of each unit; a unit without any is dead.

    Only values above zero rank in a layer that an activation function made.
    """
    return units["active"] if layer["activation"] else units["images"]


def unit_card(row: Row, patches: Sequence[Patch], sheets: str) -> UnitCard:
    """A unit's card.

    Args:
        row: its row of `schemas.jobs.scan.SCAN_UNITS`.
        patches: its top patches.
        sheets: the folder of the layer's sheets.
    """
    share = row["active"] / row["images"] if row["images"] else 0.0
    largest: float | None = None if pd.isna(row["max"]) else float(row["max"])
    return UnitCard(
        unit=int(row["unit"]),
        maximum="" if largest is None else three_digits(largest),
        share=percent(share),
        by_maximum=-1e39 if largest is None else float(f"{largest:.6g}"),
        by_share=round(share, 6),
        dead=not patches,
        sheet=f"{sheets}/{int(row['unit']):05d}.webp" if patches else None,
        shown=len(patches),
    )


def unit_detail(row: Row, patches: Sequence[Patch], *, activation: bool) -> UnitDetail:
    """A unit's detail.

    Args:
        row: its row of `schemas.jobs.scan.SCAN_UNITS`.
        patches: its top patches.
        activation: whether its layer is an activation function's output.
    """
    share = f" ({percent(row['active'] / row['images'])})" if row["images"] else ""
    return UnitDetail(
        maximum=_number(row["max"]),
        mean=_number(row["mean"]),
        std=_number(row["std"]),
        images=f"{row['images']:,}",
        active=f"{row['active']:,}{share}",
        nonfinite=f"{row['nonfinite']:,}" if row["nonfinite"] else "",
        histogram=draw_histogram(row["histogram"].tolist(), positive=activation),
        patches=tuple(
            PatchDetail(
                value=three_digits(patch.value),
                class_name=patch.class_name or "",
                image=patch.image,
                box=_position(patch.box),
            )
            for patch in patches
        ),
    )


def percent(share: float) -> str:
    """A share of one, for a person; rounding never makes it none or all."""
    if 0 < share < 0.001:
        return "< 0.1%"
    if 0.999 < share < 1:
        return "> 99.9%"
    return f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def _number(value: Any) -> str:
    return "" if pd.isna(value) else three_digits(float(value))


def _position(box: Box) -> str:
    return f"y {box[0]} to {box[2] - 1}, x {box[1]} to {box[3] - 1}"

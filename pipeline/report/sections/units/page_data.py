"""The texts and numbers of the layers' pages, computed and formatted from a run's tables.

Templates only print them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.report.contact_sheet import SheetShape
from pipeline.report.formats import percent, three_digits
from pipeline.report.patches import Box, Patch
from pipeline.report.section import Row, UnitNote, layer_page
from pipeline.report.sections.units.classes import UnitClasses
from pipeline.report.sections.units.histogram import Histogram, draw_histogram
from pipeline.store.layout import layer_stem


@dataclass(frozen=True)
class UnitCard:
    """A unit on its layer's page.

    Attributes:
        unit: its channel; the card's anchor is ``unit-<unit>``.
        maximum: its largest activation as text; empty without images.
        share: the share of the images in which it is above zero, as text.
        by_maximum: the largest activation as a sort key.
        by_share: the share as a sort key.
        dead: it has no top patch, so there is no sheet.
        sheet: its contact sheet, relative to the gallery; None where dead.
        shown: patches on the sheet.
        by_selectivity: of its top patches' classes as a sort key; -1 where it is not known.
    """

    unit: int
    maximum: str
    share: str
    by_maximum: float
    by_share: float
    dead: bool
    sheet: str | None
    shown: int
    by_selectivity: float


@dataclass(frozen=True)
class PatchDetail:
    """A top patch in a unit's detail; ``box`` says where in the input frame it lies."""

    value: str
    class_name: str
    image: str
    box: str


@dataclass(frozen=True)
class UnitDetail:
    """A unit's statistics and patches, for the dialog behind its card; all as text.

    Attributes:
        maximum: its largest activation.
        mean: of the per-image maxima.
        std: of the per-image maxima.
        images: images with a finite maximum.
        active: those of them with a maximum above zero.
        nonfinite: images left out because their maximum is infinite or NaN; empty without any.
        histogram: of the per-image maxima.
        patches: the strongest first.
        classes: of all its top patches; None where none has a class.
        notes: what other analyses know of it.
    """

    maximum: str
    mean: str
    std: str
    images: str
    active: str
    nonfinite: str
    histogram: Histogram | None
    patches: tuple[PatchDetail, ...]
    classes: UnitClasses | None
    notes: tuple[UnitNote, ...]


@dataclass(frozen=True)
class Known:
    """What is known of a unit beside its row and its patches; see `UnitDetail`."""

    classes: UnitClasses | None = None
    notes: tuple[UnitNote, ...] = ()


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
        dead: units without a top patch.
        share: the share of images in which a unit is above zero, the mean over the units.
        map_size: positions, rows x columns.
        stride: input pixels between positions; empty where there is one position.
        field: the receptive field in input pixels.
        notes: what its receptive fields leave out.
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

    @property
    def classed(self) -> bool:
        """Whether the top patches of some unit have classes to sort by."""
        return any(card.by_selectivity >= 0 for card in self.cards)


def layer_facts(layer: Row, units: pd.DataFrame) -> LayerFacts:
    """A layer's facts.

    Args:
        layer: its row of `schemas.jobs.scan.SCAN_LAYERS`.
        units: its rows of `schemas.jobs.scan.SCAN_UNITS`.
    """
    stem = layer_stem(int(layer["position"]), layer["layer"])
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
    """Per unit, the images that can give a top patch; a unit without any is dead.

    Only values above zero rank in a layer that an activation function made.
    """
    return units["active"] if layer["activation"] else units["images"]


def unit_card(row: Row, patches: Sequence[Patch], known: Known, sheets: str) -> UnitCard:
    """A unit's card.

    Args:
        row: its row of `schemas.jobs.scan.SCAN_UNITS`.
        patches: its top patches.
        known: what else is known of it.
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
        by_selectivity=known.classes.selectivity if known.classes else -1.0,
    )


def unit_detail(
    row: Row, patches: Sequence[Patch], known: Known, *, activation: bool
) -> UnitDetail:
    """A unit's detail.

    Args:
        row: its row of `schemas.jobs.scan.SCAN_UNITS`.
        patches: its top patches.
        known: what else is known of it.
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
        classes=known.classes,
        notes=known.notes,
    )


def _number(value: Any) -> str:
    return "" if pd.isna(value) else three_digits(float(value))


def _position(box: Box) -> str:
    return f"y {box[0]} to {box[2] - 1}, x {box[1]} to {box[3] - 1}"

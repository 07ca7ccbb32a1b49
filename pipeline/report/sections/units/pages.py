"""The section of the units: per layer a page, per unit a contact sheet and details (ZF fig. 2).

One layer's texts, and the pictures of `UNITS_AT_ONCE` of its units, are all that is in memory at
once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pandas as pd
from PIL import Image

from pipeline.report import render
from pipeline.report.contact_sheet import SheetShape, encode_contact_sheet
from pipeline.report.patches import Patch
from pipeline.report.section import Gallery, PaperSection, Row, Summary
from pipeline.report.sections.units import histogram
from pipeline.report.sections.units.classes import ClassReader
from pipeline.report.sections.units.figure import draw_sheet, draw_unit
from pipeline.report.sections.units.figure_2 import draw_figure_2
from pipeline.report.sections.units.maps import draw_maps
from pipeline.report.sections.units.page_data import (
    Known,
    LayerFacts,
    LayerPage,
    UnitCard,
    UnitDetail,
    layer_facts,
    unit_card,
    unit_detail,
)
from pipeline.report.sections.units.summary import LayerStrip, project_command, summary, teasers
from pipeline.report.unit_record import read_units
from pipeline.store.run import Run
from schemas.errors import LayerError
from schemas.jobs.scan import MapsFigure, UnitsFigure
from schemas.values import bounds

UNITS_AT_ONCE = 64


class UnitsSection(PaperSection[UnitsFigure | MapsFigure]):
    """See `Section`; it shows the scan, with projections where they are published."""

    name = "scan"

    def count(self, run: Run, layers: pd.DataFrame) -> int:  # noqa: ARG002 (the contract's)
        """The number of units."""
        return int(layers["units"].sum())

    def write(self, gallery: Gallery) -> Summary:
        """See `Section.write`."""
        rows = gallery.layers.to_dict("records")
        units = [gallery.run.table("units", job="scan", layer=row["layer"]) for row in rows]
        facts = [layer_facts(row, own) for row, own in zip(rows, units, strict=True)]
        command, classes = project_command(gallery.run), ClassReader(gallery.run)
        strips = []
        for index, (row, own) in enumerate(zip(rows, units, strict=True)):
            shape = SheetShape(
                gallery.sheet_px, paired=gallery.patches.projected(facts[index].name)
            )
            known = _known(gallery, classes, row["layer"])
            cards, details = _write_units(gallery, (row, own, known), facts[index], shape)
            page = LayerPage(
                facts=facts[index],
                shape=shape,
                cards=tuple(cards),
                before=facts[index - 1] if index else None,
                after=facts[index + 1] if index + 1 < len(facts) else None,
                hint="" if shape.paired else command,
            )
            gallery.put(page.facts.page, layer_html(page).encode())
            gallery.put(page.facts.details, details_js(details).encode())
            strips.append(LayerStrip(page.facts, shape, teasers(cards, paired=shape.paired)))
        return summary(strips, command)

    def draw(self, run: Run, asked: UnitsFigure | MapsFigure) -> Image.Image:
        """One unit, a sheet of those that the layer has, or the feature maps of an image."""
        if isinstance(asked, MapsFigure):
            return draw_maps(run, asked)
        [layer] = run.table("layers", job="scan", layer=asked.layer).to_dict("records")
        known = int(layer["units"])
        first, last = bounds(asked.units) if asked.unit is None else (asked.unit, asked.unit)
        if first >= known:
            raise LayerError(
                f"{run.url}: layer {asked.layer} has no unit {first}; choices: 0 to {known - 1}"
            )
        units = read_units(run, layer, range(first, min(last + 1, known)))
        return draw_sheet(units, known) if asked.unit is None else draw_unit(units[0])

    def draw_paper(self, run: Run) -> Image.Image:
        """Figure 2: random units of up to five layers."""
        return draw_figure_2(run)


def layer_html(page: LayerPage) -> str:
    """A layer's page."""
    drawing = {"width": histogram.WIDTH, "height": histogram.HEIGHT}
    return render.html("units/layer.html.j2", page=page, root="../", drawing=drawing)


def details_js(details: Sequence[UnitDetail]) -> str:
    """The script that hands the details of a layer's units to its page, in the units' order."""
    return render.html("units/details.js.j2", details=[asdict(detail) for detail in details])


def _known(gallery: Gallery, classes: ClassReader, layer: str) -> dict[int, Known]:
    """What is known of a layer's units beside their rows and patches, by unit."""
    liked, notes = classes.read(layer), gallery.unit_notes(layer)
    return {
        unit: Known(liked.get(unit), tuple(notes.get(unit, ())))
        for unit in liked.keys() | notes.keys()
    }


def _write_units(
    gallery: Gallery,
    of_layer: tuple[Row, pd.DataFrame, dict[int, Known]],
    facts: LayerFacts,
    shape: SheetShape,
) -> tuple[list[UnitCard], list[UnitDetail]]:
    """Write the contact sheets of a layer's units; what its page and its script say of them."""
    layer, units, known = of_layer
    cards: list[UnitCard] = []
    details: list[UnitDetail] = []
    for start in range(0, len(units), UNITS_AT_ONCE):
        rows = units.iloc[start : start + UNITS_AT_ONCE].to_dict("records")
        patches = gallery.patches.read(layer["layer"], range(start, start + len(rows)))
        block = [(row, patches[row["unit"]], known.get(row["unit"], Known())) for row in rows]
        new = [unit_card(row, own, more, facts.sheets) for row, own, more in block]
        _put_sheets(gallery, zip(new, (own for _, own, _ in block), strict=True), shape)
        cards += new
        details += [
            unit_detail(row, own, more, activation=bool(layer["activation"]))
            for row, own, more in block
        ]
        gallery.advance(items=len(rows))
    return cards, details


def _put_sheets(
    gallery: Gallery, units: Iterable[tuple[UnitCard, tuple[Patch, ...]]], shape: SheetShape
) -> None:
    living = [(card.sheet, patches) for card, patches in units if card.sheet]
    with ThreadPoolExecutor(os.cpu_count()) as artists:
        sheets = artists.map(
            lambda patches: encode_contact_sheet(patches, shape), (own for _, own in living)
        )
        for (name, _), data in zip(living, sheets, strict=True):
            gallery.put(name, data)


SECTION = UnitsSection()

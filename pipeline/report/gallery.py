"""Writes a gallery: an overview, a page a layer, a sheet a unit, a page an occluded image.

Invariant: one layer's texts, and the pictures of `UNITS_AT_ONCE` of its units, are all that is in
memory at once; and equal tables give equal files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from pipeline.report import render
from pipeline.report.contact_sheet import SheetShape, encode_contact_sheet
from pipeline.report.overview import LayerRow, overview, project_command, teasers
from pipeline.report.patch_reader import PatchReader
from pipeline.report.patches import Patch
from pipeline.report.sections.occlusion.pages import Style, write_occlusions
from pipeline.report.sections.occlusion.reader import OcclusionReader, count_occluded
from pipeline.report.sections.units.page_data import (
    LayerFacts,
    LayerPage,
    Row,
    UnitCard,
    UnitDetail,
    layer_facts,
    unit_card,
    unit_detail,
)
from pipeline.store.encode import Run
from schemas.errors import NotPublishedError
from schemas.manifest import Manifest

UNITS_AT_ONCE = 64

INDEX = "index.html"


class Advance(Protocol):
    """Is told of units and occluded images done."""

    def __call__(self, *, images: int) -> None:
        """Add so many."""


@dataclass(frozen=True)
class Written:
    """What a gallery holds.

    Attributes:
        layers: pages.
        units: cards on them.
        dead: of these, without a sheet.
        unprojected: layers without any projection.
        hint: a command that would add projections; empty where none would.
        occluded: images with an occlusion page.
        bytes: of all files.
    """

    layers: int
    units: int
    dead: int
    unprojected: int
    hint: str
    occluded: int
    bytes: int


def write_gallery(
    run: Run, layers: pd.DataFrame, folder: Path, *, sheet_px: int, advance: Advance
) -> Written:
    """Write the gallery of a published scan, with what else is published of the run.

    Args:
        run: the run.
        layers: the layers to show, rows of `schemas.tables.SCAN_LAYERS`, in their order.
        folder: where to write; it exists and is empty.
        sheet_px: side of one picture on a sheet.
        advance: called with the number of units and occluded images done since the last call.

    Raises:
        StoreError: a table cannot be read, or another job's are of another scan.
        OSError: a file cannot be written.
    """
    return _Gallery(run, folder, sheet_px, advance).write(layers)


class _Gallery:
    """One gallery on its way to disk."""

    def __init__(self, run: Run, folder: Path, sheet_px: int, advance: Advance) -> None:
        self._run = run
        self._folder = folder
        self._sheet_px = sheet_px
        self._advance = advance
        self._reader = PatchReader(run)
        self._projection = _projection(run)
        self._bytes = 0

    def write(self, layers: pd.DataFrame) -> Written:
        rows = layers.to_dict("records")
        units = {row["layer"]: self._units(row["layer"]) for row in rows}
        facts = [layer_facts(row, units[row["layer"]]) for row in rows]
        before, after = [None, *facts[:-1]], [*facts[1:], None]
        shown = [
            self._layer(row, units[row["layer"]], own, (previous, following))
            for row, own, previous, following in zip(rows, facts, before, after, strict=True)
        ]
        occluded = self._occlusions(facts)
        scan = self._run.manifest("scan")
        page = overview(self._run.url, scan, self._projection, shown, occluded=occluded)
        self._put(INDEX, render.overview_html(page).encode())
        for name in render.STATIC_FILES:
            self._put(f"static/{name}", render.static_file(name))
        return Written(
            layers=len(facts),
            units=sum(each.units for each in facts),
            dead=sum(each.dead for each in facts),
            unprojected=sum(not row.shape.paired for row in shown),
            hint=page.hint,
            occluded=occluded,
            bytes=self._bytes,
        )

    def _layer(
        self,
        layer: Row,
        units: pd.DataFrame,
        facts: LayerFacts,
        neighbours: tuple[LayerFacts | None, LayerFacts | None],
    ) -> LayerRow:
        shape = SheetShape(self._sheet_px, paired=self._reader.projected(facts.name))
        cards: list[UnitCard] = []
        details: list[UnitDetail] = []
        for start in range(0, len(units), UNITS_AT_ONCE):
            rows = units.iloc[start : start + UNITS_AT_ONCE].to_dict("records")
            patches = self._reader.read(facts.name, range(start, start + len(rows)))
            several = [(row, patches[row["unit"]]) for row in rows]
            new = [unit_card(row, found, facts.sheets) for row, found in several]
            self._put_sheets(new, [found for _, found in several], shape)
            cards += new
            details += [
                unit_detail(row, found, activation=bool(layer["activation"]))
                for row, found in several
            ]
            self._advance(images=len(rows))
        hint = "" if shape.paired else project_command(self._run.url, self._projection)
        page = LayerPage(facts, shape, tuple(cards), *neighbours, hint)
        self._put(facts.page, render.layer_html(page).encode())
        self._put(facts.details, render.details_js(details).encode())
        return LayerRow(facts, shape, teasers(cards, paired=shape.paired))

    def _occlusions(self, facts: Sequence[LayerFacts]) -> int:
        if not count_occluded(self._run):
            return 0
        reader = OcclusionReader(self._run, self._reader)
        style = Style({each.name: each for each in facts}, self._sheet_px)
        return write_occlusions(self._run, reader, style, self._put, self._advance)

    def _put_sheets(
        self, cards: Iterable[UnitCard], patches: Sequence[tuple[Patch, ...]], shape: SheetShape
    ) -> None:
        living = [(card.sheet, own) for card, own in zip(cards, patches, strict=True) if card.sheet]
        with ThreadPoolExecutor(os.cpu_count()) as artists:
            sheets = artists.map(
                lambda own: encode_contact_sheet(own, shape), (own for _, own in living)
            )
            for (name, _), data in zip(living, sheets, strict=True):
                self._put(name, data)

    def _put(self, name: str, data: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._bytes += len(data)

    def _units(self, layer: str) -> pd.DataFrame:
        return self._run.table("units", job="scan", layer=layer)


def _projection(run: Run) -> Manifest | None:
    try:
        return run.manifest("project")
    except NotPublishedError:
        return None

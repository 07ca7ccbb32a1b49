"""Random units of several layers, nine projections beside nine patches each (ZF fig. 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from pipeline.report.contact_sheet import SheetShape, draw_contact_sheet
from pipeline.report.formats import three_digits
from pipeline.report.patch_reader import PatchReader
from pipeline.report.pictures import INK, MARGIN, PAPER, SOFT, draw_head, font_of, write
from pipeline.report.section import Row
from pipeline.report.unit_record import UnitRecord, read_units
from pipeline.store.run import Run

LAYERS, UNITS = 5, 4
"""Most layers, one below the other, and most units of each."""
SEED = 0
_TILE_PX = 64
_GAP, _LABEL, _TITLE = 18, 24, 34


def draw_figure_2(run: Run) -> Image.Image:
    """The figure: per layer a row of units, drawn by `SEED` from those that any image activates.

    Args:
        run: scan must be published; without projections the patches stand alone, and the head says
            by which command they are made.

    Raises:
        StoreError: a table cannot be read, or the projections are of another scan.
    """
    layers = choose_layers(run.table("layers", job="scan"))
    chosen = [(layer, _chosen_units(run, layer)) for layer in layers]
    paired = any(_paired(unit) for _, units in chosen for unit in units)
    shape = SheetShape(_TILE_PX, paired=paired)
    row = _TITLE + _LABEL + shape.height + _GAP
    width = UNITS * (shape.width + _GAP) - _GAP
    page = Image.new("RGB", (width + 2 * MARGIN, 96 + len(chosen) * row + MARGIN - _GAP), PAPER)
    pairs = "projections left, patches right" if paired else "patches; unitscope project adds more"
    facts = f"random units (seed {SEED}), nine strongest images each   |   {pairs}"
    draw = ImageDraw.Draw(page)
    draw_head(draw, "What units of each layer look for (figure 2)", facts, width)
    for index, (layer, units) in enumerate(chosen):
        top = 96 + index * row
        field = f"field {int(layer['field_height'])} x {int(layer['field_width'])} px"
        write(draw, (MARGIN, top), f"{layer['layer']}   |   {field}", 16, INK, width)
        for column, unit in enumerate(units):
            x = MARGIN + column * (shape.width + _GAP)
            _draw_unit(page, unit, shape, (x, top + _TITLE))
        if not units:
            draw.text((MARGIN, top + _TITLE), "no image activates any unit", SOFT, font_of(14))
    return page


def choose_layers(layers: pd.DataFrame) -> Sequence[Row]:
    """At most `LAYERS` activations with a map, evenly over the depth; else whatever was scanned.

    Args:
        layers: rows of `schemas.jobs.scan.SCAN_LAYERS`.
    """
    has_map = (layers["map_height"] > 1) | (layers["map_width"] > 1)
    able = layers[has_map & layers["activation"]]
    able = (layers if able.empty else able).sort_values("position")
    places = np.unique(np.linspace(0, len(able) - 1, min(LAYERS, len(able))).round().astype(int))
    return able.iloc[places].to_dict("records")


def _chosen_units(run: Run, layer: Row) -> list[UnitRecord]:
    """Units chosen by chance; of those with projections, where the layer has any."""
    name = layer["layer"]
    table, job = ("top_patches", "scan")
    if PatchReader(run).projected(name):
        table, job = ("projections", "project")
    known = np.unique(run.table(table, job=job, layer=name, columns=["unit"])["unit"].to_numpy())
    generator = np.random.default_rng(SEED)
    units = np.sort(generator.choice(known, min(UNITS, len(known)), replace=False))
    return [read_units(run, layer, range(unit, unit + 1))[0] for unit in units.tolist()]


def _draw_unit(page: Image.Image, unit: UnitRecord, shape: SheetShape, at: tuple[int, int]) -> None:
    best = f", max {three_digits(unit.patches[0].value)}" if unit.patches else ""
    draw = ImageDraw.Draw(page)
    write(draw, at, f"unit {unit.unit}{best}", 13, SOFT, shape.width)
    sheet = draw_contact_sheet(unit.patches, shape)
    page.paste(sheet, (at[0], at[1] + _LABEL), sheet)


def _paired(unit: UnitRecord) -> bool:
    return any(patch.projection is not None for patch in unit.patches)

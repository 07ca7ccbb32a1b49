"""The section of the evolution: curves per layer, and a page per layer as ZF fig. 4.

The pictures of one layer are all that is in memory at once.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.report import render
from pipeline.report.formats import counted
from pipeline.report.manifests import published
from pipeline.report.pictures import stacked
from pipeline.report.section import Gallery, NotePicture, PaperSection, Summary, UnitNote
from pipeline.report.sections.evolve import chart
from pipeline.report.sections.evolve.cells import cell_size, encode_cell
from pipeline.report.sections.evolve.chart import Chart, draw_chart
from pipeline.report.sections.evolve.figure import draw_evolution
from pipeline.report.sections.evolve.history import (
    EvolutionReader,
    LayerHistory,
    Moment,
    UnitHistory,
)
from pipeline.report.sections.units.figure_2 import choose_layers
from pipeline.store.layout import layer_stem
from pipeline.store.run import Run
from schemas.jobs.evolve import EvolutionFigure
from schemas.secrets import mask

PAGE = "evolve.html"
_SHADES = 10
_PAPER_UNITS = 6
_NOTED = 5
"""Most checkpoints in a unit's note, evenly over the training."""


@dataclass(frozen=True)
class LayerRow:
    """A layer on the section's page.

    Attributes:
        layer: its name.
        page: its own page, relative to the gallery.
        units: how many it has.
        settled: the checkpoint at which it settled, in words.
        cells: per checkpoint the overlap with the last one, as text, and its shade from 0 to 10.
        chart: its curves.
    """

    layer: str
    page: str
    units: int
    settled: str
    cells: tuple[tuple[str, int], ...]
    chart: Chart


@dataclass(frozen=True)
class LayerPage:
    """A layer's own page.

    Attributes:
        layer: its name.
        columns: per checkpoint its name, and what changed since the one before, in words.
        units: a row each, with the link to its card.
        pictures: folder of the cells, relative to the gallery.
        before: name and page of the layer before; None at the first.
        after: name and page of the layer after; None at the last.
    """

    layer: str
    columns: tuple[tuple[str, str], ...]
    units: tuple[tuple[UnitHistory, str], ...]
    pictures: str
    before: LayerRow | None
    after: LayerRow | None


class EvolveSection(PaperSection[EvolutionFigure]):
    """See `Section`; it shows the units of the scan at checkpoints of training."""

    name = "evolve"

    def count(self, run: Run, layers: pd.DataFrame) -> int:
        """The number of layers."""
        manifest = published(run, self.name)
        if manifest is None:
            return 0
        return int(layers["layer"].isin(manifest.identity["layers"]).sum())

    def write(self, gallery: Gallery) -> Summary:
        """See `Section.write`."""
        reader = EvolutionReader(gallery.run)
        layers = gallery.layers.to_dict("records")
        stems = {row["layer"]: layer_stem(int(row["position"]), row["layer"]) for row in layers}
        histories = [each for each in reader.histories() if each.layer in stems]
        rows = [_layer_row(each, reader, stems[each.layer]) for each in histories]
        for place, history in enumerate(histories):
            units = reader.units(history.layer)
            page = LayerPage(
                layer=history.layer,
                columns=_columns(history, reader.checkpoints),
                units=tuple((each, gallery.unit_link(history.layer, each.unit)) for each in units),
                pictures=f"evolve/{stems[history.layer]}",
                before=rows[place - 1] if place else None,
                after=rows[place + 1] if place + 1 < len(rows) else None,
            )
            _put_cells(gallery, page)
            gallery.put(rows[place].page, layer_html(page, gallery.sheet_px).encode())
            gallery.advance(items=1)
        gallery.put(PAGE, evolve_html(gallery.run.url, reader, rows).encode())
        checkpoints = len(reader.checkpoints)
        words = f"{counted(len(rows), 'layer')} through {checkpoints} checkpoints of training"
        return Summary(f"checkpoints {checkpoints:,}", links=((PAGE, f"Evolution: {words}"),))

    def of_units(self, gallery: Gallery, layer: str) -> dict[int, UnitNote]:
        """How often a unit jumped, and a few checkpoints of it."""
        reader = EvolutionReader(gallery.run)
        if layer not in reader.layers:
            return {}
        rows = gallery.layers[gallery.layers["layer"] == layer].to_dict("records")
        folder = f"evolve/{layer_stem(int(rows[0]['position']), layer)}"
        size = cell_size(gallery.sheet_px)
        return {
            each.unit: _note(each, reader.checkpoints, folder, size) for each in reader.units(layer)
        }

    def draw(self, run: Run, asked: EvolutionFigure) -> Image.Image:
        """The units of a layer that were projected."""
        reader = EvolutionReader(run)
        return draw_evolution(asked.evolve, reader.checkpoints, reader.units(asked.evolve))

    def draw_paper(self, run: Run) -> Image.Image:
        """ZF fig. 4: a block per layer, of at most five, each of the first six units projected."""
        reader = EvolutionReader(run)
        layers = run.table("layers", job="scan")
        chosen = choose_layers(layers[layers["layer"].isin(reader.layers)])
        blocks = [(row["layer"], reader.units(row["layer"])[:_PAPER_UNITS]) for row in chosen]
        return stacked(
            [draw_evolution(layer, reader.checkpoints, units) for layer, units in blocks]
        )


def evolve_html(url: str, reader: EvolutionReader, rows: Sequence[LayerRow]) -> str:
    """The page of all layers."""
    return render.html(
        "evolve/evolve.html.j2",
        run=mask(url),
        checkpoints=reader.checkpoints,
        threshold=f"{100 * reader.threshold:g}%",
        same=_same_weights(reader),
        rows=rows,
        drawing=chart,
        root="",
    )


def layer_html(page: LayerPage, tile_px: int) -> str:
    """A layer's page; ``tile_px`` is the side of a picture in its cells."""
    width, height = cell_size(tile_px)
    return render.html(
        "evolve/units.html.j2",
        page=page,
        width=width,
        height=height,
        file=cell_file,
        root="../",
    )


def cell_file(pictures: str, unit: int, checkpoint: int) -> str:
    """The file of a cell, relative to the gallery."""
    return f"{pictures}/{unit:05d}-{checkpoint:03d}.webp"


def _note(
    history: UnitHistory, names: Sequence[str], folder: str, size: tuple[int, int]
) -> UnitNote:
    jumps = [moment.checkpoint for moment in history.moments if moment.jumped]
    words = f"Its strongest image changed {counted(len(jumps), 'time')} in {len(names)} checkpoints"
    words += f", last at {names[jumps[-1]]}." if jumps else "."
    living = [moment for moment in history.moments if moment.patch is not None]
    places = np.unique(
        np.linspace(0, len(living) - 1, min(_NOTED, len(living))).round().astype(int)
    )
    pictures = tuple(
        NotePicture(
            cell_file(folder, history.unit, moment.checkpoint),
            *size,
            words=names[moment.checkpoint],
            page=f"{folder}.html#unit-{history.unit}",
        )
        for moment in (living[place] for place in places.tolist())
    )
    return UnitNote("Evolution", words, pictures)


def _put_cells(gallery: Gallery, page: LayerPage) -> None:
    cells = [
        (cell_file(page.pictures, history.unit, moment.checkpoint), moment)
        for history, _ in page.units
        for moment in history.moments
        if moment.patch is not None
    ]

    def draw(cell: tuple[str, Moment]) -> bytes:
        return encode_cell(cell[1], gallery.sheet_px)

    with ThreadPoolExecutor(os.cpu_count()) as artists:
        for (name, _), data in zip(cells, artists.map(draw, cells), strict=True):
            gallery.put(name, data)


def _layer_row(history: LayerHistory, reader: EvolutionReader, stem: str) -> LayerRow:
    at = history.settled
    overlaps = [step.overlap_last for step in history.steps]
    return LayerRow(
        layer=history.layer,
        page=f"evolve/{stem}.html",
        units=history.units,
        settled="at the last" if at is None else reader.checkpoints[at],
        cells=tuple(
            ("dead", 0) if value is None else (f"{value:.0%}", round(value * _SHADES))
            for value in overlaps
        ),
        chart=draw_chart(history, reader.checkpoints, reader.threshold),
    )


def _columns(history: LayerHistory, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    changed = []
    for step in history.steps:
        words = "" if step.jumps is None else f"{step.jumps:,} of {step.compared:,} jumped"
        dead = f"{step.dead:,} dead" if step.dead else ""
        changed.append("; ".join(filter(None, (words, dead))))
    return tuple(zip(names, changed, strict=True))


def _same_weights(reader: EvolutionReader) -> list[str]:
    """Names of checkpoints that hold the same weights, "a and b"."""
    names = defaultdict(list)
    for name, digest in zip(reader.checkpoints, reader.weights, strict=True):
        names[digest].append(name)
    return [" and ".join(several) for several in names.values() if len(several) > 1]


SECTION = EvolveSection()

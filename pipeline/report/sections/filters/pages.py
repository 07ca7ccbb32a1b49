"""The section of the filters: what was found over all layers, and a page of sheets per layer."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from PIL import Image

from pipeline.report import render
from pipeline.report.formats import counted, percent
from pipeline.report.pictures import encode
from pipeline.report.section import Gallery, PaperSection, Summary, UnitNote
from pipeline.report.sections.filters.figure import draw_beside, draw_filters
from pipeline.report.sections.filters.reader import (
    NOISE,
    FilterLook,
    FilterReader,
    LayerLook,
    filter_layers,
)
from pipeline.report.sections.filters.sheet import SheetGrid, draw_sheet, grid_of
from pipeline.store.layout import layer_stem
from pipeline.store.run import Run, open_run
from schemas.errors import SpecError, nearest
from schemas.jobs.filters import FiltersFigure
from schemas.secrets import mask

PAGE = "filters.html"


@dataclass(frozen=True)
class Cell:
    """A filter's place on its sheet, in pixels.

    Attributes:
        x, y: of its upper left corner.
        look: the filter.
        link: its unit's card, relative to the gallery; empty without one.
    """

    x: int
    y: int
    look: FilterLook
    link: str


@dataclass(frozen=True)
class LayerSheets:
    """What a layer's page shows.

    Attributes:
        look: the layer.
        page: the page, relative to the gallery.
        sheets: (file, words) of its sheets, relative to the gallery; none of 1 x 1 kernels.
        grid: of the sheets.
        cells: their filters.
    """

    look: LayerLook
    page: str
    sheets: tuple[tuple[str, str], ...]
    grid: SheetGrid
    cells: tuple[Cell, ...]


class FiltersSection(PaperSection[FiltersFigure]):
    """See `Section`; it shows the filters behind the layers of the scan."""

    name = "filters"

    def count(self, run: Run, layers: pd.DataFrame) -> int:
        """The number of layers with filters, of those to show."""
        return len(_chosen(run, layers))

    def write(self, gallery: Gallery) -> Summary:
        """See `Section.write`."""
        reader = FilterReader(gallery.run)
        chosen = _chosen(gallery.run, gallery.layers)
        names = [None, *(page_of(gallery, layer) for layer in chosen), None]
        pages = []
        for place, layer in enumerate(chosen):
            page = _write_sheets(gallery, reader.read(layer))
            beside = {"before": names[place], "after": names[place + 2]}
            html = render.html(
                "filters/layer.html.j2",
                page=page,
                noise=NOISE,
                percent=percent,
                root="../",
                **beside,
            )
            gallery.put(page.page, html.encode())
            gallery.advance(items=1)
            pages.append((page.look, page.page))
        overview = render.html(
            "filters/filters.html.j2",
            pages=pages,
            noise=NOISE,
            percent=percent,
            run=mask(gallery.run.url),
            root="",
        )
        gallery.put(PAGE, overview.encode())
        found = sum(look.found for look, _ in pages)
        words = f"Filters of {counted(len(pages), 'layer')}: {counted(found, 'finding')}"
        return Summary(f"layers of filters {len(pages):,}", links=((PAGE, words),))

    def of_units(self, gallery: Gallery, layer: str) -> dict[int, UnitNote]:
        """The numbers of each unit's filter."""
        if layer not in _chosen(gallery.run, gallery.layers):
            return {}
        look = FilterReader(gallery.run).read(layer)
        title = f"filter, {look.kernel} of {look.convolution}"
        return {each.unit: UnitNote(title, each.words) for each in look.filters}

    def draw(self, run: Run, asked: FiltersFigure) -> Image.Image:
        """One layer, or two runs' beside each other."""
        reader = FilterReader(run)
        known = reader.patterned()
        if asked.filters not in known:
            if asked.filters in reader.layers:
                why = "its kernels are 1 x 1 and show nothing"
            else:
                why = f"{run.url} has no filters of this layer"
            raise SpecError(f"--filters {asked.filters}: {why}; {nearest(asked.filters, known)}")
        look = reader.read(asked.filters)
        if asked.beside is None:
            return draw_filters(look)
        other = FilterReader(open_run(asked.beside))
        first = _first_patterned(other, f"--beside {asked.beside}")
        layer = asked.filters if asked.filters in other.patterned() else first
        pair = ((_run_name(run.url), look), (_run_name(asked.beside), other.read(layer)))
        return draw_beside(pair)

    def draw_paper(self, run: Run) -> Image.Image:
        """Figure 6: the filters of the first layer that has a pattern."""
        reader = FilterReader(run)
        return draw_filters(reader.read(_first_patterned(reader, f"--figure 6 of {run.url}")))


def page_of(gallery: Gallery, layer: str) -> str:
    """The page of a layer's filters, relative to the gallery."""
    rows = gallery.layers[gallery.layers["layer"] == layer]
    return f"filters/{layer_stem(int(rows['position'].iloc[0]), layer)}.html"


def _first_patterned(reader: FilterReader, asked: str) -> str:
    """The first layer whose kernels have more than one position."""
    layers = reader.patterned()
    if not layers:
        raise SpecError(
            f"{asked}: its kernels are all 1 x 1 and show nothing; give a run with filters of "
            "another layer"
        )
    return layers[0]


def _chosen(run: Run, layers: pd.DataFrame) -> list[str]:
    wanted = set(layers["layer"])
    return [layer for layer in filter_layers(run) if layer in wanted]


def _write_sheets(gallery: Gallery, look: LayerLook) -> LayerSheets:
    page = page_of(gallery, look.layer)
    kernels = [each.values for each in look.filters]
    grid = grid_of(kernels)
    sheets = []
    if look.patterned:
        stem = page.removesuffix(".html")
        for name, scale, words in (
            ("own", None, "Each filter by its own contrast"),
            ("layer", look.scale, "All filters on one scale"),
        ):
            gallery.put(
                f"{stem}-{name}.webp", encode(draw_sheet(kernels, grid, scale), photo=False)
            )
            sheets.append((f"{stem}-{name}.webp", words))
    cells = [
        Cell(*grid.corner(place), each, gallery.unit_link(look.layer, each.unit))
        for place, each in enumerate(look.filters)
    ]
    return LayerSheets(look, page, tuple(sheets), grid, tuple(cells))


def _run_name(url: str) -> str:
    return mask(url).rstrip("/").rpartition("/")[2]


SECTION = FiltersSection()

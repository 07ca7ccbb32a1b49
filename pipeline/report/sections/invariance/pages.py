"""The section of the invariance: curves per transform and layer, then the images as they moved.

The images of one page are all that is in memory at once.
"""

from __future__ import annotations

import pandas as pd
from PIL import Image

from pipeline.report import render
from pipeline.report.formats import counted, few, percent
from pipeline.report.pictures import encode
from pipeline.report.section import Gallery, PaperSection, Summary
from pipeline.report.sections.invariance.captions import AXES, by_transform, sentences
from pipeline.report.sections.invariance.chart import HEIGHT, WIDTH, chart_of, top_of
from pipeline.report.sections.invariance.figure import MOST_IMAGES, draw_invariance
from pipeline.report.sections.invariance.reader import (
    Area,
    InvarianceReader,
    MovedImage,
    image_ids,
)
from pipeline.store.run import Run
from schemas.errors import SpecError
from schemas.jobs.invariance import InvarianceFigure
from schemas.secrets import mask

PAGE = "invariance.html"
ALL = "all"
IMAGES_PER_PAGE = 24
MOST_LINES = 24
"""Of more images the page draws no single lines: they would hide each other."""


class InvarianceSection(PaperSection[InvarianceFigure]):
    """See `Section`; it shows how far moved pictures move the layers and the probability."""

    name = "invariance"

    def count(self, run: Run, layers: pd.DataFrame) -> int:  # noqa: ARG002 (the contract's)
        """The number of images that were moved."""
        return len(image_ids(run))

    def write(self, gallery: Gallery) -> Summary:
        """See `Section.write`."""
        reader = InvarianceReader(gallery.run)
        ids = reader.image_ids()
        starts = range(0, len(ids), IMAGES_PER_PAGE)
        names = ["", *(page_name(place) for place in range(len(starts))), ""]
        for place, start in enumerate(starts):
            images = reader.read(ids[start : start + IMAGES_PER_PAGE])
            for image in images:
                for strip in image.strips:
                    name = file_name(image.image_id, strip.transform)
                    gallery.put(name, encode(strip.picture, photo=True))
            page = render.html(
                "invariance/invariance.html.j2",
                summary=_summary(reader, ids) if place == 0 else None,
                images=images,
                shown=images_shown(images),
                file=file_name,
                axes=AXES,
                total=len(ids),
                run=mask(gallery.run.url),
                before=names[place],
                after=names[place + 2],
                root="",
            )
            gallery.put(names[place + 1], page.encode())
            gallery.advance(items=len(images))
        words = f"Invariance: {counted(len(ids), 'image')} moved, and how far the layers follow"
        return Summary(counts=f"moved images {len(ids):,}", links=((PAGE, words),))

    def draw(self, run: Run, asked: InvarianceFigure) -> Image.Image:
        """One image beside the mean of all, or the first few."""
        reader = InvarianceReader(run)
        known = reader.image_ids()
        if asked.invariance == ALL:
            shown = known[:MOST_IMAGES]
        elif int(asked.invariance) in known:
            shown = [int(asked.invariance)]
        else:
            raise SpecError(
                f"--invariance {asked.invariance}: {run.url} has no moves of this image; choices: "
                f"{few(known)}, or {ALL}"
            )
        title = "How far the layers move when the picture moves"
        facts = (
            f"black: mean over {counted(len(known), 'image')}, band: the middle half of them; "
            "coloured: the images at the left"
        )
        return draw_invariance(title, facts, reader.read(shown), reader.curves(shown))

    def draw_paper(self, run: Run) -> Image.Image:
        """ZF fig. 5: as many images as there, the first by number."""
        return self.draw(run, InvarianceFigure(invariance=ALL))


def page_name(place: int) -> str:
    """A page of images, by its place from 0, relative to the gallery."""
    return f"invariance-{place + 1}.html" if place else PAGE


def file_name(image_id: int, transform: str) -> str:
    """The file of an image's strip."""
    return f"invariance/{image_id:06d}-{transform}.webp"


def images_shown(images: list[MovedImage]) -> list[tuple[MovedImage, str]]:
    """The images with what is said of each."""
    return [(image, f"p {image.p_plain:.2f} of {image.target}") for image in images]


def _summary(reader: InvarianceReader, ids: list[int]) -> dict[str, object]:
    """What the first page shows above the images."""
    curves = reader.curves(ids if len(ids) <= MOST_LINES else [])
    top = top_of(curve for own in curves.values() for curve in own)
    areas = by_transform(reader.areas())
    return {
        "sentences": sentences(reader.areas()),
        "layers": [area.layer for area in next(iter(areas.values()))],
        "rows": [
            (name, [_cell(area) for area in own], *_kept(own[0])) for name, own in areas.items()
        ],
        "charts": [
            (name, [chart_of(curve, top) for curve in curves[name]])
            for name in AXES
            if name in curves
        ],
        "size": (WIDTH, HEIGHT),
    }


def _cell(area: Area) -> tuple[str, str]:
    if area.area_mean != area.area_mean:
        return "none", ""
    return f"{area.area_mean:.3f}", f"{area.area_low:.3f} to {area.area_high:.3f}"


def _kept(area: Area) -> tuple[str, str, str]:
    return f"{area.p_plain:.3f}", f"{area.p_moved:.3f}", percent(area.changed)


SECTION = InvarianceSection()

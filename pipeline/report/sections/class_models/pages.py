"""The section of the class models: pages of the images that classes and units answer to most."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from PIL import Image

from pipeline.report import render
from pipeline.report.class_names import class_names
from pipeline.report.formats import three_digits
from pipeline.report.pictures import encode
from pipeline.report.section import DrawnSection, Gallery, NotePicture, Summary, UnitNote
from pipeline.report.sections.class_models.figure import draw_models
from pipeline.report.sections.class_models.reader import (
    JOB,
    Shown,
    StartModel,
    UnitModels,
    enlarged,
    model_file,
    pixelated,
    read_models,
    shown_targets,
)
from pipeline.report.sections.class_models.sparkline import HEIGHT, WIDTH, Sparkline, sparkline
from pipeline.store.run import Run
from schemas.errors import SpecError, nearest
from schemas.jobs.class_models import ClassModelsFigure

PAGE = "class-models.html"
TARGETS_PER_PAGE = 48
_SIDE = 224
_BOX = ["box_y0", "box_x0", "box_y1", "box_x1"]


@dataclass(frozen=True)
class Card:
    """One image on a page.

    Attributes:
        models: the class or unit that it is of.
        start: the image.
        file: its WebP, relative to the gallery.
        size: width and height of that, in pixels.
        link: the unit's card on its layer's page; empty where there is none.
        line: the ascent; None where a number in it is not finite.
    """

    models: UnitModels
    start: StartModel
    file: str
    size: tuple[int, int]
    link: str
    line: Sparkline | None


class ClassModelsSection(DrawnSection[ClassModelsFigure]):
    """See `Section`; it shows the images that classes and units answer to most."""

    name = JOB

    def count(self, run: Run, layers: pd.DataFrame) -> int:  # noqa: ARG002 (the contract's)
        """The number of classes and units with images."""
        return len(shown_targets(run))

    def write(self, gallery: Gallery) -> Summary:
        """See `Section.write`."""
        targets = shown_targets(gallery.run)
        starts = range(0, len(targets), TARGETS_PER_PAGE)
        pages = ["", *(page_name(place) for place in range(len(starts))), ""]
        for place, first in enumerate(starts):
            models = read_models(gallery.run, targets[first : first + TARGETS_PER_PAGE])
            cards = [
                _put(gallery, each, start, first + at)
                for at, each in enumerate(models)
                for start in each.starts
            ]
            page = render.html(
                "class_models/class_models.html.j2",
                cards=cards,
                total=len(targets),
                box=(WIDTH, HEIGHT),
                before=pages[place],
                after=pages[place + 2],
                root="",
            )
            gallery.put(pages[place + 1], page.encode())
            gallery.advance(items=len(models))
        what = f"classes and units: {len(targets):,}"
        words = f"Class models: images found by gradient ascent, of {what}"
        return Summary(f"class models {len(targets):,}", links=((PAGE, words),))

    def of_units(self, gallery: Gallery, layer: str) -> dict[int, UnitNote]:
        """The images that raise a class or a unit."""
        places = {
            each.unit: place
            for place, each in enumerate(shown_targets(gallery.run))
            if each.layer == layer
        }
        columns = ["unit", "start", "score_start", "score_end", *_BOX]
        rows = gallery.run.table("models", job=JOB, layer=layer, columns=columns)
        return {
            int(str(unit)): _note(own, places[int(str(unit))], gallery.patches.frame_px)
            for unit, own in rows.groupby("unit")
        }

    def draw(self, run: Run, asked: ClassModelsFigure) -> Image.Image:
        """One class or unit."""
        run.manifest(JOB)
        [models] = read_models(run, [_named(run, asked.class_model)])
        return draw_models(models)


def page_name(place: int) -> str:
    """A page, by its place from 0, relative to the gallery."""
    return f"class-models-{place + 1}.html" if place else PAGE


def _named(run: Run, asked: str) -> Shown:
    """The target of a class's number or name, or of a unit, layer:unit.

    Raises:
        SpecError: it has no class models.
    """
    name_of_class = class_names(run)
    known: dict[str, Shown] = {}
    for each in shown_targets(run):
        names = [f"{each.layer}:{each.unit}"]
        if each.is_class:
            names += [str(each.unit), name_of_class(each.unit)]
        for name in names:
            known.setdefault(name, each)
    if asked not in known:
        raise SpecError(
            f"--class-model {asked}: {run.url} has no class model of it; {nearest(asked, known)}"
        )
    return known[asked]


def _put(gallery: Gallery, models: UnitModels, start: StartModel, place: int) -> Card:
    """Write an image's file; ``place`` is the target's among all that are shown."""
    picture = enlarged(start.picture, _SIDE)
    file = model_file(place, start.start)
    gallery.put(file, encode(picture, photo=not pixelated(start.picture, _SIDE)))
    link = gallery.unit_link(models.layer, models.unit)
    return Card(models, start, file, picture.size, link, sparkline(start.curve))


def _note(rows: pd.DataFrame, place: int, frame_px: int) -> UnitNote:
    """Of a unit's rows of class-models/models; ``place`` is its target's among all."""
    page, pictures = page_name(place // TARGETS_PER_PAGE), []
    for row in rows.to_dict("records"):
        y0, x0, y1, x1 = (min(max(int(row[edge]), 0), frame_px) for edge in _BOX)
        change = f"{three_digits(row['score_start'])} to {three_digits(row['score_end'])}"
        file = model_file(place, int(row["start"]))
        pictures.append(NotePicture(file, x1 - x0, y1 - y0, f"its value from {change}", page))
    return UnitNote(
        title="What raises it most",
        words="Found by gradient ascent from faint noise; no image of the data set is in it.",
        pictures=tuple(pictures),
        page=page,
    )


SECTION = ClassModelsSection()

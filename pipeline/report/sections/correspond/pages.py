"""The section of the correspondence: ZF table 1 of this run, and a dot plot per layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from pipeline.report import render
from pipeline.report.formats import counted, percent
from pipeline.report.manifests import published
from pipeline.report.section import Gallery, PaperSection, Summary
from pipeline.report.sections.correspond.chart import (
    WIDTH,
    Chart,
    PartConsistency,
    dot_plot,
    read_consistency,
)
from pipeline.report.sections.correspond.figure import draw_consistency
from pipeline.store.run import Run
from schemas.errors import SpecError, nearest
from schemas.jobs.correspond import ConsistencyFigure
from schemas.secrets import mask

PAGE = "correspond.html"
ALL = "all"
REFERENCE = (
    ("right eye", "0.067", "0.069"),
    ("left eye", "0.069", "0.068"),
    ("nose", "0.079", "0.069"),
    ("random", "0.107", "0.073"),
)
"""ZF table 1: part, layer 5, layer 7 of ZFNet, over five pictures of dogs."""


@dataclass(frozen=True)
class Cell:
    """A part at a layer, as the table prints it."""

    delta: str
    random: str
    deviations: str
    changed: str


@dataclass(frozen=True)
class CorrespondPage:
    """The page.

    Attributes:
        run: the run's folder.
        layers: names, in the order of the network.
        rows: part, its images, and a cell per layer.
        charts: one per layer.
        draws: random places per part and image.
    """

    run: str
    layers: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[Cell, ...]], ...]
    charts: tuple[Chart, ...]
    draws: int


class CorrespondSection(PaperSection[ConsistencyFigure]):
    """See `Section`; it shows the consistency of parts against random places."""

    name = "correspond"

    def count(self, run: Run, layers: pd.DataFrame) -> int:  # noqa: ARG002 (the contract's)
        """The number of images that were masked."""
        manifest = published(run, self.name)
        return manifest.counts["images"] if manifest is not None else 0

    def write(self, gallery: Gallery) -> Summary:
        """See `Section.write`."""
        page = page_of(gallery.run.url, read_consistency(gallery.run))
        gallery.put(PAGE, correspond_html(page).encode())
        images = self.count(gallery.run, gallery.layers)
        gallery.advance(items=images)
        parts = len(page.rows)
        words = f"Correspondence: {counted(parts, 'part')} masked in {counted(images, 'image')}"
        return Summary(f"parts {parts:,}", links=((PAGE, words),))

    def draw(self, run: Run, asked: ConsistencyFigure) -> Image.Image:
        """One part, or all."""
        layers = read_consistency(run)
        if asked.consistency != ALL:
            known = [part.part for part in layers[0]]
            if asked.consistency not in known:
                raise SpecError(
                    f"--consistency {asked.consistency}: {run.url} has no correspondence of this "
                    f"part; {nearest(asked.consistency, [*known, ALL])}"
                )
            layers = [[part for part in own if part.part == asked.consistency] for own in layers]
        return draw_consistency(layers)

    def draw_paper(self, run: Run) -> Image.Image:
        """Table 1: every part, against random places."""
        return draw_consistency(read_consistency(run))


def page_of(url: str, layers: Sequence[Sequence[PartConsistency]]) -> CorrespondPage:
    """What the page says of the parts of each layer."""
    return CorrespondPage(
        run=mask(url),
        layers=tuple(own[0].layer for own in layers),
        rows=tuple(
            (of_part[0].part, of_part[0].images, tuple(_cell(part) for part in of_part))
            for of_part in zip(*layers, strict=True)
        ),
        charts=tuple(dot_plot(own) for own in layers),
        draws=len(layers[0][0].random),
    )


def correspond_html(page: CorrespondPage) -> str:
    """The page as HTML."""
    return render.html(
        "correspond/correspond.html.j2", page=page, reference=REFERENCE, width=WIDTH, root=""
    )


def _cell(part: PartConsistency) -> Cell:
    return Cell(
        delta=f"{part.delta:.3f}",
        random=f"{part.random_mean:.3f} ± {part.random_std:.3f}",
        deviations="none" if part.deviations is None else f"{part.deviations:+.1f}",
        changed=f"{percent(part.changed)} / {percent(part.random_changed)}",
    )


SECTION = CorrespondSection()

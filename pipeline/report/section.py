"""The contract of a gallery's section: the pages of one job's results, and their picture.

A new analysis with pages is a folder below `pipeline.report.sections` and one line in its
`SECTIONS`. Templates (``*.html.j2``, named ``folder/file``), style sheets and scripts stand in that
folder; `pipeline.report.render` finds them there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import pandas as pd
from PIL import Image

from pipeline.report.patch_reader import PatchReader
from pipeline.store.layout import layer_stem
from pipeline.store.run import Run
from schemas.specs import Spec

Row = Mapping[Hashable, Any]
"""A row of a table, by column."""

AskedT = TypeVar("AskedT", bound=Spec)


class Advance(Protocol):
    """Is told of progress."""

    def __call__(self, *, items: int) -> None:
        """Add so many of the steps that `Section.count` announced."""


@dataclass(frozen=True)
class NotePicture:
    """A picture of a `UnitNote`; all names are relative to the gallery.

    Attributes:
        file: the picture, which the section writes.
        width: in pixels.
        height: in pixels.
        words: its caption, which also stands for it.
        page: the page that it leads to; empty: none.
        pixels: it is a map, whose cells stay sharp when it is enlarged.
    """

    file: str
    width: int
    height: int
    words: str
    page: str = ""
    pixels: bool = False


@dataclass(frozen=True)
class UnitNote:
    """What a section knows of one unit; it stands in the unit's detail, on its layer's page.

    All of it is text: the page shows it as such, whatever it says.

    Attributes:
        title: what it is.
        words: a line or two.
        pictures: a few; a page is loaded with none of them until its unit is opened.
        page: where more of it stands, relative to the gallery; empty: nowhere.
    """

    title: str
    words: str
    pictures: tuple[NotePicture, ...] = ()
    page: str = ""


@dataclass(frozen=True)
class Gallery:
    """The gallery that sections write into.

    Attributes:
        run: whose results are shown; scan is published, other jobs may be.
        layers: the layers to show, rows of `schemas.jobs.scan.SCAN_LAYERS`, in their order.
        sheet_px: side of one picture on a contact sheet.
        patches: reads patches and input frames; all sections share what it keeps.
        put: writes a file, by its name relative to the gallery.
        advance: is told of progress.
        sections: those that are written, in the overview's order.
    """

    run: Run
    layers: pd.DataFrame
    sheet_px: int
    patches: PatchReader
    put: Callable[[str, bytes], None]
    advance: Advance
    sections: tuple[Section, ...]

    def unit_notes(self, layer: str) -> dict[int, list[UnitNote]]:
        """What the sections know of a layer's units, by unit, in the sections' order."""
        notes: dict[int, list[UnitNote]] = {}
        for section in self.sections:
            for unit, note in section.of_units(self, layer).items():
                notes.setdefault(unit, []).append(note)
        return notes

    def unit_link(self, layer: str, unit: int) -> str:
        """A unit's card on its layer's page; empty where the gallery does not show the layer."""
        rows = self.layers[self.layers["layer"] == layer].to_dict("records")
        return f"{layer_page(rows[0])}#unit-{unit}" if rows else ""


@dataclass(frozen=True)
class Summary:
    """What the overview and the command line say of a section that was written.

    HTML is what `pipeline.report.render.fragment` gives; any other text is escaped.

    Attributes:
        counts: what was drawn, for the command's closing line.
        remark: a closing line of its own; empty: none.
        facts: (name, value) in the overview's head.
        links: (page, words) below the head.
        hint: HTML below the head: a command that would add to the section.
        legend: HTML below the links: how to read ``body``.
        body: HTML of the overview's main part.
    """

    counts: str
    remark: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    hint: str = ""
    legend: str = ""
    body: str = ""


class Section(ABC):
    """The pages of one job's results.

    Attributes:
        name: the job's.
    """

    name: ClassVar[str]

    @abstractmethod
    def count(self, run: Run, layers: pd.DataFrame) -> int:
        """Steps of work for the progress bar.

        Args:
            run: scan is published.
            layers: as in `Gallery`.

        Returns:
            0 where the run holds nothing to show; the gallery then leaves the section out.
        """

    @abstractmethod
    def write(self, gallery: Gallery) -> Summary:
        """Write the pages.

        Raises:
            StoreError: a table cannot be read, or is of another scan.
            OSError: a file cannot be written.
        """

    def of_units(self, gallery: Gallery, layer: str) -> Mapping[int, UnitNote]:  # noqa: ARG002
        """What it knows of the units of a layer, by unit; nothing unless a section says so.

        It is asked once per layer, of a section that is written, but perhaps before it is; a unit
        that it knows nothing of is left out.

        Args:
            gallery: as in `write`.
            layer: one of the gallery's.

        Raises:
            StoreError: as in `write`.
        """
        return {}


class DrawnSection(Section, Generic[AskedT]):
    """The pages of a job with `schemas.job_info.JobInfo.figures`, and the figures themselves."""

    @abstractmethod
    def draw(self, run: Run, asked: AskedT) -> Image.Image:
        """Draw one picture, for ``unitscope show``.

        Args:
            run: its folder.
            asked: what to draw, in the form of one of the job's figures.

        Raises:
            NotPublishedError: the job has published nothing here.
            InputError: the run does not hold what is asked for.
            StoreError: a table cannot be read, or is of another scan.
        """


class PaperSection(DrawnSection[AskedT]):
    """The pages of a job of which a figure or table of ZF can be composed."""

    @abstractmethod
    def draw_paper(self, run: Run) -> Image.Image:
        """Compose the figure of `schemas.job_info.JobInfo.paper` of what the job published.

        The choice of units and images is part of the picture: the same run gives the same one.

        Raises:
            NotPublishedError: the job has published nothing here.
            StoreError: a table cannot be read, or is of another scan.
        """


def layer_page(layer: Row) -> str:
    """A layer's page, relative to the gallery.

    Args:
        layer: its row of `schemas.jobs.scan.SCAN_LAYERS`.
    """
    return f"layers/{layer_stem(int(layer['position']), layer['layer'])}.html"

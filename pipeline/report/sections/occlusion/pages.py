"""The section of the occluded images: a page of all, and per image its maps (ZF fig. 7).

`IMAGES_AT_ONCE` images are all that is in memory at once, beside a few lines of each.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
from PIL import Image

from pipeline.report import render
from pipeline.report.contact_sheet import encode_contact_sheet
from pipeline.report.formats import counted, few
from pipeline.report.manifests import require_same_scan
from pipeline.report.patch_reader import PatchReader
from pipeline.report.pictures import SCALE, encode, stacked
from pipeline.report.section import Gallery, PaperSection, Summary, UnitNote
from pipeline.report.sections.occlusion.captions import hexadecimal, image_facts
from pipeline.report.sections.occlusion.figure import draw_occlusion
from pipeline.report.sections.occlusion.heatmaps import (
    ClassColours,
    class_map,
    colour_classes,
    heat_map,
    projection_in_frame,
)
from pipeline.report.sections.occlusion.page_data import (
    OCCLUSIONS,
    OcclusionCard,
    OcclusionIndex,
    OcclusionPage,
    WatchedMap,
    WindowRow,
    occlusion_card,
    page_name,
    watched_map,
    window_row,
)
from pipeline.report.sections.occlusion.reader import (
    Occluded,
    OcclusionReader,
    WindowMap,
    count_occluded,
)
from pipeline.report.sections.occlusion.unit_notes import occlusion_notes
from pipeline.store.run import Run
from schemas.errors import SpecError
from schemas.jobs.occlude import OcclusionFigure
from schemas.secrets import mask

IMAGES_AT_ONCE = 16

PAPER_IMAGES = 3


class OcclusionSection(PaperSection[OcclusionFigure]):
    """See `Section`; it shows the occlusion of images of the scan."""

    name = "occlude"

    def count(self, run: Run, layers: pd.DataFrame) -> int:  # noqa: ARG002 (the contract's)
        """The number of occluded images."""
        return count_occluded(run)

    def write(self, gallery: Gallery) -> Summary:
        """See `Section.write`."""
        reader = OcclusionReader(gallery.run, gallery.patches)
        ranked = reader.ranked()
        named = ["", *(page_name(image_id) for image_id in ranked), ""]
        beside = {each: (named[at], named[at + 2]) for at, each in enumerate(ranked)}
        cards: dict[int, OcclusionCard] = {}
        stored = sorted(ranked)  # as the tables are: neighbours lie in the fewest row groups
        with ThreadPoolExecutor(os.cpu_count()) as artists:
            for start in range(0, len(stored), IMAGES_AT_ONCE):
                images = reader.read(stored[start : start + IMAGES_AT_ONCE])
                made = artists.map(lambda each: _image(each, reader, gallery, beside), images)
                for image, (card, files) in zip(images, made, strict=True):
                    cards[image.image_id] = card
                    for name, data in files:
                        gallery.put(name, data)
                gallery.advance(items=len(images))
        index = OcclusionIndex(mask(gallery.run.url), tuple(cards[each] for each in ranked))
        gallery.put(OCCLUSIONS, occlusions_html(index).encode())
        return _summary(len(ranked))

    def of_units(self, gallery: Gallery, layer: str) -> dict[int, UnitNote]:
        """The images whose strongest map was a unit's."""
        require_same_scan(gallery.run, self.name, "occlusion was")
        return occlusion_notes(gallery.run, layer, gallery.patches.frame_px)

    def draw(self, run: Run, asked: OcclusionFigure) -> Image.Image:
        """One image."""
        reader = OcclusionReader(run, PatchReader(run))
        known = reader.ranked()
        if asked.occlusion not in known:
            raise SpecError(
                f"--occlusion {asked.occlusion}: {run.url} has no occlusion of this image; "
                f"choices: {few(sorted(known))}"
            )
        [image] = reader.read([asked.occlusion])
        return draw_occlusion(image, reader.class_name)

    def draw_paper(self, run: Run) -> Image.Image:
        """Figure 7: the images whose probability falls most, as many as in the paper."""
        reader = OcclusionReader(run, PatchReader(run))
        images = reader.read(reader.ranked()[:PAPER_IMAGES])
        return stacked([draw_occlusion(image, reader.class_name) for image in images])


def occlusion_html(page: OcclusionPage) -> str:
    """The page of an occluded image."""
    last = len(SCALE) - 1
    stops = [(round(100 * at / last), hexadecimal(colour)) for at, colour in enumerate(SCALE)]
    return render.html("occlusion/occlusion.html.j2", page=page, root="../", stops=stops)


def occlusions_html(index: OcclusionIndex) -> str:
    """The page of all occluded images."""
    return render.html("occlusion/occlusions.html.j2", index=index, root="")


def _summary(images: int) -> Summary:
    return Summary(
        counts=f"occluded images {images:,}",
        links=((OCCLUSIONS, f"Occlusion: {counted(images, 'image')} under a sliding window"),),
    )


def _image(
    image: Occluded,
    reader: OcclusionReader,
    gallery: Gallery,
    beside: dict[int, tuple[str, str]],
) -> tuple[OcclusionCard, list[tuple[str, bytes]]]:
    """An image's card, and the files of its page and pictures, by name."""
    colours = colour_classes([window.predicted for window in image.windows])
    rows = [window_row(image, each, colours, reader.class_name) for each in image.windows]
    card = occlusion_card(image, reader.class_name)
    watched = watched_map(image, gallery.unit_link(image.layer, image.unit), gallery.sheet_px)
    page = OcclusionPage(
        card=card,
        facts=image_facts(image, reader.class_name),
        windows=tuple(rows),
        map=watched,
        before=beside[image.image_id][0],
        after=beside[image.image_id][1],
    )
    files = [(card.page, occlusion_html(page).encode())]
    if not isinstance(image.frame, str):
        files.append((card.image, encode(Image.fromarray(image.frame), photo=True)))
    for window, row in zip(image.windows, rows, strict=True):
        files += _maps(window, row, colours, image.frame_px)
    return card, files + _evidence(image, watched)


def _maps(
    window: WindowMap, row: WindowRow, colours: ClassColours, side: int
) -> list[tuple[str, bytes]]:
    activity = heat_map(window.activity, window, row.activity_scale.bounds, side)
    p = heat_map(window.p, window, row.p_scale.bounds, side)
    return [
        (row.activity, encode(activity, photo=False)),
        (row.p, encode(p, photo=False)),
        (row.classes, encode(class_map(window, colours, side), photo=False)),
    ]


def _evidence(image: Occluded, watched: WatchedMap) -> list[tuple[str, bytes]]:
    files = []
    own = image.projection
    if own.picture is not None:
        picture = projection_in_frame(own.picture, own.box, image.frame_px)
        files.append((watched.projection, encode(picture, photo=True)))
    if watched.sheet:
        files.append((watched.sheet, encode_contact_sheet(image.evidence.others, watched.shape)))
    return files


SECTION = OcclusionSection()

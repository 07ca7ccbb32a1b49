"""Writes a gallery's occlusion pages: one of all images, and one an image with its pictures.

Invariant: `IMAGES_AT_ONCE` images are all that is in memory at once, beside a few lines of each;
and equal tables give equal files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from pipeline.report import render
from pipeline.report.contact_sheet import encode_contact_sheet
from pipeline.report.sections.occlusion.captions import image_facts
from pipeline.report.sections.occlusion.heatmaps import (
    ClassColours,
    class_map,
    colour_classes,
    encode,
    frame_picture,
    heat_map,
    projection_in_frame,
)
from pipeline.report.sections.occlusion.page_data import (
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
from pipeline.report.sections.occlusion.reader import Occluded, OcclusionReader, WindowMap
from pipeline.report.sections.units.page_data import LayerFacts
from pipeline.store.encode import Run
from schemas.secrets import mask

IMAGES_AT_ONCE = 16

OCCLUSIONS = "occlusion.html"

Put = Callable[[str, bytes], None]
"""Writes a file of the gallery, by its name relative to it."""


class Advance(Protocol):
    """Is told of images done."""

    def __call__(self, *, images: int) -> None:
        """Add so many."""


@dataclass(frozen=True)
class Style:
    """What the occlusion pages share with the rest of the gallery.

    Attributes:
        layers: the gallery's layers, by name.
        tile_px: side of a picture on a sheet.
    """

    layers: dict[str, LayerFacts]
    tile_px: int


def write_occlusions(
    run: Run, reader: OcclusionReader, style: Style, put: Put, advance: Advance
) -> int:
    """Write a page of all occluded images and a page each.

    Args:
        run: the run.
        reader: of its occlusion.
        style: what the gallery gives.
        put: writes a file.
        advance: is told of images done.

    Returns:
        The number of images.

    Raises:
        StoreError: a table cannot be read.
        OSError: a file cannot be written.
    """
    ranked = reader.ranked()
    named = ["", *(page_name(image_id) for image_id in ranked), ""]
    beside = {each: (named[at], named[at + 2]) for at, each in enumerate(ranked)}
    cards: dict[int, OcclusionCard] = {}
    stored = sorted(ranked)  # as the tables are: blocks of neighbours read the fewest row groups
    with ThreadPoolExecutor(os.cpu_count()) as artists:
        for start in range(0, len(stored), IMAGES_AT_ONCE):
            images = reader.read(stored[start : start + IMAGES_AT_ONCE])
            made = artists.map(lambda each: _image(each, reader, style, beside), images)
            for image, (card, files) in zip(images, made, strict=True):
                cards[image.image_id] = card
                for name, data in files:
                    put(name, data)
            advance(images=len(images))
    index = OcclusionIndex(mask(run.url), tuple(cards[each] for each in ranked))
    put(OCCLUSIONS, render.occlusions_html(index).encode())
    return len(ranked)


def _image(
    image: Occluded,
    reader: OcclusionReader,
    style: Style,
    beside: dict[int, tuple[str, str]],
) -> tuple[OcclusionCard, list[tuple[str, bytes]]]:
    """An image's card, and its page and pictures by name."""
    colours = colour_classes([window.predicted for window in image.windows])
    rows = [window_row(image, each, colours, reader.class_name) for each in image.windows]
    card = occlusion_card(image, reader.class_name)
    watched = watched_map(image, style.layers, style.tile_px)
    page = OcclusionPage(
        card=card,
        facts=image_facts(image, reader.class_name),
        windows=tuple(rows),
        map=watched,
        before=beside[image.image_id][0],
        after=beside[image.image_id][1],
    )
    files = [(card.page, render.occlusion_html(page).encode())]
    if not isinstance(image.frame, str):
        files.append((card.image, encode(frame_picture(image.frame), photo=True)))
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
    own = image.evidence.own_patch
    if own is not None and own.projection is not None:
        picture = projection_in_frame(own.projection, own.box, image.frame_px)
        files.append((watched.projection, encode(picture, photo=True)))
    if watched.sheet:
        files.append((watched.sheet, encode_contact_sheet(image.evidence.others, watched.shape)))
    return files

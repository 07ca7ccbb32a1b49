"""The texts and file names of the occluded images' pages (ZF 4.2, fig. 7).

Templates only print them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.report.class_names import ClassName
from pipeline.report.contact_sheet import SheetShape
from pipeline.report.formats import three_digits
from pipeline.report.sections.occlusion.captions import (
    ClassKey,
    Scale,
    Spot,
    activity_scale,
    best_window,
    class_keys,
    map_note,
    p_scale,
    projected_words,
    spot,
    window_facts,
    window_title,
)
from pipeline.report.sections.occlusion.heatmaps import ClassColours
from pipeline.report.sections.occlusion.reader import Occluded, WindowMap

OCCLUSIONS = "occlusion.html"
"""The page of all occluded images, relative to the gallery."""


@dataclass(frozen=True)
class WindowRow:
    """An image under one window: a row of maps.

    Attributes:
        title: the window's size and step.
        facts: (name, text).
        spot: the window of the largest drop.
        activity: the file of map b.
        p: the file of map d.
        classes: the file of map e.
        activity_scale: of map b.
        p_scale: of map d.
        keys: of map e, the most frequent first.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    spot: Spot
    activity: str
    p: str
    classes: str
    activity_scale: Scale
    p_scale: Scale
    keys: tuple[ClassKey, ...]


@dataclass(frozen=True)
class WatchedMap:
    """The strongest map, whose activity was recorded, and what drives it.

    Attributes:
        layer: its layer.
        unit: its channel.
        link: its card on its layer's page; empty where the gallery has none.
        projection: the file of its projection of this image; empty where there is none.
        projected: what is projected, as text.
        sheet: the file of its patches from other images; empty where there are none.
        shape: of that sheet.
        shown: patches on it.
        note: what is missing and why, in one line.
    """

    layer: str
    unit: int
    link: str
    projection: str
    projected: str
    sheet: str
    shape: SheetShape
    shown: int
    note: str


@dataclass(frozen=True)
class OcclusionCard:
    """An occluded image on the page of all.

    Attributes:
        page: its own page, relative to the gallery.
        image: the file of its input frame; empty where the image is gone.
        problem: why it is gone.
        p: the file of its map of p(target).
        side: of the image and of the map, in pixels.
        title: its class, or its file's name.
        file: its file's name.
        target: the class whose probability was recorded.
        predicted: the most probable one.
        drop: the largest drop of p(target), and its value without a window.
        spot: the window of the largest drop.
    """

    page: str
    image: str
    problem: str
    p: str
    side: int
    title: str
    file: str
    target: str
    predicted: str
    drop: str
    spot: Spot


@dataclass(frozen=True)
class OcclusionPage:
    """An occluded image's own page.

    Attributes:
        card: what the page of all says of it.
        facts: (name, value).
        windows: a row each.
        map: the strongest map.
        before: the page before it, the largest drop first; empty at the ends.
        after: the page after it.
    """

    card: OcclusionCard
    facts: tuple[tuple[str, str], ...]
    windows: tuple[WindowRow, ...]
    map: WatchedMap
    before: str
    after: str


@dataclass(frozen=True)
class OcclusionIndex:
    """The page of all occluded images, the largest drop first."""

    run: str
    cards: tuple[OcclusionCard, ...]


def page_name(image_id: int) -> str:
    """An occluded image's page, relative to the gallery."""
    return f"{_stem(image_id)}.html"


def activity_file(image_id: int, window: int) -> str:
    """The file of an image's map b under a window, relative to the gallery."""
    return f"{_stem(image_id)}-{window}-activity.webp"


def window_row(
    image: Occluded, window: WindowMap, colours: ClassColours, name: ClassName
) -> WindowRow:
    """The row of an image under one window."""
    stem = f"{_stem(image.image_id)}-{window.window}"
    return WindowRow(
        title=window_title(window),
        facts=window_facts(image, window),
        spot=spot(window),
        activity=activity_file(image.image_id, window.window),
        p=f"{stem}-p.webp",
        classes=f"{stem}-classes.webp",
        activity_scale=activity_scale(image, window),
        p_scale=p_scale(image, window),
        keys=class_keys(image, window, colours, name),
    )


def watched_map(image: Occluded, link: str, tile_px: int) -> WatchedMap:
    """What a page shows of the strongest map.

    Args:
        image: the image.
        link: the unit's card on its layer's page; empty where the gallery has none.
        tile_px: side of a picture on the sheet.
    """
    evidence, stem = image.evidence, _stem(image.image_id)
    others = evidence.others
    paired = any(patch.projection is not None for patch in others)
    return WatchedMap(
        layer=image.layer,
        unit=image.unit,
        link=link,
        projection=f"{stem}-projection.webp" if image.projection.picture else "",
        projected=projected_words(image),
        sheet=f"{stem}-patches.webp" if others else "",
        shape=SheetShape(tile_px, paired=paired),
        shown=len(others),
        note=map_note(image),
    )


def occlusion_card(image: Occluded, name: ClassName) -> OcclusionCard:
    """An image's card, by the window with the largest drop."""
    window = best_window(image)
    stem = _stem(image.image_id)
    gone = isinstance(image.frame, str)
    return OcclusionCard(
        page=page_name(image.image_id),
        image="" if gone else f"{stem}-image.webp",
        problem=" ".join(image.frame.split()) if isinstance(image.frame, str) else "",
        p=f"{stem}-{window.window}-p.webp",
        side=image.frame_px,
        title=image.class_name or image.image,
        file=image.image,
        target=name(image.target),
        predicted=name(image.predicted),
        drop=f"{three_digits(window.largest_drop)} of {three_digits(image.p_target)}",
        spot=spot(window),
    )


def _stem(image_id: int) -> str:
    return f"occlusion/{image_id:06d}"

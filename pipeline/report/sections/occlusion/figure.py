"""An occluded image as one PNG for ``unitscope show`` (ZF fig. 7).

Image, maps and projection have one size and the extent of the input frame, so that the eye can
compare them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from pipeline.report.class_names import ClassName
from pipeline.report.contact_sheet import SheetShape, draw_contact_sheet
from pipeline.report.patches import draw_frame
from pipeline.report.pictures import (
    INK,
    LINE,
    MARGIN,
    PAPER,
    SCALE,
    SOFT,
    draw_head,
    font_of,
    write,
)
from pipeline.report.sections.occlusion.captions import (
    ClassKey,
    Scale,
    activity_scale,
    class_keys,
    image_facts,
    map_note,
    p_scale,
    projected_words,
    spot,
    window_facts,
    window_title,
)
from pipeline.report.sections.occlusion.heatmaps import (
    ClassColours,
    class_map,
    colour_classes,
    heat_map,
    projection_in_frame,
)
from pipeline.report.sections.occlusion.reader import Occluded, WindowMap

_BLANK = (232, 235, 239)
_SIDE, _GAP = 252, 18
_ACROSS = 4
_WIDTH = _ACROSS * _SIDE + (_ACROSS - 1) * _GAP
_LINE_PX, _FACT_PX, _BAR_PX = 17, 20, 9
_LETTERS_PX = _SIDE + 6
_LEGEND_PX = _LETTERS_PX + 24


@dataclass(frozen=True)
class _Panel:
    """A tile with its title; below it a colour bar or the legend of the classes."""

    title: str
    tile: Image.Image
    scale: Scale | None = None
    keys: tuple[ClassKey, ...] = ()


def draw_occlusion(image: Occluded, name: ClassName) -> Image.Image:
    """Draw (a), (b), (d) and (e) side by side, a row per window, and (c) below.

    Args:
        image: the image.
        name: names a class by its index.
    """
    colours = colour_classes([window.predicted for window in image.windows])
    rows = [(window, _panels(image, window, colours, name)) for window in image.windows]
    heights = [_row_height(image, window, panels) for window, panels in rows]
    block = _contacts(image)
    below = 62 + (_SIDE if block is not None or image.projection.picture else 0)
    top = 92
    page = Image.new("RGB", (_WIDTH + 2 * MARGIN, top + sum(heights) + below + MARGIN), PAPER)
    _head(page, image, name)
    y = top
    for (window, panels), height in zip(rows, heights, strict=True):
        _draw_row(page, image, window, panels, y)
        y += height
    _draw_map(page, image, block, y)
    return page


def _panels(
    image: Occluded, window: WindowMap, colours: ClassColours, name: ClassName
) -> list[_Panel]:
    activity, p = activity_scale(image, window), p_scale(image, window)
    side = image.frame_px
    maps = [
        heat_map(window.activity, window, activity.bounds, side),
        heat_map(window.p, window, p.bounds, side),
        class_map(window, colours, side),
    ]
    photo = draw_frame(image.frame, _SIDE)
    tiles = [_outlined(tile, image, window) for tile in (photo, *map(_enlarged, maps))]
    return [
        _Panel("a  the image, as the network saw it", tiles[0]),
        _Panel("b  activity of the strongest map", tiles[1], activity),
        _Panel(f"d  p({name(image.target)})", tiles[2], p),
        _Panel("e  most probable class", tiles[3], keys=class_keys(image, window, colours, name)),
    ]


def _enlarged(picture: Image.Image) -> Image.Image:
    tile = Image.new("RGB", (_SIDE, _SIDE), _BLANK)
    large = picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
    tile.paste(large, (0, 0), large)
    return tile


def _outlined(tile: Image.Image, image: Occluded, window: WindowMap) -> Image.Image:
    """The tile with the window of the largest drop."""
    where, scale = spot(window), _SIDE / image.frame_px
    x0, y0 = round(where.x * scale), round(where.y * scale)
    x1 = round((where.x + where.width) * scale) - 1
    y1 = round((where.y + where.height) * scale) - 1
    draw = ImageDraw.Draw(tile)
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=(0, 0, 0), width=4)
    draw.rectangle((x0, y0, x1, y1), outline=(255, 255, 255), width=2)
    return tile


def _contacts(image: Occluded) -> Image.Image | None:
    """The top patches from other images, as high as a tile."""
    others = image.evidence.others
    if not others:
        return None
    paired = any(patch.projection is not None for patch in others)
    return draw_contact_sheet(others, SheetShape((_SIDE - 4) // 3, paired=paired))


def _row_height(image: Occluded, window: WindowMap, panels: Sequence[_Panel]) -> int:
    lines = max(len(panel.keys) for panel in panels)
    legend = max(lines * _LINE_PX, _BAR_PX + 6 + _LINE_PX)
    return 34 + _LEGEND_PX + legend + 8 + len(window_facts(image, window)) * _FACT_PX + 16


def _head(page: Image.Image, image: Occluded, name: ClassName) -> None:
    facts = "   |   ".join(f"{label}: {value}" for label, value in image_facts(image, name))
    draw = ImageDraw.Draw(page)
    draw_head(draw, image.class_name or image.image, facts, _WIDTH)


def _draw_row(
    page: Image.Image, image: Occluded, window: WindowMap, panels: Sequence[_Panel], y: int
) -> None:
    draw = ImageDraw.Draw(page)
    write(draw, (MARGIN, y), window_title(window), 16, INK, _WIDTH)
    y += 34
    for column, panel in enumerate(panels):
        x = MARGIN + column * (_SIDE + _GAP)
        page.paste(panel.tile, (x, y))
        write(draw, (x, y + _LETTERS_PX), panel.title, 14, INK, _SIDE)
        if panel.scale is not None:
            _draw_bar(page, panel.scale, (x, y + _LEGEND_PX))
        _draw_keys(draw, panel.keys, (x, y + _LEGEND_PX))
    facts = window_facts(image, window)
    bottom = y - 34 + _row_height(image, window, panels) - 16 - len(facts) * _FACT_PX
    for line, (label, value) in enumerate(facts):
        at = (MARGIN, bottom + line * _FACT_PX)
        write(draw, at, f"{label}: {value}", 14, SOFT, _WIDTH)


def _draw_bar(page: Image.Image, scale: Scale, at: tuple[int, int]) -> None:
    """The colours from low to high, the clean image's value marked, and the values below."""
    x, y = at
    strip = Image.new("RGB", (len(SCALE), 1))
    strip.putdata(SCALE)
    # Half a colour at each end is cut off: the first and last colours stand at the very ends.
    box = (0.5, 0, len(SCALE) - 0.5, 1)
    page.paste(strip.resize((_SIDE, _BAR_PX), Image.Resampling.BILINEAR, box), at)
    draw, font = ImageDraw.Draw(page), font_of(12)
    mark = x + round(scale.mark / 100 * (_SIDE - 1))
    draw.line((mark, y - 2, mark, y + _BAR_PX + 3), INK, width=2)
    below = y + _BAR_PX + 6
    draw.text((x, below), scale.low, SOFT, font)
    draw.text((x + _SIDE / 2, below), f"clean {scale.clean}", SOFT, font, anchor="ma")
    draw.text((x + _SIDE, below), scale.high, SOFT, font, anchor="ra")


def _draw_keys(draw: ImageDraw.ImageDraw, keys: Sequence[ClassKey], at: tuple[int, int]) -> None:
    for line, key in enumerate(keys):
        x, y = at[0], at[1] + line * _LINE_PX
        draw.rectangle((x, y + 2, x + 12, y + 12), fill=key.colour)
        label = f"{key.name} ({key.role})" if key.role else key.name
        write(draw, (x + 20, y), label, 12, INK, _SIDE - 72)
        draw.text((x + _SIDE, y), key.share, SOFT, font_of(12), anchor="ra")


def _draw_map(page: Image.Image, image: Occluded, block: Image.Image | None, y: int) -> None:
    """(c): the map's projection of this image, and its top patches from others."""
    draw, own = ImageDraw.Draw(page), image.projection
    draw.line((MARGIN, y, MARGIN + _WIDTH, y), LINE)
    title = f"c  the strongest map: {image.layer}, unit {image.unit}"
    write(draw, (MARGIN, y + 12), title, 16, INK, _WIDTH)
    write(draw, (MARGIN, y + 36), _map_caption(image), 14, SOFT, _WIDTH)
    x = MARGIN
    if own.picture is not None:
        picture = projection_in_frame(own.picture, own.box, image.frame_px)
        page.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), (x, y + 62))
        x += _SIDE + _GAP
    if block is not None:
        page.paste(block, (x, y + 62), block)


def _map_caption(image: Occluded) -> str:
    """What the pictures of the map are, and why one is missing."""
    shown = []
    if image.projection.picture is not None:
        shown.append(f"left, the projection {projected_words(image)}")
    if image.evidence.others:
        shown.append("its top patches from other images")
    legend = f"{'; then '.join(shown)}; grey is nothing, the contrast is stretched" if shown else ""
    return " ".join(words for words in (map_note(image), legend) if words)

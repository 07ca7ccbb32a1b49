"""The maps of an occlusion as pictures (ZF fig. 7): heat maps and maps of classes.

A picture has the extent of the input frame. Each window position is a cell around the centre of its
window that reaches half way to the neighbouring centres; beyond the outermost cells it is
transparent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.report.patches import Box, Crop, draw_projection
from pipeline.report.pictures import Colour, coloured
from pipeline.report.sections.occlusion.reader import WindowMap

PALETTE: tuple[Colour, ...] = (
    (68, 119, 170),
    (238, 102, 119),
    (34, 136, 51),
    (204, 187, 68),
    (102, 204, 238),
    (170, 51, 119),
    (238, 136, 51),
    (140, 86, 75),
)
"""Colours of classes that stay apart for most kinds of colour blindness (after Tol's "bright")."""
OTHERS: Colour = (153, 153, 153)

_ZERO: Colour = (128, 128, 128)


@dataclass(frozen=True)
class ClassColours:
    """Which classes have a colour of their own; the rest share `OTHERS`.

    Attributes:
        colours: by class, the most frequent first.
        others: the classes without one.
    """

    colours: Mapping[int, Colour]
    others: frozenset[int]


def colour_classes(maps: Sequence[NDArray[np.int32]]) -> ClassColours:
    """Give the most frequent classes of one image their colours.

    Args:
        maps: per window int32 [rows, cols], the most probable class at each position; all windows
            weigh the same, however many positions they have.
    """
    weights: dict[int, float] = {}
    for each in maps:
        for index, count in zip(*np.unique(each, return_counts=True), strict=True):
            weights[int(index)] = weights.get(int(index), 0.0) + int(count) / each.size
    ranked = sorted(weights, key=lambda index: (-weights[index], index))
    own = dict(zip(ranked, PALETTE, strict=False))
    return ClassColours(own, frozenset(ranked[len(own) :]))


def finite_range(values: NDArray[np.float32], clean: float) -> tuple[float, float]:
    """The smallest and largest finite value of a map and of the clean image; or zeros."""
    several = np.append(values.ravel(), np.float32(clean))
    finite = several[np.isfinite(several)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def heat_map(
    values: NDArray[np.float32], window: WindowMap, bounds: tuple[float, float], frame_px: int
) -> Image.Image:
    """A heat map in the report's `coloured` scale; transparent where a value is not finite.

    Args:
        values: float32 [rows, cols], per position of the window.
        window: where the positions lie.
        bounds: the values of the first colour and of the last.
        frame_px: side of the frame.

    Returns:
        RGBA, ``frame_px`` square.
    """
    low, high = bounds
    share = np.clip((values.astype(np.float64) - low) / ((high - low) or 1.0), 0, 1)
    known = np.isfinite(share)
    return _painted(coloured(np.where(known, share, 0.0)), known, window, frame_px)


def class_map(window: WindowMap, chosen: ClassColours, frame_px: int) -> Image.Image:
    """The most probable class per position, RGBA, ``frame_px`` square."""
    colours = np.empty((*window.predicted.shape, 3))
    colours[:] = OTHERS
    for index, colour in chosen.colours.items():
        colours[window.predicted == index] = colour
    return _painted(colours, np.ones(window.predicted.shape, bool), window, frame_px)


def projection_in_frame(projection: Crop, box: Box, frame_px: int) -> Image.Image:
    """A projection where it lies in the frame, so that it compares with the maps beside it.

    Args:
        projection: 128 is zero.
        box: its box, unclipped.
        frame_px: side of the frame.
    """
    (y0, y1), (x0, x1) = (
        (0, frame_px)
        if stop - start >= frame_px
        else (min(max(start, 0), frame_px), min(max(stop, 0), frame_px))
        for start, stop in zip(box[:2], box[2:], strict=True)
    )
    picture = Image.new("RGB", (frame_px, frame_px), _ZERO)
    if projection.pixels.size and y1 > y0 and x1 > x0:
        height, width = projection.pixels.shape[:2]
        inside = Crop(height, width, 0, 0, projection.pixels)
        picture.paste(draw_projection(inside, (x1 - x0, y1 - y0)), (x0, y0))
    return picture


def cells(corners: NDArray[np.int64], window_px: int, side: int) -> NDArray[np.int64]:
    """The window position that each pixel of one axis belongs to.

    Args:
        corners: int64 [n], first pixels of the windows, ascending.
        window_px: of the windows, along this axis.
        side: of the frame.

    Returns:
        int64 [side]: the position whose window's centre is nearest; -1 beyond the outermost cells,
        which reach as far outwards as inwards.
    """
    centres = corners + window_px / 2
    between = (centres[1:] + centres[:-1]) / 2
    if len(between):
        first, last = 2 * centres[0] - between[0], 2 * centres[-1] - between[-1]
    else:
        first, last = float(corners[0]), float(corners[0] + window_px)
    edges = np.concatenate([[first], between, [last]])
    nearest = np.searchsorted(edges, np.arange(side) + 0.5, side="right") - 1
    return np.where(nearest < len(corners), nearest, -1)


def _painted(
    colours: NDArray[np.float64], known: NDArray[np.bool_], window: WindowMap, frame_px: int
) -> Image.Image:
    """Colours per position, [rows, cols, 3], as an RGBA picture of the frame."""
    rows = cells(window.y_px, window.size[0], frame_px)
    columns = cells(window.x_px, window.size[1], frame_px)
    opaque = known[np.ix_(rows, columns)] & (rows >= 0)[:, None] & (columns >= 0)[None, :]
    pixels = np.zeros((frame_px, frame_px, 4), np.uint8)
    pixels[..., :3] = colours[np.ix_(rows, columns)]
    pixels[..., 3] = 255
    pixels[~opaque] = 0
    return Image.fromarray(pixels)

"""Top patches and projections: boxes cropped out of input frames, and the tiles drawn of them.

A patch shows the pixels of its box alone; a projection shows zero as grey 128. What lies outside
the network's input frame is hatched in both. Along an axis where a box is as large as the frame,
both show the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.report.pictures import INK, font_of, shortened

Box = tuple[int, int, int, int]
"""(y0, x0, y1, x1), half-open, in pixels of the input frame; may reach outside it."""

Frame = NDArray[np.uint8] | str
"""uint8 [S, S, 3], the network's input frame; or why there is none, in a few words."""

_GREY, _HATCH, _GONE = (176, 176, 176), (162, 162, 162), (206, 206, 206)
_SMALLEST_CAPTION_PX = 48
# Enlarged less than this, single pixels look ragged and say nothing.
_SHOWN_AS_PIXELS = 3
# The strongest few may clip: they are specks, and most of a projection is far weaker.
_FULL_RANGE_FROM = 0.985
# At this factor a step of the stored eight bits still looks like the grey beside it.
_MOST_CONTRAST = 16.0


@dataclass(frozen=True)
class Crop:
    """A box cropped out of an input frame, or a stored picture of one.

    Attributes:
        height: of the box, in the picture's pixels.
        width: of the box, in the picture's pixels.
        top: rows of the box above the frame, in the picture's pixels.
        left: columns of the box left of the frame, in the picture's pixels.
        pixels: uint8 [h, w, 3], the part inside the frame.
    """

    height: int
    width: int
    top: int
    left: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Patch:
    """One top patch: the receptive field of a unit's strongest position in one image.

    Attributes:
        value: the activation there.
        image: the image's file name.
        class_name: of the image; None where the data set gives none.
        box: the receptive field.
        crop: the picture; None where the image cannot be read any more.
        problem: why there is no picture, in a few words; a line break parts lines.
        projection: its deconvnet projection, of the same extent, 128 is zero; None where there
            is none.
    """

    value: float
    image: str
    class_name: str | None
    box: Box
    crop: Crop | None
    problem: str = ""
    projection: Crop | None = None


def crop_box(frame: NDArray[np.uint8], box: Box) -> Crop:
    """Crop a box out of a frame.

    Args:
        frame: uint8 [H, W, 3].
        box: where, unclipped.

    Returns:
        The box; along an axis where it is as large as the frame or larger, the frame.
    """
    (y0, y1), (x0, x1) = (
        (0, side) if stop - start >= side else (start, stop)
        for start, stop, side in zip(box[:2], box[2:], frame.shape[:2], strict=True)
    )
    top, left = max(0, -y0), max(0, -x0)
    pixels = frame[y0 + top : max(y1, 0), x0 + left : max(x1, 0)]
    return Crop(y1 - y0, x1 - x0, top, left, np.ascontiguousarray(pixels))


def stored_crop(picture: NDArray[np.uint8], box: Box, frame_px: int) -> Crop:
    """A stored picture of a box, as `crop_box` would have cut it.

    Args:
        picture: uint8 [h, w, 3], of the box, or along an axis where that is as large as the frame
            or larger, of the frame; at any scale.
        box: the box, unclipped.
        frame_px: side of the frame.
    """
    rows, columns = (
        _inside(side, start, stop, frame_px)
        for side, start, stop in zip(picture.shape[:2], box[:2], box[2:], strict=True)
    )
    height, width = picture.shape[:2]
    return Crop(height, width, rows.start, columns.start, picture[rows, columns])


def stretched(signal: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A projection with more contrast.

    Args:
        signal: float32 [h, w, 3], -128 to 127, 0 where the image does not drive the unit.

    Returns:
        uint8 [h, w, 3]: 128 plus the signal times one factor, 1 to 16, by which the strongest
        1.5 % of it reach the full range.
    """
    level = float(np.quantile(np.abs(signal), _FULL_RANGE_FROM, method="higher"))
    factor = min(max(127 / max(level, 1.0), 1.0), _MOST_CONTRAST)
    shown: NDArray[np.uint8] = np.rint(np.clip(128 + factor * signal, 0, 255)).astype(np.uint8)
    return shown


def draw_tile(crop: Crop | None, size: tuple[int, int], problem: str = "") -> Image.Image:
    """A patch as a tile.

    Args:
        crop: the picture; None: a plain tile that says ``problem``.
        size: (width, height) of the tile in pixels.
        problem: written on the tile where it has room for it.
    """
    return _problem_tile(problem, size) if crop is None else _fit(crop, size, _resized)


def draw_frame(frame: Frame, side: int) -> Image.Image:
    """An input frame, or why there is none, as a square tile; ``side`` in pixels."""
    if isinstance(frame, str):
        return draw_tile(None, (side, side), frame)
    height, width = frame.shape[:2]
    return draw_tile(Crop(height, width, 0, 0, frame), (side, side))


def draw_projection(crop: Crop | None, size: tuple[int, int], problem: str = "") -> Image.Image:
    """A projection as a tile, with the contrast that it needs at that size.

    Args:
        crop: the projection, 128 is zero; None: as in `draw_tile`.
        size: as in `draw_tile`.
        problem: as in `draw_tile`.
    """
    return _problem_tile(problem, size) if crop is None else _fit(crop, size, _resized_signal)


def _inside(side: int, start: int, stop: int, frame_px: int) -> slice:
    """The pixels along one side of a picture that lie inside the frame, none of them in part."""
    extent = stop - start
    if extent >= frame_px:
        return slice(0, side)
    first = -(-max(0, -start) * side // extent)
    return slice(first, max(first, min(extent, frame_px - start) * side // extent))


_Draw = Callable[[NDArray[np.uint8], tuple[int, int], float], Image.Image]


def _fit(crop: Crop, size: tuple[int, int], draw: _Draw) -> Image.Image:
    """What lies inside the frame, where it lies on a hatched tile."""
    inside = crop.pixels.shape[:2]
    if inside == (crop.height, crop.width):
        return draw(crop.pixels, size, size[0] / crop.width)
    tile = _hatched(size)
    if crop.pixels.size:
        scale = (size[0] / crop.width, size[1] / crop.height)
        x0, x1 = round(crop.left * scale[0]), round((crop.left + inside[1]) * scale[0])
        y0, y1 = round(crop.top * scale[1]), round((crop.top + inside[0]) * scale[1])
        inner = (max(1, x1 - x0), max(1, y1 - y0))
        tile.paste(draw(crop.pixels, inner, scale[0]), (x0, y0))
    return tile


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int], scale: float) -> Image.Image:
    return Image.fromarray(pixels).resize(size, _resampling(scale))


def _resized_signal(pixels: NDArray[np.uint8], size: tuple[int, int], scale: float) -> Image.Image:
    """Stretched last, as a smaller picture is a weaker one, and in between nothing is rounded."""
    signal = pixels.astype(np.float32) - 128
    planes = [
        np.asarray(Image.fromarray(signal[:, :, colour]).resize(size, _resampling(scale)))
        for colour in range(3)
    ]
    return Image.fromarray(stretched(np.stack(planes, axis=2)))


def _resampling(scale: float) -> Image.Resampling:
    return Image.Resampling.NEAREST if scale >= _SHOWN_AS_PIXELS else Image.Resampling.LANCZOS


def _hatched(size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size, _GREY)
    draw = ImageDraw.Draw(image)
    for start in range(-size[1], size[0], 8):
        draw.line((start, size[1], start + size[1], 0), _HATCH, width=2)
    return image


def _problem_tile(problem: str, size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size, _GONE)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=_GREY)
    if min(size) >= _SMALLEST_CAPTION_PX:
        font = font_of(12 if size[0] >= 72 else 10)
        text = "\n".join(shortened(line, size[0] - 8, font) for line in problem.split("\n"))
        middle = (size[0] / 2, size[1] / 2)
        draw.multiline_text(middle, text, INK, font, anchor="mm", align="center")
    return image

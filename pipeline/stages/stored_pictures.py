"""The pictures that stages store in their tables, as PNGs."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.arrays import Ints

MID_GREY = 128
"""The pixel that stands for 0 where values have a sign."""
_ZLIB_RUNS = 3  # zlib's Z_RLE


def encode_png(pixels: NDArray[np.uint8], longest_px: int | None = None) -> bytes:
    """A PNG.

    Args:
        pixels: uint8 [height, width], or [height, width, 3] in colour.
        longest_px: larger pictures are reduced to this side, by averaging; None: none is.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if longest_px is not None and max(picture.size) > longest_px:
        ratio = longest_px / max(picture.size)
        width, height = (max(1, round(side * ratio)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    data = io.BytesIO()
    # Runs alone: for filtered pictures as small as matches, and faster (measured).
    picture.save(data, "png", compress_level=1, compress_type=_ZLIB_RUNS)
    return data.getvalue()


def scaled_pixels(
    values: NDArray[np.floating[Any]], zero: int = MID_GREY
) -> tuple[NDArray[np.uint8], float]:
    """Values as pixels, the largest magnitude at full contrast.

    Args:
        values: [height, width], or [3, height, width] in colour.
        zero: the pixel that stands for 0; 0 only where no value is negative.

    Returns:
        uint8 [height, width] or [height, width, 3], and the scale: ``value = (pixel - zero) /
        (255 - zero) * scale``. Where a value is not finite, from weights that are not, the scale
        is not either, and every pixel is ``zero``.
    """
    scale = float(np.abs(values).max())
    unit = values / scale if 0 < scale < np.inf else np.zeros_like(values)
    pixels = np.rint(zero + (255 - zero) * unit).astype(np.uint8)
    return (pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels), scale


def shown_boxes(boxes: Ints, frame_px: int) -> Ints:
    """What a picture shows: the box, or along an axis where it is larger than the frame, the frame.

    Args:
        boxes: int64 [n, 4], y0, x0, y1, x1, unclipped.
        frame_px: side of the input frame.
    """
    shown = boxes.copy()
    for low, high in ((0, 2), (1, 3)):
        wide = shown[:, high] - shown[:, low] >= frame_px
        shown[wide, low], shown[wide, high] = 0, frame_px
    return shown

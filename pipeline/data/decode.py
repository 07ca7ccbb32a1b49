"""Bytes of one picture to RGB pixels, or the reason why not.

Invariant: whatever the bytes, `decode` returns pixels that depend on the bytes alone, or raises
`ImageRejectedError`; nothing else leaves it but `MemoryError`.

Pillow alone decodes, so that there is one rule: torchvision's decoders are deprecated, and where
both read a file a test holds that the pixels are the same.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
from types import TracebackType
from typing import Literal

import numpy as np
import torch
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from schemas.errors import ImageRejectedError

_READERS = (
    BmpImagePlugin.BmpImageFile,
    GifImagePlugin.GifImageFile,
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    PpmImagePlugin.PpmImageFile,
    TiffImagePlugin.TiffImageFile,
    WebPImagePlugin.WebPImageFile,
)
FORMATS = tuple(str(reader.format) for reader in _READERS)
"""The picture formats that are read, by Pillow's names; no other plugin ever sees the bytes."""

_SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"BM"), "BMP"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "TIFF"),
    (re.compile(rb"P[1-6][\s#]"), "PPM"),
)
_UNREAD = re.compile(
    rb"(?P<avif_or_heic>.{4}ftyp(?:avi|hei|hev|mif|msf))"
    rb"|(?P<jpeg_2000>\0\0\0\x0cjP  |\xff\x4f\xff\x51)|(?P<jpeg_xl>\xff\x0a|\0\0\0\x0cJXL )"
    rb"|(?P<photoshop>8BPS)|(?P<postscript>%!PS|\xc5\xd0\xd3\xc6)|(?P<openexr>v/1\x01)"
    rb"|(?P<dds>DDS )|(?P<qoi>qoif)|(?P<icon>\0\0[\x01\x02]\0)|(?P<netpbm>P[7Ff]\s)"
    rb"|(?P<jpeg_xr>II\xbc)",
    re.DOTALL,
)
_ORIENTATION_TAG = 0x0112
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACKGROUND = 128


def decode(data: bytes, *, max_pixels: int) -> torch.Tensor:
    """The picture as shown, by one written rule.

    - EXIF orientation is applied (a broken EXIF block is ignored); colour profiles are not.
    - Grey is repeated in the three channels; 1-bit is black 0 and white 255.
    - A palette is looked up. CMYK (and YCCK) becomes ``(255 - ink) * (255 - K) / 255``.
    - 16 bits become 8 by the top byte.
    - Alpha (a channel, a transparent palette entry or a transparent colour) is composited on
      mid-grey: ``(a * v + (255 - a) * 128) / 255``, rounded to nearest.
    - Animated: the first frame.
    - The format is found by the first bytes, never by the name; only `FORMATS` are read.
    - Pixels are counted from the header, before anything is decoded.
    - Data that end early are a reject, not a picture with a grey rest. Bytes after the picture's
      end do no harm, and a file that lost no more than what follows its last pixel may pass. (A
      file that was cut and then closed again with an end marker cannot be told from a whole one.)

    Args:
        data: the whole file.
        max_pixels: larger pictures are rejected undecoded.

    Returns:
        uint8 [3, H, W], RGB, H and W as shown.

    Raises:
        ImageRejectedError: ``empty``, ``not_an_image``, ``unsupported``, ``too_large``,
            ``truncated`` or ``corrupt``.
    """
    if not data:
        raise ImageRejectedError("empty", "zero bytes")
    kind = _sniff(data)
    try:
        with _PILLOW:
            return _decode(data, kind, max_pixels)
    except (ImageRejectedError, MemoryError):
        raise
    except Exception as error:
        reason = "truncated" if _is_cut(data, kind, error) else "corrupt"
        raise ImageRejectedError(reason, f"{kind}: {_one_line(error)}") from error


def _sniff(data: bytes) -> str:
    for signature, kind in _SIGNATURES:
        if signature.match(data):
            return kind
    if other := _UNREAD.match(data):
        raise ImageRejectedError(
            "unsupported", f"{other.lastgroup}; these are read: {', '.join(FORMATS)}"
        )
    raise ImageRejectedError("not_an_image", f"begins with {data[:16]!r}")


def _decode(data: bytes, kind: str, max_pixels: int) -> torch.Tensor:
    if kind == "WEBP":
        # Pillow's reader takes memory for two canvases as soon as it opens one: 2 GB at most.
        _require_few(_webp_size(data), max_pixels)
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        _require_few(image.size, max_pixels)
        image.load()
        pixels = _to_rgb(image, kind)
        turn = _TURNS.get(_orientation(image))
        if turn is not None:
            pixels = pixels.transpose(turn)
        # A copy, because torch warns of memory that it may not write to.
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)


def _require_few(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageRejectedError(
            "too_large", f"{width} x {height} pixels, more than max_pixels {max_pixels}"
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height by the first chunk's header; 0 where there is none that libwebp reads."""
    chunk, body = data[12:16], data[20:30]
    if chunk == b"VP8X" and len(body) == 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:], "little")
    if chunk == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 " and len(body) == 10:
        width, height = struct.unpack("<HH", body[6:])
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _orientation(image: Image.Image) -> object:
    """The EXIF orientation; 1 (as stored) where the EXIF block is broken: the pixels are not."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except (SyntaxError, ValueError, LookupError, TypeError, OSError, struct.error):
        return 1


def _to_rgb(image: Image.Image, kind: str) -> Image.Image:
    """``image`` as mode RGB, by the rule of `decode`."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and kind == "PPM"):
        return _top_byte(image)
    if mode in {"I", "F"}:
        raise ImageRejectedError("unsupported", f"{kind} of mode {mode}: values have no 8-bit form")
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        return _on_grey(image.convert("RGBA"))
    return image.convert("RGB")


def _top_byte(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    key = image.info.get("transparency")
    if key is None:
        return grey.convert("RGB")
    alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    return _on_grey(Image.merge("RGBA", (grey, grey, grey, alpha)))


def _on_grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    alpha = values[..., 3:].astype(np.uint16)
    # 255 * 255 + 127 fits 16 bits; adding 127 before the division rounds to nearest.
    mixed = alpha * values[..., :3] + (255 - alpha) * _BACKGROUND + 127
    return Image.fromarray((mixed // 255).astype(np.uint8))


def _is_cut(data: bytes, kind: str, error: Exception) -> bool:
    """Whether a file that failed ends early: the decoder says so, or its end is not there."""
    says_so = re.search(r"truncat|unexpected end|ended prematurely", str(error), re.IGNORECASE)
    if says_so or isinstance(error, EOFError | struct.error | IndexError):
        return True
    order: Literal["little", "big"] = "big" if data[:2] == b"MM" else "little"
    end_is_missing = {
        "JPEG": b"\xff\xd9" not in data[-1024:],
        "PNG": b"IEND" not in data,
        "GIF": not data.rstrip(b"\0").endswith(b";"),
        "WEBP": len(data) < 8 + int.from_bytes(data[4:8], "little"),
        "BMP": len(data) < int.from_bytes(data[2:6], "little"),
        "TIFF": len(data) <= int.from_bytes(data[4:8], order),
    }
    return end_is_missing.get(kind, False)


def _one_line(error: Exception) -> str:
    """The error's text without what changes from run to run, for the rejects table."""
    if isinstance(error, UnidentifiedImageError):
        return "the header cannot be read"
    text = re.sub(r" at 0x[0-9a-f]+", "", str(error)) or type(error).__name__
    text = text.encode("ascii", "backslashreplace").decode()
    return " ".join(text.split())[:200]


class _PillowSwitches:
    """Pillow's process-wide switches, held at our values while any thread decodes.

    Other code in the process may have set them (a network's own loader often sets
    ``LOAD_TRUNCATED_IMAGES``); left alone they would decide which images are rejected. The first
    thread in sets them, the last one out restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            self._saved = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, False
            self._quiet = warnings.catch_warnings()
            self._quiet.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            self._quiet.__exit__(kind, error, trace)
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = self._saved


_PILLOW = _PillowSwitches()

"""One data set of every hostile file: each is decoded or rejected for the reason written here."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFile

from jobs import engine
from pipeline.data.image_rows import as_text
from schemas.errors import TooManyRejectsError
from schemas.jobs.scan import ScanSpec
from schemas.tables import REJECT_REASONS

MakeSpec = Callable[..., ScanSpec]
Files = dict[str, tuple[bytes, str]]
"""From a file's name to its bytes and its outcome: `DECODED` or a reason."""

DECODED = "decoded"
MAX_PIXELS = 100_000
HEIGHT, WIDTH = 24, 40

CUTS = (1, 2, 3, 8, 12, 16, 0.25, 0.5, 0.75)
"""How much of a file is left, in bytes or as a share."""
CUT_FILES = {
    "jpg": ["not_an_image"] * 2 + ["truncated"] * 7,
    "png": ["not_an_image"] * 3 + ["truncated"] * 6,
    "webp": ["not_an_image"] * 4 + ["truncated"] * 5,
    "gif": ["not_an_image"] * 3 + ["truncated"] * 6,
}

PLAIN_NAMES = (
    "two words", " space before", "-rf", "--help", "new\nline", "tab\tname", "quote'", 'double"',
    "<script>alert(1)<|script>", "&amp;", "\U0001f600", "\u202egnp", "\u200f\u2066", "e\u0301",
    "a..b", "x..", "back\\slash", "%2e%2e%2f", "{{ 7 * 7 }}", "{0..3}", "*[a]?", "a::b",
    "zip::a", "file:", "#1", "?x=1", "$(id)", "`id`", "CON", "null\u2028", "\x01\x1b[31m", "~",
    "long" * 50,
)  # fmt: skip
"""Names of whole pictures, which change nothing."""


def smooth() -> np.ndarray:
    """A picture without symmetry, uint8 [H, W, 3]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 6, y * 10, (x + y) * 3], -1).astype(np.uint8)


def packed(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def whole() -> dict[str, bytes]:
    image = Image.fromarray(smooth())
    return {
        "jpg": packed(image, "JPEG"),
        "png": packed(image, "PNG"),
        "webp": packed(image, "WEBP", lossless=True),
        "gif": packed(image.quantize(64), "GIF"),
    }


def png(width: int, height: int, bits: int, color: int, rows: bytes) -> bytes:
    """A PNG written by hand; Pillow writes neither every kind nor a header that lies."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    palette = chunk(b"PLTE", bytes(range(9))) + chunk(b"tRNS", b"\0\x80\xff") if color == 3 else b""
    body = head + palette + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def changed(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def flipped(data: bytes, place: int) -> bytes:
    return changed(data, place, bytes([data[place] ^ 0xFF]))


def cut_files() -> Files:
    files = {}
    for kind, outcomes in CUT_FILES.items():
        data = whole()[kind]
        for cut, outcome in zip(CUTS, outcomes, strict=True):
            length = cut if isinstance(cut, int) else int(cut * len(data))
            files[f"cut-{kind}-{cut}.{kind}"] = (data[:length], outcome)
    return files


def damaged_files() -> Files:
    jpg, png_, webp, gif = whole().values()
    table = jpg.index(b"\xff\xdb") + 20
    frame = jpg.index(b"\xff\xc0")
    scan_data = jpg.index(b"\xff\xda")
    return {
        "flip-signature.jpg": (flipped(jpg, 0), "not_an_image"),
        "flip-quantisation.jpg": (flipped(jpg, table), DECODED),
        "flip-scan.jpg": (flipped(jpg, scan_data + 40), DECODED),
        "no-height.jpg": (changed(jpg, frame + 5, b"\0\0"), "corrupt"),
        "no-components.jpg": (changed(jpg, frame + 9, b"\0"), "corrupt"),
        "flip-signature.png": (flipped(png_, 1), "not_an_image"),
        "flip-header.png": (flipped(png_, 17), "corrupt"),
        "flip-data.png": (flipped(png_, 60), "corrupt"),
        "flip-signature.webp": (flipped(webp, 8), "not_an_image"),
        "flip-chunk.webp": (flipped(webp, 12), "corrupt"),
        "flip-data.webp": (flipped(webp, len(webp) // 2), "corrupt"),
        "flip-signature.gif": (flipped(gif, 0), "not_an_image"),
        "flip-palette.gif": (flipped(gif, 20), DECODED),
        "trailing.png": (png_ + b"<script>alert(1)</script>", DECODED),
        "png-named.jpg": (png_, DECODED),
        "no-rows.png": (png(8, 8, 8, 0, b""), "truncated"),
    }


def no_pictures() -> Files:
    return {
        "empty.png": (b"", "empty"),
        "zeros.png": (bytes(4096), "not_an_image"),
        "spaces.gif": (b" " * 64, "not_an_image"),
        "page.jpg": (b"<!DOCTYPE html><html><script>alert(1)</script>", "not_an_image"),
        "drawing.png": (
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            "not_an_image",
        ),
        "paper.jpg": (b"%PDF-1.7\n", "not_an_image"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\n", "not_an_image"),
        "print.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported"),
        "layers.png": (b"8BPS\0\1", "unsupported"),
        "new.webp": (b"\0\0\0\x20ftypavif\0\0\0\0", "unsupported"),
        "icon.png": (b"\0\0\1\0\1\0\x10\x10", "unsupported"),
        "text.bmp": (b"BMore text than picture, really", "truncated"),
    }


def odd_modes() -> Files:
    image = Image.fromarray(smooth())
    cmyk = packed(image.convert("CMYK"), "JPEG")
    ycck = changed(cmyk, cmyk.index(b"Adobe") + 11, b"\2")
    row = b"\0" + bytes(range(12))
    floats = Image.fromarray(smooth()[..., 0].astype(np.float32))
    return {
        "cmyk.jpg": (cmyk, DECODED),
        "ycck.jpg": (ycck, DECODED),
        "cmyk.tif": (packed(image.convert("CMYK"), "TIFF"), DECODED),
        "grey.jpg": (packed(image.convert("L"), "JPEG"), DECODED),
        "grey-16.png": (png(6, 1, 16, 0, row), DECODED),
        "rgb-16.png": (png(2, 1, 16, 2, row), DECODED),
        "grey-16.pgm": (b"P5 6 1 65535\n" + bytes(12), DECODED),
        "palette-alpha.png": (png(3, 1, 8, 3, b"\0\0\1\2"), DECODED),
        "palette-beyond.png": (png(3, 1, 8, 3, b"\0\0\1\xff"), DECODED),
        "one-bit.png": (packed(image.convert("1"), "PNG"), DECODED),
        "one-bit.pbm": (b"P4\n8 1\n\xf0", DECODED),
        "grey-alpha.png": (packed(image.convert("LA"), "PNG"), DECODED),
        "alpha.webp": (packed(image.convert("RGBA"), "WEBP"), DECODED),
        "float.tif": (packed(floats, "TIFF"), "unsupported"),
        "integer.tif": (packed(floats.convert("I"), "TIFF"), "unsupported"),
    }


def orientations() -> Files:
    """One picture eight times, stored as each EXIF orientation asks; two out of its range."""
    shown = smooth()
    turned = shown.transpose(1, 0, 2)
    stored = (
        shown, shown[:, ::-1], shown[::-1, ::-1], shown[::-1],
        turned, turned[::-1], turned[::-1, ::-1], turned[:, ::-1],
    )  # fmt: skip
    files = {}
    for number, array in [*enumerate(stored, start=1), (0, shown), (9, shown)]:
        exif = Image.Exif()
        exif[0x0112] = number
        image = Image.fromarray(np.ascontiguousarray(array))
        files[f"turn-{number}.png"] = (packed(image, "PNG", exif=exif), DECODED)
        files[f"turn-{number}.jpg"] = (
            packed(image, "JPEG", exif=exif, quality=100, subsampling=0),
            DECODED,
        )
    return files


def sizes() -> Files:
    frames = [Image.new("RGB", (6, 5), color) for color in ((200, 30, 60), (0, 255, 0))]
    webp, lossy, moving = (
        bytearray(packed(frames[0], "WEBP", lossless=True)),
        bytearray(packed(frames[0], "WEBP")),
        bytearray(packed(frames[0], "WEBP", save_all=True, append_images=frames[1:])),
    )
    webp[21:25] = (16382 | 16382 << 14).to_bytes(4, "little")
    lossy[26:30] = struct.pack("<HH", 16383, 16383)
    moving_bomb = changed(bytes(moving), 24, b"\xfe\x3f\0" * 2)
    jpg, gif = whole()["jpg"], whole()["gif"]
    bmp = packed(frames[0], "BMP")
    animated = {
        f"moving.{kind}": (
            packed(frames[0], kind, save_all=True, append_images=frames[1:]),
            DECODED,
        )
        for kind in ("gif", "webp", "png")
    }
    return animated | {
        "one.png": (packed(Image.new("RGB", (1, 1)), "PNG"), DECODED),
        "one.jpg": (packed(Image.new("L", (1, 1)), "JPEG"), DECODED),
        "one.gif": (packed(Image.new("P", (1, 1)), "GIF"), DECODED),
        "column.png": (packed(Image.new("RGB", (1, 20_000)), "PNG"), "too_large"),
        "row.jpg": (packed(Image.new("RGB", (20_000, 1)), "JPEG"), "too_large"),
        "hundred-to-one.png": (packed(Image.new("RGB", (100, 1)), "PNG"), DECODED),
        "just-too-many.png": (packed(Image.new("1", (501, 200)), "PNG"), "too_large"),
        "bomb.png": (png(60_000, 60_000, 8, 2, bytes(100_000)), "too_large"),
        "bomb.jpg": (changed(jpg, jpg.index(b"\xff\xc0") + 5, b"\xff\xff" * 2), "too_large"),
        "bomb.gif": (changed(gif, 6, b"\xff\xff" * 2), "too_large"),
        "bomb-frame.gif": (changed(gif, gif.index(b",") + 5, b"\xff\xff" * 2), "too_large"),
        "bomb.bmp": (changed(bmp, 18, struct.pack("<ii", 60_000, 60_000)), "too_large"),
        "bomb.ppm": (b"P6 99999 99999 255\n", "too_large"),
        "bomb.webp": (bytes(webp), "too_large"),
        "bomb-lossy.webp": (bytes(lossy), "too_large"),
        "bomb-moving.webp": (moving_bomb, "too_large"),
    }


def hostile() -> Files:
    named = {f"{name}.png": (whole()["png"], DECODED) for name in PLAIN_NAMES}
    groups = (
        cut_files(),
        damaged_files(),
        no_pictures(),
        odd_modes(),
        orientations(),
        sizes(),
        named,
    )
    files = {f"<b>'\"\n/{name}": each for group in groups for name, each in group.items()}
    assert len(files) == sum(map(len, groups)), "a name stands twice"
    return files


def lay_out(root: Path) -> dict[str, str]:
    """Write every file and link; the outcome by path, those that are no row left out."""
    outcomes = {}
    for name, (data, outcome) in hostile().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
        outcomes[f"{root}/{name}"] = outcome
    secret = root.parent / "secret.png"
    secret.write_bytes(whole()["png"])
    links = root / "links"
    links.mkdir()
    os.mkfifo(links / "pipe.png")
    for name, target, outcome in (
        ("inside.png", "../a b/true.png", DECODED),
        ("loop.png", "loop.png", "missing"),
        ("nowhere.png", "nothing.png", "missing"),
        ("out.png", str(secret), None),
        ("up.png", "../../secret.png", None),
        ("device.png", "/dev/zero", None),
        ("outer", str(root.parent), None),
        ("to-pipe.png", "pipe.png", None),
    ):
        (links / name).symlink_to(target)
        if outcome:
            outcomes[f"{links}/{name}"] = outcome
    (root / "a b").mkdir()
    (root / "a b" / "true.png").write_bytes(whole()["png"])
    outcomes[f"{root}/a b/true.png"] = DECODED
    for name in (b"\xff.png", b"caf\xe9.png"):
        Path(os.fsdecode(os.fsencode(root) + b"/links/" + name)).write_bytes(whole()["png"])
        outcomes[f"{links}/{as_text(os.fsdecode(name))}"] = "missing"
    return outcomes


@pytest.fixture
def loaded_pixels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pixels of every picture whose data Pillow is asked for."""
    seen: list[int] = []
    load = ImageFile.ImageFile.load

    def watched(self: ImageFile.ImageFile) -> object:
        seen.append(self.width * self.height)
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", watched)
    return seen


def test_scan_of_hostile_pictures_ends_each_in_pixels_or_its_reason(
    make_spec: MakeSpec, tmp_path: Path, loaded_pixels: list[int]
):
    outcomes = lay_out(tmp_path / "data")
    data = {"uri": str(tmp_path / "data"), "max_pixels": MAX_PIXELS}
    frame = {"resize_px": 24, "crop_px": 24}
    with pytest.raises(TooManyRejectsError) as refusal:
        engine.run(make_spec(data=data, preprocess=frame))
    spec = make_spec(data=data | {"max_reject_fraction": 1}, preprocess=frame)
    manifest = engine.run(spec)

    images, rejects = (
        pd.read_parquet(f"{spec.out}/scan/{table}") for table in ("images", "rejects")
    )
    reasons = dict(zip(rejects["uri"], rejects["reason"], strict=True))
    found = dict.fromkeys(images["uri"], DECODED) | reasons
    assert found.keys() == outcomes.keys()
    wrong = {
        uri: (found[uri], outcome) for uri, outcome in outcomes.items() if found[uri] != outcome
    }
    assert wrong == {}, "(found, expected)"
    assert sorted([*images["image_id"], *rejects["image_id"]]) == list(range(len(outcomes)))
    counts = {"images": len(images), "rejects": len(rejects)}
    assert manifest.counts | counts == manifest.counts
    assert f"{len(rejects)} of {len(outcomes)} images" in str(refusal.value)
    assert "max_reject_fraction 0.05" in str(refusal.value)
    assert set(reasons.values()) < REJECT_REASONS.keys()
    assert not rejects["detail"].str.contains("\n").any()
    assert max(loaded_pixels) <= MAX_PIXELS, "a picture was decoded before its pixels were counted"
    turned = images[images["uri"].str.contains("/turn-")]
    assert len(turned) == len(orientations())
    assert (turned[["width", "height"]] == [WIDTH, HEIGHT]).all(axis=None)
    lossless = turned[turned["uri"].str.endswith(".png")]
    assert np.ptp(lossless["p_predicted"]) < 1e-6, "an orientation shows another picture"

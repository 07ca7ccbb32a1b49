"""Any bytes give the pixels that the written rule says, or one reason; nothing else."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.io
from PIL import Image, ImageFile

from pipeline.data.decode import decode
from schemas.errors import ImageRejectedError
from schemas.tables import REJECT_REASONS

LIMIT = 1_000_000


def smooth(height: int = 24, width: int = 40) -> np.ndarray:
    """A picture without symmetry, uint8 [H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 6, y * 10, (x + y) * 3], -1).astype(np.uint8)


def packed(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def values(data: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of what decode gives."""
    pixels = decode(data, max_pixels=LIMIT)

    assert pixels.dtype == torch.uint8
    assert pixels.shape[0] == 3
    return pixels.permute(1, 2, 0).numpy()


def rejected(data: bytes, max_pixels: int = LIMIT) -> str:
    with pytest.raises(ImageRejectedError) as caught:
        decode(data, max_pixels=max_pixels)
    assert caught.value.reason in REJECT_REASONS
    assert "\n" not in caught.value.detail
    assert " at 0x" not in caught.value.detail
    return caught.value.reason


def over_grey(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composited on 128 in float64, rounded to nearest."""
    share = alpha[..., None].astype(np.float64) / 255
    return np.floor(rgb * share + 128.0 * (1 - share) + 0.5).astype(np.uint8)


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, bits: int, color: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by hand, so that its values do not pass through Pillow first."""
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    body = png_chunk(b"IHDR", head) + extra + png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_decode_of_lossless_rgb_gives_the_pixels_themselves(kind: str):
    options = {"lossless": True} if kind == "WEBP" else {}

    np.testing.assert_array_equal(
        values(packed(Image.fromarray(smooth()), kind, **options)), smooth()
    )


def test_decode_of_a_jpeg_is_near_the_picture():
    found = values(packed(Image.fromarray(smooth()), "JPEG", quality=95, subsampling=0))

    assert np.abs(found.astype(int) - smooth()).max() <= 12


def test_decode_of_photographs_equals_torchvisions_decoder(shared_data: Path):
    decode_jpeg = getattr(torchvision.io, "decode_jpeg", None)
    if decode_jpeg is None:
        pytest.skip("this torchvision has no decoders any more")
    for file in sorted((shared_data / "photos").iterdir())[::12]:
        data = file.read_bytes()
        buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)

        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            expected = decode_jpeg(buffer, "RGB", apply_exif_orientation=True)

        assert torch.equal(decode(data, max_pixels=LIMIT), expected), file.name


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_decode_of_all_eight_exif_orientations_shows_one_picture(kind: str):
    shown = smooth(16, 24)
    # How the stored array is made from the shown one, from the EXIF standard's table.
    stored = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.transpose(1, 0, 2),
        6: shown.transpose(1, 0, 2)[::-1],
        7: shown.transpose(1, 0, 2)[::-1, ::-1],
        8: shown.transpose(1, 0, 2)[:, ::-1],
    }
    options = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
    }.get(kind, {})
    for orientation, array in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.fromarray(np.ascontiguousarray(array))

        found = values(packed(image, kind, exif=exif, **options))

        assert found.shape == shown.shape, orientation
        assert np.abs(found.astype(int) - shown).max() <= (6 if kind == "JPEG" else 0), orientation


@pytest.mark.parametrize(
    "broken", [b"Exif\0\0MM\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08"]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_decode_of_a_picture_with_broken_exif_shows_it_as_stored(kind: str, broken: bytes):
    image = Image.fromarray(smooth())

    assert values(packed(image, kind, exif=broken)).shape == smooth().shape


def test_decode_of_grey_repeats_it():
    grey = smooth()[..., 0]

    found = values(packed(Image.fromarray(grey), "PNG"))

    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, -1))
    assert values(packed(Image.fromarray(grey), "JPEG")).std(axis=2).max() == 0


def test_decode_of_one_bit_gives_black_and_white():
    # Filter byte, then the bits 10110000 01000000: 10 pixels a row.
    found = values(png(10, 1, 1, 0, b"\0\xb0\x40"))

    np.testing.assert_array_equal(found[0, :, 0], [255, 0, 255, 255, 0, 0, 0, 0, 0, 255])
    np.testing.assert_array_equal(found[..., 0], found[..., 2])
    np.testing.assert_array_equal(values(b"P4\n8 1\n\xf0")[0, :, 1], [0] * 4 + [255] * 4)


def test_decode_of_sixteen_bit_keeps_the_top_byte():
    samples = [0x0000, 0x00FF, 0x0100, 0x7FFF, 0x80FF, 0xFFFF]
    grey = struct.pack(">6H", *samples)
    expected = [0, 0, 1, 127, 128, 255]

    np.testing.assert_array_equal(values(png(6, 1, 16, 0, b"\0" + grey))[0, :, 0], expected)
    np.testing.assert_array_equal(
        values(png(2, 1, 16, 2, b"\0" + grey)), np.reshape(expected, (1, 2, 3))
    )
    np.testing.assert_array_equal(values(b"P5 6 1 65535\n" + grey)[0, :, 2], expected)
    tiff = packed(Image.fromarray(np.array([samples], dtype=np.uint16)), "TIFF")
    np.testing.assert_array_equal(values(tiff)[0, :, 1], expected)


def test_decode_of_sixteen_bit_grey_with_a_transparent_value_shows_mid_grey_there():
    grey = struct.pack(">3H", 0x1234, 0x1235, 0xFF00)

    found = values(png(3, 1, 16, 0, b"\0" + grey, png_chunk(b"tRNS", b"\x12\x34")))

    np.testing.assert_array_equal(found[0, :, 0], [128, 0x12, 0xFF])


def test_decode_of_alpha_composites_every_value_on_mid_grey():
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgb = np.stack([value, 255 - value, value // 2], -1).astype(np.uint8)
    rgba = np.concatenate([rgb, alpha[..., None].astype(np.uint8)], -1)

    found = values(packed(Image.fromarray(rgba), "PNG"))

    np.testing.assert_array_equal(found, over_grey(rgb, alpha))


def test_decode_of_grey_with_alpha_composites_on_mid_grey():
    grey_alpha = Image.merge("LA", (Image.new("L", (2, 1), 40), Image.new("L", (2, 1), 51)))

    np.testing.assert_array_equal(values(packed(grey_alpha, "PNG")), np.full((1, 2, 3), 110))


def test_decode_of_a_palette_with_alpha_looks_up_and_composites():
    palette = png_chunk(b"PLTE", bytes([255, 0, 0, 0, 200, 0, 10, 20, 30]))
    transparency = png_chunk(b"tRNS", bytes([255, 0, 128]))

    found = values(png(3, 1, 8, 3, b"\0\0\1\2", palette + transparency))

    np.testing.assert_array_equal(found[0, 0], [255, 0, 0])
    np.testing.assert_array_equal(found[0, 1], [128, 128, 128])
    np.testing.assert_array_equal(
        found[0, 2], over_grey(np.array([[10, 20, 30]]), np.array([128]))[0]
    )


def test_decode_of_a_transparent_colour_composites_it_alone():
    found = values(png(2, 1, 8, 2, b"\0" + bytes([9, 8, 7, 9, 8, 6]), png_chunk(
        b"tRNS", struct.pack(">3H", 9, 8, 7))))  # fmt: skip

    np.testing.assert_array_equal(found[0], [[128, 128, 128], [9, 8, 6]])


def test_decode_of_cmyk_multiplies_the_inks():
    inks = np.zeros((8, 32, 4), dtype=np.uint8)
    for place, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255), (100, 50, 0, 60)]):
        inks[:, place * 8 : place * 8 + 8] = ink
    expected = [[255, 255, 255], [0, 255, 255], [0, 0, 0], [119, 157, 195]]
    image = Image.frombytes("CMYK", (32, 8), inks.tobytes())

    for data in (packed(image, "TIFF"), packed(image, "JPEG", quality=100)):
        found = values(data)[4, 4::8].astype(int)

        assert np.abs(found - expected).max() <= (0 if data[:2] == b"II" else 2)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_decode_of_an_animation_gives_the_first_frame(kind: str):
    frames = [Image.new("RGB", (6, 5), color) for color in ((200, 30, 60), (0, 255, 0))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = packed(frames[0], kind, save_all=True, append_images=frames[1:], **options)

    np.testing.assert_array_equal(values(data), np.full((5, 6, 3), (200, 30, 60)))


def samples() -> dict[str, bytes]:
    image = Image.fromarray(smooth())
    other = Image.fromarray(smooth()[::-1].copy())
    return {
        "jpeg": packed(image, "JPEG"),
        "progressive": packed(image, "JPEG", progressive=True),
        "png": packed(image, "PNG"),
        "palette": packed(image.quantize(16), "PNG"),
        "webp": packed(image, "WEBP"),
        "lossless": packed(image, "WEBP", lossless=True),
        "gif": packed(image.quantize(64), "GIF"),
        "animation": packed(
            image.quantize(64), "GIF", save_all=True, append_images=[other.quantize(64)]
        ),
        "bmp": packed(image.crop((0, 0, 12, 8)), "BMP"),
        "tiff": packed(image.crop((0, 0, 12, 8)), "TIFF"),
        "ppm": packed(image.crop((0, 0, 12, 8)), "PPM"),
    }


@pytest.mark.parametrize("name", samples())
def test_decode_of_every_truncation_is_right_or_rejected(name: str):
    whole = samples()[name]
    expected = values(whole)
    passed, reasons = [], set()

    for length in range(len(whole)):
        try:
            found = values(whole[:length])
        except ImageRejectedError as error:
            reasons.add(error.reason)
        else:
            np.testing.assert_array_equal(found, expected)
            passed.append(length)

    assert reasons <= {"empty", "not_an_image", "truncated", "corrupt"}
    # A picture's second half is never dispensable; an animation's second frame is.
    assert name == "animation" or all(length > len(whole) * 3 // 4 for length in passed)
    assert rejected(whole[: len(whole) // 3]) == "truncated"


def test_decode_of_a_cut_jpeg_is_rejected_although_others_allow_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)

    assert rejected(samples()["jpeg"][:-60]) == "truncated"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_decode_of_trailing_bytes_ignores_them():
    for name in ("jpeg", "png", "gif", "webp"):
        data = samples()[name]

        np.testing.assert_array_equal(values(data + b"junk" * 50), values(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image"),
        (b"\0" * 4096, "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "unsupported"),
        (b"8BPS\0\1", "unsupported"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "unsupported"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "unsupported"),
        (b"P7\nWIDTH 1\n", "unsupported"),
        (b"BMore text than picture, really", "truncated"),
    ],
)
def test_decode_of_what_is_no_picture_says_why(data: bytes, reason: str):
    assert rejected(data) == reason


def test_decode_of_floating_point_values_is_unsupported():
    image = Image.fromarray(np.ones((3, 3), dtype=np.float32))

    assert rejected(packed(image, "TIFF")) == "unsupported"


def test_decode_of_a_damaged_png_is_corrupt():
    data = bytearray(samples()["png"])
    data[45] ^= 0xFF

    assert rejected(bytes(data)) == "corrupt"


def test_decode_of_a_bomb_is_refused_from_the_header():
    bomb = png(60_000, 60_000, 8, 2, b"")

    assert rejected(bomb, max_pixels=100_000_000) == "too_large"


@pytest.mark.parametrize(
    ("options", "chunk"),
    [({"lossless": True}, b"VP8L"), ({}, b"VP8 "), ({"exif": b"Exif\0\0MM\0*"}, b"VP8X")],
)
def test_decode_of_a_webp_bomb_is_refused_before_its_reader_takes_memory(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object], chunk: bytes
):
    data = packed(Image.fromarray(smooth()), "WEBP", **options)
    monkeypatch.setattr(Image, "open", None)

    with pytest.raises(ImageRejectedError, match="40 x 24 pixels"):
        decode(data, max_pixels=24 * 40 - 1)
    assert data[12:16] == chunk


def test_decode_of_max_pixels_is_the_only_bound(monkeypatch: pytest.MonkeyPatch):
    data = samples()["png"]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)

    assert decode(data, max_pixels=24 * 40).shape == (3, 24, 40)
    assert rejected(data, max_pixels=24 * 40 - 1) == "too_large"
    assert Image.MAX_IMAGE_PIXELS == 10


def test_decode_in_threads_gives_what_one_gives_and_restores_the_switches():
    data = list(samples().values()) * 6
    expected = [values(each) for each in data]
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    start = threading.Barrier(8)

    def work(index: int) -> bool:
        if index < 8:
            start.wait()
        return np.array_equal(values(data[index]), expected[index])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(len(data))))
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    assert after == before


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """``data`` with one to five bytes changed, flipped, put in, cut out or cut off."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 6)):
        # Half of the damage goes to the header, which decides more.
        reach = len(changed) if random.integers(2) else min(len(changed), 200)
        if not changed:
            break
        place = int(random.integers(reach))
        match random.integers(9):
            case 0 | 1 | 2:
                changed[place : place + 1] = bytes([random.integers(256)])
            case 3 | 4:
                changed[place : place + 1] = bytes([changed[place] ^ 1 << random.integers(8)])
            case 5 | 6:
                changed[place:place] = random.bytes(random.integers(1, 9))
            case 7:
                del changed[place : place + random.integers(1, 9)]
            case _:
                del changed[place:]
    return bytes(changed)


def test_decode_of_random_damage_ends_in_pixels_or_a_reason():
    random = np.random.default_rng(0)
    originals = list(samples().values())
    outcomes = set()

    for number in range(10_000):
        data = damaged(originals[number % len(originals)], random)
        try:
            outcomes.add(values(data).ndim)
        except ImageRejectedError as error:
            outcomes.add(error.reason)

    assert {3, "corrupt", "truncated"} <= outcomes <= {3, *REJECT_REASONS}

"""The gallery beside its own encoder: what tables, decoding and pages cost per unit.

Both sides encode the very same patches, read from one run that is made up from random
tables and noise; the encoder's time leaves out reading them. The run takes 1.5 GB of temporary
disk.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import jobs.gallery
from benchmarks.options import Options
from benchmarks.timing import Comparison, Lap, alternate
from pipeline.report.contact_sheet import SheetShape, encode_contact_sheet
from pipeline.report.patch_reader import PatchReader
from pipeline.report.patches import Patch
from pipeline.report.sections.units.pages import UNITS_AT_ONCE
from pipeline.store import open_run
from schemas.jobs.gallery import GallerySpec
from tests import made_up_run

_UNITS_A_LAYER = 512
_IMAGES = 1000
_PICTURES = 499
_PICTURE_PX = 64
_SHEET_PX = 64


def run(options: Options) -> list[Comparison]:
    """Ten thousand units, of which each page holds 512; the photographs are not looked at."""
    units = 1000 if options.quick else 10_000
    sizes: list[int] = []
    with TemporaryDirectory() as folder:
        url = _made_up(Path(folder) / "run", units)
        firsts, seconds = alternate(
            lambda: _gallery_lap(url, Path(folder) / "pages", units, sizes),
            lambda: _encoder_lap(url),
            pairs=1 if options.quick else 3,
        )
    cores = os.cpu_count()
    whole = min(lap.seconds for lap in firsts)
    gallery = (
        f"gallery: {whole:.1f} s at best, {sizes[0] / 1e6:.0f} MB, {sizes[0] / units:.0f} B a unit"
    )
    encoder = f"the same sheets encoded alone, {_SHEET_PX} px pictures, {cores} threads"
    what = f"gallery of {units} units"
    wall = [[1000 * lap.seconds / lap.images for lap in laps] for laps in (firsts, seconds)]
    spent = [
        [1000 * (lap.cpu_seconds or 0) / lap.images for lap in laps] for laps in (firsts, seconds)
    ]
    return [
        Comparison(what, unit, gallery, encoder, tuple(first), tuple(second))
        for unit, (first, second) in (("ms/unit", wall), ("cpu-ms/unit", spent))
    ]


def _gallery_lap(url: str, out: Path, units: int, sizes: list[int]) -> Lap:
    wall, cpu = time.monotonic(), time.process_time()
    built = jobs.gallery.run(GallerySpec(run=url, out=str(out), sheet_px=_SHEET_PX))
    spent = time.monotonic() - wall, time.process_time() - cpu
    sizes.append(built.written.bytes)
    return Lap(units, *spent)


def _encoder_lap(url: str) -> Lap:
    """Only the encoding is timed, with as many threads as the gallery takes."""
    shape = SheetShape(_SHEET_PX, paired=True)
    units, wall, cpu = 0, 0.0, 0.0
    for several in _patches(url):
        with ThreadPoolExecutor(os.cpu_count()) as artists:
            began = time.monotonic(), time.process_time()
            for _ in artists.map(lambda own: len(encode_contact_sheet(own, shape)), several):
                pass
            wall += time.monotonic() - began[0]
            cpu += time.process_time() - began[1]
        units += len(several)
    return Lap(units, wall, cpu)


def _patches(url: str) -> Iterator[list[tuple[Patch, ...]]]:
    """The patches of living units, as many at once as the gallery reads."""
    source = open_run(url)
    reader = PatchReader(source)
    for layer in source.table("layers", job="scan").to_dict("records"):
        for start in range(0, layer["units"], UNITS_AT_ONCE):
            units = range(start, min(start + UNITS_AT_ONCE, layer["units"]))
            yield [own for own in reader.read(layer["layer"], units).values() if own]


def _made_up(folder: Path, units: int) -> str:
    starts = range(0, units, _UNITS_A_LAYER)
    layers = {
        f"features.{place}.relu": min(_UNITS_A_LAYER, units - start)
        for place, start in enumerate(starts)
    }
    url = made_up_run.scan(folder, layers, images=_IMAGES)
    made_up_run.project(url, layers, images=_IMAGES, pictures=_noise())
    return url


def _noise() -> list[tuple[bytes, bytes]]:
    """Patches and projections that pack as badly as those of photographs do."""
    random = np.random.default_rng(0)
    side = np.linspace(-2, 2, _PICTURE_PX)
    bell = np.exp(-(side[:, None] ** 2) - side[None, :] ** 2)[:, :, None]
    found = []
    for _ in range(_PICTURES):
        rough = Image.fromarray(random.integers(0, 256, (10, 10, 3), np.uint8))
        smooth = np.asarray(rough.resize((_PICTURE_PX, _PICTURE_PX)), np.float64)
        patch = smooth + random.normal(0, 4, smooth.shape)
        projection = 128 + 24 * bell * random.normal(0, 1, smooth.shape)
        found.append((_png(patch), _png(projection)))
    return found


def _png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(data, "PNG", compress_level=1)
    return data.getvalue()

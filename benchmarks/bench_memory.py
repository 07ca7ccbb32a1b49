"""The scan's peak memory: it must not grow with the number of images.

Invariant: each measurement is a process of its own that ran the command line as a user does.
"""

from __future__ import annotations

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.options import Options
from benchmarks.timing import Comparison, peak_rss_bytes
from pipeline.data.listing import list_images

_MIB = 2**20


def run(options: Options) -> list[Comparison]:
    """Ten times the images, in fresh processes, in turn."""
    few, many = (128, 1280) if options.quick else (600, 6000)
    pairs = 1 if options.quick else 2
    firsts, seconds = [], []
    for _ in range(pairs):
        firsts.append(_peak(options, many))
        seconds.append(_peak(options, few))
    setting = "scan --local of SqueezeNet 1.1, default settings"
    return [
        Comparison(
            what=f"peak memory, {many} images over {few}",
            unit="MiB",
            first_name=f"{setting}, {many} images",
            second_name=f"{setting}, {few} images",
            first=tuple(firsts),
            second=tuple(seconds),
            target="at most 1.05",
        )
    ]


def _peak(options: Options, images: int) -> float:
    """MiB that a scan of so many images held at most; photographs come again and again."""
    files = [uri.removeprefix("file://") for uri in list_images(options.data)["uri"].to_pylist()]
    with TemporaryDirectory() as folder:
        manifest = Path(folder) / "images.csv"
        with manifest.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["path"])
            rows.writerows([files[place % len(files)]] for place in range(images))
        model = options.squeezenet
        peak = peak_rss_bytes(
            "jobs", "scan", "--local", "--arch", model.arch, "--weights", model.weights,
            "--data", str(manifest), "--out", str(Path(folder) / "run"),
        )  # fmt: skip
    return peak / _MIB

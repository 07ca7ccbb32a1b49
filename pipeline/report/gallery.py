"""Writes a gallery: the pages of every section that the run has results for, and an overview."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.report import render
from pipeline.report.overview import overview, overview_html
from pipeline.report.patch_reader import PatchReader
from pipeline.report.section import Advance, Gallery, Summary
from pipeline.report.sections import SECTIONS
from pipeline.store.run import Run

INDEX = "index.html"


@dataclass(frozen=True)
class Written:
    """What a gallery holds.

    Attributes:
        sections: the summaries of those that were written, by the job's name.
        bytes: of all files.
    """

    sections: Mapping[str, Summary]
    bytes: int


def count_steps(run: Run, layers: pd.DataFrame) -> dict[str, int]:
    """Steps of work of each section that has results to show, by the job's name.

    Args:
        run: scan is published.
        layers: as in `write_gallery`.
    """
    counts = {name: section.count(run, layers) for name, section in SECTIONS.items()}
    return {name: count for name, count in counts.items() if count}


def write_gallery(
    run: Run,
    layers: pd.DataFrame,
    sections: Iterable[str],
    folder: Path,
    *,
    sheet_px: int,
    advance: Advance,
) -> Written:
    """Write the gallery of a published scan, with what else is published of the run.

    Args:
        run: the run.
        layers: the layers to show, rows of `schemas.jobs.scan.SCAN_LAYERS`, in their order.
        sections: those to write, of `count_steps`.
        folder: where to write; it exists and is empty.
        sheet_px: side of one picture on a contact sheet.
        advance: is told of steps done; those of `count_steps` in all.

    Returns:
        What was written: the same bytes for the same tables.

    Raises:
        StoreError: a table cannot be read, or another job's are of another scan.
        OSError: a file cannot be written.
    """
    sizes: list[int] = []

    def put(name: str, data: bytes) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes.append(path.write_bytes(data))

    chosen = {name: SECTIONS[name] for name in sections}
    patches = PatchReader(run)
    gallery = Gallery(run, layers, sheet_px, patches, put, advance, tuple(chosen.values()))
    written = {name: section.write(gallery) for name, section in chosen.items()}
    put(INDEX, overview_html(overview(run, tuple(written.values()))).encode())
    for name, data in render.static_files().items():
        put(f"static/{name}", data)
    return Written(written, sum(sizes))

"""`unitscope gallery`: a run as static pages.

The output folder is replaced as a whole, and only where it is absent, empty or a gallery already.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.io.folder_swap import replacing
from pipeline.io.objects import local_path
from pipeline.models.layer_globs import match_layers
from pipeline.report.gallery import INDEX, Written, count_steps, write_gallery
from pipeline.runtime.progress import make_progress
from pipeline.store import JobFolder, open_run
from schemas.errors import SpecError
from schemas.jobs.gallery import GallerySpec

_SIGN = b'<meta name="generator" content="unitscope gallery">'


@dataclass(frozen=True)
class Built:
    """A gallery that was written.

    Attributes:
        index: its first page.
        written: what it holds.
        seconds: how long it took.
    """

    index: Path
    written: Written
    seconds: float


def run(spec: GallerySpec) -> Built:
    """Draw a run, anew each time; the same tables give the same files.

    Args:
        spec: which run, which of its layers, and where to.

    Raises:
        LayerError: a glob matches no scanned layer, or nothing is left.
        NotPublishedError: the run has no scan yet.
        SpecError: the output folder is no local one, cannot be written, or holds other things.
        StoreError: a table cannot be read, or another job's are of another scan.
    """
    started = time.monotonic()
    folder = _folder(spec)
    source = open_run(spec.run)
    layers = source.table("layers", job="scan")
    chosen = match_layers(layers["layer"].tolist(), spec.layers, missing="matches no scanned layer")
    layers = layers[layers["layer"].isin(chosen)].sort_values("position")
    steps = count_steps(source, layers)
    try:
        with (
            replacing(folder) as fresh,
            make_progress("gallery", "images", total=sum(steps.values()), done=0) as progress,
        ):
            written = write_gallery(
                source, layers, steps, fresh, sheet_px=spec.sheet_px, advance=progress.advance
            )
    except OSError as error:
        raise SpecError(
            f"{folder}: the gallery cannot be written there ({error.strerror}); give another local "
            "folder by --out, or make room"
        ) from error
    return Built(folder / INDEX, written, time.monotonic() - started)


def as_text(built: Built) -> str:
    """What was written, where, and what would add to it, for a person."""
    written = built.written
    sections = written.sections.values()
    counts = ", ".join(section.counts for section in sections)
    lines = [
        f"gallery done in {built.seconds:.1f} s: {counts}, {written.bytes / 1e6:.1f} MB",
        f"open {built.index}",
        *(section.remark for section in sections if section.remark),
    ]
    return "\n".join(lines)


def _folder(spec: GallerySpec) -> Path:
    url = spec.out or JobFolder(spec.run, "gallery").url
    folder = local_path(url)
    if folder is None:
        raise SpecError(
            f"{url}: pages can only be written to a local folder; give one by --out and copy it to "
            "the store afterwards"
        )
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise SpecError(f"{folder}: is no folder; give another one by --out")
    if folder.is_dir() and any(folder.iterdir()) and not _is_gallery(folder):
        raise SpecError(
            f"{folder}: holds other things than a gallery, and would be replaced; give an empty or "
            "new folder by --out"
        )
    return folder


def _is_gallery(folder: Path) -> bool:
    index = folder / INDEX
    return index.is_file() and _SIGN in index.read_bytes()

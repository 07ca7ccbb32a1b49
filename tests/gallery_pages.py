"""A gallery's pages, written from a run's folder and read back."""

from __future__ import annotations

from collections.abc import Collection
from html.parser import HTMLParser
from pathlib import Path

from pipeline.report.gallery import Written, count_steps, write_gallery
from pipeline.store import open_run

SHEET_PX = 16


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self._names: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.found.append((tag, dict(attrs)))
        self._names.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        """Keep its text."""
        self.text += data

    def shape(self, besides: str = "") -> list[tuple[str, tuple[str, ...]]]:
        """The elements and the names of their attributes, but for those with one tag."""
        return [(tag, names) for tag, names in self._names if tag != besides]


def write_pages(
    url: str,
    folder: Path,
    layers: Collection[str] | None = None,
    told: list[int] | None = None,
) -> Written:
    """Write a run's gallery into a new folder, and see that its steps are those counted before.

    Args:
        url: the run's folder.
        folder: to make.
        layers: those to show; None: all.
        told: takes the steps, as they are told.
    """
    run = open_run(url)
    rows = run.table("layers", job="scan")
    chosen = rows if layers is None else rows[rows["layer"].isin(layers)]
    steps = [] if told is None else told

    def advance(*, items: int) -> None:
        steps.append(items)

    folder.mkdir()
    counted = count_steps(run, chosen)
    written = write_gallery(run, chosen, counted, folder, sheet_px=SHEET_PX, advance=advance)
    assert sum(steps) == sum(counted.values())
    return written


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its name relative to it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }

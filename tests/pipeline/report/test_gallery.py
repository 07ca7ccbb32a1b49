from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.report.gallery import INDEX
from pipeline.report.section import Gallery, NotePicture, Section, Summary, UnitNote
from pipeline.report.sections import SECTIONS
from pipeline.store.run import Run
from tests import made_up_run
from tests.gallery_pages import write_pages

LAYERS = {"conv1": 3, "conv2": 2}


class Toy(Section):
    """A section with one page."""

    name = "toy"

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def count(self, run: Run, layers: pd.DataFrame) -> int:
        assert (run.manifest("scan").job, len(layers)) == ("scan", 2)
        return self._steps

    def write(self, gallery: Gallery) -> Summary:
        gallery.put("toy/page.html", b"a page")
        gallery.advance(items=self._steps)
        return Summary("toys 1", facts=(("toys", "one"),), links=(("toy/page.html", "A toy"),))


def test_write_gallery_shows_what_a_new_section_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(SECTIONS, "toy", Toy(steps=7))
    told: list[int] = []
    written = write_pages(made_up_run.scan(tmp_path / "run", LAYERS), tmp_path / "pages", told=told)
    files = [path for path in (tmp_path / "pages").rglob("*") if path.is_file()]
    assert list(written.sections) == ["scan", "toy"]
    assert written.bytes == sum(path.stat().st_size for path in files)
    assert told[-1] == 7
    index = (tmp_path / "pages" / INDEX).read_text()
    assert '<p><a href="toy/page.html">A toy</a></p>' in index
    assert "<div><dt>toys</dt><dd>one</dd></div>" in index


class Telling(Toy):
    """A toy that knows something of unit 1 of the first layer."""

    def of_units(self, gallery: Gallery, layer: str) -> dict[int, UnitNote]:
        assert list(gallery.layers["layer"]) == list(LAYERS)
        picture = NotePicture("toy/a.webp", 8, 8, "a toy", "toy/page.html")
        return {1: UnitNote("A toy's note", "It is small.", (picture,))} if layer == "conv1" else {}


def test_write_gallery_gathers_what_sections_know_of_a_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By the hook `Section.of_units`, in the sections' order, in the unit's own detail."""
    url = made_up_run.scan(tmp_path / "run", LAYERS)
    made_up_run.occlude(url, [2])
    monkeypatch.setitem(SECTIONS, "toy", Telling(steps=7))
    write_pages(url, tmp_path / "pages")
    found = {}
    for name in ("000-conv1", "001-conv2"):
        text = (tmp_path / "pages" / "layers" / f"{name}.js").read_text()
        details = json.loads(text.removeprefix("unitscopeDetails(").removesuffix(");\n"))
        found[name] = [[note["title"] for note in detail["notes"]] for detail in details]
    watched = "Watched under a sliding window"
    assert found == {"000-conv1": [[watched], ["A toy's note"], []], "001-conv2": [[], []]}


def test_write_gallery_leaves_out_a_section_without_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(SECTIONS, "toy", Toy(steps=0))
    written = write_pages(made_up_run.scan(tmp_path / "run", LAYERS), tmp_path / "pages")
    assert list(written.sections) == ["scan"]
    assert not (tmp_path / "pages" / "toy").exists()

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from pipeline.report.gallery import INDEX, Written, count_steps, write_gallery
from pipeline.report.section import Gallery, Section, Summary
from pipeline.report.sections import SECTIONS
from pipeline.store import open_run
from pipeline.store.run import Run
from schemas.specs import Spec
from tests import made_up_run

LAYERS = {"conv1": 3, "conv2": 2}


class Toy(Section[Spec]):
    """A section with one page."""

    name = "toy"

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def count(self, run: Run, layers: pd.DataFrame) -> int:
        assert (run.manifest("scan").job, len(layers)) == ("scan", 2)
        return self._steps

    def write(self, gallery: Gallery) -> Summary:
        gallery.put("toy/page.html", b"a page")
        gallery.advance(images=self._steps)
        return Summary("toys 1", facts=(("toys", "one"),), links=(("toy/page.html", "A toy"),))

    def draw(self, run: Run, asked: Spec) -> Image.Image:
        raise NotImplementedError


def _write(url: str, folder: Path, told: list[int]) -> Written:
    run = open_run(url)
    folder.mkdir()

    def advance(*, images: int) -> None:
        told.append(images)

    layers = run.table("layers", job="scan")
    assert count_steps(run, layers) >= 5
    written = write_gallery(run, layers, folder, sheet_px=16, advance=advance)
    assert sum(told) == count_steps(run, layers)
    return written


def test_write_gallery_shows_what_a_new_section_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(SECTIONS, "toy", Toy(steps=7))
    told: list[int] = []
    written = _write(made_up_run.scan(tmp_path / "run", LAYERS), tmp_path / "pages", told)
    files = [path for path in (tmp_path / "pages").rglob("*") if path.is_file()]
    assert list(written.sections) == ["scan", "toy"]
    assert written.bytes == sum(path.stat().st_size for path in files)
    assert told[-1] == 7
    index = (tmp_path / "pages" / INDEX).read_text()
    assert '<p><a href="toy/page.html">A toy</a></p>' in index
    assert "<div><dt>toys</dt><dd>one</dd></div>" in index


def test_write_gallery_leaves_out_a_section_without_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(SECTIONS, "toy", Toy(steps=0))
    written = _write(made_up_run.scan(tmp_path / "run", LAYERS), tmp_path / "pages", [])
    assert list(written.sections) == ["scan"]
    assert not (tmp_path / "pages" / "toy").exists()

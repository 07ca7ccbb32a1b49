from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report.sections import PAPER, SECTIONS
from pipeline.report.sections.filters.pages import PAGE
from pipeline.store import open_run
from schemas.errors import NotPublishedError, SpecError
from schemas.jobs.filters import FiltersFigure
from tests import made_up_run
from tests.filter_pictures import filters
from tests.gallery_pages import Elements, files_of, write_pages
from tests.headless import opened

LAYERS = {"conv1": 7, "conv2": 3, "fc": 2}
WITH = {"conv1": 7, "conv2": 3}


def _run(folder: Path) -> str:
    url = made_up_run.scan(folder / "run", LAYERS)
    filters(url, WITH, unpatterned=("conv2",))
    return url


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    write_pages(_run(folder), folder / "pages")
    return folder / "pages"


def test_write_gives_a_page_and_sheets_per_layer(written: Path):
    files = files_of(written)
    own = sorted(name for name in files if name.startswith("filters"))
    assert own == [
        PAGE, "filters/000-conv1-layer.webp", "filters/000-conv1-own.webp",
        "filters/000-conv1.html", "filters/001-conv2.html",
    ]  # fmt: skip
    assert f'href="{PAGE}"' in files["index.html"].decode()
    page = Elements(files["filters/000-conv1.html"].decode())
    titles = [tag for tag, _ in page.found].count("title")
    assert titles == 1 + 2 * 7
    links = [attrs["href"] for tag, attrs in page.found if tag == "a" and attrs.get("href")]
    assert sum("#unit-3" in str(link) for link in links) == 2
    assert "unit 5 is dead" in page.text
    assert "1 x 1 mix channels" in files["filters/001-conv2.html"].decode()
    with Image.open(io.BytesIO(files["filters/000-conv1-layer.webp"])) as sheet:
        pixels = np.asarray(sheet.convert("RGBA"))
    assert pixels[2, 2].tolist() == [255] * 4
    assert pixels[2, 4 * 5 + 4 + 2].tolist() == [191, 191, 191, 255]


def test_write_says_of_a_unit_what_its_filter_is(written: Path):
    [details] = (written / "layers").glob("000-conv1.js")
    assert details.read_text().count("filter, 3 x 5 of conv1.conv") == LAYERS["conv1"]
    assert "RMS 0.25, 0.5 x the median" in details.read_text()
    [other] = (written / "layers").glob("*-fc.js")
    assert "filter" not in other.read_text()


def test_write_leads_to_files_that_exist(written: Path):
    for page in (PAGE, "filters/000-conv1.html", "filters/001-conv2.html"):
        folder = (written / page).parent
        links = re.findall(r' (?:href|src)="([^"#]+)[^"]*"', (written / page).read_text())
        assert links
        for link in links:
            assert (folder / link).is_file(), link


def test_write_in_a_browser_breaks_no_rule_of_its_own(written: Path, tmp_path: Path):
    for page in (PAGE, "filters/000-conv1.html"):
        _, console = opened((written / page).as_uri(), tmp_path / page.replace("/", "-"))
        assert console == []


def test_write_some_layers_only_shows_their_filters(tmp_path: Path):
    write_pages(_run(tmp_path), tmp_path / "pages", layers=["conv2", "fc"])
    files = files_of(tmp_path / "pages")
    assert sorted(name for name in files if name.startswith("filters/")) == [
        "filters/001-conv2.html"
    ]


def test_write_again_gives_the_same_bytes(tmp_path: Path):
    url = _run(tmp_path)
    write_pages(url, tmp_path / "one")
    write_pages(url, tmp_path / "two")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_write_without_filters_writes_nothing(tmp_path: Path):
    write_pages(made_up_run.scan(tmp_path / "run", LAYERS), tmp_path / "pages")
    files = files_of(tmp_path / "pages")
    assert not [name for name in files if name.startswith("filters")]


def test_draw_gives_the_layer_asked_for_or_the_choices(tmp_path: Path):
    section, url = SECTIONS["filters"], made_up_run.scan(tmp_path / "run", LAYERS)
    with pytest.raises(NotPublishedError, match="unitscope filters"):
        section.draw(open_run(url), FiltersFigure(filters="conv1"))
    filters(url, WITH, unpatterned=("conv2",))
    run = open_run(url)
    assert section.draw(run, FiltersFigure(filters="conv1")).size[0] > 1000
    with pytest.raises(SpecError, match=r"--filters conv2: its kernels are 1 x 1 .* conv1"):
        section.draw(run, FiltersFigure(filters="conv2"))
    with pytest.raises(SpecError, match=r"--filters fc: .* no filters of this layer; .*conv1"):
        section.draw(run, FiltersFigure(filters="fc"))


def test_draw_beside_takes_the_same_layer_or_the_first_with_a_pattern(tmp_path: Path):
    section, run = SECTIONS["filters"], open_run(_run(tmp_path / "a"))
    for place, layers in enumerate(({"conv0": 2, "conv1": 7}, {"other": 7})):
        url = made_up_run.scan(tmp_path / f"b{place}", layers)
        filters(url, layers)
        drawn = section.draw(run, FiltersFigure(filters="conv1", beside=url))
        assert drawn.size[0] > 1000
    flat = made_up_run.scan(tmp_path / "flat", {"conv1": 2})
    filters(flat, {"conv1": 2}, unpatterned=("conv1",))
    with pytest.raises(SpecError, match=r"--beside .*flat: its kernels are all 1 x 1"):
        section.draw(run, FiltersFigure(filters="conv1", beside=flat))


def test_draw_paper_is_the_first_layer_with_a_pattern(tmp_path: Path):
    section, url = PAPER["filters"], made_up_run.scan(tmp_path / "run", WITH)
    filters(url, WITH, unpatterned=("conv1",))
    run = open_run(url)
    wanted = section.draw(run, FiltersFigure(filters="conv2"))
    assert section.draw_paper(run).tobytes() == wanted.tobytes()

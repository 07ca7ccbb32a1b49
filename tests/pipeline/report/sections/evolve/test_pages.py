from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.sections.evolve.history import EvolutionReader
from pipeline.report.sections.evolve.pages import PAGE, SECTION, evolve_html
from pipeline.store import open_run
from schemas.errors import LayerError
from schemas.jobs.evolve import EvolutionFigure
from tests import evolving, made_up_run
from tests.gallery_pages import Elements, files_of, write_pages
from tests.headless import opened

LAYERS = {"conv1": 2, "conv2": 6}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


@pytest.fixture
def run(tmp_path: Path) -> str:
    url = made_up_run.scan(tmp_path / "run", LAYERS)
    evolving.publish(url, LAYERS)
    return url


def test_write_puts_pages_that_the_overview_names(run: str, tmp_path: Path):
    write_pages(run, tmp_path / "pages")

    files = files_of(tmp_path / "pages")
    index = files["index.html"].decode()
    assert f'href="{PAGE}"' in index
    assert "Evolution: 2 layers through 3 checkpoints of training" in index
    assert {"evolve/000-conv1.html", "evolve/001-conv2.html", "static/evolve.css"} <= files.keys()
    cells = [name for name in files if name.startswith("evolve/001-conv2/")]
    assert len(cells) == 4 * 3 - 1
    assert "evolve/001-conv2/00002-000.webp" not in cells


def test_pages_are_the_same_twice(run: str, tmp_path: Path):
    write_pages(run, tmp_path / "a")
    write_pages(run, tmp_path / "b")

    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_page_of_all_layers_says_when_each_settled_and_which_weights_are_equal(
    run: str, tmp_path: Path
):
    write_pages(run, tmp_path / "pages")

    page = (tmp_path / "pages" / PAGE).read_text()
    assert "e2 and e3 hold the same weights" in page
    assert "is at least 50%." in page
    rows = [line for line in page.splitlines() if 'scope="row"' in line]
    assert ["<td>e2</td>" in row for row in rows] == [True, False]
    assert ["<td>at the last</td>" in row for row in rows] == [False, True]
    assert '<td class="s1">12%</td><td class="s8">75%</td><td class="s10">100%</td>' in rows[0]
    assert page.count('class="point"') == 6


def test_page_of_a_layer_has_a_cell_per_unit_and_checkpoint(run: str, tmp_path: Path):
    write_pages(run, tmp_path / "pages")

    page = (tmp_path / "pages" / "evolve" / "001-conv2.html").read_text()
    elements = Elements(page)
    cells = [attributes for tag, attributes in elements.found if tag == "td"]
    assert len(cells) == 12
    assert [cell.get("class") for cell in cells].count("jump") == 1
    assert elements.text.count("dead") == 2
    assert "1 of 6 jumped" in elements.text
    assert 'href="../layers/001-conv2.html#unit-3"' in page
    assert 'href="../evolve/000-conv1.html"' in page
    pictures = [attributes["src"] for tag, attributes in elements.found if tag == "img"]
    folder = tmp_path / "pages" / "evolve"
    assert all((folder / str(picture)).is_file() for picture in pictures)


def test_units_note_says_how_often_each_jumped_and_shows_checkpoints(run: str, tmp_path: Path):
    write_pages(run, tmp_path / "pages")

    details = (tmp_path / "pages" / "layers" / "001-conv2.js").read_text()
    assert details.count("Its strongest image changed ") == 4
    assert details.count("changed 0 times in 3 checkpoints.") == 3
    assert "changed 1 time in 3 checkpoints, last at e2." in details
    assert "evolve/001-conv2/00001-001.webp" in details
    assert "evolve/001-conv2/00002-000.webp" not in details
    assert "evolve/001-conv2.html#unit-1" in details
    assert 'id="unit-1"' in (tmp_path / "pages" / "evolve" / "001-conv2.html").read_text()


def test_gallery_of_some_layers_shows_these(run: str, tmp_path: Path):
    write_pages(run, tmp_path / "pages", layers=["conv2"])

    assert not (tmp_path / "pages" / "evolve" / "000-conv1.html").exists()
    page = (tmp_path / "pages" / "evolve" / "001-conv2.html").read_text()
    assert "conv1" not in page
    assert SECTION.count(open_run(run), open_run(run).table("layers", job="scan").iloc[:0]) == 0


def test_section_is_left_out_where_nothing_was_followed(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", LAYERS)

    assert SECTION.count(open_run(url), open_run(url).table("layers", job="scan")) == 0
    write_pages(url, tmp_path / "pages")
    assert not (tmp_path / "pages" / PAGE).exists()


def test_page_with_hostile_names_runs_no_script(run: str, tmp_path: Path):
    reader = EvolutionReader(open_run(run))
    reader.checkpoints = (HOSTILE, "e2", HOSTILE)
    write_pages(run, tmp_path / "pages")
    page = tmp_path / "pages" / PAGE
    page.write_text(evolve_html(run, reader, ()))

    text = page.read_text()
    assert "<script" not in text
    assert "<img" not in text
    assert "49" not in text
    shown = opened(page.as_uri(), tmp_path / "profile")
    assert "When does each layer settle?" in shown.dom
    assert shown.console == []


def test_draw_shows_the_units_of_a_layer(run: str):
    picture = SECTION.draw(open_run(run), EvolutionFigure(evolve="conv2"))

    assert picture.height > SECTION.draw(open_run(run), EvolutionFigure(evolve="conv1")).height
    with pytest.raises(LayerError, match="'conv' was not followed; nearest: conv"):
        SECTION.draw(open_run(run), EvolutionFigure(evolve="conv"))


def test_figure_of_the_paper_has_a_block_per_layer(run: str):
    blocks = [SECTION.draw(open_run(run), EvolutionFigure(evolve=layer)) for layer in LAYERS]

    figure = SECTION.draw_paper(open_run(run))

    assert figure.height == sum(block.height for block in blocks)
    assert figure.width == max(block.width for block in blocks)

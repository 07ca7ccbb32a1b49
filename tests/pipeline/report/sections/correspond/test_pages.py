from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.report.sections.correspond.pages import PAGE, SECTION, correspond_html, page_of
from pipeline.store import open_run
from schemas.errors import SpecError
from schemas.jobs.correspond import ConsistencyFigure
from tests import made_up_run
from tests.corresponding import EYE, NOSE, publish
from tests.gallery_pages import write_pages
from tests.headless import opened

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


@pytest.fixture
def run(tmp_path: Path) -> str:
    """Two parts at two layers."""
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2, "conv2": 2})
    first = [replace(part, layer="conv1") for part in (EYE, NOSE)]
    publish(url, [*first, EYE, NOSE])
    return url


def test_write_puts_a_page_that_the_overview_names(run: str, tmp_path: Path):
    write_pages(run, tmp_path / "pages")

    index = (tmp_path / "pages" / "index.html").read_text()
    assert f'href="{PAGE}"' in index
    assert "Correspondence: 2 parts masked in 11 images" in index
    assert (tmp_path / "pages" / "static" / "correspond.css").is_file()


def test_section_is_left_out_where_nothing_was_measured(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2})

    assert SECTION.count(open_run(url), open_run(url).table("layers", job="scan")) == 0
    write_pages(url, tmp_path / "pages")
    assert not (tmp_path / "pages" / PAGE).exists()


def test_page_prints_the_table_of_the_paper_and_the_reference_apart(run: str):
    first = [replace(part, layer="conv1") for part in (EYE, NOSE)]

    page = page_of(run, [first, [EYE, NOSE]])
    text = correspond_html(page)

    eye, nose = page.rows
    assert (eye[0], eye[1], [cell.delta for cell in eye[2]]) == ("eye", 11, ["0.100", "0.100"])
    assert eye[2][0].random == "0.200 ± 0.020"
    assert (eye[2][0].deviations, nose[2][0].deviations) == ("+5.0", "none")
    assert eye[2][0].changed == "50.0% / 25.0%"
    assert text.count('class="part"') == 4
    assert text.count('class="random"') == 2 * (3 + 2)
    before, after = text.split("Reference: another network, other pictures")
    assert "0.107" in after
    assert "0.107" not in before


def test_page_with_a_hostile_part_runs_no_script(run: str, tmp_path: Path):
    part = replace(EYE, part=HOSTILE)
    publish_to = tmp_path / PAGE
    publish_to.write_text(correspond_html(page_of(run, [[part]])))

    text = publish_to.read_text()
    assert "<script" not in text
    assert "<img" not in text
    assert "49" not in text
    page = opened(publish_to.as_uri(), tmp_path / "profile")
    assert "Does the network tie the parts together?" in page.dom
    assert page.console == []


def test_draw_shows_one_part_or_all(run: str):
    one = SECTION.draw(open_run(run), ConsistencyFigure(consistency="nose"))
    both = SECTION.draw(open_run(run), ConsistencyFigure(consistency="all"))

    assert one.height < both.height
    with pytest.raises(SpecError, match="no correspondence of this part; nearest: nose"):
        SECTION.draw(open_run(run), ConsistencyFigure(consistency="noze"))

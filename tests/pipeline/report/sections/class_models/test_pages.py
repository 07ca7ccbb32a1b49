from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report.sections import SECTIONS
from pipeline.report.sections.class_models.pages import PAGE, TARGETS_PER_PAGE, page_name
from pipeline.store import open_run
from schemas.errors import NotPublishedError, SpecError
from schemas.jobs.class_models import ClassModelsFigure
from tests import made_up_run
from tests.class_models_pictures import class_models, colour_of
from tests.gallery_pages import Elements, files_of, write_pages
from tests.headless import opened

LAYERS = {"conv1": 4, "fc": 10}
TARGETS = [("conv1", 1), ("conv1", 3), ("fc", 6)]


def _write(url: str, folder: Path, layers: list[str] | None = None) -> dict[str, bytes]:
    write_pages(url, folder, layers)
    return files_of(folder)


def _run(folder: Path, **more: object) -> str:
    url = made_up_run.scan(folder / "run", LAYERS)
    class_models(url, TARGETS, **more)  # type: ignore[arg-type]
    return url


def test_write_shows_every_image_and_leads_to_its_unit(tmp_path: Path):
    files = _write(_run(tmp_path, starts=2), tmp_path / "pages", ["conv1"])
    page = Elements(files[PAGE].decode())
    images = [attrs for tag, attrs in page.found if tag == "img"]
    assert [attrs["src"] for attrs in images] == [
        f"class-models/{place:05d}-{start}.webp" for place in range(3) for start in range(2)
    ]
    for attrs in images:
        assert attrs["alt"]
        assert attrs["loading"] == "lazy"
        assert (attrs["width"], attrs["height"]) == ("224", "224")
    with Image.open(tmp_path / "pages" / "class-models" / "00002-1.webp") as picture:
        difference = np.asarray(picture.convert("RGB")).astype(int) - colour_of(3, 1)
    assert np.abs(difference).max() < 8
    links = [str(attrs["href"]) for tag, attrs in page.found if tag == "a"]
    assert sum("#unit-1" in link for link in links) == 2
    assert not any("#unit-6" in link for link in links)  # its layer has no page here
    assert len([tag for tag, _ in page.found if tag == "polyline"]) == 2 * 6
    assert f'href="{PAGE}"' in files["index.html"].decode()


def test_write_tells_the_unit_s_detail_of_its_images(tmp_path: Path):
    files = _write(_run(tmp_path, starts=2), tmp_path / "pages")
    for script, units in (("layers/000-conv1.js", {1: 1, 3: 2}), ("layers/001-fc.js", {6: 0})):
        text = files[script].decode().removeprefix("unitscopeDetails(").removesuffix(");\n")
        for unit, detail in enumerate(json.loads(text)):
            notes = detail["notes"]
            assert [note["title"] for note in notes] == ["What raises it most"] * (unit in units)
            for note in notes:
                shown = [(picture["file"], picture["page"]) for picture in note["pictures"]]
                assert shown == [
                    (f"class-models/{units[unit]:05d}-{start}.webp", PAGE) for start in range(2)
                ]
                assert all(file in files for file, _ in shown)
                assert all(min(p["width"], p["height"]) > 0 for p in note["pictures"])


def test_write_of_an_ascent_that_is_no_number_leaves_out_the_line(tmp_path: Path):
    files = _write(_run(tmp_path, last_score=float("nan")), tmp_path / "pages")
    page = Elements(files[PAGE].decode())
    assert not [tag for tag, _ in page.found if tag == "polyline"]
    assert "0.5 to nan" in page.text


def test_write_without_class_models_writes_nothing(tmp_path: Path):
    files = _write(made_up_run.scan(tmp_path / "run", LAYERS), tmp_path / "pages")
    assert not [name for name in files if name.startswith("class-models")]
    assert PAGE.encode() not in files["index.html"]


def test_write_many_targets_on_pages_that_lead_to_each_other(tmp_path: Path):
    units = 2 * TARGETS_PER_PAGE + 1
    url = made_up_run.scan(tmp_path / "run", {"conv1": units})
    class_models(url, [("conv1", unit) for unit in range(units)])
    files = _write(url, tmp_path / "pages")
    names = [name for name in files if re.fullmatch(r"class-models.*\.html", name)]
    assert sorted(names) == sorted(page_name(place) for place in range(3))
    count = 0
    for place in range(3):
        page = files[page_name(place)].decode()
        beside = {
            attrs["rel"]: attrs["href"] for _, attrs in Elements(page).found if "rel" in attrs
        }
        for rel, other in {"prev": place - 1, "next": place + 1}.items():
            assert beside.get(rel) == (page_name(other) if 0 <= other < 3 else None)
        for link in re.findall(r' (?:href|src)="([^"#]+)', page):
            assert (tmp_path / "pages" / link).is_file(), link
        count += page.count("<figure")
    assert count == units


def test_write_again_gives_the_same_bytes(tmp_path: Path):
    url = _run(tmp_path)
    assert _write(url, tmp_path / "one") == _write(url, tmp_path / "two")


def test_write_page_in_a_browser_holds_no_element_of_a_name(tmp_path: Path):
    pages = []
    for at, names in enumerate((made_up_run.naughty_names, made_up_run.plain_names)):
        url = made_up_run.scan(tmp_path / str(at), LAYERS, names=names)
        class_models(url, [("fc", unit) for unit in range(10)])
        _write(url, tmp_path / f"pages{at}")
        pages.append(tmp_path / f"pages{at}" / PAGE)
    dom, console = opened(pages[0].as_uri(), tmp_path / "profile")
    assert console == []
    hostile, plain = (Elements(text) for text in (dom, pages[1].read_text()))
    assert hostile.shape(besides="wbr") == plain.shape(besides="wbr")
    assert made_up_run.naughty_names(3)[1] in hostile.text


def test_draw_takes_a_class_by_number_or_name_and_a_unit(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", LAYERS)
    section, run = SECTIONS["class-models"], open_run(url)
    with pytest.raises(NotPublishedError, match="unitscope class-models"):
        section.draw(run, ClassModelsFigure(class_model="6"))
    class_models(url, TARGETS, starts=3)
    run = open_run(url)
    drawn = [section.draw(run, ClassModelsFigure(class_model=name)) for name in ("6", "thing 6")]
    assert drawn[0].size[0] > 1000
    assert drawn[0].tobytes() == drawn[1].tobytes()
    assert section.draw(run, ClassModelsFigure(class_model="conv1:3")).size[0] > 1000
    with pytest.raises(SpecError, match=r"--class-model conv1:2: .* nearest: conv1:[13]"):
        section.draw(run, ClassModelsFigure(class_model="conv1:2"))

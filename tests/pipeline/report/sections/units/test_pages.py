from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.report.render import static_files
from pipeline.report.sections.units.pages import UNITS_AT_ONCE, UnitsSection
from pipeline.store import open_run
from schemas.errors import LayerError
from schemas.jobs.scan import UnitsFigure
from tests import made_up_run
from tests.gallery_pages import Elements, files_of, write_pages
from tests.headless import opened

LAYERS = {"conv1": 12, "conv2": UNITS_AT_ONCE + 9}
NAUGHTY = 500


def _projected(folder: Path, **more: Any) -> str:
    url = made_up_run.scan(folder, LAYERS, **more)
    made_up_run.project(url, LAYERS, **more)
    return url


def _details(file: Path) -> list[dict[str, Any]]:
    text = file.read_text().removeprefix("unitscopeDetails(").removesuffix(");\n")
    parsed: list[dict[str, Any]] = json.loads(text)
    return parsed


def test_write_has_a_page_a_layer_and_a_sheet_a_living_unit(tmp_path: Path):
    told: list[int] = []
    written = write_pages(_projected(tmp_path / "run"), tmp_path / "pages", told=told)
    files = files_of(tmp_path / "pages")
    units = sum(LAYERS.values())
    assert written.bytes == sum(map(len, files.values()))
    assert written.sections.keys() == {"scan"}
    assert written.sections["scan"].counts == f"layers 2, units {units} (dead 2)"
    assert written.sections["scan"].remark == ""
    assert (sum(told), max(told)) == (units, UNITS_AT_ONCE)
    sheets = {
        f"sheets/{place:03d}-{layer}/{unit:05d}.webp"
        for place, (layer, count) in enumerate(LAYERS.items())
        for unit in range(count)
        if unit != made_up_run.DEAD
    }
    pages = {"index.html", "layers/000-conv1.html", "layers/000-conv1.js"} | {
        "layers/001-conv2.html", "layers/001-conv2.js"
    }  # fmt: skip
    static = {f"static/{name}" for name in static_files()}
    assert files.keys() == sheets | pages | static


def test_write_links_of_every_page_lead_to_files_and_anchors(tmp_path: Path):
    write_pages(_projected(tmp_path / "run"), tmp_path / "pages")
    for page in (tmp_path / "pages").rglob("*.html"):
        for link in re.findall(r' (?:href|src)="([^"]+)"', page.read_text()):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.is_file(), link
            if anchor:
                assert f'id="{anchor}"' in target.read_text()


def test_write_sheets_show_projections_left_and_patches_right(tmp_path: Path):
    write_pages(_projected(tmp_path / "run"), tmp_path / "pages")
    data = (tmp_path / "pages" / "sheets" / "001-conv2" / "00070.webp").read_bytes()
    sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert sheet.shape == (52, 112, 3)
    left, right = sheet[8, 8], sheet[8, 60 + 8]
    assert left[2] - left[0] > 100
    assert right[0] - right[2] > 100


def test_write_details_stand_at_their_unit(tmp_path: Path):
    url = _projected(tmp_path / "run")
    write_pages(url, tmp_path / "pages")
    details = _details(tmp_path / "pages" / "layers" / "001-conv2.js")
    top = open_run(url).table("top_patches", layer="conv2")
    assert len(details) == LAYERS["conv2"]
    for unit, detail in enumerate(details):
        rows = top[top["unit"] == unit]
        assert [patch["image"] for patch in detail["patches"]] == [
            Path(uri).name for uri in rows["uri"]
        ]
    assert details[made_up_run.DEAD]["histogram"] is None


def test_write_twice_gives_the_same_bytes(tmp_path: Path):
    url = _projected(tmp_path / "run")
    write_pages(url, tmp_path / "one")
    write_pages(url, tmp_path / "two")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


@pytest.mark.parametrize(("projected", "unprojected"), [({}, 2), ({"conv2": 3}, 1)])
def test_write_without_projections_shows_patches_and_says_how_to_add_them(
    tmp_path: Path, projected: dict[str, int], unprojected: int
):
    """Where other layers are projected, their folder refuses more: no command is promised."""
    url = made_up_run.scan(tmp_path / "run", LAYERS)
    if projected:
        made_up_run.project(url, projected)
    written = write_pages(url, tmp_path / "pages")
    words = f"unitscope project {url}"
    said = [
        words in (tmp_path / "pages" / page).read_text()
        for page in ("index.html", "layers/000-conv1.html", "layers/001-conv2.html")
    ]
    remark = written.sections["scan"].remark
    assert remark.startswith(f"{unprojected} of 2 layers show patches only; ")
    assert (words in remark) == (not projected)
    assert said == [not projected] * 3
    data = (tmp_path / "pages" / "sheets" / "000-conv1" / "00000.webp").read_bytes()
    assert Image.open(io.BytesIO(data)).size == (52, 52)


def test_write_five_hundred_naughty_names_inject_nothing(tmp_path: Path):
    layers = {"conv1": 64}
    for name, names in (("plain", made_up_run.plain_names), ("naughty", made_up_run.naughty_names)):
        url = made_up_run.scan(tmp_path / name / "run", layers, names=names, images=NAUGHTY)
        made_up_run.project(url, layers, names=names, images=NAUGHTY)
        write_pages(url, tmp_path / name / "pages")
    for page in ("index.html", "layers/000-conv1.html"):
        plain, naughty = (
            Elements((tmp_path / name / "pages" / page).read_text()).shape()
            for name in ("plain", "naughty")
        )
        assert naughty == plain
    script = tmp_path / "naughty" / "pages" / "layers" / "000-conv1.js"
    assert not set(script.read_text()) & set("<>&'")
    shown = {
        (patch["image"], patch["class_name"])
        for detail in _details(script)
        for patch in detail["patches"]
    }
    names = (made_up_run.naughty_names(image_id) for image_id in range(NAUGHTY))
    expected = {(uri.rpartition("/")[2], words) for uri, words in names}
    # Unit 5 is dead and unit 3 has two patches: 16 of 576 places are left out, and come again.
    assert len(shown) > NAUGHTY - 20
    assert shown <= expected


def test_write_page_in_a_browser_fills_the_detail_with_text_alone(tmp_path: Path):
    layers = {"conv1": 64}
    url = made_up_run.scan(
        tmp_path / "run", layers, names=made_up_run.naughty_names, images=NAUGHTY
    )
    made_up_run.project(url, layers, names=made_up_run.naughty_names, images=NAUGHTY)
    write_pages(url, tmp_path / "pages")
    page = (tmp_path / "pages" / "layers" / "000-conv1.html").as_uri()
    dom, console = opened(f"{page}#unit-7", tmp_path / "profile")
    assert console == []
    dialog = dom[dom.index("<dialog") : dom.index("</dialog>")]
    found = Elements(dialog).shape()
    assert (found[0][0], found[0][1][-1]) == ("dialog", "open")
    # Nine patches, and their classes: six and the others.
    assert [tag for tag, _ in found].count("li") == 9 + 7
    allowed = {"b", "button", "dd", "dialog", "div", "dl", "dt", "figcaption", "figure", "g", "h2"}
    allowed |= {"header", "li", "ol", "p", "path", "span", "svg", "text"}
    allowed |= {"a", "h3", "rect", "section", "ul"}
    assert {tag for tag, _ in found} <= allowed
    assert not any(name.startswith("on") for _, names in found for name in names)
    expected = [made_up_run.naughty_names(image_id)[1] for image_id in range(63, 72)]
    shown = re.findall(r'data-field="class_name">(.*?)</span>', dialog, flags=re.DOTALL)
    assert len(shown) == 9
    for text, words in zip(shown, expected, strict=True):
        assert words is not None
        escaped = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert text == escaped.replace("\x00", "")


def test_write_page_in_a_browser_shows_all_that_is_known_of_a_unit(tmp_path: Path):
    """Patches, classes, and what the occlusion knows, under the unit's link; names stay text."""
    names = made_up_run.naughty_names
    url = made_up_run.scan(tmp_path / "run", {"conv1": 2}, names=names)
    made_up_run.occlude(url, [2, 30], names=names)
    write_pages(url, tmp_path / "pages")
    page = (tmp_path / "pages" / "layers" / "000-conv1.html").as_uri()
    dom, console = opened(f"{page}#unit-0", tmp_path / "profile")
    assert console == []
    dialog = dom[dom.index("<dialog") : dom.index("</dialog>")]
    elements = Elements(dialog)
    links = [attrs.get("href") for tag, attrs in elements.found if tag == "a"]
    pages = ["occlusion.html", "occlusion/000002.html", "occlusion/000030.html"]
    assert links == ["#unit-0", *(f"../{name}" for name in pages)]
    sources = [attrs["src"] for tag, attrs in elements.found if tag == "img"]
    assert sources == [f"../occlusion/{image:06d}-0-activity.webp" for image in (2, 30)]
    assert all((tmp_path / "pages" / "layers" / str(source)).is_file() for source in sources)
    assert "strongest map of 2 images of the 2 that were occluded" in elements.text
    assert f"{names(2)[1]}: p falls by 0.498 of 0.75" in elements.text
    assert "are of class" in elements.text
    other, console = opened(f"{page}#unit-1", tmp_path / "profile2")
    assert console == []
    assert "strongest map" not in Elements(other[other.index("<dialog") :]).text


def test_write_of_a_raw_layer_keeps_units_that_never_exceed_zero(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", {"fc": 8}, activation=False)
    written = write_pages(url, tmp_path / "pages")
    assert written.sections["scan"].counts == "layers 1, units 8 (dead 0)"
    details = _details(tmp_path / "pages" / "layers" / "000-fc.js")
    assert details[made_up_run.DEAD]["histogram"] is not None


def test_draw_one_unit_or_a_sheet_of_those_that_the_layer_has(tmp_path: Path):
    run = open_run(made_up_run.scan(tmp_path / "run", {"conv1": 4}))
    section = UnitsSection()
    three, sheet, rest = (
        section.draw(run, UnitsFigure(layer="conv1", **asked)).size
        for asked in ({"unit": 3}, {}, {"units": "2-900"})
    )
    assert three != sheet
    assert rest[1] < sheet[1]
    with pytest.raises(LayerError, match=r"conv1 has no unit 4; choices: 0 to 3"):
        section.draw(run, UnitsFigure(layer="conv1", units="4-5"))

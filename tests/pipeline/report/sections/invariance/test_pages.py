from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.report.sections.invariance.pages import (
    IMAGES_PER_PAGE,
    MOST_LINES,
    PAGE,
    SECTION,
    page_name,
)
from pipeline.store import open_run
from schemas.errors import NotPublishedError, SpecError
from schemas.jobs.invariance import InvarianceFigure
from tests import made_up_run
from tests.gallery_pages import Elements, files_of, write_pages
from tests.headless import opened
from tests.moved_images import publish

NETWORK = {"conv2": 2, "conv1": 2}


def _write(url: str, folder: Path) -> dict[str, bytes]:
    write_pages(url, folder)
    return files_of(folder)


def _run(folder: Path, images: list[int], **more: object) -> str:
    url = made_up_run.scan(folder / "run", NETWORK, **more)  # type: ignore[arg-type]
    publish(url, images, **more)  # type: ignore[arg-type]
    return url


def _paths(page: Elements, kind: str) -> list[str]:
    return [str(attrs["d"]) for _, attrs in page.found if attrs.get("class") == kind]


def test_write_shows_curves_areas_and_every_image(tmp_path: Path):
    files = _write(_run(tmp_path, [2, 30]), tmp_path / "pages")

    page = Elements(files[PAGE].decode())
    assert len(_paths(page, "mean")) == len(_paths(page, "band")) == 3 * 3
    assert len(_paths(page, "line")) == 3 * 3 * 2
    assert all(re.fullmatch(r"(M[\d.]+ [\d.]+(L[\d.]+ [\d.]+)+)+", d) for d in _paths(page, "mean"))
    assert "varies less than the first, conv2, under translation, scale and rotation" in page.text
    assert "Rotation hurts most" in page.text
    strips = {name for name in files if name.startswith("invariance/")}
    images = [attrs for tag, attrs in page.found if tag == "img"]
    assert {attrs["src"] for attrs in images} == strips
    assert len(strips) == 2 * 3
    for attrs in images:
        assert attrs["alt"]
        assert attrs["loading"] == "lazy"
        assert {"width", "height"} <= attrs.keys()
    assert f'href="{PAGE}"' in files["index.html"].decode()
    assert b"Invariance: 2 images moved" in files["index.html"]
    assert "static/invariance.css" in files


def test_write_without_invariance_writes_nothing(tmp_path: Path):
    files = _write(made_up_run.scan(tmp_path / "run", NETWORK), tmp_path / "pages")

    assert not [name for name in files if name.startswith("invariance")]
    assert PAGE.encode() not in files["index.html"]


def test_write_many_images_on_pages_that_lead_to_each_other(tmp_path: Path):
    images = list(range(2 * IMAGES_PER_PAGE + 1))
    url = made_up_run.scan(tmp_path / "run", NETWORK, images=len(images))
    publish(url, images)

    files = _write(url, tmp_path / "pages")

    found = []
    for place in range(3):
        page = Elements(files[page_name(place)].decode())
        beside = {attrs["rel"]: attrs["href"] for _, attrs in page.found if "rel" in attrs}
        for rel, other in {"prev": place - 1, "next": place + 1}.items():
            assert beside.get(rel) == (page_name(other) if 0 <= other < 3 else None)
        assert bool(_paths(page, "mean")) == (place == 0)
        ids = [str(attrs["id"]) for tag, attrs in page.found if tag == "section" and "id" in attrs]
        found += [int(each.removeprefix("image-")) for each in ids]
        for link in re.findall(r' (?:href|src)="([^"]+)"', files[page_name(place)].decode()):
            assert (tmp_path / "pages" / link).is_file(), link
    assert found == images
    assert len(images) > MOST_LINES
    assert not _paths(Elements(files[PAGE].decode()), "line")


def test_write_again_gives_the_same_bytes(tmp_path: Path):
    url = _run(tmp_path, [2, 3, 30])

    assert _write(url, tmp_path / "one") == _write(url, tmp_path / "two")


@pytest.fixture(scope="module")
def naughty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pages of images with naughty names, every kind of them, and the same with harmless ones."""
    folders = []
    for names in (made_up_run.naughty_names, lambda each: (f"{each}.png", f"class {each}")):
        folder = tmp_path_factory.mktemp("named")
        _write(_run(folder, list(range(20)), names=names), folder / "pages")
        folders.append(folder / "pages")
    return folders[0], folders[1]


def test_write_naughty_names_stay_text(naughty: tuple[Path, Path]):
    hostile, plain = (Elements((folder / PAGE).read_text()) for folder in naughty)

    assert hostile.shape(besides="wbr") == plain.shape(besides="wbr")
    for each in range(20):
        assert str(made_up_run.naughty_names(each)[1]) in hostile.text
    for tag, attrs in hostile.found:
        assert tag not in ("style", "script", "iframe", "object", "base")
        assert "style" not in attrs
        assert not any(attribute.startswith("on") for attribute in attrs)


def test_write_page_in_a_browser_holds_no_element_of_a_name(
    naughty: tuple[Path, Path], tmp_path: Path
):
    dom, console = opened((naughty[0] / PAGE).as_uri(), tmp_path / "profile")

    assert console == []
    assert Elements(dom).shape(besides="wbr") == Elements((naughty[1] / PAGE).read_text()).shape(
        besides="wbr"
    )


def test_draw_gives_the_image_asked_for_all_or_the_choices(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", NETWORK)
    section, run = SECTION, open_run(url)
    with pytest.raises(NotPublishedError, match="unitscope invariance"):
        section.draw(run, InvarianceFigure(invariance="3"))
    publish(url, list(range(3, 30)))

    one, all_ = (section.draw(run, InvarianceFigure(invariance=each)) for each in ("3", "all"))

    assert one.width == all_.width > 1000
    assert one.height < all_.height
    assert section.draw_paper(run).tobytes() == all_.tobytes()
    with pytest.raises(SpecError, match=r"--invariance 2: .* choices: 3, 4.* 14 \.\.\., or all$"):
        section.draw(run, InvarianceFigure(invariance="2"))

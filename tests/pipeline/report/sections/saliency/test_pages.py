from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report.sections import SECTIONS
from pipeline.report.sections.saliency.pages import IMAGES_PER_PAGE, SALIENCY, page_name
from pipeline.store import open_run
from schemas.errors import NotPublishedError, SpecError
from schemas.jobs.saliency import SaliencyFigure
from tests import made_up_run
from tests.gallery_pages import Elements, files_of, write_pages
from tests.headless import opened
from tests.saliency_pictures import METHODS, saliency

LAYERS = {"conv1": 3}
COLOUR = (30, 200, 40)


def _write(url: str, folder: Path) -> dict[str, bytes]:
    write_pages(url, folder)
    return files_of(folder)


def _run(folder: Path, images: list[int], **more: object) -> str:
    url = made_up_run.scan(folder / "run", LAYERS, **more)  # type: ignore[arg-type]
    saliency(url, images, **more)  # type: ignore[arg-type]
    return url


def test_write_shows_every_image_beside_its_maps(tmp_path: Path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(made_up_run.png(COLOUR, made_up_run.FRAME_PX))

    def names(image_id: int) -> tuple[str, str | None]:
        return (str(photo) if image_id == 2 else f"gone/{image_id}.png"), "thing"

    files = _write(_run(tmp_path, [2, 30], names=names), tmp_path / "pages")
    maps = {f"saliency/{each:06d}-{name}.webp" for each in (2, 30) for name in METHODS}
    shown = {name for name in files if name.startswith("saliency/")}
    assert shown == maps | {"saliency/000002-image.webp"}
    page = Elements(files[SALIENCY].decode())
    images = [attrs for tag, attrs in page.found if tag == "img"]
    assert {attrs["src"] for attrs in images} == shown
    for attrs in images:
        assert attrs["alt"]
        assert attrs["loading"] == "lazy"
        assert {"width", "height"} <= attrs.keys()
    assert page.text.count("image gone") == 1
    assert f'href="{SALIENCY}"' in files["index.html"].decode()
    with Image.open(tmp_path / "pages" / "saliency" / "000002-image.webp") as picture:
        difference = np.asarray(picture.convert("RGB")).astype(int) - COLOUR
    assert np.abs(difference).max() < 8


def test_write_without_saliency_writes_nothing(tmp_path: Path):
    files = _write(made_up_run.scan(tmp_path / "run", LAYERS), tmp_path / "pages")
    assert not [name for name in files if name.startswith("saliency")]
    assert SALIENCY.encode() not in files["index.html"]


def test_write_many_images_on_pages_that_lead_to_each_other(tmp_path: Path):
    images = list(range(2 * IMAGES_PER_PAGE + 1))
    url = made_up_run.scan(tmp_path / "run", LAYERS, images=len(images))
    saliency(url, images)
    files = _write(url, tmp_path / "pages")
    names = [name for name in files if re.fullmatch(r"saliency.*\.html", name)]
    assert sorted(names) == sorted(page_name(place) for place in range(3))
    found = []
    for place in range(3):
        page = Elements(files[page_name(place)].decode())
        beside = {attrs["rel"]: attrs["href"] for _, attrs in page.found if "rel" in attrs}
        wanted = {"prev": place - 1, "next": place + 1}
        for rel, other in wanted.items():
            assert beside.get(rel) == (page_name(other) if 0 <= other < 3 else None)
        ids = [str(attrs.get("id")) for tag, attrs in page.found if tag == "section"]
        found += [int(each.removeprefix("image-")) for each in ids]
        for link in re.findall(r' (?:href|src)="([^"]+)"', files[page_name(place)].decode()):
            assert (tmp_path / "pages" / link).is_file(), link
    assert found == images


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
    hostile, plain = (Elements((folder / SALIENCY).read_text()) for folder in naughty)
    assert hostile.shape(besides="wbr") == plain.shape(besides="wbr")
    for each in range(20):
        assert made_up_run.naughty_names(each)[1] in hostile.text
    for tag, attrs in hostile.found:
        assert tag not in ("style", "script", "iframe", "object", "base")
        assert "style" not in attrs
        assert not any(attribute.startswith("on") for attribute in attrs)


def test_write_page_in_a_browser_holds_no_element_of_a_name(
    naughty: tuple[Path, Path], tmp_path: Path
):
    dom, console = opened((naughty[0] / SALIENCY).as_uri(), tmp_path / "profile")
    assert console == []
    assert Elements(dom).shape(besides="wbr") == Elements(
        (naughty[1] / SALIENCY).read_text()
    ).shape(besides="wbr")


def test_draw_gives_the_image_asked_for_or_the_choices(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", LAYERS)
    section, run = SECTIONS["saliency"], open_run(url)
    with pytest.raises(NotPublishedError, match="unitscope saliency"):
        section.draw(run, SaliencyFigure(saliency=3))
    saliency(url, list(range(3, 30)))
    assert section.draw(run, SaliencyFigure(saliency=3)).size[0] > 1000
    with pytest.raises(SpecError, match=r"--saliency 2: .* choices: 3, 4.* 14 \.\.\.$"):
        section.draw(run, SaliencyFigure(saliency=2))

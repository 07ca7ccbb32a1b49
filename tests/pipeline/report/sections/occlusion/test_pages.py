from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report.pictures import SCALE
from pipeline.report.sections.occlusion.page_data import OCCLUSIONS
from pipeline.report.sections.occlusion.pages import IMAGES_AT_ONCE
from tests import made_up_run
from tests.gallery_pages import Elements, files_of, write_pages
from tests.headless import opened

LAYERS = {"conv1": 3, "conv2": 3}
HOSTILE = "<script>alert({})</script>\"'><img src=x onerror=alert({})>{{{{ 7 * 7 }}}}\u202e"
COLOUR = (30, 200, 40)
NAUGHTY = 500


def _hostile(image_id: int) -> tuple[str, str | None]:
    words = HOSTILE.format(image_id, image_id)
    return f"photos/{words.replace('/', '|')}.png", words


def _write(url: str, folder: Path, layers: list[str] | None = None) -> dict[str, bytes]:
    write_pages(url, folder, layers)
    return files_of(folder)


def _run(folder: Path, images: list[int], **more: object) -> str:
    url = made_up_run.scan(folder / "run", LAYERS)
    made_up_run.occlude(url, images, **more)  # type: ignore[arg-type]
    return url


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"occlusion/(\d+)", name)]


def test_write_has_a_page_an_image_and_one_of_all_by_largest_drop(tmp_path: Path):
    images = [2, 30, 31]
    files = _write(_run(tmp_path, images), tmp_path / "pages")
    assert {f"occlusion/{each:06d}.html" for each in images} <= files.keys()
    index = files[OCCLUSIONS].decode()
    links = [attrs["href"] for tag, attrs in Elements(index).found if tag == "a"]
    assert links[1:] == [f"occlusion/{each:06d}.html" for each in images]
    assert 'href="occlusion.html"' in files["index.html"].decode()
    middle = Elements(files["occlusion/000030.html"].decode())
    beside = [attrs["href"] for _, attrs in middle.found if attrs.get("rel") in ("prev", "next")]
    assert [_numbers(str(link)) for link in beside] == [[2], [31]]


def test_write_card_names_the_target_where_the_title_does_not(tmp_path: Path):
    # Image 31 is called thing 31, and class 1 after its first image; image 1 is thing 1 itself.
    files = _write(_run(tmp_path, [1, 31]), tmp_path / "pages")
    text = " ".join(Elements(files[OCCLUSIONS].decode()).text.split())
    assert "target thing 1, seen as thing 1" in text
    assert text.count("target thing 1") == 1
    assert text.count("seen as thing 1") == 2


def test_write_without_an_occlusion_writes_nothing(tmp_path: Path):
    files = _write(made_up_run.scan(tmp_path / "run", LAYERS), tmp_path / "pages")
    assert not [name for name in files if name.startswith("occlusion")]
    assert b"occlusion.html" not in files["index.html"]


def test_write_links_lead_to_files_and_anchors(tmp_path: Path):
    url = _run(tmp_path, [2, 30], windows=((8, 4), (16, 5)))
    made_up_run.project(url, LAYERS)
    _write(url, tmp_path / "pages")
    for page in (tmp_path / "pages").rglob("*.html"):
        for link in re.findall(r' (?:href|src)="([^"]+)"', page.read_text()):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.is_file(), link
            assert not anchor or f'id="{anchor}"' in target.read_text()


def test_write_map_shows_p_at_its_window(tmp_path: Path):
    _write(_run(tmp_path, [2]), tmp_path / "pages")
    with Image.open(tmp_path / "pages" / "occlusion" / "000002-0-p.webp") as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    assert pixels.shape == (made_up_run.FRAME_PX, made_up_run.FRAME_PX, 4)
    # The window at row 1 and column 2 has its middle at y 8, x 12, and cells are 4 px.
    low = (pixels[..., :3] != SCALE[-1]).any(axis=2) & (pixels[..., 3] == 255)
    assert np.argwhere(low).min(axis=0).tolist() == [6, 10]
    assert np.argwhere(low).max(axis=0).tolist() == [9, 13]
    assert low.sum() == 16
    share = (made_up_run.P_LOW + 0.002) / made_up_run.P_CLEAN * 10
    expected = [np.interp(share, range(11), channel) for channel in np.array(SCALE).T]
    assert np.abs(pixels[7, 11, :3] - np.array(expected)).max() <= 0.5


@pytest.mark.parametrize("projected", [True, False])
def test_write_shows_every_image_s_own_projection(tmp_path: Path, projected: bool):
    url = _run(tmp_path, [2, 30])
    if projected:
        made_up_run.project(url, LAYERS)
    files = _write(url, tmp_path / "pages")
    for image, others in ((2, 8), (30, 9)):
        page = files[f"occlusion/{image:06d}.html"].decode()
        assert page.count(f"{image:06d}-projection.webp") == 1
        assert "of its largest activation, 6, 25.0% of the map&#39;s sum" in page
        assert "There is no projection" not in page
        assert f"of {others} other images" in page


@pytest.mark.parametrize("why", ["act1 is gelu <b>", None])
def test_write_without_a_projection_says_why(tmp_path: Path, why: str | None):
    url = _run(tmp_path, [2, 30], missing=why)
    made_up_run.project(url, LAYERS)
    files = _write(url, tmp_path / "pages")
    page = files["occlusion/000030.html"].decode()
    assert "occlusion/000030-projection.webp" not in files
    assert page.count("There is no projection of this image: ") == 1
    assert ("of a release that made none" if why is None else "act1 is gelu &lt;b&gt;.") in page
    assert ("occlusion/000002-projection.webp" in files) == (why is None)


def test_write_layer_outside_the_gallery_has_no_link(tmp_path: Path):
    url = _run(tmp_path, [2])
    files = _write(url, tmp_path / "pages", ["conv2"])
    page = files["occlusion/000002.html"].decode()
    assert "#unit-" not in page
    assert "conv1, unit 0" in page


def test_write_every_picture_has_words_a_size_and_waits(tmp_path: Path):
    files = _write(_run(tmp_path, [2]), tmp_path / "pages")
    for name in ("occlusion/000002.html", OCCLUSIONS):
        for tag, attrs in Elements(files[name].decode()).found:
            if tag == "img":
                assert attrs["alt"]
                assert attrs["loading"] == "lazy"
                assert {"width", "height"} <= attrs.keys()


def test_write_image_that_can_be_read_is_shown(tmp_path: Path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(made_up_run.png(COLOUR, made_up_run.FRAME_PX))

    def names(image_id: int) -> tuple[str, str | None]:
        return (str(photo) if image_id == 2 else f"gone/{image_id}.png"), "thing"

    files = _write(_run(tmp_path, [2, 3], names=names), tmp_path / "pages")
    with Image.open(tmp_path / "pages" / "occlusion" / "000002-image.webp") as picture:
        difference = np.asarray(picture.convert("RGB")).astype(int) - COLOUR
    assert np.abs(difference).max() < 8
    assert "occlusion/000003-image.webp" not in files
    assert "image gone" in files["occlusion/000003.html"].decode()
    assert "image gone" in files[OCCLUSIONS].decode()


def test_write_again_gives_the_same_bytes(tmp_path: Path):
    images = list(range(IMAGES_AT_ONCE + 2))
    url = _run(tmp_path, images, windows=((8, 4), (16, 5)))
    made_up_run.project(url, LAYERS)
    first, second = _write(url, tmp_path / "one"), _write(url, tmp_path / "two")
    assert first == second
    assert sum(name.endswith(".html") for name in first if "occlusion/" in name) == len(images)


@pytest.mark.parametrize("windows", [((8, 4),), ((8, 4), (16, 5))])
def test_write_hostile_names_stay_text(tmp_path: Path, windows: tuple[tuple[int, int], ...]):
    pages = []
    for folder, names in (("naughty", _hostile), ("plain", lambda each: (f"{each}.png", "x"))):
        url = made_up_run.scan(tmp_path / folder / "run", LAYERS, names=names)
        made_up_run.occlude(url, [2, 30], names=names, windows=windows)
        pages.append(_write(url, tmp_path / folder / "pages"))
    for name in ("occlusion/000002.html", OCCLUSIONS):
        naughty, plain = (Elements(each[name].decode()) for each in pages)
        assert naughty.shape(besides="wbr") == plain.shape(besides="wbr")
        assert HOSTILE.format(2, 2) in naughty.text
        for tag, attrs in naughty.found:
            assert tag not in ("style", "script", "iframe", "object", "base")
            assert "style" not in attrs
            assert not any(attribute.startswith("on") for attribute in attrs)
            for link in (attrs.get("href"), attrs.get("src")):
                assert link is None or "//" not in link


@pytest.fixture(scope="module")
def naughty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pages of 500 occluded images with naughty names, and the same with harmless ones."""
    folders = []
    for names in (made_up_run.naughty_names, lambda each: (f"{each}.png", f"class {each}")):
        folder = tmp_path_factory.mktemp("named")
        url = made_up_run.scan(folder / "run", LAYERS, names=names, images=NAUGHTY)
        made_up_run.occlude(url, range(NAUGHTY), names=names, windows=[(8, 8)])
        _write(url, folder / "pages")
        folders.append(folder / "pages")
    return folders[0], folders[1]


def test_write_five_hundred_naughty_names_inject_nothing(naughty: tuple[Path, Path]):
    pages = [path.relative_to(naughty[0]) for path in naughty[0].rglob("*.html")]
    assert len(pages) == NAUGHTY + 2 + len(LAYERS)
    for page in pages:
        hostile, plain = (Elements((folder / page).read_text()) for folder in naughty)
        assert hostile.shape(besides="wbr") == plain.shape(besides="wbr"), page
        if page.parent.name == "occlusion":
            assert made_up_run.naughty_names(int(page.stem))[1] in hostile.text


@pytest.mark.parametrize("page", [OCCLUSIONS, "occlusion/000002.html", "index.html"])
def test_write_pages_in_a_browser_hold_no_element_of_a_name(
    naughty: tuple[Path, Path], tmp_path: Path, page: str
):
    dom, console = opened((naughty[0] / page).as_uri(), tmp_path / "profile")
    assert console == []
    assert Elements(dom).shape(besides="wbr") == Elements((naughty[1] / page).read_text()).shape(
        besides="wbr"
    )

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.gallery import as_text, run
from schemas.errors import LayerError, NotPublishedError, SpecError, StoreError
from schemas.jobs.gallery import GallerySpec
from schemas.specs import LayerSelection
from tests import made_up_run

LAYERS = {"features.0": 3, "features.1": 6, "classifier": 4}


def _spec(url: str, **more: Any) -> GallerySpec:
    return GallerySpec(run=url, sheet_px=16, **more)


def _scan(folder: Path) -> str:
    return made_up_run.scan(folder / "run", LAYERS)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_run_writes_into_the_run_and_again_gives_the_same_bytes(tmp_path: Path):
    url = _scan(tmp_path)
    built = run(_spec(url))
    assert built.index == Path(url) / "gallery" / "index.html"
    assert "units 13 (dead 1)" in as_text(built)
    before = _files(Path(url) / "gallery")
    run(_spec(url))
    assert _files(Path(url) / "gallery") == before
    assert sorted(entry.name for entry in Path(url).iterdir()) == ["gallery", "scan"]


def test_run_selected_layers_are_all_that_is_left_of_an_earlier_gallery(tmp_path: Path):
    url = _scan(tmp_path)
    out = tmp_path / "pages"
    run(_spec(url, out=str(out)))
    layers = LayerSelection(include=("features.*",), exclude=("*.0",))
    built = run(_spec(url, out=str(out), layers=layers))
    assert "layers 1, units 6 " in as_text(built)
    pages = sorted(path.name for path in (out / "layers").iterdir())
    assert pages == ["001-features.1.html", "001-features.1.js"]


@pytest.mark.parametrize("include", ["feature.0", "*.7"])
def test_run_glob_that_matches_nothing_is_refused(tmp_path: Path, include: str):
    url = _scan(tmp_path)
    with pytest.raises(LayerError, match="matches no scanned layer"):
        run(_spec(url, layers=LayerSelection(include=(include,))))
    with pytest.raises(LayerError, match="leaves no layer"):
        run(_spec(url, layers=LayerSelection(exclude=("*",))))
    assert not (Path(url) / "gallery").exists()


def test_run_folder_with_other_things_is_left_alone(tmp_path: Path):
    url = _scan(tmp_path)
    out = tmp_path / "mine"
    out.mkdir()
    (out / "index.html").write_text("<title>my own page</title>")
    with pytest.raises(SpecError, match="other things"):
        run(_spec(url, out=str(out)))
    assert _files(out) == {"index.html": b"<title>my own page</title>"}
    (out / "index.html").unlink()
    run(_spec(url, out=str(out)))
    assert (out / "index.html").is_file()


def test_run_out_that_is_a_file_or_a_link_is_refused(tmp_path: Path):
    url = _scan(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("file", "link"):
        with pytest.raises(SpecError, match="is no folder"):
            run(_spec(url, out=str(tmp_path / name)))


def test_run_below_a_file_is_refused(tmp_path: Path):
    url = _scan(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SpecError, match=r"cannot be written there.*--out"):
        run(_spec(url, out=str(tmp_path / "file" / "pages")))


def test_run_remote_output_is_refused_and_a_local_one_read_from_remote(tmp_path: Path, s3_url: str):
    url = f"{s3_url}/run"
    made_up_run.scan(url, {"conv1": 2})
    with pytest.raises(SpecError, match=r"local folder.*--out"):
        run(_spec(url))
    built = run(_spec(url, out=str(tmp_path / "pages")))
    assert "units 2 " in as_text(built)


def test_run_without_a_scan_is_refused(tmp_path: Path):
    with pytest.raises(NotPublishedError):
        run(_spec(str(tmp_path / "none")))
    assert not (tmp_path / "none").exists()


def test_as_text_says_where_and_what_would_add_to_it(tmp_path: Path):
    url = _scan(tmp_path)
    words = as_text(run(_spec(url)))
    assert "layers 3, units 13 (dead 1)" in words
    assert f"open {url}/gallery/index.html" in words
    assert f"3 of 3 layers show patches only; next: unitscope project {url}" in words
    made_up_run.project(url, LAYERS)
    assert "unitscope project" not in as_text(run(_spec(url)))


def test_as_text_of_a_run_with_some_layers_projected_promises_no_more(tmp_path: Path):
    url = _scan(tmp_path)
    made_up_run.project(url, dict(list(LAYERS.items())[:1]))

    words = as_text(run(_spec(url)))

    assert "2 of 3 layers show patches only; the projections are of other layers" in words
    pages = list((tmp_path / "run" / "gallery").rglob("*.html"))
    assert len(pages) == 4
    assert not any("unitscope project" in page.read_text() for page in pages)


def test_run_occluded_images_are_written_told_and_linked(tmp_path: Path):
    url = _scan(tmp_path)
    made_up_run.occlude(url, [2, 7], layer="features.0")
    built = run(_spec(url))
    assert "dead 1), occluded images 2," in as_text(built)
    files = _files(Path(url) / "gallery")
    assert {"occlusion.html", "occlusion/000002.html", "occlusion/000007.html"} <= files.keys()
    run(_spec(url))
    assert _files(Path(url) / "gallery") == files


def test_run_occlusion_of_another_scan_is_refused_and_leaves_no_gallery(tmp_path: Path):
    url = _scan(tmp_path)
    made_up_run.occlude(url, [2], of_scan="another")
    with pytest.raises(StoreError, match="delete its folder occlude"):
        run(_spec(url))
    assert not (Path(url) / "gallery").exists()

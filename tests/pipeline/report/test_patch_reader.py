from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report.patch_reader import PatchReader
from pipeline.store import open_run
from schemas.errors import LayerError, NotPublishedError, StoreError
from tests import made_up_run

LAYERS = {"conv1": 8, "conv2": 4}
COLOUR = (30, 200, 40)


def _local_names(folder: Path) -> made_up_run.Names:
    def names(image_id: int) -> tuple[str, str | None]:
        return str(folder / f"image{image_id}.png"), made_up_run.plain_names(image_id)[1]

    return names


def _draw_images(folder: Path) -> None:
    for image_id in range(made_up_run.IMAGES):
        path = folder / f"image{image_id}.png"
        path.write_bytes(made_up_run.png(COLOUR, made_up_run.FRAME_PX))


def test_read_cuts_the_boxes_from_the_images(tmp_path: Path):
    _draw_images(tmp_path)
    run = open_run(made_up_run.scan(tmp_path / "run", LAYERS, names=_local_names(tmp_path)))
    patches = PatchReader(run).read("conv1", range(8))
    assert [len(patches[unit]) for unit in range(8)] == [9, 9, 9, 2, 9, 0, 9, 9]
    top = run.table("top_patches", layer="conv1", unit=4).to_dict("records")
    for row, patch in zip(top, patches[4], strict=True):
        assert patch.crop is not None
        assert (patch.value, patch.image) == (row["value"], Path(row["uri"]).name)
        assert patch.box == tuple(row[f"box_{edge}"] for edge in ("y0", "x0", "y1", "x1"))
        inside = [min(row[f"box_{axis}1"], 32) - max(row[f"box_{axis}0"], 0) for axis in ("y", "x")]
        assert list(patch.crop.pixels.shape) == [*inside, 3]
        assert (patch.crop.pixels == COLOUR).all()
        assert patch.projection is None


def test_read_names_the_class_or_else_its_number(tmp_path: Path):
    run = open_run(made_up_run.scan(tmp_path / "run", LAYERS))
    for patch in PatchReader(run).read("conv1", range(1))[0]:
        number = int(patch.image.removeprefix("image").removesuffix(".png"))
        expected = f"thing {number}" if number % 4 else f"class {number % 10}"
        assert patch.class_name == expected


def test_read_image_gone_says_so_and_an_image_is_read_once(tmp_path: Path):
    _draw_images(tmp_path)
    run = open_run(made_up_run.scan(tmp_path / "run", LAYERS, names=_local_names(tmp_path)))
    reader = PatchReader(run)
    first = reader.read("conv1", range(5))
    for file in tmp_path.glob("*.png"):
        file.unlink()
    # Frames that were read stay for the next units; a new reader finds nothing.
    again = reader.read("conv1", range(5))
    assert [patch.crop is None for patch in again[0]] == [False] * 9
    assert np.array_equal(again[0][0].crop.pixels, first[0][0].crop.pixels)  # type: ignore[union-attr]
    gone = PatchReader(run).read("conv1", range(1))[0]
    assert {(patch.crop, patch.problem) for patch in gone} == {(None, "image gone")}


def test_frames_are_what_the_network_saw_by_uri_or_why_not(tmp_path: Path):
    _draw_images(tmp_path)
    run = open_run(made_up_run.scan(tmp_path / "run", LAYERS, names=_local_names(tmp_path)))
    reader = PatchReader(run)
    uris = {str(tmp_path / "image3.png"), str(tmp_path / "none.png")}
    frames = reader.frames(uris)
    assert frames.keys() == uris
    frame = frames[str(tmp_path / "image3.png")]
    assert not isinstance(frame, str)
    assert frame.shape == (reader.frame_px, reader.frame_px, 3) == (32, 32, 3)
    assert (frame == COLOUR).all()
    assert frames[str(tmp_path / "none.png")] == "image gone"


def test_read_projections_give_both_pictures_inside_the_frame_and_touch_no_image(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", LAYERS)
    made_up_run.project(url, {"conv1": 8})
    reader = PatchReader(open_run(url))
    assert (reader.projected("conv1"), reader.projected("conv2")) == (True, False)
    patches = reader.read("conv1", range(2, 5))
    assert sorted(patches) == [2, 3, 4]
    for unit, several in patches.items():
        for rank, patch in enumerate(several):
            place = (9 * unit + rank) % 9
            crops = (patch.crop, patch.projection)
            y0, x0, y1, x1 = patch.box
            inside = np.s_[max(0, -y0) : min(y1, 32) - y0, max(0, -x0) : min(x1, 32) - x0]
            for crop, data in zip(crops, made_up_run.PICTURES[place], strict=True):
                assert crop is not None
                assert (crop.height, crop.top) == (made_up_run.FIELD_PX, max(0, -y0))
                assert np.array_equal(crop.pixels, np.asarray(Image.open(io.BytesIO(data)))[inside])


def test_read_units_without_projections_are_cut(tmp_path: Path):
    _draw_images(tmp_path)
    names = _local_names(tmp_path)
    url = made_up_run.scan(tmp_path / "run", LAYERS, names=names)
    made_up_run.project(url, {"conv1": 2}, names=names)
    patches = PatchReader(open_run(url)).read("conv1", range(4))
    assert [patches[unit][0].projection is not None for unit in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    assert all(patch.crop is not None for patch in patches[3])


def test_reader_projections_of_another_scan_are_refused(tmp_path: Path):
    url = made_up_run.scan(tmp_path / "run", LAYERS)
    made_up_run.project(url, LAYERS, of_scan="other-fingerprint")
    with pytest.raises(StoreError, match=r"other-fingerprint.*scan-fingerprint.*delete"):
        PatchReader(open_run(url))


def test_reader_unknown_layer_and_run_are_refused(tmp_path: Path):
    with pytest.raises(NotPublishedError):
        PatchReader(open_run(str(tmp_path / "none")))
    run = open_run(made_up_run.scan(tmp_path / "run", LAYERS))
    with pytest.raises(LayerError, match="conv3"):
        PatchReader(run).read("conv3", range(1))

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.data.listing import list_images
from pipeline.data.object_boxes import ObjectBox, in_frame, manifest_boxes, read_boxes
from pipeline.data.preprocess import to_frame
from pipeline.demo.scenes import write_scenes
from schemas.errors import DatasetError
from schemas.specs import DatasetSpec, PreprocessSpec


def test_boxes_of_drawn_scenes_are_found_by_the_pictures_uri(tmp_path: Path):
    write_scenes(tmp_path, 20, seed=0)

    found = read_boxes(str(tmp_path / "boxes.csv"))

    uris = list_images(DatasetSpec(uri=str(tmp_path / "manifest.csv")))["uri"].to_pylist()
    assert set(found) == set(uris)
    assert any(box.name == "eye" for uri in uris for box in found[uri])


def test_boxes_of_real_dogs_lie_in_their_pictures(shared_data: Path):
    found = read_boxes(str(shared_data / "dog_parts.csv"))

    assert len(found) == 11
    assert {box.name for boxes in found.values() for box in boxes} >= {"nose"}
    assert all(Path(uri).is_file() for uri in found)
    assert all(box.y0 < box.y1 and box.x0 < box.x1 for boxes in found.values() for box in boxes)


HEADER = "path,part,y0,x0,y1,x1\n"


def test_boxes_that_are_no_csv_of_boxes_are_refused(tmp_path: Path):
    (tmp_path / "b.csv").write_text("path,part,y0,x0,y1\na.png,nose,1,2,3\n")
    with pytest.raises(DatasetError, match="no CSV of boxes"):
        read_boxes(str(tmp_path / "b.csv"))
    with pytest.raises(DatasetError, match=r"absent\.csv cannot be read .* check the path"):
        read_boxes(str(tmp_path / "absent.csv"))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("a.png,nose,1,2,3,wide", "could not convert string to float: 'wide'"),
        ("a.png,nose,1,2,3,nan", "four finite edges"),
        ("a.png,nose,1,2,inf,3", "four finite edges"),
        ("a.png,nose,3,2,3,4", "ends after it begins"),
        (",nose,1,2,3,4", "path is empty"),
    ],
)
def test_boxes_with_a_wrong_row_name_it(tmp_path: Path, row: str, why: str):
    file = tmp_path / "b.csv"
    file.write_text(f"{HEADER}a.png,eye,1,2,3,4\n{row}\n")

    with pytest.raises(DatasetError, match=rf"row 2 \(from 1\), path .*{why}.*mend or drop it"):
        read_boxes(str(file))


def test_boxes_of_names_that_look_like_numbers_keep_them(tmp_path: Path):
    (tmp_path / "b.csv").write_text(f"{HEADER}007,1,0,0,1,1\n")

    assert read_boxes(str(tmp_path / "b.csv")) == {f"{tmp_path}/007": (ObjectBox("1", 0, 0, 1, 1),)}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_manifest_with_a_column_of_boxes_gives_them(tmp_path: Path, kind: str):
    frame = pd.DataFrame({"path": ["a.png", "sub/b.png"], "boxes": ["[[1, 2, 3.5, 4]]", ""]})
    file = tmp_path / f"m.{kind}"
    if kind == "csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_parquet(file)

    assert manifest_boxes(str(file)) == {f"{tmp_path}/a.png": (ObjectBox("", 1, 2, 3.5, 4),)}


def test_manifest_of_parquet_may_hold_boxes_as_lists(tmp_path: Path):
    boxes = [[[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]], None]
    pd.DataFrame({"path": ["a.png", "b.png"], "boxes": boxes}).to_parquet(tmp_path / "m.parquet")

    found = manifest_boxes(str(tmp_path / "m.parquet"))

    wanted = (ObjectBox("", 0, 1, 2, 3), ObjectBox("", 4, 5, 6, 7))
    assert found == {f"{tmp_path}/a.png": wanted}


def test_manifest_without_boxes_and_a_folder_give_none(tmp_path: Path):
    (tmp_path / "m.csv").write_text("path,label\na.png,0\n")

    assert manifest_boxes(str(tmp_path / "m.csv")) == {}
    assert manifest_boxes(str(tmp_path)) == {}


@pytest.mark.parametrize("cell", ["nose", "[1, 2, 3, 4]", '[["a", 2, 3, 4]]', "[[1, 2, 3]]"])
def test_manifest_with_a_wrong_cell_names_its_row(tmp_path: Path, cell: str):
    frame = pd.DataFrame({"path": ["a.png", "b.png"], "boxes": [json.dumps([[0, 0, 1, 1]]), cell]})
    frame.to_csv(tmp_path / "m.csv", index=False)

    with pytest.raises(DatasetError, match=r"row 2 \(from 1\), column boxes"):
        manifest_boxes(str(tmp_path / "m.csv"))


@pytest.mark.parametrize(
    ("size", "resize"), [((60, 90), 48), ((90, 60), 48), ((64, 64), 48), ((30, 33), None)]
)
def test_in_frame_follows_the_picture_through_resize_and_crop(
    size: tuple[int, int], resize: int | None
):
    spec = PreprocessSpec(resize_px=resize, crop_px=40)
    height, width = size
    box = ObjectBox("it", height // 3, width // 3, 2 * height // 3, 2 * width // 3)
    picture = torch.zeros(3, *size, dtype=torch.uint8)
    picture[:, int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = 255

    shown = np.argwhere(to_frame(picture, spec)[0].numpy() > 127)

    y0, x0, y1, x1 = in_frame(box, size, spec)
    assert (y0, x0) == pytest.approx(shown.min(axis=0), abs=1)
    assert (y1, x1) == pytest.approx(shown.max(axis=0) + 1, abs=1)

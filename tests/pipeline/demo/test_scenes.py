"""Scenes: the same everywhere, boxed, and listed as they lie in the folder."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.data.listing import list_images
from pipeline.demo.backdrops import draw_backdrop
from pipeline.demo.pen import FINER
from pipeline.demo.scenes import CLASSES, draw_scene, write_scenes
from schemas.errors import DatasetError
from schemas.specs import DatasetSpec

ROOT = Path(__file__).resolve().parents[3]


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty small scenes."""
    place = tmp_path_factory.mktemp("scenes")
    assert write_scenes(place, 30, 7, size_px=64)
    return place


def test_scenes_of_another_process_are_the_same_bytes(folder: Path, tmp_path: Path):
    code = (
        "import sys\nfrom pipeline.demo.scenes import write_scenes\n"
        "write_scenes(sys.argv[1], 30, 7, size_px=64)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], cwd=ROOT, check=True)

    assert _digest(tmp_path / "b") == _digest(folder)


@pytest.mark.parametrize("change", [{"index": 1}, {"seed": 1}])
def test_scene_of_another_index_or_seed_is_another(change: dict[str, int]):
    scenes = [draw_scene(**({"index": 11, "seed": 0} | one), size_px=48) for one in ({}, change)]

    assert scenes[0].image.tobytes() != scenes[1].image.tobytes()


def test_scene_classes_take_turns():
    scenes = [draw_scene(index, 5, size_px=32) for index in range(20)]

    assert [scene.label for scene in scenes] == [*range(10), *range(10)]
    assert all(scene.class_name == CLASSES[scene.label] for scene in scenes)
    assert {scene.image.size for scene in scenes} == {(32, 32)}


@pytest.mark.parametrize("index", range(40))
def test_scene_boxes_lie_inside_and_hold_everything_but_the_backdrop(index: int):
    size = 64
    scene = draw_scene(index, 3, size_px=size)
    behind = draw_backdrop(np.random.default_rng((3, index, 0)), size).reduce(FINER)
    changed = (np.asarray(scene.image) != np.asarray(behind)).any(axis=2)

    for _, y0, x0, y1, x1 in scene.boxes:
        assert 0 <= y0 < y1 <= size
        assert 0 <= x0 < x1 <= size
        assert changed[y0:y1, x0:x1].mean() > 0.15
    objects = [box for box in scene.boxes if box[0] == scene.class_name]
    assert 1 <= len(objects) <= 2
    for _, y0, x0, y1, x1 in objects:
        changed[y0:y1, x0:x1] = False
    assert not changed.any()


def test_scenes_vary_in_number_place_and_size():
    boxes = [
        [box for box in scene.boxes if box[0] == scene.class_name]
        for scene in (draw_scene(index, 1, size_px=64) for index in range(60))
    ]

    assert {len(found) for found in boxes} == {1, 2}
    sizes = [max(y1 - y0, x1 - x0) for found in boxes for _, y0, x0, y1, x1 in found]
    assert max(sizes) > 2 * min(sizes)
    for low, high in ((1, 3), (2, 4)):
        centres = [(box[low] + box[high]) / 2 for found in boxes for box in found]
        assert max(centres) - min(centres) > 64 / 3


def test_written_files_and_lists_agree(folder: Path):
    listed, boxes = (pd.read_csv(folder / name) for name in ("manifest.csv", "boxes.csv"))
    pictures = {file.relative_to(folder).as_posix() for file in folder.glob("*/*.jpg")}

    assert list(listed.columns) == ["path", "label", "class_name"]
    assert list(boxes.columns) == ["path", "part", "y0", "x0", "y1", "x1"]
    assert set(listed["path"]) == set(boxes["path"]) == pictures
    assert Counter(listed["class_name"]) == dict.fromkeys(CLASSES, 3)
    assert (listed["class_name"] == listed["path"].str.split("/").str[0]).all()
    assert [CLASSES[label] for label in listed["label"]] == listed["class_name"].tolist()
    for path in listed["path"]:
        scene = draw_scene(int(Path(path).stem), 7, size_px=64)
        rows = boxes[boxes["path"] == path].drop(columns="path")
        assert sorted(scene.boxes) == sorted(rows.itertuples(index=False, name=None))
        with Image.open(folder / path) as picture:
            kept = np.asarray(picture, dtype=float)
        assert np.abs(kept - np.asarray(scene.image)).mean() < 6


def test_written_folder_and_its_manifest_list_the_same_labels(folder: Path):
    lists = [list_images(DatasetSpec(uri=str(uri))) for uri in (folder, folder / "manifest.csv")]

    for column in ("uri", "label", "class_name"):
        assert lists[0][column].to_pylist() == lists[1][column].to_pylist()


def test_write_scenes_again_leaves_a_whole_folder_alone(tmp_path: Path):
    write_scenes(tmp_path, 10, 0, size_px=32)
    (tmp_path / "face/00004.jpg").write_bytes(b"mine")

    assert not write_scenes(tmp_path, 10, 0, size_px=32)
    assert (tmp_path / "face/00004.jpg").read_bytes() == b"mine"
    with pytest.raises(DatasetError, match="lists 10 scenes, 11 are asked for; take another"):
        write_scenes(tmp_path, 11, 0, size_px=32)
    for seed, size in ((1, 32), (0, 40)):
        with pytest.raises(DatasetError, match="of another seed or size than is asked for"):
            write_scenes(tmp_path, 10, seed, size_px=size)


def test_write_scenes_into_a_folder_begun_with_another_set_is_refused(tmp_path: Path):
    write_scenes(tmp_path, 10, 0, size_px=32)
    (tmp_path / "manifest.csv").unlink()

    with pytest.raises(DatasetError, match=r"boxes\.csv: is of another set"):
        write_scenes(tmp_path, 10, 1, size_px=32)


def test_write_scenes_cut_short_ends_the_same(folder: Path, tmp_path: Path):
    write_scenes(tmp_path, 30, 7, size_px=64)
    (tmp_path / "manifest.csv").unlink()
    (tmp_path / "car/00001.jpg").unlink()
    (tmp_path / "text/00009.jpg").write_bytes(b"half")

    assert write_scenes(tmp_path, 30, 7, size_px=64)
    assert _digest(tmp_path) == _digest(folder)

"""The demo's data set: labelled scenes with bounding boxes of objects and parts, drawn, not loaded.

A scene depends on its index and its seed alone, so the same folder can be drawn anywhere; the boxes
let what a unit responds to be checked.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.demo.backdrops import draw_backdrop
from pipeline.demo.objects import DRAW
from pipeline.demo.pen import FINER, Box, Pen, Placement
from pipeline.io import objects
from schemas.errors import DatasetError

CLASSES = tuple(DRAW)
"""Class names, sorted; a scene's label is the index of its class."""

SCENE_PX = 128
_UPRIGHT = ("text",)
_BACKDROP, _OBJECTS = 0, 1


@dataclass(frozen=True)
class Scene:
    """A picture of one class, with one object or two of it.

    Attributes:
        image: RGB, square.
        label: index of the class in `CLASSES`.
        class_name: its name.
        boxes: (name, y0, x0, y1, x1), half-open, in pixels: parts, then their object, which
            bears the class's name.
    """

    image: Image.Image
    label: int
    class_name: str
    boxes: tuple[Box, ...]


def draw_scene(index: int, seed: int, *, size_px: int = SCENE_PX) -> Scene:
    """Draw one scene.

    Args:
        index: which one, from 0; classes take turns.
        seed: of the whole set, from 0.
        size_px: side of the picture, at least 32.

    Returns:
        The scene: the same for the same arguments.
    """
    label = index % len(CLASSES)
    name = CLASSES[label]
    image = draw_backdrop(np.random.default_rng((seed, index, _BACKDROP)), size_px)
    rng = np.random.default_rng((seed, index, _OBJECTS))
    boxes: list[Box] = []
    for placement in _placements(rng, size_px, upright=name in _UPRIGHT):
        pen = Pen(image, placement)
        with pen.part(name):
            DRAW[name](pen, rng)
        boxes += pen.boxes
    return Scene(image.reduce(FINER), label, name, tuple(boxes))


def write_scenes(folder: str | Path, count: int, seed: int, *, size_px: int = SCENE_PX) -> bool:
    """Write a set of scenes as a folder of pictures with two lists.

    ``<class>/NNNNN.jpg``; ``boxes.csv`` (path,part,y0,x0,y1,x1) and, last, ``manifest.csv``
    (path,label,class_name). Paths are relative to the folder.

    Args:
        folder: made where it does not exist.
        count: scenes.
        seed: of the whole set, from 0.
        size_px: side of a picture.

    Returns:
        False where the folder held the whole set already.

    Raises:
        DatasetError: the folder holds another set, or has begun to.
    """
    root = Path(folder)
    if (root / "manifest.csv").is_file():
        _require_same(root, count, draw_scene(0, seed, size_px=size_px))
        return False
    listed: list[tuple[str, int, str]] = []
    boxes: list[tuple[str | int, ...]] = []
    for name in CLASSES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        scene = draw_scene(index, seed, size_px=size_px)
        path = _path(scene, index)
        scene.image.save(root / path, quality=92, subsampling=0)
        listed.append((path, scene.label, scene.class_name))
        boxes += [(path, *box) for box in scene.boxes]
    _put_csv(root / "boxes.csv", ("path", "part", "y0", "x0", "y1", "x1"), sorted(boxes))
    _put_csv(root / "manifest.csv", ("path", "label", "class_name"), sorted(listed))
    return True


def _placements(rng: np.random.Generator, size_px: int, *, upright: bool) -> list[Placement]:
    """Room for one large object, or for two smaller ones side by side or one above the other."""
    if rng.random() < 0.75:
        return [_placement(rng, (0, 0, size_px, size_px), (0.5, 0.92), upright=upright)]
    half = size_px // 2
    halves = [(0, 0, half, size_px), (half, 0, size_px, size_px)]
    if rng.random() < 0.5:
        halves = [(0, 0, size_px, half), (0, half, size_px, size_px)]
    return [_placement(rng, room, (0.8, 1.0), upright=upright) for room in halves]


def _placement(
    rng: np.random.Generator,
    room: tuple[int, int, int, int],
    share: tuple[float, float],
    *,
    upright: bool,
) -> Placement:
    """A turned square that lies inside ``room`` (x0, y0, x1, y1) and fills a share of it."""
    turn = 0.0 if upright else rng.uniform(-0.22, 0.22)
    widening = abs(math.cos(turn)) + abs(math.sin(turn))
    half = min(room[2] - room[0], room[3] - room[1]) / 2 * rng.uniform(*share) / widening
    reach = half * widening
    x, y = (
        rng.uniform(room[0] + reach, room[2] - reach),
        rng.uniform(room[1] + reach, room[3] - reach),
    )
    return Placement(x, y, half, turn, mirrored=not upright and bool(rng.random() < 0.5))


def _path(scene: Scene, index: int) -> str:
    return f"{scene.class_name}/{index:05d}.jpg"


def _require_same(root: Path, count: int, first: Scene) -> None:
    """Compare the number of scenes, and the boxes of the first, which tell seed and size."""
    with (root / "manifest.csv").open(newline="") as file:
        found = sum(1 for _ in csv.DictReader(file))
    with (root / "boxes.csv").open(newline="") as file:
        boxes = sorted(row[1:] for row in csv.reader(file) if row[0] == _path(first, 0))
    if found != count:
        raise DatasetError(
            f"{root}: lists {found} scenes, {count} are asked for; take another folder"
        )
    if boxes != sorted([str(value) for value in box] for box in first.boxes):
        raise DatasetError(
            f"{root}: holds scenes of another seed or size than is asked for; take another folder"
        )


def _put_csv(path: Path, head: tuple[str, ...], rows: list[tuple[str | int, ...]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    data = text.getvalue().encode()
    if objects.put_once(str(path), data) != data:
        raise DatasetError(f"{path}: is of another set of scenes; take another folder")

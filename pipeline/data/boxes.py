"""Where the objects of a data set lie, and where that is in the network's input frame.

Invariant: boxes are read in the pixels of the picture as it is shown, and follow it through resize
and crop as `pipeline.data.frames.to_frame` takes it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from pipeline.data.cells import open_parquet
from pipeline.data.places import absolute, join_relative
from pipeline.store import objects
from pipeline.store.masking import mask
from schemas.errors import DatasetError
from schemas.specs import PreprocessSpec

_EDGES = ("y0", "x0", "y1", "x1")


class ObjectBox(NamedTuple):
    """One object or part of a picture: half-open, in the picture's own pixels."""

    name: str
    y0: float
    x0: float
    y1: float
    x1: float


def read_boxes(location: str) -> dict[str, tuple[ObjectBox, ...]]:
    """The boxes of a CSV with the columns path, part, y0, x0, y1, x1, by the pictures' URI.

    Raises:
        DatasetError: it cannot be read, or a column is missing or holds no number.
    """
    url = absolute(location)
    try:
        table = csv.read_csv(pa.BufferReader(objects.read(url)))
        frame = table.select(["path", "part", *_EDGES]).to_pandas()
        frame[list(_EDGES)] = frame[list(_EDGES)].astype(float)
    except FileNotFoundError as error:
        raise DatasetError(f"boxes: {mask(url)} does not exist; check the path") from error
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        raise DatasetError(
            f"boxes: {mask(url)} is no CSV of boxes ({error}); its columns are path, part, "
            f"{', '.join(_EDGES)}"
        ) from error
    folder = url.rpartition("/")[0]
    found: dict[str, list[ObjectBox]] = defaultdict(list)
    for path, part, *edges in frame.itertuples(index=False):
        found[join_relative(folder, str(path))].append(ObjectBox(str(part), *edges))
    return {uri: tuple(boxes) for uri, boxes in found.items()}


def manifest_boxes(location: str) -> dict[str, tuple[ObjectBox, ...]]:
    """The column ``boxes`` of a CSV or Parquet manifest: JSON, ``[[y0, x0, y1, x1], ...]``.

    Returns:
        By the pictures' URI; empty where the data set is no manifest, or has no such column.

    Raises:
        DatasetError: a cell is not of this form.
    """
    url = absolute(location)
    frame = _manifest(url)
    if frame is None or not {"path", "boxes"} <= set(frame.columns):
        return {}
    folder = url.rpartition("/")[0]
    found = {}
    for row, (path, cell) in enumerate(zip(frame["path"], frame["boxes"], strict=True), start=1):
        if isinstance(cell, str) and cell:
            found[join_relative(folder, str(path))] = _parsed(cell, row, url)
    return found


def in_frame(
    box: ObjectBox, size: tuple[int, int], preprocess: PreprocessSpec
) -> tuple[float, float, float, float]:
    """A box in pixels of the network's input frame; it may reach outside.

    Args:
        box: in the picture's pixels.
        size: height and width of the picture.
        preprocess: short side to ``resize_px``, then the centre ``crop_px``.
    """
    height, width = size
    if preprocess.resize_px is not None:
        short, long = sorted(size)
        ratio = preprocess.resize_px / short
        resized = (preprocess.resize_px, int(preprocess.resize_px * long / short))
        height, width = resized if size[0] <= size[1] else resized[::-1]
    else:
        ratio = 1.0
    top, left = (_cut(side, preprocess.crop_px) for side in (height, width))
    return (
        box.y0 * ratio - top,
        box.x0 * ratio - left,
        box.y1 * ratio - top,
        box.x1 * ratio - left,
    )


def _cut(side: int, crop_px: int) -> int:
    """Where torchvision's centre crop begins; before the picture where that is smaller."""
    return -((crop_px - side) // 2) if side < crop_px else round((side - crop_px) / 2.0)


def _manifest(url: str) -> pd.DataFrame | None:
    name = url.lower()
    table: pa.Table | None = None
    if name.endswith(".csv"):
        table = csv.read_csv(pa.BufferReader(objects.read(url)))
    if name.endswith(".parquet"):
        file = open_parquet(url)
        names = [each for each in ("path", "boxes") if each in file.schema_arrow.names]
        table = file.read(columns=names)
    frame: pd.DataFrame | None = None if table is None else table.to_pandas()
    return frame


def _parsed(cell: str, row: int, url: str) -> tuple[ObjectBox, ...]:
    try:
        boxes = [ObjectBox("", *(float(edge) for edge in box)) for box in json.loads(cell)]
    except (ValueError, TypeError) as error:
        raise DatasetError(
            f"{mask(url)}: row {row} (from 1), column boxes: {cell!r} is no list of boxes "
            f"({error}); write [[y0, x0, y1, x1], ...]"
        ) from error
    return tuple(boxes)

"""Bounding boxes of the objects in a data set, and their coordinates in the network's input frame.

Boxes are given in pixels of the picture as it is shown (EXIF applied), and follow it through resize
and crop as `pipeline.data.preprocess.to_frame` takes it.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa

from pipeline.data.discover import absolute, join_relative
from pipeline.data.parquet_images import open_parquet
from pipeline.data.preprocess import framing
from pipeline.data.sources.csv import header, text_columns
from pipeline.io import objects
from pipeline.io.browse import kind_of
from schemas.errors import DatasetError
from schemas.secrets import mask
from schemas.specs import PreprocessSpec

_EDGES = ("y0", "x0", "y1", "x1")
_COLUMNS = ("path", "part", *_EDGES)


class ObjectBox(NamedTuple):
    """One object or part of a picture: half-open, in the picture's own pixels."""

    name: str
    y0: float
    x0: float
    y1: float
    x1: float


Boxes = dict[str, tuple[ObjectBox, ...]]
"""The boxes by the pictures' URI."""


def read_boxes(location: str) -> Boxes:
    """The boxes of a CSV with the columns path, part, y0, x0, y1, x1.

    Args:
        location: a path or URL; a relative path in it is relative to its folder.

    Raises:
        DatasetError: it cannot be read, or a row is no box.
    """
    url = absolute(location)
    try:
        table = text_columns(objects.read(url), _COLUMNS)
    except OSError as error:
        raise DatasetError(
            f"boxes: {mask(url)} cannot be read ({error}); check the path"
        ) from error
    except (pa.ArrowInvalid, KeyError) as error:
        raise DatasetError(
            f"boxes: {mask(url)} is no CSV of boxes ({error}); its columns are "
            f"{', '.join(_COLUMNS)}"
        ) from error
    found: dict[str, list[ObjectBox]] = defaultdict(list)
    columns = (column.to_pylist() for column in table.columns)
    for row, (path, part, *edges) in enumerate(zip(*columns, strict=True), start=1):
        try:
            found[_uri(path, url)].append(_box(part, edges))
        except ValueError as error:
            raise DatasetError(
                f"boxes: {mask(url)}: row {row} (from 1), path {path!r}: {error}; mend or drop it"
            ) from error
    return {uri: tuple(boxes) for uri, boxes in found.items()}


def manifest_boxes(location: str) -> Boxes:
    """The column ``boxes`` of a CSV or Parquet manifest of one file.

    A cell holds ``[[y0, x0, y1, x1], ...]``, as JSON or, in Parquet, as lists; or nothing.

    Returns:
        The boxes; none where the data set is no such manifest, or has no such column.

    Raises:
        DatasetError: a cell is not of this form.
    """
    url = absolute(location)
    columns = _manifest_columns(url)
    found: dict[str, list[ObjectBox]] = defaultdict(list)
    for row, (path, cell) in enumerate(zip(*columns, strict=True), start=1):
        try:
            if cell:
                boxes = json.loads(cell) if isinstance(cell, str) else cell
                found[_uri(path, url)] += [_box("", box) for box in boxes]
        except (ValueError, TypeError) as error:
            raise DatasetError(
                f"{mask(url)}: row {row} (from 1), column boxes: {cell!r} is no list of boxes "
                f"({error}); write [[y0, x0, y1, x1], ...]"
            ) from error
    return {uri: tuple(boxes) for uri, boxes in found.items()}


def in_frame(
    box: ObjectBox, size: tuple[int, int], preprocess: PreprocessSpec
) -> tuple[float, float, float, float]:
    """A box in pixels of the network's input frame; it may reach outside.

    Args:
        box: in the picture's pixels.
        size: height and width of the picture.
        preprocess: short side to ``resize_px``, then the centre ``crop_px``.
    """
    resized, (top, left) = framing(size, preprocess)
    down, across = (new / old for new, old in zip(resized, size, strict=True))
    return (
        box.y0 * down - top,
        box.x0 * across - left,
        box.y1 * down - top,
        box.x1 * across - left,
    )


def _manifest_columns(url: str) -> list[list[object]]:
    """The columns path and boxes of a manifest; no columns where there are none."""
    names = ("path", "boxes")
    suffix = _without_query(url).lower().rpartition(".")[2]
    if suffix not in ("csv", "parquet") or kind_of(url) != "file":
        return []
    if suffix == "parquet":
        file = open_parquet(url)
        if not set(names) <= set(file.schema_arrow.names):
            return []
        # One by one, in this order, where the file may have them in another.
        return [file.read(columns=[name]).column(0).to_pylist() for name in names]
    data = objects.read(url)
    if not set(names) <= set(header(data)):
        return []
    return [column.to_pylist() for column in text_columns(data, names).columns]


def _without_query(url: str) -> str:
    return url.partition("?")[0] if "://" in url else url


def _uri(path: object, url: str) -> str:
    """The URI of a picture as a manifest at ``url`` would give it."""
    if not path:
        raise ValueError("path is empty")
    return join_relative(_without_query(url).rpartition("/")[0], str(path))


def _box(name: str, edges: Iterable[str | float]) -> ObjectBox:
    numbers = [float(edge) for edge in edges]
    if len(numbers) != len(_EDGES) or not all(math.isfinite(number) for number in numbers):
        raise ValueError("a box has four finite edges")
    box = ObjectBox(name, *numbers)
    if box.y0 >= box.y1 or box.x0 >= box.x1:
        raise ValueError("a box ends after it begins: y0 < y1 and x0 < x1")
    return box

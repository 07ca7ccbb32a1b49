"""One `pa.schema` per table, with key, sort order and the meaning of every column.

A reader finds the meanings in the Arrow fields' metadata (``description``), and
``schema_version`` under the one key ``unitscope`` of the schema's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa

from schemas.manifest import SCHEMA_VERSION

REJECT_REASONS = {
    "missing": "the file or member does not exist",
    "no_permission": "the store refuses to read it",
    "empty": "zero bytes",
    "not_an_image": "the bytes are of no known picture format",
    "unsupported": "a picture format, or a variant of one, that no decoder here reads",
    "truncated": "the data end early",
    "corrupt": "the decoder found an error in the data",
    "too_large": "more pixels or bytes than the spec allows",
    "kills_worker": "it ended its worker process when run alone",
}
"""The codes of the rejects tables' ``reason`` column, and what each says."""

HISTOGRAM_EDGES: tuple[float, ...] = (
    *(-(2.0 ** (i / 2)) for i in range(20, -21, -1)),
    0.0,
    *(2.0 ** (i / 2) for i in range(-20, 21)),
)
"""Edges of the units' histograms: half-octaves from 2^-10 to 2^10 on both sides of zero.

Bin i counts ``edges[i-1] < max <= edges[i]``: bin 0 is all at or below the first edge, the last
bin all above the last, 84 bins in all. The bin that ends at 0.0 holds the images on which a
rectified unit stays silent.
"""


@dataclass(frozen=True)
class Table:
    """A table's contract.

    Attributes:
        job: the job that writes it (a folder of the run).
        name: the table's folder.
        schema: the exact Arrow schema, with metadata.
        key: the columns that identify a row; no two rows of a file agree in all of them.
        sort: the columns that the rows of a file are sorted by, ascending, or descending after a
            "-"; the rows of one "layer" stand together, layers in the order of the network.
    """

    job: str
    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    sort: tuple[str, ...]


def column(
    name: str,
    kind: pa.DataType,
    description: str,
    *,
    nullable: bool = False,
    extra: dict[str, str] | None = None,
) -> pa.Field:
    """One field, its meaning in the metadata."""
    return pa.field(
        name, kind, nullable=nullable, metadata={"description": description, **(extra or {})}
    )


def _schema(*fields: pa.Field) -> pa.Schema:
    note = json.dumps({"schema_version": SCHEMA_VERSION}, sort_keys=True)
    return pa.schema(fields, metadata={"unitscope": note})


# Parquet calls a list's items "element", and so does what is read back.
_COUNTS = pa.list_(pa.field("element", pa.int64(), nullable=False))
_IMAGE_ID = column("image_id", pa.int64(), "row of the image list, from 0")
_URI = column("uri", pa.string(), "where the image was read")
_LAYER = column("layer", pa.string(), "node of the model's graph, torchvision's name")
_UNIT = column("unit", pa.int32(), "channel of the layer, from 0")
_LABEL = column("label", pa.int32(), "class index that the data set gives", nullable=True)
_CLASS = column("class_name", pa.string(), "class name that the data set gives", nullable=True)
_BOX = tuple(
    column(
        f"box_{edge}",
        pa.int32(),
        "receptive field in input-frame pixels, half-open, unclipped: may lie outside the frame",
    )
    for edge in ("y0", "x0", "y1", "x1")
)

IMAGE_LIST = Table(
    job="scan",
    name="image_list",
    schema=_schema(
        _IMAGE_ID,
        _URI,
        _LABEL,
        _CLASS,
        column("container", pa.string(), "file that holds the bytes, if not one", nullable=True),
        column("offset", pa.int64(), "first byte (tar) or row (Parquet) in it", nullable=True),
        column("length", pa.int64(), "bytes (tar) in it", nullable=True),
    ),
    key=("image_id",),
    sort=("image_id",),
)

SCAN_IMAGES = Table(
    job="scan",
    name="images",
    schema=_schema(
        _IMAGE_ID,
        _URI,
        _LABEL,
        _CLASS,
        column("width", pa.int32(), "of the picture as shown, in pixels"),
        column("height", pa.int32(), "of the picture as shown, in pixels"),
        column("predicted", pa.int32(), "class of the highest score"),
        column("p_predicted", pa.float32(), "its softmax probability"),
        column("p_label", pa.float32(), "softmax probability of the label", nullable=True),
        column(
            "label_rank",
            pa.int32(),
            "1 + number of classes before the label by score, then index: top-5 is <= 5",
            nullable=True,
        ),
    ),
    key=("image_id",),
    sort=("image_id",),
)

SCAN_TOP_PATCHES = Table(
    job="scan",
    name="top_patches",
    schema=_schema(
        _LAYER,
        _UNIT,
        column("rank", pa.int8(), "1 is the strongest; value, image_id, y, x decide"),
        _IMAGE_ID,
        _URI,
        column("value", pa.float32(), "the activation: spatial maximum over the unit's map"),
        column("y", pa.int32(), "row of the maximum in the layer's map"),
        column("x", pa.int32(), "column of the maximum in the layer's map"),
        *_BOX,
    ),
    key=("layer", "unit", "rank"),
    sort=("layer", "unit", "rank"),
)

SCAN_UNITS = Table(
    job="scan",
    name="units",
    schema=_schema(
        _LAYER,
        _UNIT,
        column("images", pa.int64(), "images with a finite maximum"),
        column("active", pa.int64(), "images with a finite maximum above zero"),
        column("nonfinite", pa.int64(), "images whose maximum is NaN or infinite; left out"),
        column("max", pa.float32(), "largest maximum; null without images", nullable=True),
        column("mean", pa.float64(), "mean of the per-image maximum", nullable=True),
        column("std", pa.float64(), "its standard deviation, over n", nullable=True),
        column(
            "histogram",
            _COUNTS,
            "images by their maximum; bin i counts edges[i-1] < max <= edges[i], open at both ends",
            extra={"edges": json.dumps(HISTOGRAM_EDGES)},
        ),
    ),
    key=("layer", "unit"),
    sort=("layer", "unit"),
)

SCAN_LAYERS = Table(
    job="scan",
    name="layers",
    schema=_schema(
        _LAYER,
        column("position", pa.int32(), "order in the network, from 0"),
        column("kind", pa.string(), "the operation: relu, conv2d, add ..."),
        column("activation", pa.bool_(), "an activation function: only values above 0 rank"),
        column("units", pa.int32(), "channels"),
        column("map_height", pa.int32(), "positions down"),
        column("map_width", pa.int32(), "positions across"),
        column("stride_y", pa.int32(), "input pixels between positions; 0: one position"),
        column("stride_x", pa.int32(), "input pixels between positions; 0: one position"),
        column("field_height", pa.int32(), "receptive field, the largest of the units"),
        column("field_width", pa.int32(), "receptive field, the largest of the units"),
        column("gated", pa.bool_(), "behind a whole-frame gate, which the boxes leave out"),
        column(
            "whole_frame",
            pa.string(),
            "why boxes are the whole frame; null where they are exact",
            nullable=True,
        ),
    ),
    key=("layer",),
    sort=("position",),
)

SCAN_REJECTS = Table(
    job="scan",
    name="rejects",
    schema=_schema(
        _IMAGE_ID,
        _URI,
        column("reason", pa.string(), "a short code: " + ", ".join(REJECT_REASONS)),
        column("detail", pa.string(), "one line for a person"),
    ),
    key=("image_id",),
    sort=("image_id",),
)

PART_TOP = Table(
    job="scan",
    name="part_top",
    schema=_schema(
        column("slot", pa.int32(), "the unit's place among all units scanned, layer after layer"),
        _IMAGE_ID,
        column("value", pa.float32(), "spatial maximum"),
        column("position", pa.int32(), "of the maximum: y * map width + x"),
    ),
    key=("slot", "image_id"),
    sort=("slot", "-value", "image_id"),
)
"""A shard's top patches, before the merge."""

PART_UNITS = Table(
    job="scan",
    name="part_units",
    schema=_schema(
        column("slot", pa.int32(), "the unit's place among all units scanned, layer after layer"),
        column("images", pa.int64(), "images with a finite maximum"),
        column("active", pa.int64(), "of these, above zero"),
        column("nonfinite", pa.int64(), "images left out"),
        column("max", pa.float32(), "largest maximum, -inf without images"),
        column("total", pa.float64(), "sum of the maxima"),
        column("squares", pa.float64(), "sum of their squares"),
        column("histogram", _COUNTS, "as in units"),
    ),
    key=("slot",),
    sort=("slot",),
)
"""A shard's unit statistics, before the merge."""

_PICTURE = pa.struct(
    [pa.field("bytes", pa.binary(), nullable=False), pa.field("path", pa.string())]
)
"""A picture as Hugging Face datasets keep it, so that it shows there."""

PROJECTIONS = Table(
    job="project",
    name="projections",
    schema=_schema(
        _LAYER,
        _UNIT,
        column("rank", pa.int8(), "as in scan/top_patches"),
        _IMAGE_ID,
        column("value", pa.float32(), "the activation in the index"),
        *_BOX,
        column(
            "patch",
            _PICTURE,
            "PNG of what the unit sees; where the box is larger than the frame, the frame",
        ),
        column(
            "projection",
            _PICTURE,
            "PNG of the projection, same extent; 128 is zero, value = (pixel - 128) / 127 * scale",
        ),
        column(
            "scale",
            pa.float32(),
            "largest absolute value of the projection; where it is not finite (weights that are "
            "not), the picture is grey",
        ),
        column("reproduced", pa.float32(), "the activation when it was computed again"),
    ),
    key=("layer", "unit", "rank"),
    sort=("layer", "unit", "rank"),
)

_WINDOW = column("window", pa.int8(), "place of the window among those of the spec, from 0")
_CORNER = "of the window's upper left corner, in input-frame pixels"

OCCLUSION_PICTURES = Table(
    job="occlude",
    name="pictures",
    schema=_schema(
        _IMAGE_ID,
        _WINDOW,
        _URI,
        _LABEL,
        _CLASS,
        column("target", pa.int32(), "class whose probability is recorded: label or prediction"),
        column("p_target", pa.float32(), "its softmax probability on the clean image"),
        column("predicted", pa.int32(), "most probable class of the clean image"),
        column("p_predicted", pa.float32(), "its softmax probability"),
        column("layer", pa.string(), "the layer whose strongest map is watched"),
        column("unit", pa.int32(), "the map with the largest sum over positions, clean"),
        column("activity", pa.float32(), "that sum"),
        column("fill", pa.string(), "what stood in the window"),
        column("window_px", pa.int32(), "height of the window"),
        column("window_width_px", pa.int32(), "width of the window"),
        column("stride_px", pa.int32(), "step down and across; the last ones end at the border"),
        column("rows", pa.int32(), "positions down"),
        column("cols", pa.int32(), "positions across"),
        column("largest_drop", pa.float32(), "p_target of the clean image less the lowest one"),
        column("drop_y_px", pa.int32(), f"where p_target is lowest: y {_CORNER}"),
        column("drop_x_px", pa.int32(), f"where p_target is lowest: x {_CORNER}"),
        column(
            "half_area",
            pa.float32(),
            "share of the pixels whose mean p_target over the windows on them is at most half of "
            "the clean one",
        ),
        column("changed", pa.float32(), "share of the positions with another predicted class"),
        column(
            "drop_inside",
            pa.float32(),
            "share of the drop, pixel by pixel, that lies in the object's boxes; null without",
            nullable=True,
        ),
        column(
            "pointed",
            pa.bool_(),
            "the centre of the window of the largest drop lies in a box; null without",
            nullable=True,
        ),
        column("engine", pa.string(), "incremental or dense; the answer is the same"),
    ),
    key=("image_id", "window"),
    sort=("image_id", "window"),
)

OCCLUSION_MAPS = Table(
    job="occlude",
    name="maps",
    schema=_schema(
        _IMAGE_ID,
        _WINDOW,
        column("y_px", pa.int32(), f"y {_CORNER}"),
        column("x_px", pa.int32(), f"x {_CORNER}"),
        column("p_target", pa.float32(), "softmax probability of the picture's target"),
        column("predicted", pa.int32(), "most probable class"),
        column("p_predicted", pa.float32(), "its softmax probability"),
        column("activity", pa.float32(), "sum over positions of the picture's map"),
    ),
    key=("image_id", "window", "y_px", "x_px"),
    sort=("image_id", "window", "y_px", "x_px"),
)

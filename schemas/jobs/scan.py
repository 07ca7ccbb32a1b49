"""The scan: the images that drive every unit most, over a whole data set (ZF fig. 2)."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from schemas.flags import Flag
from schemas.job_info import JobInfo
from schemas.specs import (
    DatasetSpec,
    JobSpec,
    LayerSelection,
    ModelSpec,
    Precision,
    PreprocessSpec,
    Resources,
    Spec,
)
from schemas.tables import (
    BOX,
    CLASS_NAME,
    IMAGE_ID,
    LABEL,
    LAYER,
    REJECT_REASONS,
    UNIT,
    URI,
    Column,
    Table,
)
from schemas.values import BatchSize, Count, Location, Natural, UnitRange

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


class ScanSpec(JobSpec):
    """Scan a whole data set for the images that drive every unit most (ZF fig. 2)."""

    model: ModelSpec
    data: DatasetSpec
    out: Annotated[Location, Flag(panel="Data", metavar="RUN")] = Field(
        description="the run's folder, a path or URL"
    )
    preprocess: PreprocessSpec | None = Field(
        default=None, description="null: what the architecture's published weights ask for"
    )
    layers: Annotated[LayerSelection, Flag("--layers", metavar="GLOB", part="include")] = Field(
        default=LayerSelection(),
        description="globs over the names that `unitscope layers` prints; repeatable, or by "
        "commas; empty: every activation function's output, and the classifier's",
    )
    top: Annotated[PositiveInt, Flag(metavar="K")] = Field(
        default=9, le=100, description="top patches kept per unit (k)"
    )
    batch_size: Annotated[BatchSize, Flag(metavar="N")] = Field(
        default=64, description="images per forward pass"
    )
    shard_size: Annotated[Count | None, Flag(metavar="N")] = Field(
        default=None,
        description="images per shard, the unit of retry and resume; a multiple of batch_size; "
        "null: a 32nd of the images, at most 4096",
    )
    precision: Annotated[Precision, Flag(metavar="fp32|tf32|bf16")] = Field(
        default="fp32", description="of the network's arithmetic"
    )
    resources: Resources = Resources()

    @property
    def home(self) -> str:
        """See `JobSpec.home`."""
        return self.out

    @model_validator(mode="after")
    def _consistent(self) -> ScanSpec:
        if self.shard_size is not None and self.shard_size % self.batch_size:
            raise ValueError(
                f"shard_size {self.shard_size} is not a multiple of batch_size {self.batch_size}; "
                "a batch never crosses a shard"
            )
        if self.precision == "tf32" and self.resources.device != "cuda":
            raise ValueError("precision tf32 needs device cuda; take fp32 or bf16 on a CPU")
        return self


class UnitsFigure(Spec):
    """Units of a layer as a picture: one unit, or a sheet of many."""

    layer: Annotated[str, Flag(panel="What to draw", metavar="NAME")] = Field(
        description="units of a layer of the scan"
    )
    unit: Annotated[Natural | None, Flag(panel="What to draw", metavar="U")] = Field(
        default=None, description="one unit; null: a sheet of units"
    )
    units: Annotated[UnitRange, Flag(panel="What to draw", metavar="A-B")] = Field(
        default="0-63", description="the units of a sheet, from A to B"
    )


class MapsFigure(Spec):
    """The feature maps of an image as a picture; the network runs for it, nothing is stored."""

    maps: Annotated[Natural, Flag(panel="What to draw", metavar="IMAGE_ID")] = Field(
        description="feature maps of one image of the scan: the mean over the channels, per layer"
    )
    channels: Annotated[str | None, Flag(panel="What to draw", metavar="LAYER")] = Field(
        default=None, description="every channel of this layer instead of the means"
    )


SCAN_IMAGES = Table(
    job="scan",
    name="images",
    columns=(
        IMAGE_ID,
        URI,
        LABEL,
        CLASS_NAME,
        Column("width", "int32", "of the picture as shown, in pixels"),
        Column("height", "int32", "of the picture as shown, in pixels"),
        Column("predicted", "int32", "class of the highest score"),
        Column("p_predicted", "float32", "its softmax probability"),
        Column("p_label", "float32", "softmax probability of the label", nullable=True),
        Column(
            "label_rank",
            "int32",
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
    columns=(
        LAYER,
        UNIT,
        Column("rank", "int8", "1 is the strongest; value, image_id, y, x decide"),
        IMAGE_ID,
        URI,
        Column("value", "float32", "the activation: spatial maximum over the unit's map"),
        Column("y", "int32", "row of the maximum in the layer's map"),
        Column("x", "int32", "column of the maximum in the layer's map"),
        *BOX,
    ),
    key=("layer", "unit", "rank"),
    sort=("layer", "unit", "rank"),
)

SCAN_UNITS = Table(
    job="scan",
    name="units",
    columns=(
        LAYER,
        UNIT,
        Column("images", "int64", "images with a finite maximum"),
        Column("active", "int64", "images with a finite maximum above zero"),
        Column("nonfinite", "int64", "images whose maximum is NaN or infinite; left out"),
        Column("max", "float32", "largest maximum; null without images", nullable=True),
        Column("mean", "float64", "mean of the per-image maximum", nullable=True),
        Column("std", "float64", "its standard deviation, over n", nullable=True),
        Column(
            "histogram",
            "counts",
            "images by their maximum; bin i counts edges[i-1] < max <= edges[i], open at both ends",
            extra=(("edges", json.dumps(HISTOGRAM_EDGES)),),
        ),
    ),
    key=("layer", "unit"),
    sort=("layer", "unit"),
)

SCAN_LAYERS = Table(
    job="scan",
    name="layers",
    columns=(
        LAYER,
        Column("position", "int32", "order in the network, from 0"),
        Column("kind", "string", "the operation: relu, conv2d, add ..."),
        Column("activation", "bool", "an activation function: only values above 0 rank"),
        Column("units", "int32", "channels"),
        Column("map_height", "int32", "positions down"),
        Column("map_width", "int32", "positions across"),
        Column("stride_y", "int32", "input pixels between positions; 0: one position"),
        Column("stride_x", "int32", "input pixels between positions; 0: one position"),
        Column("field_height", "int32", "receptive field, the largest of the units"),
        Column("field_width", "int32", "receptive field, the largest of the units"),
        Column("gated", "bool", "behind a whole-frame gate, which the boxes leave out"),
        Column(
            "whole_frame",
            "string",
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
    columns=(
        IMAGE_ID,
        URI,
        Column("reason", "string", "a short code: " + ", ".join(REJECT_REASONS)),
        Column("detail", "string", "one line for a person"),
    ),
    key=("image_id",),
    sort=("image_id",),
)

PART_TOP = Table(
    job="scan",
    name="part_top",
    columns=(
        Column("slot", "int32", "the unit's place among all units scanned, layer after layer"),
        IMAGE_ID,
        Column("value", "float32", "spatial maximum"),
        Column("position", "int32", "of the maximum: y * map width + x"),
    ),
    key=("slot", "image_id"),
    sort=("slot", "-value", "image_id"),
)
"""A shard's top patches, before the merge."""

PART_UNITS = Table(
    job="scan",
    name="part_units",
    columns=(
        Column("slot", "int32", "the unit's place among all units scanned, layer after layer"),
        Column("images", "int64", "images with a finite maximum"),
        Column("active", "int64", "of these, above zero"),
        Column("nonfinite", "int64", "images left out"),
        Column("max", "float32", "largest maximum, -inf without images"),
        Column("total", "float64", "sum of the maxima"),
        Column("squares", "float64", "sum of their squares"),
        Column("histogram", "counts", "as in units"),
    ),
    key=("slot",),
    sort=("slot",),
)
"""A shard's unit statistics, before the merge."""

JOB = JobInfo(
    "scan",
    ScanSpec,
    help="Scan a whole data set for the images that drive every unit most, and publish the "
    "tables. Killed at any moment, the same command resumes.",
    example="unitscope scan --arch squeezenet1_1 --data photos --out runs/a",
    tables=(SCAN_IMAGES, SCAN_TOP_PATCHES, SCAN_UNITS, SCAN_LAYERS, SCAN_REJECTS),
    figures=(UnitsFigure, MapsFigure),
    paper="2",
)

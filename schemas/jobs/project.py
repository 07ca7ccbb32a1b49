"""Deconvnet projections of a scan's top patches (ZF 2.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from schemas.flags import Flag
from schemas.job_info import JobInfo
from schemas.specs import LayerSelection, RunSpec, ScannedLayers
from schemas.tables import BOX, IMAGE_ID, LAYER, UNIT, Column, Table
from schemas.values import BatchSize, Side, UnitRange

ProjectionRule = Annotated[
    Literal["deconvnet", "guided", "gradient"],
    Flag(metavar="deconvnet|guided|gradient"),
    Field(
        description="what happens to the backward signal at a rectifier; gradient works for "
        "every activation function"
    ),
]


class ProjectSpec(RunSpec):
    """Project the top patches of a scan back to pixels (ZF 2.1)."""

    layers: ScannedLayers = LayerSelection()
    units: Annotated[UnitRange | None, Flag(metavar="UNITS")] = Field(
        default=None, description="a unit or a range, 0-63; null: all"
    )
    top: Annotated[PositiveInt | None, Flag(metavar="K")] = Field(
        default=None, le=100, description="only the K strongest patches per unit; null: all"
    )
    rule: ProjectionRule = "deconvnet"
    tolerance: float = Field(
        default=1e-3,
        gt=0,
        description="largest relative difference between the index and an activation computed "
        "again; more means other weights or other pictures",
    )
    batch_size: BatchSize = Field(default=16, description="images per forward pass")
    picture_px: Side = Field(
        default=96, ge=16, description="longest side of a stored picture; larger ones are reduced"
    )


PROJECTIONS = Table(
    job="project",
    name="projections",
    columns=(
        LAYER,
        UNIT,
        Column("rank", "int8", "as in scan/top_patches"),
        IMAGE_ID,
        Column("value", "float32", "the activation in the index"),
        *BOX,
        Column(
            "patch",
            "picture",
            "PNG of what the unit sees; where the box is larger than the frame, the frame",
        ),
        Column(
            "projection",
            "picture",
            "PNG of the projection, same extent; 128 is zero, value = (pixel - 128) / 127 * scale",
        ),
        Column(
            "scale",
            "float32",
            "largest absolute value of the projection; where it is not finite (weights that are "
            "not), the picture is grey",
        ),
        Column("reproduced", "float32", "the activation when it was computed again"),
    ),
    key=("layer", "unit", "rank"),
    sort=("layer", "unit", "rank"),
)

JOB = JobInfo(
    "project",
    ProjectSpec,
    help="Project the top patches of a scan back to pixels: what in each image made the unit "
    "fire. Killed at any moment, the same command resumes.",
    example="unitscope project runs/a --layers 'layer3*'",
    tables=(PROJECTIONS,),
)

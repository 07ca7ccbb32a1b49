"""Correspondence between the same part in different images (ZF 4.3, table 1)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.flags import Flag
from schemas.job_info import JobInfo
from schemas.jobs.occlude import Fill
from schemas.specs import LayerSelection, RunSpec, Spec
from schemas.tables import LAYER, Column, Table
from schemas.values import Location, Natural

PartName = Annotated[str, Field(min_length=1)]
"""A part as the CSV of boxes calls it: ``nose``."""
PART_ITSELF = -1
"""The number that stands for the part among the draws."""


class CorrespondSpec(RunSpec):
    """Mask the same part in many images and measure how alike a layer answers (ZF 4.3)."""

    boxes: Annotated[Location, Flag(metavar="FILE")] = Field(
        description="where the parts are: a CSV (path,part,y0,x0,y1,x1) in the pictures' own "
        "pixels; a box is followed through resize and crop, and clipped to the network's input "
        "frame"
    )
    parts: Annotated[tuple[PartName, ...], Flag(metavar="NAME")] = Field(
        default=(),
        description="only these parts, as the CSV names them; repeatable, or by commas; empty: "
        "every part that at least two images have",
    )
    layers: Annotated[LayerSelection, Flag("--layers", metavar="GLOB", part="include")] = Field(
        default=LayerSelection(),
        description="globs over the names of the scanned layers; repeatable, or by commas; "
        "empty: the last activation that has a map (but for one with a map per class), and the "
        "last layer without positions (the scores only where there is no other)",
    )
    draws: Annotated[int, Flag(metavar="N")] = Field(
        default=20,
        ge=2,
        le=1000,
        description="random places, per part and image, that the part is compared with: boxes of "
        "the part's size anywhere in the frame",
    )
    seed: Annotated[Natural, Flag(metavar="N")] = Field(
        default=0, description="of the random places"
    )
    fill: Annotated[Fill, Flag(metavar="grey|mean|blur|#rrggbb")] = Field(
        default="grey",
        description="what stands in a masked box: grey (128 of 255), mean (the colour that the "
        "preprocessing subtracts), blur (of the image itself) or a colour #rrggbb",
    )


class ConsistencyFigure(Spec):
    """The consistency of parts against that of random places, as a picture."""

    consistency: Annotated[PartName, Flag(panel="What to draw", metavar="PART|all")] = Field(
        description="one part whose correspondence was measured, or all of them"
    )


_PART = Column("part", "string", "the part's name in the CSV of boxes")
_IMAGES = Column("images", "int64", "n, the images in which it was masked")

CONSISTENCY = Table(
    job="correspond",
    name="consistency",
    columns=(
        LAYER,
        _PART,
        Column("draw", "int32", "-1: the part itself; from 0: boxes of its size at random places"),
        _IMAGES,
        Column("length", "int64", "values of the layer per image"),
        Column(
            "hamming",
            "int64",
            "positions at which sign(eps) of two images differs, summed over ordered pairs; the "
            "sign is -1, 0 or 1",
        ),
        Column("delta", "float64", "hamming / (n (n - 1) length), 0 to 1: lower is more alike"),
        Column("zeros", "float64", "share of the values that the mask leaves as they were"),
    ),
    key=("layer", "part", "draw"),
    sort=("layer", "part", "draw"),
)

CORRESPONDENCE = Table(
    job="correspond",
    name="summary",
    columns=(
        LAYER,
        _PART,
        _IMAGES,
        Column("delta", "float64", "of the part itself, 0 to 1: lower is more alike"),
        Column("random_mean", "float64", "mean of delta over the random draws"),
        Column("random_std", "float64", "standard deviation of delta over the draws, over n - 1"),
        Column(
            "deviations",
            "float64",
            "(random_mean - delta) / random_std; above 0: the part is more consistent than random "
            "places; null where random_std is 0",
            nullable=True,
        ),
    ),
    key=("layer", "part"),
    sort=("layer", "part"),
)

JOB = JobInfo(
    "correspond",
    CorrespondSpec,
    help="Mask the same part, an eye or a nose, in many images of a scan, and measure whether the "
    "layers answer alike: the Hamming distance between the signs of what changes, against boxes "
    "of the same size at random places. Lower than random: the network ties the parts together.",
    example="unitscope correspond runs/a --boxes parts.csv",
    tables=(CONSISTENCY, CORRESPONDENCE),
    figures=(ConsistencyFigure,),
    paper="table1",
)

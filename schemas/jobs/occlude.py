"""Occlusion sensitivity of a scan's images (ZF 4.2, fig. 7)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from schemas.flags import Flag
from schemas.job_info import JobInfo
from schemas.specs import ImageSelection, RunSpec, Spec
from schemas.tables import BOX, CLASS_NAME, IMAGE_ID, LABEL, LAYER, UNIT, URI, Column, Table
from schemas.values import Count, Location, Natural, Side, in_words

_SIDES = r"^[1-9][0-9]{0,3}(x[1-9][0-9]{0,3})?$"
_FILL = r"^(grey|mean|blur|#[0-9a-fA-F]{6})$"

WindowSize = Annotated[
    str, Field(pattern=_SIDES), in_words(_SIDES, "a side, 16, or height x width, 16x24, is needed")
]
"""A side in pixels, or height x width: ``16``, ``16x24``."""
Fill = Annotated[
    str, Field(pattern=_FILL), in_words(_FILL, "grey, mean, blur or a colour, #ff0080, is needed")
]
"""What stands in a window: a name or a colour, ``#rrggbb``."""


class SlidingWindow(Spec):
    """A window that slides over the picture (ZF 4.2); all in input-frame pixels."""

    height_px: PositiveInt
    width_px: PositiveInt
    stride_px: PositiveInt

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height_px, self.width_px


class OccludeSpec(RunSpec):
    """Slide a grey square over images and record what the network makes of it (ZF 4.2, fig. 7)."""

    images: ImageSelection = ImageSelection(sample=100)
    window_px: Annotated[tuple[WindowSize, ...], Flag(metavar="PX")] = Field(
        default=("16",),
        min_length=1,
        max_length=16,
        description="sides of the windows, 16 or 16x24 (height x width), in pixels of the "
        "network's input; repeatable, or by commas: each slides over every picture",
    )
    stride_px: Annotated[tuple[Side, ...], Flag(metavar="PX")] = Field(
        default=(4,),
        min_length=1,
        description="step of the windows down and across: one for all, or one each",
    )
    fill: Annotated[Fill, Flag(metavar="grey|mean|blur|#rrggbb")] = Field(
        default="grey",
        description="what stands in the window: grey (128 of 255), mean (the colour that the "
        "preprocessing subtracts), blur (of the image itself) or a colour #rrggbb",
    )
    target: Annotated[Natural | None, Flag(metavar="N")] = Field(
        default=None,
        description="number of the class whose probability is recorded, the same for every image; "
        "null: the image's label, or the prediction where it has none",
    )
    layer: Annotated[str | None, Flag(metavar="NAME")] = Field(
        default=None,
        description="the layer whose strongest map's activity is recorded; null: the last "
        "convolutional one",
    )
    boxes: Annotated[Location | None, Flag(metavar="FILE")] = Field(
        default=None,
        description="where the objects are, to tell how much of the drop lies on them: a CSV "
        "(path,part,y0,x0,y1,x1) in the pictures' own pixels; null: the manifest's column 'boxes', "
        "where it has one",
    )
    engine: Literal["auto", "incremental", "dense"] = Field(
        default="auto", description="auto: what costs less by count; both give the same answer"
    )
    batch_bytes: Count = Field(
        default=512 * 2**20,
        ge=2**20,
        description="what the batches of windows may add to a worker's memory",
    )

    @model_validator(mode="after")
    def _one_stride_each(self) -> OccludeSpec:
        if len(self.stride_px) not in (1, len(self.window_px)):
            raise ValueError(
                f"stride_px holds {len(self.stride_px)} steps for {len(self.window_px)} windows; "
                "give one for all, or one each"
            )
        if len(set(self.windows)) < len(self.windows):
            given = ", ".join(self.window_px)
            raise ValueError(f"window_px: one window stands twice in {given}; give each once")
        return self

    @property
    def windows(self) -> tuple[SlidingWindow, ...]:
        """The windows in their order."""
        strides = self.stride_px * (len(self.window_px) if len(self.stride_px) == 1 else 1)
        sides = [[int(side) for side in text.split("x")] for text in self.window_px]
        return tuple(
            SlidingWindow(height_px=own[0], width_px=own[-1], stride_px=stride)
            for own, stride in zip(sides, strides, strict=True)
        )


class OcclusionFigure(Spec):
    """An occluded image as a picture (ZF fig. 7)."""

    occlusion: Annotated[Natural, Flag(panel="What to draw", metavar="IMAGE_ID")] = Field(
        description="one image that was occluded"
    )


_WINDOW = Column("window", "int8", "place of the window among those of the spec, from 0")
_CORNER = "of the window's upper left corner, in input-frame pixels"

OCCLUSION_PICTURES = Table(
    job="occlude",
    name="pictures",
    columns=(
        IMAGE_ID,
        _WINDOW,
        URI,
        LABEL,
        CLASS_NAME,
        Column("target", "int32", "class whose probability is recorded: label or prediction"),
        Column("p_target", "float32", "its softmax probability on the clean image"),
        Column("predicted", "int32", "most probable class of the clean image"),
        Column("p_predicted", "float32", "its softmax probability"),
        Column("layer", "string", "the layer whose strongest map is watched"),
        Column("unit", "int32", "the map with the largest sum over positions, clean"),
        Column("activity", "float32", "that sum"),
        Column("fill", "string", "what stood in the window"),
        Column("window_px", "int32", "height of the window"),
        Column("window_width_px", "int32", "width of the window"),
        Column("stride_px", "int32", "step down and across; the last ones end at the border"),
        Column("rows", "int32", "positions down"),
        Column("cols", "int32", "positions across"),
        Column("largest_drop", "float32", "p_target of the clean image less the lowest one"),
        Column("drop_y_px", "int32", f"where p_target is lowest: y {_CORNER}"),
        Column("drop_x_px", "int32", f"where p_target is lowest: x {_CORNER}"),
        Column(
            "half_area",
            "float32",
            "share of the pixels whose mean p_target over the windows on them is at most half of "
            "the clean one",
        ),
        Column("changed", "float32", "share of the positions with another predicted class"),
        Column(
            "drop_inside",
            "float32",
            "share of the drop, pixel by pixel, that lies in the object's boxes; null without",
            nullable=True,
        ),
        Column(
            "pointed",
            "bool",
            "the centre of the window of the largest drop lies in a box; null without",
            nullable=True,
        ),
        Column("engine", "string", "incremental or dense; the answer is the same"),
    ),
    key=("image_id", "window"),
    sort=("image_id", "window"),
)

OCCLUSION_MAPS = Table(
    job="occlude",
    name="maps",
    columns=(
        IMAGE_ID,
        _WINDOW,
        Column("y_px", "int32", f"y {_CORNER}"),
        Column("x_px", "int32", f"x {_CORNER}"),
        Column("p_target", "float32", "softmax probability of the picture's target"),
        Column("predicted", "int32", "most probable class"),
        Column("p_predicted", "float32", "its softmax probability"),
        Column("activity", "float32", "sum over positions of the picture's map"),
    ),
    key=("image_id", "window", "y_px", "x_px"),
    sort=("image_id", "window", "y_px", "x_px"),
)

OCCLUSION_PROJECTIONS = Table(
    job="occlude",
    name="map_projections",
    columns=(
        IMAGE_ID,
        LAYER,
        UNIT,
        Column("y", "int32", "row of the map's largest activation on the clean image, from 0"),
        Column("x", "int32", "its column in the map, from 0"),
        Column("value", "float32", "that activation: what is projected"),
        *BOX,
        Column(
            "projection",
            "picture",
            "PNG of its deconvnet projection (ZF 2.1) over the box, or along an axis where the box "
            "is larger than the frame, over the frame; 128 is zero, value = (pixel - 128) / 127 * "
            "scale; null where there is none",
            nullable=True,
        ),
        Column(
            "scale",
            "float32",
            "largest absolute value of the projection; null where there is none",
            nullable=True,
        ),
        Column(
            "missing", "string", "why there is no projection; null where there is", nullable=True
        ),
    ),
    key=("image_id",),
    sort=("image_id",),
)

JOB = JobInfo(
    "occlude",
    OccludeSpec,
    help="Slide a grey square over images of a scan and record, at each of its places, how "
    "probable the class still is, which class is the most probable one, and how active the "
    "strongest map is: the probability falls where the object is. That map's projection shows what "
    "it saw. Killed at any moment, the same command resumes.",
    example="unitscope occlude runs/a --sample 50 --window-px 32 --stride-px 8",
    tables=(OCCLUSION_PICTURES, OCCLUSION_MAPS, OCCLUSION_PROJECTIONS),
    figures=(OcclusionFigure,),
    paper="7",
)

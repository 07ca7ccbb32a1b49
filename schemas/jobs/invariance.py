"""Invariance of the layers to moves of the picture (ZF fig. 5)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.flags import Flag
from schemas.job_info import JobInfo
from schemas.moves import Move, Steps, Transform, amounts, within
from schemas.specs import ImageSelection, LayerSelection, RunSpec, Spec
from schemas.tables import IMAGE_ID, LAYER, URI, Column, Table
from schemas.values import Count, Natural

Fill = Literal["mean", "grey", "black"]


class InvarianceSpec(RunSpec):
    """Move images and measure how far the layers and the class's probability move (ZF fig. 5)."""

    images: ImageSelection = ImageSelection(sample=100)
    layers: Annotated[LayerSelection, Flag("--layers", metavar="GLOB", part="include")] = Field(
        default=LayerSelection(),
        description="globs over the names of the scanned layers; repeatable, or by commas; "
        "empty: the first and the last but one (ZF: layers 1 and 7 of 8)",
    )
    translation_px: Annotated[
        Annotated[Steps, within(-8192, 8192)] | None,
        Flag(metavar="FIRST..LAST/STEP|none", null="none"),
    ] = Field(
        default="-60..60/10",
        description="vertical translations, in pixels of the network's input frame; above 0 the "
        "picture moves down; null: no translation",
    )
    scale: Annotated[
        Annotated[Steps, within(0.1, 10)] | None,
        Flag(metavar="FIRST..LAST/STEP|none", null="none"),
    ] = Field(
        default="1..1.8/0.1",
        description="factors about the frame's centre; above 1 the picture grows; null: no scale",
    )
    rotation_degrees: Annotated[
        Annotated[Steps, within(-360, 360)] | None,
        Flag(metavar="FIRST..LAST/STEP|none", null="none"),
    ] = Field(
        default="0..350/10",
        description="rotations about the frame's centre, in degrees counter-clockwise; null: no "
        "rotation",
    )
    fill: Annotated[Fill, Flag(metavar="mean|grey|black")] = Field(
        default="mean",
        description="what stands where the moved picture ends: mean (the colour that the "
        "preprocessing subtracts), grey (128 of 255) or black; of a picture smaller than the "
        "frame it is always black, as the preprocessing pads it",
    )
    target: Annotated[Natural | None, Flag(metavar="N")] = Field(
        default=None,
        description="number of the class whose probability is recorded, the same for every image; "
        "null: the image's label, or the prediction where it has none",
    )
    batch_bytes: Count = Field(
        default=512 * 2**20,
        ge=2**20,
        description="what the moved pictures that pass the network at once may add to a worker's "
        "memory",
    )

    @model_validator(mode="after")
    def _moves_something(self) -> InvarianceSpec:
        if all(move.is_identity for move in self.moves):
            raise ValueError(
                "translation_px, scale, rotation_degrees: nothing is moved; give one of them steps "
                "that move the picture"
            )
        return self

    @property
    def moves(self) -> tuple[Move, ...]:
        """Every move, by transform and amount, in the order of the tables."""
        steps: dict[Transform, str | None] = {  # in the order of `TRANSFORMS`
            "rotation": self.rotation_degrees,
            "scale": self.scale,
            "translation": self.translation_px,
        }
        return tuple(
            Move(name, amount)
            for name, text in steps.items()
            if text is not None
            for amount in amounts(text)
        )


class InvarianceFigure(Spec):
    """Curves of the invariance as a picture (ZF fig. 5)."""

    invariance: Annotated[str, Flag(panel="What to draw", metavar="IMAGE_ID|all")] = Field(
        pattern=r"^(all|[0-9]{1,18})$",
        description="one image that was moved, beside the mean of all; or all of them",
    )


_TRANSFORM = Column("transform", "string", "rotation, scale or translation")
_AMOUNT = Column(
    "amount",
    "float64",
    "rotation: degrees counter-clockwise; scale: factor; translation: pixels of the input frame "
    "downwards",
)
_IMAGES = Column("images", "int64", "how many images it is of")
_QUARTERS = (
    ("low", "a quarter of the images lies below"),
    ("high", "a quarter of the images lies above"),
)


def _banded(name: str, what: str) -> tuple[Column, ...]:
    """The mean over images and the quartiles around it."""
    quartiles = ((end, f"quartile of the {what}: {words}") for end, words in _QUARTERS)
    texts = (("mean", f"mean over the images of the {what}"), *quartiles)
    return tuple(
        Column(f"{name}_{end}", "float64", f"{text}; null where no image has one", nullable=True)
        for end, text in texts
    )


RESPONSES = Table(
    job="invariance",
    name="responses",
    columns=(
        IMAGE_ID,
        _TRANSFORM,
        _AMOUNT,
        LAYER,
        URI,
        Column(
            "distance",
            "float64",
            "Euclidean distance between the layer's values (all of its map) for the plain and the "
            "moved picture",
        ),
        Column(
            "relative_distance",
            "float64",
            "distance / Euclidean norm of the plain picture's values, from 0; null where that norm "
            "is 0 or not finite",
            nullable=True,
        ),
        Column("target", "int32", "class whose probability is recorded: label or prediction"),
        Column("p_plain", "float64", "its softmax probability, of the plain picture"),
        Column("p_target", "float64", "its softmax probability, of the moved picture"),
        Column("predicted_plain", "int32", "most probable class of the plain picture"),
        Column("predicted", "int32", "most probable class of the moved picture"),
        Column(
            "filled_share",
            "float64",
            "share of the frame's pixels at which there is no picture, so that the fill shows",
        ),
    ),
    key=("image_id", "transform", "amount", "layer"),
    sort=("image_id", "transform", "amount", "layer"),
)

MOVED_PICTURES = Table(
    job="invariance",
    name="pictures",
    columns=(
        IMAGE_ID,
        _TRANSFORM,
        URI,
        Column("amounts", "string", "amounts of the pictures in the strip, left to right, by ', '"),
        Column("strip", "picture", "PNG: some of the moved frames, reduced, side by side"),
    ),
    key=("image_id", "transform"),
    sort=("image_id", "transform"),
)

CURVES = Table(
    job="invariance",
    name="curves",
    columns=(
        _TRANSFORM,
        _AMOUNT,
        LAYER,
        _IMAGES,
        *_banded("distance", "distance"),
        *_banded("relative", "relative distance"),
        *_banded("p_target", "target's probability"),
        Column("filled_share", "float64", "mean share of the frame that is fill"),
    ),
    key=("transform", "amount", "layer"),
    sort=("transform", "amount", "layer"),
)

AREAS = Table(
    job="invariance",
    name="areas",
    columns=(
        _TRANSFORM,
        LAYER,
        _IMAGES,
        Column("steps", "int64", "amounts that move the picture"),
        *_banded(
            "area",
            "invariance area, an image's mean relative distance over the amounts that move it; "
            "0: the layer does not change",
        ),
        Column("p_plain", "float64", "mean over the images of p_target of the plain picture"),
        Column("p_moved", "float64", "mean over images and amounts of p_target, moved"),
        Column(
            "changed",
            "float64",
            "share of the moved pictures whose most probable class is another than when plain",
        ),
    ),
    key=("transform", "layer"),
    sort=("transform", "layer"),
)

JOB = JobInfo(
    "invariance",
    InvarianceSpec,
    help="Move images of a scan, down, closer, around, and measure how far the layers' values move "
    "from those of the plain picture, and how probable the class still is: a layer whose distance "
    "stays small is invariant to the move. Killed at any moment, the same command resumes.",
    example="unitscope invariance runs/a --sample 5",
    tables=(RESPONSES, MOVED_PICTURES, CURVES, AREAS),
    figures=(InvarianceFigure,),
    paper="5",
)

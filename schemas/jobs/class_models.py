"""Images that a class, or any unit, answers to most: class models (Simonyan et al. 2013, sec. 2).

Of a unit of an inner layer this is activation maximisation (Erhan et al. 2009).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.flags import Flag
from schemas.job_info import JobInfo
from schemas.specs import RunSpec, Spec
from schemas.tables import BOX, CLASS_NAME, LAYER, UNIT, Column, Table
from schemas.values import BatchSize, ClassName, Count, LayerUnits, Natural, Side

Steps = Annotated[int, Field(gt=0, le=100_000)]
Seeds = Annotated[int, Field(gt=0, le=1000)]
Jitter = Annotated[int, Field(ge=0, le=4096)]


class ClassModelsSpec(RunSpec):
    """Find images that raise a class's score, or a unit's value, by gradient ascent."""

    classes: Annotated[tuple[ClassName, ...], Flag("--classes", metavar="N|NAME")] = Field(
        default=(),
        description="classes of the network, by number, 207, by a range, 0-999, or by the name "
        "that the data set gives; repeatable, or by commas; empty: a sample, if no units are given",
    )
    units: Annotated[tuple[LayerUnits, ...], Flag("--units", metavar="GLOB:UNITS")] = Field(
        default=(),
        description="units of scanned layers, features.12*:0-8; repeatable, or by commas; "
        "empty: none",
    )
    sample: Annotated[Count | None, Flag(metavar="N|all", null="all")] = Field(
        default=16,
        description="where neither classes nor units are given: so many classes, drawn by the "
        "seed; null: every one",
    )
    seeds: Annotated[Seeds, Flag(metavar="N")] = Field(
        default=1, description="images per class or unit, each from noise of its own"
    )
    steps: Annotated[Steps, Flag(metavar="N")] = Field(default=128, description="of the ascent")
    rate: Annotated[float, Flag(metavar="RATE")] = Field(
        default=0.05,
        gt=0,
        le=1e6,
        description="length of a step: root mean square of what changes where the target sees, in "
        "the network's input, which has about unit variance; with normalise=false: what the "
        "gradient is multiplied by",
    )
    normalise: bool = Field(
        default=True, description="divide each step's gradient by its root mean square"
    )
    l2: Annotated[float, Flag(metavar="LAMBDA")] = Field(
        default=5e-4,
        ge=0,
        le=1e6,
        description="lambda of the penalty lambda |I|^2; I is the network's input, 0 the mean "
        "colour, summed over pixels and colours",
    )
    basis: Annotated[Literal["pixel", "fourier"], Flag(metavar="pixel|fourier")] = Field(
        default="fourier",
        description="what the ascent moves: pixels, or coefficients of waves, each weighed by "
        "1/frequency, so that an image grows from coarse to fine",
    )
    jitter_px: Annotated[Jitter, Flag("--jitter", metavar="PX")] = Field(
        default=16,
        description="each step sees the image shifted at random, around the edges, by up to this; "
        "for a small receptive field at most an eighth of its side; 0: none",
    )
    blur_px: Annotated[float, Flag("--blur", metavar="PX")] = Field(
        default=0.0,
        ge=0,
        le=64,
        description="standard deviation of a Gaussian that the image is blurred with; 0: none",
    )
    blur_every: Steps = Field(default=4, description="steps from one blur to the next")
    noise: Annotated[float, Flag(metavar="STD")] = Field(
        default=0.01,
        ge=0,
        le=100,
        description="root mean square of the noise that the ascent starts from, on the mean "
        "colour, in the network's input; 0: the mean colour itself",
    )
    seed: Natural = Field(
        default=0, description="of noise, jitter and sample, with the target's layer and unit"
    )
    position: Annotated[Literal["centre", "mean"], Flag(metavar="centre|mean")] = Field(
        default="centre",
        description="what is raised of a unit's map: its value at the centre, or its mean",
    )
    batch_size: BatchSize = Field(default=8, description="targets in one pass, at the most")
    batch_bytes: Count = Field(
        default=1024 * 2**20,
        ge=2**20,
        description="what the targets that are worked on at once may add to a worker's memory",
    )
    picture_px: Side = Field(
        default=512, ge=16, description="longest side of a stored picture; larger ones are reduced"
    )

    @model_validator(mode="after")
    def _starts_differ(self) -> ClassModelsSpec:
        if self.seeds > 1 and self.noise == 0 and self.jitter_px == 0:
            raise ValueError(
                f"seeds: without noise and jitter all {self.seeds} images of a target are the same "
                "one; give noise, or one seed"
            )
        return self


class ClassModelsFigure(Spec):
    """The images of one class or unit, side by side."""

    class_model: Annotated[
        str, Flag(panel="What to draw", metavar="CLASS|LAYER:UNIT"), Field(min_length=1)
    ] = Field(description="a class, by its number or name, or a unit, features.12:7")


START = Column("start", "int32", "which noise the ascent began with, from 0")

TARGET_LIST = Table(
    job="class-models",
    name="target_list",
    columns=(LAYER, UNIT, START, CLASS_NAME),
    key=("layer", "unit", "start"),
    sort=("layer", "unit", "start"),
)
"""What to work on; a class is a unit of the layer of the scores."""

MODELS = Table(
    job="class-models",
    name="models",
    columns=(
        LAYER,
        UNIT,
        START,
        CLASS_NAME,
        Column(
            "raised",
            "string",
            "node whose value was raised: of an activation function or softmax its input, which "
            "has a gradient where the function is flat; else the layer itself",
        ),
        Column("score_start", "float32", "its value for the noise that the ascent began with"),
        Column("score_end", "float32", "its value for the image that the ascent ended with"),
        Column("penalty_end", "float32", "lambda |I|^2 of that image; the ascent raises their gap"),
        Column("saturated", "float32", "share of the picture's values that are 0 or 255, 0 to 1"),
        Column(
            "p_target",
            "float32",
            "of a class: its softmax probability for the picture's frame",
            nullable=True,
        ),
        Column(
            "predicted",
            "int32",
            "of a class: the most probable class for that frame",
            nullable=True,
        ),
        Column(
            "steps_without_gradient",
            "int32",
            "steps in which every gradient was zero, all rectifiers on the way being off: they "
            "followed the gradient that rectifiers do not stop",
        ),
        Column("jitter_px", "int32", "largest shift of a step, along each axis"),
        *BOX,
        Column(
            "picture",
            "picture",
            "PNG of the image where the receptive field and the frame overlap",
        ),
    ),
    key=("layer", "unit", "start"),
    sort=("layer", "unit", "start"),
)

ASCENT = Table(
    job="class-models",
    name="ascent",
    columns=(
        LAYER,
        UNIT,
        START,
        Column(
            "step",
            "int32",
            "steps done; about 32 are kept, and the last one",
        ),
        Column("score", "float32", "the value that is raised, for the image as shifted then"),
        Column("penalty", "float32", "lambda |I|^2 of the image"),
    ),
    key=("layer", "unit", "start", "step"),
    sort=("layer", "unit", "start", "step"),
)

JOB = JobInfo(
    "class-models",
    ClassModelsSpec,
    help="Find images that a class, or any unit, answers to most: gradient ascent on the score "
    "less a penalty, from the mean colour. Killed at any moment, the same command resumes.",
    example="unitscope class-models runs/a --classes 1,207 --units 'features.12*:0-8'",
    tables=(MODELS, ASCENT),
    figures=(ClassModelsFigure,),
)

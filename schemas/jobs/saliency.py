"""Gradients of a class score with respect to the pixels, for images of a scan.

Saliency (Simonyan et al. 2013), SmoothGrad (Smilkov et al. 2017), integrated gradients
(Sundararajan et al. 2017), guided backpropagation (Springenberg et al. 2014), and the deconvnet
(ZF 2.1) from a class score.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from schemas.flags import Flag
from schemas.job_info import JobInfo
from schemas.specs import ImageSelection, RunSpec, Spec
from schemas.tables import IMAGE_ID, URI, Column, Table
from schemas.values import Count, Natural, Side

Method = Literal[
    "gradient", "positive", "smoothgrad", "gradient_x_input", "integrated", "guided", "deconvnet"
]
Copies = Annotated[int, Field(gt=0, le=10_000)]
"""Forward and backward passes per image."""


class SaliencySpec(RunSpec):
    """Measure how much each pixel moves a class score."""

    images: ImageSelection = ImageSelection(sample=100)
    methods: Annotated[tuple[Method, ...], Flag("--method", metavar="NAME")] = Field(
        default=("gradient", "smoothgrad", "integrated"),
        min_length=1,
        description="gradient (magnitude), positive (its positive part), smoothgrad, "
        "gradient_x_input, integrated, guided, deconvnet; repeatable, or by commas",
    )
    target: Annotated[Natural | None, Flag(metavar="N")] = Field(
        default=None,
        description="number of the class whose score is explained, the same for every image; "
        "null: the image's label, or the prediction where it has none",
    )
    samples: Annotated[Copies, Flag(metavar="N")] = Field(
        default=25, description="smoothgrad: noisy copies of an image"
    )
    noise_percent: Annotated[float, Flag(metavar="PERCENT")] = Field(
        default=15.0,
        gt=0,
        le=1000,
        description="smoothgrad: standard deviation of the noise, in percent of the range (largest "
        "less smallest pixel) of the image",
    )
    steps: Annotated[Copies, Flag(metavar="N")] = Field(
        default=50, description="integrated: points of the path, by the midpoint rule"
    )
    seed: Natural = Field(default=0, description="smoothgrad: of the noise, with the image_id")
    picture_px: Side = Field(
        default=512, ge=16, description="longest side of a stored map; larger ones are reduced"
    )
    batch_bytes: Count = Field(
        default=512 * 2**20,
        ge=2**20,
        description="what the copies that are worked on at once may add to a worker's memory",
    )

    @field_validator("methods")
    @classmethod
    def _once(cls, methods: tuple[Method, ...]) -> tuple[Method, ...]:
        twice = [name for name in methods if methods.count(name) > 1]
        if twice:
            raise ValueError(f"{twice[0]} stands twice; give each method once")
        return methods


class SaliencyFigure(Spec):
    """The saliency maps of an image as a picture."""

    saliency: Annotated[Natural, Flag(panel="What to draw", metavar="IMAGE_ID")] = Field(
        description="one image that has saliency maps"
    )


ATTRIBUTIONS = Table(
    job="saliency",
    name="attributions",
    columns=(
        IMAGE_ID,
        Column("method", "string", "what is drawn, see the job's --method"),
        URI,
        Column("target", "int32", "class whose score is explained: label or prediction"),
        Column("score", "float32", "its score on the clean image, before the softmax"),
        Column("p_target", "float32", "its softmax probability on the clean image"),
        Column("predicted", "int32", "most probable class of the clean image"),
        Column(
            "saliency",
            "picture",
            "PNG of the map over the input frame, value = (pixel - zero) / (255 - zero) * scale; "
            "one channel, or red, green, blue for guided and deconvnet",
        ),
        Column("zero", "int32", "the pixel that stands for 0: 0, or 128 where values have a sign"),
        Column(
            "scale",
            "float32",
            "largest absolute value of the map; gradient, positive, smoothgrad, guided, deconvnet: "
            "score per pixel value, pixels from 0 to 1; gradient_x_input, integrated: score. Where "
            "it is not finite (weights that are not), the picture is all zero",
        ),
        Column(
            "completeness_error",
            "float32",
            "integrated: sum of the map less the score's difference between the image and the "
            "baseline, 0 for exact integration; null for other methods",
            nullable=True,
        ),
    ),
    key=("image_id", "method"),
    sort=("image_id", "method"),
)

JOB = JobInfo(
    "saliency",
    SaliencySpec,
    help="Compute for images of a scan how much each pixel moves the score of the class: gradient, "
    "SmoothGrad, integrated gradients and their kin, by backpropagation through the network. "
    "Killed at any moment, the same command resumes.",
    example="unitscope saliency runs/a --sample 50 --method gradient,smoothgrad",
    tables=(ATTRIBUTIONS,),
    figures=(SaliencyFigure,),
)

"""The parts that job specs are made of: frozen, closed to unknown fields, units in the names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from schemas.secrets import WAY_OUT, holds_credentials

Precision = Literal["fp32", "tf32", "bf16"]


def _no_credentials(url: str) -> str:
    """A URL ends up in tables and pages, so a secret in it would be published."""
    if where := holds_credentials(url):
        raise ValueError(f"{where}; {WAY_OUT}")
    return url


def _no_null(url: str) -> str:
    if "\0" in url:
        raise ValueError("holds a null character, which no path or URL has; take it out")
    return url


Location = Annotated[
    str, Field(min_length=1), AfterValidator(_no_credentials), AfterValidator(_no_null)
]
"""A local path, or a URL that fsspec understands (``s3://``, ``gs://``, ``https://``)."""
Natural = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A number that tables and torch can hold, from zero."""
Count = Annotated[int, Field(gt=0, le=2**63 - 1)]
"""A number of things, at least one."""
Side = Annotated[int, Field(gt=0, le=8192)]
"""Pixels along one side of a frame, of what moves over it, or of a stored picture."""
BatchSize = Annotated[int, Field(gt=0, le=65_536)]
"""Images in one forward pass."""


class Spec(BaseModel):
    """Base of every spec: immutable, and an unknown field is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic would take true for 1.
        kind = cls.model_fields[info.field_name].annotation if info.field_name else None
        given = value if isinstance(value, list | tuple) else (value,)
        if kind is not bool and any(isinstance(one, bool) for one in given):
            raise ValueError("true and false are for switches; another value is needed")
        return value


class ModelSpec(Spec):
    """Which network, and with which weights."""

    arch: str = Field(
        min_length=1,
        description="a torchvision classification model by name, zfnet, krizhevsky, or an import "
        "path 'package.module:function' or 'file.py:function' (needs trust_code)",
    )
    weights: Location = Field(
        default="DEFAULT",
        description="a .safetensors or .pth file or URL, a torchvision weights name "
        "(DEFAULT, IMAGENET1K_V1, ...), or 'random'",
    )
    seed: Natural = Field(default=0, description="seed of weights 'random'")
    num_classes: Annotated[int, Field(gt=0, le=1_000_000)] | None = Field(
        default=None, description="width of the classifier; read from the weights where not given"
    )
    trust_code: bool = Field(
        default=False, description="allow an import path, which runs the code that it names"
    )


class PreprocessSpec(Spec):
    """From a decoded picture to the network's input frame (square, crop_px by crop_px).

    The short side is resized to ``resize_px`` (no resize where null), the centre ``crop_px``
    square is cut (padded with zeros where the picture is smaller), values are scaled to
    [0, value_range], then ``(x - mean) / std`` a channel.
    """

    resize_px: Side | None = 256
    crop_px: Side = 224
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    value_range: float = Field(
        default=1.0, gt=0, description="what pixel value 255 becomes before mean and std"
    )
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)


class DatasetSpec(Spec):
    """Where the images are listed."""

    uri: Location = Field(
        description="a folder, a CSV or Parquet manifest (path,label,class_name), a Parquet table "
        "of image bytes, or tar shards (a folder, a glob or one .tar)"
    )
    limit: Count | None = Field(default=None, description="only the first N images")
    max_pixels: Count = Field(
        default=100_000_000, description="a picture with more pixels is rejected undecoded"
    )
    max_reject_fraction: float = Field(
        default=0.05, ge=0, le=1, description="a larger share of rejects fails the job"
    )


class LayerSelection(Spec):
    """Which layers, by glob over the names that ``unitscope layers`` prints."""

    include: tuple[str, ...] = Field(
        default=(),
        description="globs; empty: every activation function's output, and the classifier's",
    )
    exclude: tuple[str, ...] = ()


class Resources(Spec):
    """Where the work runs. Threads and device kind are part of a plan, the others are not."""

    device: Literal["cpu", "cuda"] = "cpu"
    threads: Annotated[int, Field(gt=0, le=1024)] | None = Field(
        default=None,
        description="CPU threads a worker; null: what the run's plan has, else half the cores, "
        "1 to 4 (sums depend on it, so one run keeps one value)",
    )
    workers: Count | None = Field(
        default=None, description="how many; null: as many as the cores or GPUs carry"
    )
    decode_threads: PositiveInt = Field(default=4, le=256, description="image decoders a worker")
    local: bool = Field(default=False, description="in this process, no Ray")
    ray_address: Location | None = Field(
        default=None,
        min_length=1,
        description="a running cluster; null: RAY_ADDRESS, else an embedded one",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Resources:
        if self.local and self.ray_address:
            raise ValueError(
                f"local and ray_address exclude each other; drop local or {self.ray_address}"
            )
        if self.local and self.workers not in (None, 1):
            raise ValueError(f"local runs one worker, workers says {self.workers}; drop one")
        return self

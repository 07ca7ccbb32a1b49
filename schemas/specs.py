"""What job specs are built of: frozen, closed to unknown fields, units in the names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from schemas.flags import Flag, Path
from schemas.values import (
    Address,
    ClassName,
    Count,
    Location,
    Natural,
    Side,
    UnitName,
    python_file,
    weights_file,
)

Precision = Literal["fp32", "tf32", "bf16"]


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

    arch: Annotated[str, Flag(panel="Model", metavar="NAME"), Path(python_file)] = Field(
        min_length=1,
        description="the network: a torchvision classification model by name, zfnet, krizhevsky, "
        "or an import path 'package.module:function' or 'file.py:function' (needs trust_code)",
    )
    weights: Annotated[Address, Flag(panel="Model", metavar="FILE|NAME"), Path(weights_file)] = (
        Field(
            default="DEFAULT",
            description="a .safetensors or .pth file or URL, a torchvision weights name "
            "(DEFAULT, IMAGENET1K_V1, ...), or 'random'",
        )
    )
    seed: Annotated[Natural, Flag(panel="Model", metavar="N")] = Field(
        default=0, description="seed of weights 'random'"
    )
    num_classes: Annotated[int, Field(gt=0, le=1_000_000)] | None = Field(
        default=None, description="width of the classifier; read from the weights where not given"
    )
    trust_code: Annotated[bool, Flag(panel="Model")] = Field(
        default=False,
        description="allow an import path as arch, which runs the code that it names",
    )


class PreprocessSpec(Spec):
    """From a decoded picture to the network's input frame (square, crop_px by crop_px).

    The short side is resized to ``resize_px`` (no resize where null), the centre ``crop_px``
    square is cut (padded with zeros where the picture is smaller), values are scaled to
    [0, value_range], then ``(x - mean) / std`` per channel.
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

    uri: Annotated[Location, Flag("--data", "Data", "PATH")] = Field(
        description="a folder of images, a CSV or Parquet manifest (path,label,class_name), a "
        "Parquet table of image bytes, or tar shards (a folder, a glob or one .tar); a path or URL"
    )
    limit: Annotated[Count | None, Flag(panel="Data", metavar="N")] = Field(
        default=None, description="only the first N images; null: all"
    )
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
        description="globs over layer names; empty: the job's own choice",
    )
    exclude: tuple[str, ...] = ()


class ImageSelection(Spec):
    """Which images of a scan; what is given narrows the choice down, and a sample comes last."""

    ids: Annotated[tuple[Natural, ...], Flag("--images", "Which images", "ID")] = Field(
        default=(),
        description="only these images, by image_id, 12,40; repeatable, or by commas; empty: any",
    )
    classes: Annotated[tuple[ClassName, ...], Flag("--class", "Which images", "NAME")] = Field(
        default=(),
        description="only images of these classes, by name or label number; repeatable, or by "
        "commas; empty: any",
    )
    of_unit: Annotated[UnitName | None, Flag("--of-unit", "Which images", "LAYER:UNIT")] = Field(
        default=None,
        description="only images among the top patches of this unit, features.12:7; null: any",
    )
    sample: Annotated[Count | None, Flag("--sample", "Which images", "N|all", null="all")] = Field(
        default=None,
        description="only so many of these, drawn by the seed (--set images.seed=1: others), "
        "or all that another choice leaves; null: every one",
    )
    seed: Natural = 0


ScannedLayers = Annotated[
    LayerSelection,
    Flag("--layers", metavar="GLOB", part="include"),
    Field(
        description="globs over the names of the scanned layers; repeatable, or by commas; "
        "empty: all"
    ),
]
"""Of the layers that a scan took."""


class Resources(Spec):
    """Where the work runs. Threads and device kind are part of a plan, the others are not."""

    workers: Annotated[Count | None, Flag(panel="Where it runs", metavar="auto|N", null="auto")] = (
        Field(
            default=None,
            description="worker processes; null: as many as the cores or GPUs carry",
        )
    )
    device: Annotated[Literal["cpu", "cuda"], Flag(panel="Where it runs", metavar="cpu|cuda")] = (
        Field(default="cpu", description="kind of device")
    )
    threads: Annotated[int, Field(gt=0, le=1024)] | None = Field(
        default=None,
        description="CPU threads per worker; null: what the run's plan has, else half the cores, "
        "1 to 4 (sums depend on it, so one run keeps one value)",
    )
    decode_threads: PositiveInt = Field(default=4, le=256, description="image decoders per worker")
    local: Annotated[bool, Flag(panel="Where it runs")] = Field(
        default=False, description="in this process, without Ray"
    )
    ray_address: Annotated[Address | None, Flag("--ray", "Where it runs", "ADDRESS")] = Field(
        default=None,
        description="a running Ray cluster; null: RAY_ADDRESS, else an embedded one",
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


class JobSpec(Spec, ABC):
    """Base of every job's spec."""

    @property
    @abstractmethod
    def home(self) -> str:
        """The run's folder that the job works in, a path or URL."""


class RunSpec(JobSpec):
    """Base of every job that works on a published scan."""

    run: Annotated[Location, Flag(panel="Arguments", metavar="RUN")] = Field(
        description="the folder of a published scan, a path or URL"
    )
    resources: Resources = Resources()

    @property
    def home(self) -> str:
        """See `JobSpec.home`."""
        return self.run

"""One spec per job; the same model reads the YAML, the flags and gives the JSON schema."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from schemas.specs import (
    BatchSize,
    Count,
    DatasetSpec,
    LayerSelection,
    Location,
    ModelSpec,
    Natural,
    Precision,
    PreprocessSpec,
    Resources,
    Side,
    Spec,
)

_RANGE = r"^[0-9]{1,9}(-[0-9]{1,9})?$"
_UNIT = r"^.+:[0-9]{1,9}$"
_SIDES = r"^[1-9][0-9]{0,3}(x[1-9][0-9]{0,3})?$"
_FILL = r"^(grey|mean|blur|#[0-9a-fA-F]{6})$"


def _in_words(pattern: str, words: str) -> BeforeValidator:
    """Refuses a text of another form in words, where pydantic would show the pattern."""

    def check(value: object) -> object:
        text = str(value) if isinstance(value, int) else value
        if isinstance(text, str) and not re.fullmatch(pattern, text):
            raise ValueError(words)
        return text

    return BeforeValidator(check)


def _upwards(text: str) -> str:
    first, _, last = text.partition("-")
    if last and int(last) < int(first):
        raise ValueError(f"a range goes upwards, {last}-{first}")
    return text


UnitRange = Annotated[
    str,
    Field(pattern=_RANGE),
    _in_words(_RANGE, "a unit, 3, or a range, 0-63, is needed"),
    AfterValidator(_upwards),
]
"""A unit or a range of them: ``3``, ``0-63``."""
UnitName = Annotated[
    str, Field(pattern=_UNIT), _in_words(_UNIT, "a layer and a unit, relu1:3, is needed")
]
"""A unit of a layer: ``features.12:7``."""
WindowSize = Annotated[
    str, Field(pattern=_SIDES), _in_words(_SIDES, "a side, 16, or height x width, 16x24, is needed")
]
"""A side in pixels, or height x width: ``16``, ``16x24``."""
Fill = Annotated[
    str, Field(pattern=_FILL), _in_words(_FILL, "grey, mean, blur or a colour, #ff0080, is needed")
]
"""What stands in a window: a name or a colour, ``#rrggbb``."""
ClassName = Annotated[str, Field(coerce_numbers_to_str=True)]
"""A class's name, or its label number."""


class ScanSpec(Spec):
    """Scan a whole data set for the images that drive every unit most (ZF fig. 2)."""

    model: ModelSpec
    data: DatasetSpec
    out: Location = Field(description="the run's folder, a path or URL")
    preprocess: PreprocessSpec | None = Field(
        default=None, description="null: what the architecture's published weights ask for"
    )
    layers: LayerSelection = LayerSelection()
    top: PositiveInt = Field(default=9, le=100, description="top patches kept a unit (k)")
    batch_size: BatchSize = 64
    shard_size: Count | None = Field(
        default=None,
        description="images a shard, a multiple of batch_size; null: a 32nd of the images, "
        "at most 4096",
    )
    precision: Precision = "fp32"
    resources: Resources = Resources()

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


class ProjectSpec(Spec):
    """Project the top patches of a scan back to pixels (ZF 2.1)."""

    run: Location = Field(description="the folder of a published scan, a path or URL")
    layers: LayerSelection = Field(
        default=LayerSelection(), description="empty: every layer that was scanned"
    )
    units: UnitRange | None = Field(default=None, description="a unit or a range, 0-63; null: all")
    rule: Literal["deconvnet", "guided", "gradient"] = Field(
        default="deconvnet", description="what happens to the signal at a rectifier on its way down"
    )
    tolerance: float = Field(
        default=1e-3,
        gt=0,
        description="largest relative difference between the index and an activation computed "
        "again; more means other weights or other pictures",
    )
    batch_size: BatchSize = Field(default=16, description="images a forward pass")
    picture_px: Side = Field(
        default=96, ge=16, description="longest side of a stored picture; larger ones are reduced"
    )
    resources: Resources = Resources()


class SlidingWindow(Spec):
    """A window that slides over the picture (ZF 4.2); all in input-frame pixels."""

    height_px: PositiveInt
    width_px: PositiveInt
    stride_px: PositiveInt

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height_px, self.width_px


class ImageSelection(Spec):
    """Which images of a scan; what is given narrows the choice down, and a sample comes last."""

    ids: tuple[Natural, ...] = Field(default=(), description="image ids; empty: any")
    classes: tuple[ClassName, ...] = Field(
        default=(), description="class names or label numbers; empty: any"
    )
    of_unit: UnitName | None = Field(
        default=None, description="only images in the top patches of this unit, LAYER:UNIT"
    )
    sample: Count | None = Field(
        default=None, description="this many of them, drawn by the seed; null: all"
    )
    seed: Natural = 0


class OccludeSpec(Spec):
    """Slide a grey square over images and record what the network makes of it (ZF 4.2, fig. 7)."""

    run: Location = Field(description="the folder of a published scan, a path or URL")
    images: ImageSelection = ImageSelection(sample=100)
    window_px: tuple[WindowSize, ...] = Field(
        default=("16",),
        min_length=1,
        max_length=16,
        description="sides of the windows, 16 or 16x24 (height x width); each goes its own way "
        "over every picture",
    )
    stride_px: tuple[Side, ...] = Field(
        default=(4,), min_length=1, description="step down and across: one, or one a window"
    )
    fill: Fill = Field(
        default="grey",
        description="what stands in the window: grey, mean (the colour that the preprocessing "
        "subtracts), blur (of the image itself) or a colour #rrggbb",
    )
    target: Natural | None = Field(
        default=None,
        description="the class whose probability is recorded; null: the label, or "
        "the prediction where there is none",
    )
    layer: str | None = Field(
        default=None,
        description="whose strongest map's total activity is recorded; null: the last "
        "convolutional one",
    )
    boxes: Location | None = Field(
        default=None,
        description="a CSV of the objects' boxes (path,part,y0,x0,y1,x1 in the pictures' pixels); "
        "null: the manifest's column 'boxes', where it has one",
    )
    engine: Literal["auto", "incremental", "dense"] = Field(
        default="auto", description="auto: what costs less by count; both give the same answer"
    )
    batch_bytes: Count = Field(
        default=512 * 2**20,
        ge=2**20,
        description="what the batches of windows may add to a worker's memory",
    )
    resources: Resources = Resources()

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


class GallerySpec(Spec):
    """Draw a run as static pages (ZF fig. 2)."""

    run: Location = Field(description="the run's folder; scan must be published, project may be")
    out: Location | None = Field(
        default=None, description="where to put the pages, a local folder; null: RUN/gallery"
    )
    layers: LayerSelection = Field(
        default=LayerSelection(), description="empty: every layer that was scanned"
    )
    sheet_px: PositiveInt = Field(default=64, ge=16, le=256, description="side of one picture")


JOBS: dict[str, type[Spec]] = {
    "scan": ScanSpec,
    "project": ProjectSpec,
    "occlude": OccludeSpec,
    "gallery": GallerySpec,
}
"""Every job that the command line, `unitscope schema` and `unitscope submit` know."""

"""One spec per job; the same model reads the YAML, the flags and gives the JSON schema."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from schemas.specs import (
    DatasetSpec,
    LayerSelection,
    Location,
    ModelSpec,
    Precision,
    PreprocessSpec,
    Resources,
    Spec,
)


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
    batch_size: PositiveInt = 64
    shard_size: PositiveInt | None = Field(
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
    units: str | None = Field(
        default=None, pattern=r"^\d+(-\d+)?$", description="a unit or a range, 0-63; null: all"
    )
    rule: Literal["deconvnet", "guided", "gradient"] = Field(
        default="deconvnet", description="what happens to the signal at a rectifier on its way down"
    )
    tolerance: float = Field(
        default=1e-3,
        gt=0,
        description="largest relative difference between the index and an activation computed "
        "again; more means other weights or other pictures",
    )
    batch_size: PositiveInt = Field(default=16, description="images a forward pass")
    picture_px: PositiveInt = Field(
        default=96, ge=16, description="longest side of a stored picture; larger ones are reduced"
    )
    resources: Resources = Resources()


class GallerySpec(Spec):
    """Draw a run as static pages (ZF fig. 2)."""

    run: Location = Field(description="the run's folder; scan must be published, project may be")
    out: str | None = Field(
        default=None, description="where to put the pages, a local folder; null: RUN/gallery"
    )
    layers: LayerSelection = Field(
        default=LayerSelection(), description="empty: every layer that was scanned"
    )
    sheet_px: PositiveInt = Field(default=64, ge=16, le=256, description="side of one picture")


JOBS: dict[str, type[Spec]] = {
    "scan": ScanSpec,
    "project": ProjectSpec,
    "gallery": GallerySpec,
}
"""Every job that the command line, `unitscope schema` and `unitscope submit` know."""

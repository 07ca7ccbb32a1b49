"""How the units of a network came about: their strongest images during training (ZF fig. 4).

Every checkpoint is scanned as the run's own network was, in a run folder of its own below
``RUN/checkpoints``; what is compared here are the tables of those scans.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from schemas.flags import Flag, Path
from schemas.job_info import JobInfo
from schemas.jobs.project import ProjectionRule
from schemas.specs import LayerSelection, RunSpec, ScannedLayers, Spec
from schemas.tables import BOX, LAYER, UNIT, Column, Table
from schemas.values import Address, UnitRange

MOST_TOP = 9
"""Strongest images per unit that are compared, as in ZF; fewer where the scan kept fewer."""


class EvolveSpec(RunSpec):
    """Follow the units of a network through checkpoints of its training (ZF fig. 4)."""

    checkpoints: Annotated[tuple[Address, ...], Flag("--checkpoints", "Model", "GLOB"), Path()] = (
        Field(
            min_length=1,
            description="weights files of the scanned network, by path, URL, glob or braces, in "
            "the order of training; what a glob matches comes in natural order, epoch2 before "
            "epoch10; repeatable, or by commas",
        )
    )
    layers: ScannedLayers = LayerSelection()
    units: Annotated[UnitRange, Flag(metavar="UNITS")] = Field(
        default="0-7",
        description="the units that are projected and drawn, a unit or a range; all are compared",
    )
    rule: ProjectionRule = "deconvnet"
    settled: Annotated[float, Flag(metavar="SHARE")] = Field(
        default=0.5,
        gt=0,
        le=1,
        description="a layer has settled at the first checkpoint from which on the mean overlap of "
        "its units' strongest images with those of the last checkpoint is at least this",
    )

    @field_validator("checkpoints")
    @classmethod
    def _once(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        twice = [place for place in places if places.count(place) > 1]
        if twice:
            raise ValueError(f"{twice[0]} stands twice; give each once")
        return places


class EvolutionFigure(Spec):
    """Units of a layer over the checkpoints as a picture (ZF fig. 4)."""

    evolve: Annotated[str, Flag(panel="What to draw", metavar="LAYER")] = Field(
        description="the units of a layer over the checkpoints of `unitscope evolve`"
    )


_CHECKPOINT = Column("checkpoint", "int32", "place in the order of training, from 0")
_NAME = Column("name", "string", "of the checkpoint, and of its run's folder below checkpoints/")

CHECKPOINTS = Table(
    job="evolve",
    name="checkpoints",
    columns=(
        _CHECKPOINT,
        _NAME,
        Column("url", "string", "its weights file"),
        Column("weights_sha256", "string", "of names, shapes and bytes of its weights"),
    ),
    key=("checkpoint",),
    sort=("checkpoint",),
)
"""The work list."""

STRONGEST = Table(
    job="evolve",
    name="strongest",
    columns=(
        LAYER,
        UNIT,
        _CHECKPOINT,
        _NAME,
        Column(
            "image_id",
            "int64",
            "image that drives the unit most at this checkpoint, as in scan/images; null, with all "
            "that follows, where the unit is dead: it has no top patch",
            nullable=True,
        ),
        Column("uri", "string", "where the image was read", nullable=True),
        Column("value", "float32", "the activation: maximum over the unit's map", nullable=True),
        *(Column(each.name, each.kind, each.description, nullable=True) for each in BOX),
        Column(
            "jumped",
            "bool",
            "the image is another one than at the checkpoint before; null at the first checkpoint, "
            "and where the unit is dead at one of the two",
            nullable=True,
        ),
        Column(
            "patch",
            "picture",
            "PNG of what the unit sees, as in project/projections; null for units that were not "
            "projected",
            nullable=True,
        ),
        Column(
            "projection",
            "picture",
            "PNG of the projection, same extent; 128 is zero, value = (pixel - 128) / 127 * scale",
            nullable=True,
        ),
        Column("scale", "float32", "largest absolute value of the projection", nullable=True),
    ),
    key=("layer", "unit", "checkpoint"),
    sort=("layer", "unit", "checkpoint"),
)

CHANGES = Table(
    job="evolve",
    name="changes",
    columns=(
        LAYER,
        _CHECKPOINT,
        _NAME,
        Column("units", "int32", "of the layer"),
        Column("dead", "int32", "units without a top patch at this checkpoint"),
        Column(
            "median_value",
            "float32",
            "median over the other units of the strongest activation",
            nullable=True,
        ),
        Column(
            "compared",
            "int32",
            "units with a top patch at this checkpoint or the one before; null at the first",
            nullable=True,
        ),
        Column(
            "jumps",
            "int32",
            "units whose strongest image is another one than at the checkpoint before; a unit that "
            "is dead at one of the two does not jump",
            nullable=True,
        ),
        Column(
            "stayed",
            "float64",
            "share of the compared units whose strongest image is that of the checkpoint before, "
            "0 to 1; null where none is compared",
            nullable=True,
        ),
        Column(
            "overlap",
            "float64",
            "mean over the compared units of |A and B| / max(|A|, |B|), A and B their (at most "
            "nine) strongest images at this checkpoint and at the one before; 0 to 1",
            nullable=True,
        ),
        Column(
            "stayed_last",
            "float64",
            "as stayed, but of the last checkpoint in place of the one before",
            nullable=True,
        ),
        Column(
            "overlap_last",
            "float64",
            "as overlap, but with the last checkpoint in place of the one before",
            nullable=True,
        ),
    ),
    key=("layer", "checkpoint"),
    sort=("layer", "checkpoint"),
)

SETTLED = Table(
    job="evolve",
    name="settled",
    columns=(
        LAYER,
        Column(
            "checkpoint",
            "int32",
            "the first one from which on overlap_last is at least the threshold; null where that "
            "is so at the last one alone, which agrees with itself",
            nullable=True,
        ),
        Column("name", "string", "of that checkpoint", nullable=True),
        Column("threshold", "float64", "of overlap_last, 0 to 1"),
    ),
    key=("layer",),
    sort=("layer",),
)

JOB = JobInfo(
    "evolve",
    EvolveSpec,
    help="Follow the units of a scan's network through checkpoints of its training: the strongest "
    "image of each at every checkpoint, its projection, and when each layer settles. It scans "
    "every checkpoint as the run was scanned, each into a run of its own below RUN/checkpoints, "
    "and none twice. Killed at any moment, the same command resumes.",
    example="unitscope evolve runs/a --checkpoints 'weights/epoch*.safetensors'",
    tables=(STRONGEST, CHANGES, SETTLED),
    figures=(EvolutionFigure,),
    paper="4",
)

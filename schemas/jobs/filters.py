"""The filters of convolutions: pictures, size, spectrum and faults (ZF 4.1, fig. 6)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.flags import Flag
from schemas.job_info import JobInfo
from schemas.specs import LayerSelection, RunSpec, ScannedLayers, Spec
from schemas.tables import LAYER, UNIT, Column, Table
from schemas.values import Location

Share = Annotated[float, Field(ge=0, le=1)]
"""Of a whole, from 0 to 1."""
FindingKind = Literal[
    "aliasing",
    "dead",
    "dominant",
    "high_frequency",
    "low_frequency",
    "middle_missing",
    "near_dead",
    "not_finite",
    "weak",
]
WHOLE_LAYER = -1
"""The number that stands for the layer as a whole among the units of its findings."""
LOW_BELOW, HIGH_FROM = 1 / 6, 1 / 3
"""Edges of the bands: cycles per position of the convolution's input, by distance from zero."""


class FiltersSpec(RunSpec):
    """Look at the filters of the convolutions behind scanned layers (ZF 4.1)."""

    layers: ScannedLayers = LayerSelection()
    dominant: Annotated[float, Flag(metavar="TIMES")] = Field(
        default=3.0,
        gt=1,
        le=1e9,
        description="a filter dominates from so many times the layer's median RMS",
    )
    weak: Annotated[Share, Flag(metavar="SHARE")] = Field(
        default=0.1, description="a filter is weak up to this share of the layer's median RMS"
    )
    near_dead: Annotated[Share, Flag(metavar="SHARE")] = Field(
        default=0.01,
        description="a unit is nearly dead where it fires on fewer than this share of the scanned "
        "images (dead: on none)",
    )
    extreme: Annotated[Share, Flag(metavar="SHARE")] = Field(
        default=0.9,
        description="a filter is of low, or of high, frequency, or aliases, from this share of its "
        "energy there",
    )
    aliasing: Annotated[Share, Flag(metavar="SHARE")] = Field(
        default=0.25,
        description="a layer aliases where half of its filters have this share or more of their "
        "energy above the Nyquist frequency of its stride",
    )
    middle: Annotated[Share, Flag(metavar="SHARE")] = Field(
        default=0.15,
        description="a layer misses the middle frequencies where their mean share of the energy "
        "is below this (filters of noise have 0.26)",
    )


class FiltersFigure(Spec):
    """The filters of a layer as a picture, alone or beside those of another run."""

    filters: Annotated[str, Flag(panel="What to draw", metavar="LAYER")] = Field(
        description="filters of the convolution behind a layer"
    )
    beside: Annotated[Location | None, Flag(panel="What to draw", metavar="RUN")] = Field(
        default=None,
        description="another run, whose layer of the same name, else its first with filters, "
        "stands beside them; null: one run alone",
    )


_POSITION = Column("position", "int32", "order of the layer in the network, from 0")
_CONVOLUTION = Column(
    "convolution", "string", "node of the model's graph whose weights make the layer's units"
)
_BAND = (
    "share of the filter's spectral energy at frequencies {}, distance from zero in cycles per "
    "position of the convolution's input; null of a 1 x 1 kernel, which has no pattern, and where "
    "the weights are zero or not finite"
)

CONVOLUTIONS = Table(
    job="filters",
    name="convolutions",
    columns=(LAYER, _POSITION, _CONVOLUTION),
    key=("layer",),
    sort=("position",),
)
"""The work list: one row per scanned layer that a convolution makes."""

FILTERS = Table(
    job="filters",
    name="filters",
    columns=(
        LAYER,
        UNIT,
        Column(
            "rms",
            "float64",
            "root of the mean squared weight, the gain included; null where a weight is not finite",
            nullable=True,
        ),
        Column(
            "dominance",
            "float64",
            "rms / its median over the layer's filters; null where one of them is null or 0",
            nullable=True,
        ),
        Column(
            "gain",
            "float64",
            "factor of the batch norms between convolution and layer, weight / sqrt(var + eps), "
            "with its sign; 1 without any",
        ),
        Column("low", "float64", _BAND.format("below 1/6"), nullable=True),
        Column("middle", "float64", _BAND.format("from 1/6 to below 1/3"), nullable=True),
        Column("high", "float64", _BAND.format("from 1/3"), nullable=True),
        Column(
            "alias_share",
            "float64",
            "share of the spectral energy above the Nyquist frequency of the convolution's output, "
            "1/(2 stride) cycles per position of its input, down or across: what the stride folds "
            "onto lower frequencies; null where the weights are zero or not finite",
            nullable=True,
        ),
        Column(
            "active_share",
            "float64",
            "share of the scanned images on which the unit is above zero somewhere; null where no "
            "image counts",
            nullable=True,
        ),
        Column("dead", "bool", "the layer is an activation's, and no image fires the unit"),
        Column("near_dead", "bool", "it is not dead, but fires on fewer than near_dead"),
        Column("findings", "string", "kinds of its findings, by commas; empty: none"),
        Column(
            "picture",
            "picture",
            "PNG of the kernel, one pixel per weight, the gain included: red, green and blue where "
            "the convolution reads the image's colours, else grey, the mean over input channels; "
            "value = (pixel - 128) / 127 * scale; all 128 where a weight is not finite",
        ),
        Column("scale", "float64", "largest absolute value drawn; 0 where a weight is not finite"),
    ),
    key=("layer", "unit"),
    sort=("layer", "unit"),
)

FILTER_LAYERS = Table(
    job="filters",
    name="filter_layers",
    columns=(
        LAYER,
        _POSITION,
        _CONVOLUTION,
        Column("units", "int32", "filters of the layer"),
        Column("kernel_height", "int32", "weights down"),
        Column("kernel_width", "int32", "weights across"),
        Column("stride_y", "int32", "of the convolution, in positions of its input"),
        Column("stride_x", "int32", "of the convolution, in positions of its input"),
        Column("dilation_y", "int32", "positions of the input from weight to weight, down"),
        Column("dilation_x", "int32", "positions of the input from weight to weight, across"),
        Column("groups", "int32", "of the convolution"),
        Column("in_channels", "int32", "input channels that one filter reads: those of its group"),
        Column("colour", "bool", "it reads the image's three colours"),
        Column("rms_median", "float64", "over the filters; null without any", nullable=True),
        Column("rms_max", "float64", "over the filters; null without any", nullable=True),
        Column("dominance_max", "float64", "over the filters; null without any", nullable=True),
        Column("low", "float64", "mean over the filters; null without any", nullable=True),
        Column("middle", "float64", "mean over the filters; null without any", nullable=True),
        Column("high", "float64", "mean over the filters; null without any", nullable=True),
        Column("alias_median", "float64", "over the filters; null without any", nullable=True),
        Column("dominant", "int32", "filters that dominate"),
        Column("dead", "int32", "units that no image fires; 0 where no activation made the layer"),
        Column("near_dead", "int32", "units that nearly no image fires"),
        Column("not_finite", "int32", "filters with a weight that is NaN or infinite"),
        Column("scale", "float64", "largest of the filters' scales: to draw all on one"),
    ),
    key=("layer",),
    sort=("position",),
)

FINDINGS = Table(
    job="filters",
    name="findings",
    columns=(
        LAYER,
        Column("unit", "int32", "channel of the layer, from 0; -1: the layer as a whole"),
        Column("kind", "string", "what was found; the spec's fields hold the thresholds"),
        Column("value", "float64", "the number that crossed the threshold"),
        Column("sentence", "string", "the finding in words"),
    ),
    key=("layer", "unit", "kind"),
    sort=("layer", "unit", "kind"),
)

JOB = JobInfo(
    "filters",
    FiltersSpec,
    help="Look at the filters of the convolutions behind the layers of a scan: a picture of each, "
    "which ones dominate by their RMS, which units are dead, how the energy spreads over low, "
    "middle and high frequencies, and how much of it the stride aliases; findings in sentences.",
    example="unitscope filters runs/a --layers 'features.0*,*relu1*'",
    tables=(FILTERS, FILTER_LAYERS, FINDINGS),
    figures=(FiltersFigure,),
    paper="6",
)

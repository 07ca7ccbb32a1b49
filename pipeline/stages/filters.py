"""The filters of one shard of layers: numbers, findings and pictures of their convolutions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from pipeline.analysis.filter_findings import Finding, LayerNumbers, findings
from pipeline.analysis.filters import dominance, energy_shares, root_mean_square
from pipeline.models.filters import Convolution, find_convolution, require_traced
from pipeline.models.network import Network
from pipeline.stages.contract import StageOutput
from pipeline.stages.model_stage import ModelStage
from pipeline.stages.stored_pictures import encode_png, scaled_pixels
from pipeline.store import open_run
from schemas.jobs.filters import CONVOLUTIONS, FILTER_LAYERS, FILTERS, FINDINGS, FiltersSpec
from schemas.manifest import Shard
from schemas.tables import Table

Row = dict[str, Any]
Floats = NDArray[np.float64]


@dataclass
class FiltersStage(ModelStage):
    """Looks at the convolutions behind layers, one in memory at a time, in float64.

    Attributes:
        spec: what to do.
    """

    name: ClassVar[str] = "filters"
    items: ClassVar[str] = "layers"
    spec: FiltersSpec

    @property
    def parts(self) -> dict[str, Table]:
        """See `Stage.parts`."""
        return {table.name: table for table in (FILTERS, FILTER_LAYERS, FINDINGS)}

    def open(self, network: Network) -> None:
        """Read the scan's statistics of the units."""
        self._geometry = require_traced(network)
        self._run = open_run(self.source.run)
        layers = self._run.table("layers", job="scan", columns=["layer", "activation"])
        self._activation = dict(zip(layers["layer"], layers["activation"], strict=True))

    def process(self, shard: Shard, upcoming: Shard | None = None) -> StageOutput:  # noqa: ARG002
        """Do one shard, layer after layer."""
        found: dict[str, list[Row]] = {name: [] for name in self.parts}
        for row in self.work_rows(CONVOLUTIONS, shard.start, shard.stop).to_pylist():
            for name, rows in self._layer(row).items():
                found[name] += rows
        tables = {
            name: pa.Table.from_pylist(found[name], schema=contract.schema)
            for name, contract in self.parts.items()
        }
        counted = {"layers": FILTER_LAYERS, "filters": FILTERS, "findings": FINDINGS}
        return StageOutput(
            tables, {name: tables[table.name].num_rows for name, table in counted.items()}
        )

    def _layer(self, row: Row) -> dict[str, list[Row]]:
        """The rows of one layer, by table."""
        layer = row["layer"]
        convolution = find_convolution(self._geometry, layer)
        if isinstance(convolution, str):  # the plan has seen to it
            raise TypeError(f"{layer}: {convolution}")
        units = self._run.table("units", job="scan", layer=layer).sort_values("unit")
        weights = convolution.filters
        activation = bool(self._activation[layer])
        numbers = _measure(convolution, weights, units, activation=activation)
        found = findings(numbers, self.spec)
        near_dead = numbers.near_dead(self.spec.near_dead)
        filters = _filter_rows(convolution, weights, numbers, found, near_dead)
        summary = _layer_row(convolution, numbers, found, filters)
        return {
            FILTERS.name: [{"layer": layer, **each} for each in filters],
            FILTER_LAYERS.name: [row | summary],
            FINDINGS.name: [{"layer": layer, **vars(each)} for each in found],
        }


def _measure(
    convolution: Convolution, filters: Tensor, units: pd.DataFrame, *, activation: bool
) -> LayerNumbers:
    """The filters of a layer in numbers.

    Args:
        convolution: behind the layer.
        filters: its own.
        units: the layer's rows of `schemas.jobs.scan.SCAN_UNITS`, by unit.
        activation: whether an activation function made the layer.
    """
    rms = root_mean_square(filters)
    shares = energy_shares(filters, convolution.stride, convolution.dilation)
    patterned = max(filters.shape[2:]) > 1
    without = np.full(len(filters), np.nan)
    low, middle, high = (
        band.numpy() if patterned else without for band in (shares.low, shares.middle, shares.high)
    )
    return LayerNumbers(
        rms=rms.numpy(),
        dominance=dominance(rms).numpy(),
        low=low,
        middle=middle,
        high=high,
        alias=shares.alias.numpy(),
        not_finite=(~filters.isfinite()).sum(dim=(1, 2, 3)).numpy(),
        active=units["active"].to_numpy(),
        images=units["images"].to_numpy(),
        activation=activation,
        patterned=patterned,
        stride=convolution.stride,
        position="pixel" if convolution.colour else "position",
    )


def _filter_rows(
    convolution: Convolution,
    filters: Tensor,
    numbers: LayerNumbers,
    found: Sequence[Finding],
    near_dead: NDArray[np.bool_],
) -> list[Row]:
    """The layer's rows of filters/filters, without the layer's name."""
    dead, kinds = numbers.dead, defaultdict(list)
    for each in found:
        kinds[each.unit].append(each.kind)
    with np.errstate(invalid="ignore"):
        active_share = numbers.active / numbers.images
    rows = []
    for unit, values in enumerate(filters.numpy()):
        png, scale = filter_png(values, colour=convolution.colour)
        measured = {
            "rms": numbers.rms,
            "dominance": numbers.dominance,
            "low": numbers.low,
            "middle": numbers.middle,
            "high": numbers.high,
            "alias_share": numbers.alias,
            "active_share": active_share,
        }
        rows.append(
            {
                "unit": unit,
                **{name: _known(column[unit]) for name, column in measured.items()},
                "gain": float(convolution.gain[unit]),
                "dead": bool(dead[unit]),
                "near_dead": bool(near_dead[unit]),
                "findings": ",".join(kinds[unit]),
                "picture": {"bytes": png, "path": None},
                "scale": scale,
            }
        )
    return rows


def _layer_row(
    convolution: Convolution,
    numbers: LayerNumbers,
    found: Sequence[Finding],
    filters: Sequence[Row],
) -> Row:
    """The layer's row of filters/filter_layers, without what the work list says of it."""
    units, inputs, height, width = convolution.weight.shape
    kinds = [each.kind for each in found]
    return {
        "units": units,
        "kernel_height": height,
        "kernel_width": width,
        "stride_y": convolution.stride[0],
        "stride_x": convolution.stride[1],
        "dilation_y": convolution.dilation[0],
        "dilation_x": convolution.dilation[1],
        "groups": convolution.groups,
        "in_channels": inputs,
        "colour": convolution.colour,
        "rms_median": _over(np.median, numbers.rms),
        "rms_max": _over(np.max, numbers.rms),
        "dominance_max": _over(np.max, numbers.dominance),
        "low": _over(np.mean, numbers.low),
        "middle": _over(np.mean, numbers.middle),
        "high": _over(np.mean, numbers.high),
        "alias_median": _over(np.median, numbers.alias),
        **{kind: kinds.count(kind) for kind in ("dominant", "dead", "near_dead", "not_finite")},
        "scale": max(row["scale"] for row in filters),
    }


def _known(value: float) -> float | None:
    """As the tables have it: null where it is not finite."""
    return float(value) if np.isfinite(value) else None


def _over(sum_up: Callable[[Floats], Any], values: Floats) -> float | None:
    """Over the values that are finite; None without any."""
    finite = values[np.isfinite(values)]
    return float(sum_up(finite)) if len(finite) else None


def filter_png(values: Floats, *, colour: bool) -> tuple[bytes, float]:
    """A filter as a PNG, one pixel per weight.

    Args:
        values: [C, height, width]; in colour C is 3, else the mean over C is drawn.
        colour: whether the channels are red, green and blue.

    Returns:
        The PNG, and the scale: ``value = (pixel - 128) / 127 * scale``; all 128 and 0 where a
        value is not finite.
    """
    drawn = values if colour else values.mean(axis=0)
    if not np.isfinite(drawn).all():
        drawn = np.zeros_like(drawn)
    pixels, scale = scaled_pixels(drawn)
    return encode_png(pixels), scale

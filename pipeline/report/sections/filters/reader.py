"""Reads the filters of a published run, the strongest first, with their numbers in words."""

from __future__ import annotations

import io
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipeline.analysis.filter_findings import nyquist
from pipeline.report.formats import percent, three_digits
from pipeline.report.manifests import published, require_same_scan
from pipeline.store.run import Run
from schemas.jobs.filters import WHOLE_LAYER, FindingKind

Row = Mapping[Hashable, Any]
Values = NDArray[np.float64]

NOISE = (0.087, 0.262, 0.651)
"""Shares of the energy of filters of white noise: the bands' areas."""


@dataclass(frozen=True)
class FilterLook:
    """One filter.

    Attributes:
        unit: the unit that it makes.
        values: [height, width, 3], its weights in colour, or three times the mean over channels.
        words: its numbers.
        dead: no image fires the unit.
    """

    unit: int
    values: Values
    words: str
    dead: bool

    @property
    def title(self) -> str:
        """The unit and the filter's numbers."""
        return f"unit {self.unit}: {self.words}"


@dataclass(frozen=True)
class FindingGroup:
    """The sentences of one kind of finding.

    Attributes:
        kind: in words.
        sentences: at most `SENTENCES`.
        more: how many are left out.
    """

    kind: str
    sentences: tuple[str, ...]
    more: int


@dataclass(frozen=True)
class LayerLook:
    """The filters behind a layer.

    Attributes:
        layer: the layer.
        position: its order in the network.
        convolution: the node whose weights they are.
        kernel: height and width in words.
        patterned: a kernel has more than one position, so that there is something to see.
        colour: the convolution reads the image's colours.
        facts: (name, value).
        bands: mean share of energy at low, middle and high frequencies; None without any.
        alias: median share above the Nyquist frequency; None without any.
        nyquist: that frequency in words; empty for a stride of 1.
        scale: largest absolute value that is drawn.
        filters: by RMS, the strongest first; empty where they were not asked for.
        findings: of the layer as a whole first.
        found: how many findings there are.
    """

    layer: str
    position: int
    convolution: str
    kernel: str
    patterned: bool
    colour: bool
    facts: tuple[tuple[str, str], ...]
    bands: tuple[float, float, float] | None
    alias: float | None
    nyquist: str
    scale: float
    filters: tuple[FilterLook, ...]
    findings: tuple[FindingGroup, ...]
    found: int


SENTENCES = 8
_KINDS: dict[FindingKind, str] = {
    "middle_missing": "middle frequencies",
    "aliasing": "aliasing",
    "dominant": "filters that dominate",
    "weak": "weak filters",
    "dead": "dead units",
    "near_dead": "nearly dead units",
    "not_finite": "weights that are no numbers",
    "low_frequency": "mostly low frequencies",
    "high_frequency": "mostly high frequencies",
}


class FilterReader:
    """Reads the filters of a run.

    Args:
        run: scan and filters must be published.

    Raises:
        NotPublishedError: scan or filters is not.
        StoreError: the filters are of another scan, or a table cannot be read.
    """

    def __init__(self, run: Run) -> None:
        require_same_scan(run, "filters", "filters were")
        self._run = run
        rows = run.table("filter_layers", job="filters")
        self._rows = {str(row["layer"]): row for row in rows.to_dict("records")}

    @property
    def layers(self) -> list[str]:
        """The layers that have filters, in the order of the network."""
        return list(self._rows)

    def patterned(self) -> list[str]:
        """Those whose kernels have more than one position."""
        return [layer for layer, row in self._rows.items() if _patterned(row)]

    def read(self, layer: str) -> LayerLook:
        """The filters behind one layer; a KeyError if it has none.

        Raises:
            StoreError: a table cannot be read.
        """
        row = self._rows[layer]
        filters = self._run.table("filters", job="filters", layer=layer)
        filters = filters.sort_values("rms", ascending=False, kind="stable")
        findings = self._run.table("findings", job="filters", filters=[("layer", "==", layer)])
        stride = (int(row["stride_y"]), int(row["stride_x"]))
        position = "pixel" if row["colour"] else "position"
        bands = [_number(row[name]) for name in ("low", "middle", "high")]
        low, middle, high = bands
        every = None if low is None or middle is None or high is None else (low, middle, high)
        return LayerLook(
            layer=layer,
            position=int(row["position"]),
            convolution=str(row["convolution"]),
            kernel=f"{row['kernel_height']} x {row['kernel_width']}",
            patterned=_patterned(row),
            colour=bool(row["colour"]),
            facts=_facts(row),
            bands=every,
            alias=_number(row["alias_median"]),
            nyquist=nyquist(stride, position) if max(stride) > 1 else "",
            scale=float(row["scale"]),
            filters=tuple(_look(each) for each in filters.to_dict("records")),
            findings=_groups(findings),
            found=len(findings),
        )


def filter_layers(run: Run) -> list[str]:
    """The layers of which the run holds filters; none where it has no such job."""
    if published(run, "filters") is None:
        return []
    layers: list[str] = run.table("filter_layers", job="filters", columns=["layer"])[
        "layer"
    ].tolist()
    return layers


def _patterned(row: Row) -> bool:
    return int(max(row["kernel_height"], row["kernel_width"])) > 1


def _facts(row: Row) -> tuple[tuple[str, str], ...]:
    stride, dilation = (
        _sides(row[f"{name}_y"], row[f"{name}_x"]) for name in ("stride", "dilation")
    )
    median, largest = _number(row["rms_median"]), _number(row["dominance_max"])
    facts = [
        ("convolution", str(row["convolution"])),
        ("filters", f"{row['units']:,}"),
        ("kernel", f"{row['kernel_height']} x {row['kernel_width']}"),
        ("stride", stride),
        *([("dilation", dilation)] if dilation != "1" else []),
        ("input channels", f"{row['in_channels']:,}"),
        *([("groups", f"{row['groups']:,}")] if row["groups"] > 1 else []),
        ("median RMS", "none" if median is None else three_digits(median)),
        ("largest", "none" if largest is None else f"{largest:.1f} x the median"),
        ("dominant", f"{row['dominant']:,}"),
        ("dead", f"{row['dead']:,}"),
        ("nearly dead", f"{row['near_dead']:,}"),
    ]
    return tuple(facts)


def _sides(down: int, across: int) -> str:
    return str(down) if down == across else f"{down} x {across}"


def _look(row: Row) -> FilterLook:
    pixels = np.asarray(Image.open(io.BytesIO(row["picture"]["bytes"]))).astype(np.float64)
    values = (pixels - 128) / 127 * float(row["scale"])
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    return FilterLook(int(row["unit"]), values, _words(row), bool(row["dead"]))


def _words(row: Row) -> str:
    """What is known of a filter, in words."""
    rms, times = _number(row["rms"]), _number(row["dominance"])
    words = ["not finite" if rms is None else f"RMS {three_digits(rms)}"]
    if times is not None:
        words[0] += f", {three_digits(times)} x the median"
    low, middle, high, alias, active = (
        _number(row[name]) for name in ("low", "middle", "high", "alias_share", "active_share")
    )
    if low is not None and middle is not None and high is not None:
        words.append(f"energy low {percent(low)}, middle {percent(middle)}, high {percent(high)}")
    if alias:
        words.append(f"above the Nyquist frequency {percent(alias)}")
    if row["dead"]:
        words.append("dead")
    elif active is not None:
        words.append(f"fires on {percent(active)}")
    return "; ".join(words)


def _groups(findings: pd.DataFrame) -> tuple[FindingGroup, ...]:
    """By kind; within one the layer as a whole first, then by how far the number goes."""
    groups = []
    for kind, words in _KINDS.items():
        own = findings[findings["kind"] == kind].copy()
        small = kind in ("weak", "near_dead")
        own["single"] = own["unit"] != WHOLE_LAYER
        own = own.sort_values(["single", "value"], ascending=[True, small], kind="stable")
        sentences = own["sentence"].tolist()
        if sentences:
            more = max(0, len(sentences) - SENTENCES)
            groups.append(FindingGroup(words, tuple(sentences[:SENTENCES]), more))
    return tuple(groups)


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)

"""Deconvnet projections: from one activation down to the pixels that caused it (ZF 2.1).

Seeds of one layer share one geometry (see `pipeline.models.cones`) and go down together, each in
its own cone. The invariant: the answer is that of the full frame, whichever regions were cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from pipeline.analysis.transposes import (
    average_counts,
    convolution,
    filter_transposed,
    pull_back,
    rectify,
    spread_evenly,
    unpool,
)
from pipeline.analysis.way_up import MAX_POOLS, Saved, Seeds, WayUp
from pipeline.models.cones import Cone, Geometry, Region, inside_mask
from pipeline.models.cuts import place, take
from pipeline.models.graph import Node
from pipeline.models.operations import ACTIVATIONS

AVERAGE_POOLS = frozenset({"avg_pool2d", "adaptive_avg_pool2d"})


@dataclass(frozen=True)
class Descent:
    """Seeds of one layer on their way down.

    Attributes:
        cone: below the layer.
        units: int64 [n], the seeds' channels.
        seeds: their positions in the layer's map.
        values: float [n], the recorded activations; all else in the layer is zero.
        saved: from `WayUp`.
        rows: which image of ``saved`` each seed belongs to, int64 [n]; None where ``saved`` was
            made on crops, one a seed.
    """

    cone: Cone
    units: Tensor
    seeds: Seeds
    values: Tensor
    saved: Saved
    rows: Tensor | None


Transpose = Callable[[Node, Region, Any, Descent], dict[fx.Node, Any]]
"""From the signal over a region of a node to the signals for its inputs, see `WayUp.reads`."""


class WayDown:
    """Takes seeds down to the pixels.

    Args:
        up: the way up that made the records.
    """

    def __init__(self, up: WayUp) -> None:
        self.up = up
        self.rule = up.rule
        self.geometry: Geometry = up.geometry
        self._transposes: dict[str, Transpose] = {
            "conv2d": self._filtered,
            "local_response_norm": self._passed_through,
            "add": self._shared,
            "cat": self._split,
            "getitem": self._picked,
            **dict.fromkeys(ACTIVATIONS, self._rectified),
            **dict.fromkeys(MAX_POOLS, self._unpooled),
            **dict.fromkeys(AVERAGE_POOLS, self._spread),
        }

    def project(self, descent: Descent) -> Tensor:
        """The signal at the pixels.

        Returns:
            [n, 3, rows, columns] over the cone's region of the input frame, zero outside the frame.
        """
        cone = descent.cone
        signals: dict[fx.Node, Any] = {cone.target.fx: self._seed(descent)}
        for traced, region in cone.regions.items():
            signal = signals.pop(traced, None)
            if signal is None:
                continue
            signal = self._inside(traced, region, signal, descent.seeds)
            node = self.geometry.nodes[traced]
            if node.kind == "placeholder":
                return signal  # type: ignore[no-any-return]
            for source, part in self._transposed(node, region, signal, descent).items():
                self._add(signals, node, source, part, descent)
        raise ValueError(f"{cone.target.name} does not depend on the image")

    def _seed(self, descent: Descent) -> Tensor:
        target, region = descent.cone.target.fx, descent.cone.regions[descent.cone.target.fx]
        field = self.geometry.fields[target]
        shape = [len(descent.units), *field.shape[1:]]
        index = [torch.arange(len(descent.units)), *[torch.tensor(0)] * (len(shape) - 1)]
        index[field.channel_dims[0]] = descent.units
        axes = (field.down.dim, field.across.dim)
        for dim, positions in zip(axes, descent.seeds, strict=True):
            if dim is None:
                continue
            if region.whole:
                index[dim] = positions
            else:
                shape[dim] = 1
        signal = descent.values.new_zeros(shape)
        signal[tuple(index)] = descent.values
        return signal

    def _inside(self, node: fx.Node, region: Region, signal: Any, seeds: Seeds) -> Any:
        """Nothing flows into padding."""
        if node in self.geometry.tuples or region.whole:
            return signal
        mask = inside_mask(region, seeds, self.geometry.map_size(node))
        if mask is None:
            return signal
        return signal * self.geometry.spread(mask, node).to(signal.device)

    def _transposed(
        self, node: Node, region: Region, signal: Any, descent: Descent
    ) -> dict[fx.Node, Any]:
        """The signal for each input, over the region that `WayUp.reads` gives."""
        transpose = self._transposes.get(node.kind, self._pulled_back)
        return transpose(node, region, signal, descent)

    def _filtered(
        self, node: Node, region: Region, signal: Any, descent: Descent
    ) -> dict[fx.Node, Any]:
        if self.geometry.windows(node) is None:  # padded by something else than zeros
            return self._pulled_back(node, region, signal, descent)
        source = self.geometry.data_inputs(node.fx)[0]
        return {source: filter_transposed(signal, convolution(self.geometry, node))}

    def _rectified(
        self, node: Node, region: Region, signal: Any, descent: Descent
    ) -> dict[fx.Node, Any]:
        slope = self._fetch(node.fx, descent.saved.get(node.fx), region, descent)
        return {self.geometry.data_inputs(node.fx)[0]: rectify(signal, self.rule, slope)}

    def _unpooled(
        self, node: Node, region: Region, signal: Any, descent: Descent
    ) -> dict[fx.Node, Any]:
        windows = self.geometry.windows(node)
        if windows is None:
            return self._pulled_back(node, region, signal, descent)
        places = self._fetch(node.fx, descent.saved[node.fx], region, descent)
        return {self.geometry.data_inputs(node.fx)[0]: unpool(signal, places, windows)}

    def _spread(
        self, node: Node, region: Region, signal: Any, descent: Descent
    ) -> dict[fx.Node, Any]:
        windows = self.geometry.windows(node)
        if windows is None:
            return self._pulled_back(node, region, signal, descent)
        counts = average_counts(self.geometry, node, region, descent.seeds).to(signal.device)
        return {self.geometry.data_inputs(node.fx)[0]: spread_evenly(signal / counts, windows)}

    def _passed_through(
        self, node: Node, region: Region, signal: Any, descent: Descent
    ) -> dict[fx.Node, Any]:
        if self.rule == "gradient":
            return self._pulled_back(node, region, signal, descent)
        return {self.geometry.data_inputs(node.fx)[0]: signal}

    def _shared(
        self, node: Node, region: Region, signal: Any, descent: Descent
    ) -> dict[fx.Node, Any]:
        sources = self.geometry.data_inputs(node.fx)
        # x + x is one source, and a kept alpha scales the second: autograd knows both.
        if len(sources) < 2 or node.fx.kwargs or not self._same_shapes(node.fx, sources):
            return self._pulled_back(node, region, signal, descent)
        return dict.fromkeys(sources, signal)

    def _split(
        self, node: Node, region: Region, signal: Any, descent: Descent
    ) -> dict[fx.Node, Any]:
        sources = self.geometry.data_inputs(node.fx)
        widths = [self.geometry.fields[source].shape[1] for source in sources]
        if not self._joins_channels(node) or sum(widths) != signal.shape[1]:
            return self._pulled_back(node, region, signal, descent)
        return dict(zip(sources, signal.split(widths, dim=1), strict=True))

    def _picked(
        self, node: Node, region: Region, signal: Any, descent: Descent
    ) -> dict[fx.Node, Any]:
        source = self.geometry.data_inputs(node.fx)[0]
        if source in self.geometry.tuples:
            return {source: signal}
        return self._pulled_back(node, region, signal, descent)

    def _pulled_back(
        self, node: Node, region: Region, signal: Any, descent: Descent
    ) -> dict[fx.Node, Any]:
        return pull_back(self.geometry, node, self._inputs(node, region, signal, descent), signal)

    def _same_shapes(self, node: fx.Node, sources: list[fx.Node]) -> bool:
        fields = self.geometry.fields
        return all(fields[source].shape == fields[node].shape for source in sources)

    def _joins_channels(self, node: Node) -> bool:
        own = self.geometry.fields[node.fx]
        return own.is_standard and not own.whole and len(own.shape) == 4

    def _inputs(
        self, node: Node, region: Region, signal: Any, descent: Descent
    ) -> dict[fx.Node, Any]:
        """Values at which to take an operation's derivative; zeros do for a linear one."""
        if node.fx in descent.saved:
            return {
                source: self._fetch(source, value, region, descent)
                for source, value in descent.saved[node.fx].items()
            }
        like = next(iter(signal.values())) if isinstance(signal, dict) else signal
        zeros = {}
        for source in self.geometry.data_inputs(node.fx):
            shape = [like.shape[0], *self.geometry.fields[source].shape[1:]]
            if not region.whole:
                dims = self.geometry.map_dims(source)
                shape[dims[0]], shape[dims[1]] = region.down.size, region.across.size
            zeros[source] = like.new_zeros(shape)
        return zeros

    def _fetch(self, node: fx.Node, value: Any, region: Region, descent: Descent) -> Any:
        """What was saved, for these seeds and this region of the node's map."""
        if value is None or descent.rows is None:
            return value
        if region.whole:
            return value[descent.rows]
        starts = (region.down.starts(descent.seeds[0]), region.across.starts(descent.seeds[1]))
        size = (region.down.size, region.across.size)
        return take(value, self.geometry.map_dims(node), starts, size, descent.rows.tolist())

    def _add(
        self,
        signals: dict[fx.Node, Any],
        node: Node,
        source: fx.Node,
        part: Any,
        descent: Descent,
    ) -> None:
        """Signals that meet at a branch add."""
        if source in self.geometry.tuples:
            key, held = node.fx.args[1], signals.setdefault(source, {})
        else:
            key, held, part = source, signals, self._fitted(node, source, part, descent)
        held[key] = part if key not in held else held[key] + part

    def _fitted(self, node: Node, source: fx.Node, part: Tensor, descent: Descent) -> Tensor:
        """A part over the region that the node reads, in the region that its input keeps."""
        own, kept = descent.cone.regions[node.fx], descent.cone.regions[source]
        windows = self.geometry.windows(node)
        if own.whole and windows is None:
            return part
        if node.fx in self.geometry.tuples:
            own = kept
        reads = self.up.reads(node, own)
        dims, size = self.geometry.map_dims(source), self.geometry.map_size(source)
        if kept.whole and not own.whole:
            starts = (reads.down.starts(descent.seeds[0]), reads.across.starts(descent.seeds[1]))
            return place(part, dims, starts, size)
        for dim, have, want in zip(
            dims, (reads.down, reads.across), (kept.down, kept.across), strict=True
        ):
            part = _shifted(part, dim, have.first - want.first, want.size)
        return part


def _shifted(part: Tensor, dim: int, first: int, size: int) -> Tensor:
    """Cut or pad with zeros along ``dim``, so that ``part`` begins at ``first`` of ``size``."""
    low = max(-first, 0)
    high = min(size - first, part.shape[dim])
    if low or high < part.shape[dim]:
        part = part.narrow(dim, low, high - low)
    before = max(first, 0)
    after = size - before - part.shape[dim]
    if not before and not after:
        return part
    padding = [0, 0] * (part.dim() - dim - 1) + [before, after]
    return torch.nn.functional.pad(part, padding)

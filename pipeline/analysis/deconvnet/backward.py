"""Deconvnet projections: from one activation down to the pixels that caused it (ZF 2.1).

Seeds of one layer share one geometry (see `pipeline.models.geometry`) and go down together, each in
its own cone. The invariant: the answer is that of the full frame, whichever regions were cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from pipeline.analysis.deconvnet.backward_rules import Descent, NodeTransposes
from pipeline.analysis.deconvnet.forward import WayUp
from pipeline.models.crops import place, shifted
from pipeline.models.geometry import Cone, Geometry, Region
from pipeline.models.graph import Node


@dataclass(frozen=True)
class _Fit:
    """How the signal that a node gives for an input lies in the region that is kept of it.

    Attributes:
        reads: the region of the input that the signal covers; None where the two are one.
        kept: the region that the cone has of the input.
    """

    reads: Region | None
    kept: Region


class WayDown:
    """Takes seeds down to the pixels.

    Args:
        up: the way up that made the records.
    """

    def __init__(self, up: WayUp) -> None:
        self.geometry: Geometry = up.geometry
        self._transposed = NodeTransposes(up)
        self._fits: dict[tuple[fx.Node, fx.Node, fx.Node], _Fit] = {}

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
        held[key] = part if key not in held else held[key].add_(part)

    def _fitted(self, node: Node, source: fx.Node, part: Tensor, descent: Descent) -> Tensor:
        """A part over the region that the node reads, in the region that its input keeps."""
        key = (descent.cone.target.fx, node.fx, source)
        if key not in self._fits:
            self._fits[key] = self._fit(descent.cone, node, source)
        reads, kept = self._fits[key].reads, self._fits[key].kept
        if reads is None:
            return part
        dims, size = self.geometry.map_dims(source), self.geometry.map_size(source)
        if kept.whole and not reads.whole:
            starts = (reads.down.starts(descent.seeds[0]), reads.across.starts(descent.seeds[1]))
            return place(part, dims, starts, size)
        for dim, have, want in zip(
            dims, (reads.down, reads.across), (kept.down, kept.across), strict=True
        ):
            part = shifted(part, dim, have.first - want.first, want.size)
        return part

    def _fit(self, cone: Cone, node: Node, source: fx.Node) -> _Fit:
        own, kept = cone.regions[node.fx], cone.regions[source]
        if node.fx in self.geometry.tuples:
            own = kept
        reads = self._transposed.reads(node, own)
        alike = (reads.down, reads.across) == (kept.down, kept.across)
        slides = self.geometry.windows(node) is not None
        return _Fit(None if alike or (own.whole and not slides) else reads, kept)

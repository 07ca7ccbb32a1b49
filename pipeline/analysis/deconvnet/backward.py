"""Deconvnet projections: from one activation back to the pixels that caused it (ZF 2.1).

All seeds of one layer go back through the network together, each over its own regions (see
`pipeline.models.geometry`); the result equals that of the full frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from pipeline.analysis.deconvnet.backward_rules import BackwardRules, BackwardState
from pipeline.analysis.deconvnet.forward import ForwardRecorder
from pipeline.models.crops import pad_or_crop, paste
from pipeline.models.geometry import Geometry, InputDependency, Region
from pipeline.models.graph import Node


@dataclass(frozen=True)
class _Fit:
    """How the signal that a node sends to an input lies in the region that is kept of that input.

    Attributes:
        reads: the region that the signal covers; None where both regions are the same.
        kept: the input's region in the dependency.
    """

    reads: Region | None
    kept: Region


class DeconvNet:
    """Runs the network backwards, from seeds of a layer to the pixels.

    Args:
        recorder: of the forward pass, whose records it reads.
    """

    def __init__(self, recorder: ForwardRecorder) -> None:
        self.geometry: Geometry = recorder.geometry
        self._rules = BackwardRules(recorder)
        self._fits: dict[tuple[fx.Node, fx.Node, fx.Node], _Fit] = {}

    def project(self, state: BackwardState) -> Tensor:
        """The signal at the pixels.

        Returns:
            [n, 3, rows, columns] over the dependency's region of the input frame, zero outside.
        """
        dependency = state.dependency
        signals: dict[fx.Node, Any] = {dependency.target.fx: self._seed(state)}
        for traced, region in dependency.regions.items():
            signal = signals.pop(traced, None)
            if signal is None:
                continue
            node = self.geometry.nodes[traced]
            if node.kind == "placeholder":
                return signal  # type: ignore[no-any-return]
            for source, sent in self._rules(node, region, signal, state).items():
                self._add(signals, node, source, sent, state)
        raise ValueError(f"{dependency.target.name} does not depend on the image")

    def _seed(self, state: BackwardState) -> Tensor:
        target, region = (
            state.dependency.target.fx,
            state.dependency.regions[state.dependency.target.fx],
        )
        layout = self.geometry.layouts[target]
        shape = [len(state.units), *layout.shape[1:]]
        index = [torch.arange(len(state.units)), *[torch.tensor(0)] * (len(shape) - 1)]
        index[layout.channel_dims[0]] = state.units
        axes = (layout.down.dim, layout.across.dim)
        for dim, positions in zip(axes, state.seeds, strict=True):
            if dim is None:
                continue
            if region.whole:
                index[dim] = positions
            else:
                shape[dim] = 1
        signal = state.values.new_zeros(shape)
        signal[tuple(index)] = state.values
        return signal

    def _add(
        self,
        signals: dict[fx.Node, Any],
        node: Node,
        source: fx.Node,
        sent: Any,
        state: BackwardState,
    ) -> None:
        """Signals that meet at a branch add."""
        if source in self.geometry.tuples:
            key, held = node.fx.args[1], signals.setdefault(source, {})
        else:
            key, held, sent = source, signals, self._fitted(node, source, sent, state)
        held[key] = sent if key not in held else held[key].add_(sent)

    def _fitted(self, node: Node, source: fx.Node, sent: Tensor, state: BackwardState) -> Tensor:
        """A signal over the region that the node reads, moved into the region that is kept."""
        key = (state.dependency.target.fx, node.fx, source)
        if key not in self._fits:
            self._fits[key] = self._fit(state.dependency, node, source)
        reads, kept = self._fits[key].reads, self._fits[key].kept
        if reads is None:
            return sent
        dims, size = self.geometry.map_dims(source), self.geometry.map_size(source)
        if kept.whole and not reads.whole:
            return paste(sent, dims, reads.starts(state.seeds), size)
        for dim, have, want in zip(
            dims, (reads.down, reads.across), (kept.down, kept.across), strict=True
        ):
            sent = pad_or_crop(sent, dim, have.first - want.first, want.size)
        return sent

    def _fit(self, dependency: InputDependency, node: Node, source: fx.Node) -> _Fit:
        own, kept = dependency.regions[node.fx], dependency.regions[source]
        if node.fx in self.geometry.tuples:
            own = kept
        reads = self._rules.reads(node, own)
        alike = (reads.down, reads.across) == (kept.down, kept.across)
        slides = self.geometry.windows(node) is not None
        return _Fit(None if alike or (own.whole and not slides) else reads, kept)

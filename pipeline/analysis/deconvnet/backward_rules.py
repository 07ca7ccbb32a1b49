"""What each kind of node does to the backward signal (ZF 2.1).

A signal is zero outside the map that it lies over, so nothing flows into padding; and nothing else
refers to its memory, so the next node may overwrite it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from pipeline.analysis.deconvnet.conv_transpose import ConvTranspose, conv_transpose, weighted
from pipeline.analysis.deconvnet.forward import ForwardRecorder, Saved
from pipeline.analysis.deconvnet.transposes import (
    pull_back,
    rectify,
    sum_pool_transpose,
    unpool,
)
from pipeline.models.crops import crop
from pipeline.models.geometry import Geometry, InputDependency, Interval, Region, Seeds, inside_mask
from pipeline.models.graph import Node
from pipeline.models.operations import ACTIVATIONS, AVERAGE_POOLS, MAX_POOLS
from pipeline.models.run_node import conv_parameters

_KEEP_CHANNELS = ACTIVATIONS | AVERAGE_POOLS | {"dropout", "flatten", "identity"}


@dataclass(frozen=True)
class BackwardState:
    """Seeds of one layer and what their backward pass needs.

    Attributes:
        dependency: of the layer, the regions that are passed through.
        units: int64 [n], the seeds' channels.
        seeds: their positions in the layer's map.
        values: float [n], the recorded activations; all else in the layer is zero.
        saved: from `ForwardRecorder`.
        rows: which image of ``saved`` each seed belongs to, int64 [n]; None where ``saved`` was
            made on crops, one per seed.
    """

    dependency: InputDependency
    units: Tensor
    seeds: Seeds
    values: Tensor
    saved: Saved
    rows: Tensor | None


BackwardRule = Callable[[Node, Region, Any, BackwardState], dict[fx.Node, Any]]
"""From the signal over a region of a node to the signals for its inputs, see `reads`."""


class BackwardRules:
    """Chooses and applies the rule of each node.

    Args:
        recorder: of the forward pass, whose records the rules read.
    """

    def __init__(self, recorder: ForwardRecorder) -> None:
        self.recorder = recorder
        self.rule = recorder.rule
        self.geometry: Geometry = recorder.geometry
        self._filters: dict[fx.Node, ConvTranspose] = {}
        self._ends: dict[fx.Node, fx.Node] = {}
        self._by_kind: dict[str, BackwardRule] = {
            "conv2d": self._filtered,
            "linear": self._weighted,
            "local_response_norm": self._passed_through,
            "add": self._shared,
            "cat": self._split,
            "getitem": self._picked,
            **dict.fromkeys(ACTIVATIONS, self._rectified),
            **dict.fromkeys(MAX_POOLS, self._unpooled),
            **dict.fromkeys(AVERAGE_POOLS, self._average_unpooled),
        }

    def __call__(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        """The signals for a node's inputs.

        Args:
            node: the operation.
            region: of its map.
            signal: over that region, [n, ...]; of a tuple, a dict by index. It may be overwritten.
            state: whose signal it is.

        Returns:
            By input, over what `reads` says.
        """
        transpose = self._by_kind.get(node.kind, self._pulled_back)
        return transpose(node, region, signal, state)

    def reads(self, node: Node, region: Region) -> Region:
        """What the signal for an input of a node covers."""
        reads, cut = self.recorder.reads(node, region), self._cut(node, region)
        down, across = (
            Interval(interval.step, interval.first + less, interval.size - 2 * less)
            for interval, less in zip((reads.down, reads.across), cut, strict=True)
        )
        return Region(down, across, whole=reads.whole)

    def _cut(self, node: Node, region: Region) -> tuple[int, int]:
        """Rows and columns of padding around a whole map that a convolution need not compute."""
        windows = self.geometry.windows(node)
        if node.kind != "conv2d" or not region.whole or windows is None:
            return (0, 0)
        down, across = windows
        return (down.padding, across.padding) if down.stride == across.stride == 1 else (0, 0)

    def _filtered(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        windows = self.geometry.windows(node)
        if windows is None:  # padded by something else than zeros
            return self._pulled_back(node, region, signal, state)
        if node.fx not in self._filters:
            self._filters[node.fx] = conv_transpose(conv_parameters(self.geometry, node))
        source = self.geometry.data_inputs(node.fx)[0]
        result = self._filters[node.fx](
            signal, self._cut(node, region), self._only_channel(node, state)
        )
        if any(window.padding for window in windows):
            result = self._inside(node, region, result, state)
        return {source: result}

    def _inside(self, node: Node, region: Region, signal: Tensor, state: BackwardState) -> Tensor:
        """Nothing flows into padding: a fresh signal over what a node reads, changed in place."""
        source = self.geometry.data_inputs(node.fx)[0]
        reads = self.recorder.reads(node, region)
        mask = inside_mask(reads, state.seeds, self.geometry.map_size(source))
        if mask is None:
            return signal
        return signal.mul_(self.geometry.expand_mask(mask, source).to(signal.device))

    def _weighted(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        if node.fx.op != "call_module":
            return self._pulled_back(node, region, signal, state)
        module = self.geometry.graph.module.get_submodule(str(node.fx.target))
        weight = module.get_parameter("weight").detach()
        last = self.geometry.layouts[node.fx].channel_dims == (signal.dim() - 1,)
        result = weighted(signal, weight, self._only_channel(node, state) if last else None)
        return {self.geometry.data_inputs(node.fx)[0]: result}

    def _only_channel(self, node: Node, state: BackwardState) -> Tensor | None:
        """The seeds' channels, where the signal of a node has no other yet."""
        target = state.dependency.target
        if target.fx not in self._ends:
            self._ends[target.fx] = self._end_of_channel(target)
        return state.units if node.fx is self._ends[target.fx] else None

    def _end_of_channel(self, target: Node) -> fx.Node:
        """The first node, going back from a layer, that mixes its channels."""
        node, channels = target, self.geometry.layouts[target.fx].channels
        while node.kind in _KEEP_CHANNELS:
            (source,) = self.geometry.data_inputs(node.fx)
            if self.geometry.layouts[source].channels != channels:
                break
            node = self.geometry.nodes[source]
        return node.fx

    def _rectified(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        slope = self._fetch(node.fx, state.saved.get(node.fx), region, state)
        return {self.geometry.data_inputs(node.fx)[0]: rectify(signal, self.rule, slope)}

    def _unpooled(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        windows = self.geometry.windows(node)
        if windows is None:
            return self._pulled_back(node, region, signal, state)
        chosen = self._fetch(node.fx, state.saved[node.fx], region, state)
        return {self.geometry.data_inputs(node.fx)[0]: unpool(signal, chosen, windows)}

    def _average_unpooled(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        windows = self.geometry.windows(node)
        if windows is None:
            return self._pulled_back(node, region, signal, state)
        counts = self.recorder.divisors(node, region, state.seeds).to(signal.device)
        result = sum_pool_transpose(signal / counts, windows)
        return {self.geometry.data_inputs(node.fx)[0]: self._inside(node, region, result, state)}

    def _passed_through(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        if self.rule == "gradient":
            return self._pulled_back(node, region, signal, state)
        return {self.geometry.data_inputs(node.fx)[0]: signal}

    def _shared(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        sources = self.geometry.data_inputs(node.fx)
        # x + x is one source, and a kept alpha scales the second: autograd knows both.
        if len(sources) < 2 or node.fx.kwargs or not self._same_shapes(node.fx, sources):
            return self._pulled_back(node, region, signal, state)
        return {source: signal if source is sources[0] else signal.clone() for source in sources}

    def _split(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        sources = self.geometry.data_inputs(node.fx)
        widths = [self.geometry.layouts[source].shape[1] for source in sources]
        if not self._joins_channels(node) or sum(widths) != signal.shape[1]:
            return self._pulled_back(node, region, signal, state)
        return dict(zip(sources, signal.split(widths, dim=1), strict=True))

    def _picked(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        source = self.geometry.data_inputs(node.fx)[0]
        if source in self.geometry.tuples:
            return {source: signal}
        return self._pulled_back(node, region, signal, state)

    def _pulled_back(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        inputs = self._inputs(node, region, signal, state)
        parts = pull_back(self.geometry, node, inputs, signal)
        # One gradient may be given to several inputs, and one value to all positions of a sum.
        alone = len(parts) == 1
        return {
            source: part if alone and 0 not in part.stride() else part.clone()
            for source, part in parts.items()
        }

    def _same_shapes(self, node: fx.Node, sources: tuple[fx.Node, ...]) -> bool:
        layouts = self.geometry.layouts
        return all(layouts[source].shape == layouts[node].shape for source in sources)

    def _joins_channels(self, node: Node) -> bool:
        own = self.geometry.layouts[node.fx]
        return own.is_standard and not own.whole_frame and len(own.shape) == 4

    def _inputs(
        self, node: Node, region: Region, signal: Any, state: BackwardState
    ) -> dict[fx.Node, Any]:
        """Values at which to take an operation's derivative; zeros do for a linear one."""
        if node.fx in state.saved:
            return {
                source: self._fetch(source, value, region, state)
                for source, value in state.saved[node.fx].items()
            }
        like = next(iter(signal.values())) if isinstance(signal, dict) else signal
        zeros = {}
        for source in self.geometry.data_inputs(node.fx):
            shape = [like.shape[0], *self.geometry.layouts[source].shape[1:]]
            if not region.whole:
                dims = self.geometry.map_dims(source)
                shape[dims[0]], shape[dims[1]] = region.size
            zeros[source] = like.new_zeros(shape)
        return zeros

    def _fetch(self, node: fx.Node, value: Any, region: Region, state: BackwardState) -> Any:
        """What was saved, for these seeds and this region of the node's map."""
        if value is None or state.rows is None:
            return value
        if region.whole:
            return value[state.rows]
        starts, dims = region.starts(state.seeds), self.geometry.map_dims(node)
        return crop(value, dims, starts, region.size, state.rows.tolist())

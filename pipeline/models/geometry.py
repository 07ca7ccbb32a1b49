"""Input dependencies: which region of every earlier map can feed one position of a layer.

The graph is walked from a layer back to the image, for whole maps of channels. All positions of a
layer share one set of regions, of fixed size at fixed offsets from the position, so that any of
them make one batch; a region may reach outside its map, where a mask stands for the padding. A
region as large as its map is the whole map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from pipeline.models.graph import Graph, Node
from pipeline.models.operations import (
    ADAPTIVE_POOLS,
    CHANNEL_MIXERS,
    ELEMENTWISE,
    POINTWISE,
    RESHAPES,
    Window,
    Windows,
    arguments_of,
    window_of,
)
from pipeline.models.receptive_field import Layout

# A pool of another kind (Lp) has no transpose of its own: it is taken whole.
_WINDOWED = ADAPTIVE_POOLS | {"conv2d", "max_pool2d", "avg_pool2d"}
_LOCAL = POINTWISE | ELEMENTWISE | CHANNEL_MIXERS | RESHAPES | {"local_response_norm"}

Seeds = tuple[Tensor, Tensor]
"""Rows and columns of the seeds' positions in a layer's map, int64 [n] each."""


@dataclass(frozen=True)
class Interval:
    """Positions along one axis of a map that move with a position p of the layer (the seed).

    Attributes:
        step: how far the interval moves when p moves by one.
        first: where it begins for p = 0; may lie before the map. For p: ``p * step + first``.
        size: how many positions.
    """

    step: int
    first: int
    size: int

    def through(self, window: Window) -> Interval:
        """The input positions that a sliding window reads for these output positions."""
        first, size = window.input_start(self.first), window.input_size(self.size)
        return Interval(self.step * window.stride, first, size)

    def hull(self, other: Interval) -> Interval | None:
        """Both together; None where they move unlike each other."""
        if self.step != other.step:
            return None
        first = min(self.first, other.first)
        end = max(self.first + self.size, other.first + other.size)
        return Interval(self.step, first, end - first)

    def starts(self, positions: Tensor) -> Tensor:
        """Where the region begins for each seed position, int64 [n]."""
        return positions * self.step + self.first


@dataclass(frozen=True)
class Region:
    """A rectangle of a map that moves with the seed, or the whole map.

    Attributes:
        down, across: along y and x; for a whole map step 0 from 0.
        whole: whether it is the whole map.
    """

    down: Interval
    across: Interval
    whole: bool

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.down.size, self.across.size

    def starts(self, seeds: Seeds) -> Seeds:
        """First rows and columns for each seed, int64 [n] each."""
        return self.down.starts(seeds[0]), self.across.starts(seeds[1])


@dataclass(frozen=True)
class InputDependency:
    """The region of each earlier node that can feed one position of a layer.

    Attributes:
        target: the layer's own node.
        regions: by traced node, in reverse order of execution, without sizes and parameters.
        local: whether no region is a whole map, so that a crop of the input is enough.
    """

    target: Node
    regions: dict[fx.Node, Region]
    local: bool


class Geometry:
    """The nodes of a traced network with their layouts, sliding windows and image-dependent inputs.

    Args:
        graph: the traced network.
        layouts: of its nodes by name, see `trace_receptive_fields`.
    """

    def __init__(self, graph: Graph, layouts: dict[str, Layout]) -> None:
        self.graph = graph
        self.nodes = {node.fx: node for node in graph.nodes}
        self.layouts = {node.fx: layouts[node.name] for node in graph.nodes if node.name in layouts}
        # A tuple of tensors (a chunk's) has no layout of its own: its pieces have. Sizes have none.
        self.tuples = {
            used
            for node in graph.nodes
            if node.kind == "getitem"
            for used in node.fx.all_input_nodes
            if used not in self.layouts and node.fx in self.layouts and self._feeds_tensor(used)
        }
        self._meets_map = {
            node.fx
            for node in graph.nodes
            if node.fx in self.layouts and node.kind in ELEMENTWISE and self._has_constant_map(node)
        }
        # Read off the modules once: every batch of every walk asks for them.
        self._inputs = {
            node.fx: tuple(m for m in node.fx.all_input_nodes if self._carries_data(m))
            for node in graph.nodes
        }
        self._windows = {node.fx: self._windows_of(node) for node in graph.nodes}

    def _carries_data(self, node: fx.Node) -> bool:
        return node in self.layouts or node in self.tuples

    def _feeds_tensor(self, node: fx.Node) -> bool:
        return any(used in self.layouts for used in node.all_input_nodes)

    def _has_constant_map(self, node: Node) -> bool:
        """Whether an operand, a learnt position say, is a parameter that differs by position."""
        from_end = [dim - len(self.layouts[node.fx].shape) for dim in self.map_dims(node.fx)]
        constants = [self._constant(m) for m in node.fx.all_input_nodes if self._is_constant(m)]
        return any(
            isinstance(value, Tensor) and value.dim() >= -dim and value.shape[dim] > 1
            for value in constants
            for dim in from_end
        )

    def _is_constant(self, node: fx.Node) -> bool:
        depends = self._carries_data(node) or node.op == "placeholder"
        return not depends and all(self._is_constant(used) for used in node.all_input_nodes)

    def _constant(self, node: fx.Node) -> Any:
        values = {used: self._constant(used) for used in node.all_input_nodes}
        return self.graph.call(self.nodes[node], values)

    def map_size(self, node: fx.Node) -> tuple[int, int]:
        """Positions down and across of a node's map."""
        return self.layouts[node].map_size

    def map_dims(self, node: fx.Node) -> tuple[int, int]:
        """The dimensions that hold y and x; 2 and 3 where the map is one position wide."""
        layout = self.layouts[node]
        down, across = layout.down.dim, layout.across.dim
        return (2 if down is None else down, 3 if across is None else across)

    def expand_mask(self, mask: Tensor, node: fx.Node) -> Tensor:
        """A mask [n, rows, columns] in the shape that broadcasts over a node's value."""
        dims = self.map_dims(node)
        shape = [1] * len(self.layouts[node].shape)
        shape[0], shape[dims[0]], shape[dims[1]] = mask.shape
        return mask.reshape(shape)

    def windows(self, node: Node) -> Windows | None:
        """The sliding windows of a convolution or pool; None for every other operation."""
        return self._windows[node.fx]

    def _windows_of(self, node: Node) -> Windows | None:
        if node.kind not in _WINDOWED or not self._inputs[node.fx]:
            return None
        source = self.layouts[self._inputs[node.fx][0]]
        if not source.is_standard:
            return None
        arguments = arguments_of(node.fx, node.kind, self.graph.module)
        found = window_of(node.kind, arguments, (source.shape[2], source.shape[3]))
        return None if isinstance(found, str) else found

    def data_inputs(self, node: fx.Node) -> tuple[fx.Node, ...]:
        """The inputs that depend on the image, not sizes or parameters."""
        return self._inputs[node]

    def slides(self, node: Node) -> Windows | None:
        """The windows of a node whose every position reads a few around it; None for others."""
        return None if node.kind in ADAPTIVE_POOLS else self.windows(node)

    def keeps_positions(self, node: Node, source: fx.Node) -> bool:
        """Whether each position of a node's value reads that one position of an input alone."""
        if source in self.tuples:
            return True
        # A tuple is as its pieces are.
        values = node.fx.users if node.fx in self.tuples else (node.fx,)
        layouts = [self.layouts[value] for value in values if value in self.layouts]
        same_map = all(layout.map_size == self.map_size(source) for layout in layouts)
        whole = any(layout.whole_frame for layout in layouts) or node.fx in self._meets_map
        return node.kind in _LOCAL and same_map and not whole

    def dependency(self, layer: str) -> InputDependency:
        """What one position of a layer depends on, back to the image."""
        target = self.graph.node(layer)
        one = Interval(1, 0, 1)
        regions = {target.fx: Region(one, one, whole=False)}
        if self.map_size(target.fx) == (1, 1):
            regions[target.fx] = self._whole(target.fx)
        order = list(reversed(self.graph.nodes))
        for node in order[order.index(target) :]:
            if node.fx not in regions:
                continue
            sources = self.data_inputs(node.fx)
            own = regions[node.fx]
            reads = [r for s in sources if (r := self._read_by(node, own, s)) is not None]
            if len(reads) < len(sources):
                regions[node.fx], reads = self._whole(node.fx), [self._whole(s) for s in sources]
            for source, wanted in zip(sources, reads, strict=True):
                regions[source] = self._joined(source, regions.get(source), wanted)
            if node.fx in self.tuples:
                self._level(node.fx, regions)
        regions = {node.fx: regions[node.fx] for node in order if node.fx in regions}
        return InputDependency(target, regions, local=not any(r.whole for r in regions.values()))

    def _level(self, node: fx.Node, regions: dict[fx.Node, Region]) -> None:
        """A tuple is run as one, so all its pieces have the region that one of them needs."""
        own = regions[node]
        for piece in node.users:
            if piece in regions:
                regions[piece] = self._whole(piece) if own.whole else own

    def _whole(self, node: fx.Node) -> Region:
        height, width = self.map_size(node) if node in self.layouts else (1, 1)
        return Region(Interval(0, 0, height), Interval(0, 0, width), whole=True)

    def _read_by(self, node: Node, region: Region, source: fx.Node) -> Region | None:
        """The region of an input that a node's reads; None where it can only be run whole."""
        if region.whole:
            return self._whole(source)
        windows = self.slides(node)
        if windows is not None:
            down, across = region.down.through(windows[0]), region.across.through(windows[1])
            return Region(down, across, whole=False)
        return region if self.keeps_positions(node, source) else None

    def _joined(self, node: fx.Node, old: Region | None, new: Region) -> Region:
        if new.whole or (old is not None and old.whole):
            return self._whole(node)
        down = new.down if old is None else new.down.hull(old.down)
        across = new.across if old is None else new.across.hull(old.across)
        if down is None or across is None:
            return self._whole(node)
        if node in self.layouts:
            height, width = self.map_size(node)
            if down.size >= height or across.size >= width:
                return self._whole(node)
        return Region(down, across, whole=False)


def inside_mask(region: Region, seeds: Seeds, size: tuple[int, int]) -> Tensor | None:
    """Which positions of each region lie inside the map.

    Returns:
        bool [n, rows, columns], or None where all do.
    """
    if region.whole:
        return None
    masks = []
    for interval, p, length in zip((region.down, region.across), seeds, size, strict=True):
        at = interval.starts(p)[:, None] + torch.arange(interval.size, device=p.device)
        masks.append((at >= 0) & (at < length))
    if bool(masks[0].all()) and bool(masks[1].all()):
        return None
    return masks[0][:, :, None] & masks[1][:, None, :]

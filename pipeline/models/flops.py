"""What the nodes of a network cost, counted: multiply-adds, and bytes and calls in their coin.

The invariant: nothing is timed, so that what is decided by these numbers is decided alike in every
process.
"""

from __future__ import annotations

import numpy as np
from torch import fx

from pipeline.models.affected_regions import map_of
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Node

# What one processor core does beside a multiply-add of a convolution, in multiply-adds (measured):
# moving a byte; calling a node; bringing a weight into the order that the kernels read.
_BYTE_MACS = 10.0
_CALL_MACS = 2e6
_WEIGHT_MACS = 20.0


class NodeCosts:
    """Multiply-adds and bytes of each node, counted from its parameters and its map's channels."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.nodes = [n for n in geometry.graph.nodes if n.fx in geometry.layouts]
        self.channels = {node.fx: self._channels(node.fx) for node in self.nodes}
        self.weights = {node.fx: self._weights(node) for node in self.nodes}

    def _channels(self, node: fx.Node) -> int:
        height, width = self.geometry.map_size(node)
        return int(np.prod(self.geometry.layouts[node].shape)) // max(1, height * width)

    def _weights(self, node: Node) -> int:
        """Weights that every position of the map is multiplied with."""
        if node.kind not in ("conv2d", "linear") or node.fx.op != "call_module":
            return 0
        module = self.geometry.graph.module.get_submodule(str(node.fx.target))
        return int(module.get_parameter("weight").numel())

    def of(self, node: fx.Node, positions: float, read: float) -> float:
        """Work at so many positions of a node, which reads so many of its inputs'."""
        sources = self.geometry.data_inputs(node)
        widest = sum(self.channels.get(source, 0) for source in sources)
        moved = 4 * (positions * self.channels[node] + read * widest)
        return positions * self.weights[node] + moved * _BYTE_MACS

    def dense(self, node: fx.Node) -> float:
        """Work of a node on one whole frame."""
        positions = float(np.prod(self.geometry.map_size(node)))
        sources = self.geometry.data_inputs(node)
        read = max((float(np.prod(map_of(self.geometry, s))) for s in sources), default=0.0)
        return self.of(node, positions, read)

    def overhead(self) -> float:
        """Work of one batch, however small."""
        return len(self.nodes) * _CALL_MACS + sum(self.weights.values()) * _WEIGHT_MACS


def read_size(geometry: Geometry, node: Node, size: tuple[int, int]) -> int:
    """Positions of its input that a rectangle of a node's map reads, padding included."""
    windows = geometry.slides(node)
    if windows is None:
        return size[0] * size[1]
    down, across = windows
    return down.input_size(size[0]) * across.input_size(size[1])

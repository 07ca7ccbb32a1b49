"""What running a network costs, counted from its shapes: multiply-adds, bytes moved, calls.

Nothing is timed, so that what is decided by these numbers is decided alike in every process.
"""

from __future__ import annotations

import numpy as np
from torch import fx

from pipeline.models.affected_regions import map_of
from pipeline.models.geometry import Geometry, InputDependency
from pipeline.models.graph import Node

# What one processor core does beside a multiply-add of a convolution, in multiply-adds (measured):
# moving a byte; calling a node; bringing a weight into the order that the kernels read.
_BYTE_MACS = 10.0
_CALL_MACS = 2e6
_WEIGHT_MACS = 20.0


class CostCounter:
    """Counts the cost of a network's nodes.

    Two measures: plain multiply-adds (``frame_macs``, ``crop_macs``), and work, which is
    multiply-adds plus bytes moved and calls, each converted to the multiply-adds that take as long.

    Attributes:
        geometry: of the traced network.
        nodes: those that hold a tensor, in the order of execution.
        channels: by node, values per position of its map.
        weights: by node, multiply-adds per position; 0 for all but convolution and linear layers.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.nodes = [n for n in geometry.graph.nodes if n.fx in geometry.layouts]
        self.channels = {node.fx: self._channels(node.fx) for node in self.nodes}
        self.weights = {node.fx: self._weights(node) for node in self.nodes}

    def _channels(self, node: fx.Node) -> int:
        height, width = self.geometry.map_size(node)
        return int(np.prod(self.geometry.layouts[node].shape)) // max(1, height * width)

    def _weights(self, node: Node) -> int:
        if node.kind not in ("conv2d", "linear") or node.fx.op != "call_module":
            return 0
        module = self.geometry.graph.module.get_submodule(str(node.fx.target))
        return int(module.get_parameter("weight").numel())

    def frame_macs(self, layer: str) -> float:
        """Multiply-adds of one whole frame up to a layer."""
        below = {node.fx for node in self.geometry.graph.up_to(layer)} & self.weights.keys()
        return float(sum(self.weights[n] * int(np.prod(self.geometry.map_size(n))) for n in below))

    def crop_macs(self, dependency: InputDependency) -> float:
        """Multiply-adds of one crop up to a layer; infinite where only the whole frame will do."""
        if not dependency.local:
            return float("inf")
        return float(
            sum(
                self.weights.get(node, 0) * region.down.size * region.across.size
                for node, region in dependency.regions.items()
            )
        )

    def work(self, node: fx.Node, positions: float, read: float) -> float:
        """Work at so many positions of a node, which reads so many of its inputs' positions."""
        sources = self.geometry.data_inputs(node)
        widest = sum(self.channels.get(source, 0) for source in sources)
        moved = 4 * (positions * self.channels[node] + read * widest)
        return positions * self.weights[node] + moved * _BYTE_MACS

    def frame_work(self, node: fx.Node) -> float:
        """Work of a node on one whole frame."""
        positions = float(np.prod(self.geometry.map_size(node)))
        sources = self.geometry.data_inputs(node)
        read = max((float(np.prod(map_of(self.geometry, s))) for s in sources), default=0.0)
        return self.work(node, positions, read)

    def batch_overhead(self) -> float:
        """Work that every batch takes, however small it is."""
        return len(self.nodes) * _CALL_MACS + sum(self.weights.values()) * _WEIGHT_MACS

    def read_size(self, node: Node, size: tuple[int, int]) -> int:
        """Positions of its input that a rectangle of a node's map reads, padding included."""
        windows = self.geometry.slides(node)
        if windows is None:
            return size[0] * size[1]
        down, across = windows
        return down.input_size(size[0]) * across.input_size(size[1])

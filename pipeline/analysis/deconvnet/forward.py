"""The forward pass of a projection: run the network and save what its backward pass needs (ZF 2.1).

What is saved on crops equals what is saved on whole frames, because whatever lies outside a map is
set back to padding before the next operation reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, fx

from pipeline.analysis.deconvnet.transposes import (
    pooled,
    slope_of,
    switches,
)
from pipeline.models.geometry import Geometry, InputDependency, Region, Seeds, inside_mask
from pipeline.models.graph import Node
from pipeline.models.operations import ACTIVATIONS, MAX_POOLS, POINTWISE, RESHAPES
from pipeline.models.run_node import average_divisors, conv_parameters, run_node
from schemas.errors import LayerError

Rule = Literal["deconvnet", "guided", "gradient"]
Saved = dict[fx.Node, Any]
"""By node: switches (uint8), slopes (bool or float), or the inputs' values by input node."""

RELU_KIN = frozenset({"relu", "relu6"})
"""Activations that the deconvnet and guided rules are defined for."""
# What is zero outside the map stays zero.
_KEEP_ZEROS = frozenset({"relu", "relu6", "leaky_relu", "identity", "dropout", "cat", "add"})
# Their transposes need no value of the forward pass. Batch norm in eval is a fixed scale.
_LINEAR = (
    (POINTWISE - ACTIVATIONS - {"clamp", "abs", "exp", "sqrt", "pow", "square"})
    | RESHAPES
    | {"conv2d", "linear", "add", "sub", "avg_pool2d", "adaptive_avg_pool2d", "mean"}
)


class ForwardRecorder:
    """Runs frames or crops forward and saves what the backward rule needs.

    Args:
        geometry: of the traced network.
        rule: what happens to the backward signal at rectifiers.
    """

    def __init__(self, geometry: Geometry, rule: Rule) -> None:
        self.geometry = geometry
        self.rule = rule

    def saves(self, node: Node) -> str:
        """``nothing``, ``switches``, ``slope`` or ``inputs``: what a node's transpose needs.

        Raises:
            LayerError: an activation that the rule is not defined for.
        """
        inputs = len(self.geometry.data_inputs(node.fx))
        if node.kind in MAX_POOLS:
            return "switches" if self.geometry.windows(node) else "inputs"
        if node.kind in ACTIVATIONS:
            if self.rule == "gradient":
                return "slope"
            if node.kind not in RELU_KIN:
                raise LayerError(
                    f"rule {self.rule!r} is defined for networks of rectifiers, and {node.name} is "
                    f"{node.kind}; take --rule gradient for this network"
                )
            return "nothing" if self.rule == "deconvnet" else "slope"
        if node.kind == "local_response_norm":
            return "inputs" if self.rule == "gradient" else "nothing"
        linear = node.kind in _LINEAR or (node.kind in ("mul", "truediv", "div") and inputs == 1)
        return "nothing" if linear or not inputs else "inputs"

    def record_frames(
        self, images: Tensor, wanted: set[fx.Node], until: str, tap: Callable[[str, Tensor], None]
    ) -> Saved:
        """Run whole frames.

        Args:
            images: [N, 3, S, S].
            wanted: the nodes that the backward pass goes through.
            until: the deepest layer that is needed.
            tap: called with each node's name and value.

        Returns:
            What was saved, [N, ...] each.
        """
        geometry, saved = self.geometry, Saved()
        kept = {
            source
            for node in geometry.graph.up_to(until)
            if node.fx in wanted and self.saves(node) in ("slope", "inputs")
            for source in geometry.data_inputs(node.fx)
        }
        taps = [geometry.nodes[traced].name for traced in kept]

        def visit(traced: fx.Node, value: Any, alive: dict[fx.Node, Any]) -> None:
            node = geometry.nodes[traced]
            if traced in wanted:
                inputs = {source: alive[source] for source in geometry.data_inputs(traced)}
                windows = self.geometry.windows(node)
                pad = (windows[0].padding, windows[1].padding) if windows else (0, 0)
                self._save(saved, node, inputs, value, pad)
            if isinstance(value, Tensor):
                tap(node.name, value)

        geometry.graph.program(taps, until).visit(images, visit)
        return saved

    def record_crops(
        self, dependency: InputDependency, crops: Tensor, seeds: Seeds
    ) -> tuple[Saved, Tensor]:
        """Run crops of the input, one per seed, through a layer's regions.

        Args:
            dependency: of the layer, local: with no whole map in it.
            crops: [n, 3, rows, columns], the dependency's region of each frame.
            seeds: their positions in the target's map.

        Returns:
            What was saved, [n, ...] each, and the target's values [n, C, 1, 1].
        """
        saved, values = Saved(), dict[fx.Node, Any]()
        for traced, region in reversed(dependency.regions.items()):
            node = self.geometry.nodes[traced]
            if node.kind == "placeholder":
                values[traced] = crops
                continue
            inputs = {
                source: self._read(node, region, source, dependency.regions[source], values[source])
                for source in self.geometry.data_inputs(traced)
            }
            if node.kind in MAX_POOLS:
                value, saved[traced] = self._pool(node, inputs, region, seeds)
            else:
                value = self._run(node, inputs, region, seeds)
                self._save(saved, node, inputs, value, (0, 0))
            # A constant that is added is no zero.
            if node.kind not in _KEEP_ZEROS or (node.kind == "add" and len(inputs) == 1):
                value = self._outside(node, region, value, seeds)
            values[traced] = value
        return saved, values[dependency.target.fx]

    def reads(self, node: Node, region: Region) -> Region:
        """The region of its input that a node's region reads, padding included."""
        windows = self.geometry.windows(node)
        if windows is None:
            return region
        down, across = region.down.through(windows[0]), region.across.through(windows[1])
        return Region(down, across, whole=region.whole)

    def divisors(self, node: Node, region: Region, seeds: Seeds) -> Tensor:
        """What an average pool divides by over a region, see `average_divisors`."""
        one = (seeds[0][:1], seeds[1][:1])  # a whole map is the same for every seed
        starts = region.starts(one if region.whole else seeds)
        return average_divisors(self.geometry, node, starts, region.size)

    def _read(self, node: Node, region: Region, source: fx.Node, have: Region, value: Any) -> Any:
        if source in self.geometry.tuples:
            return value
        reads, dims = self.reads(node, region), self.geometry.map_dims(source)
        value = value.narrow(dims[0], reads.down.first - have.down.first, reads.down.size)
        return value.narrow(dims[1], reads.across.first - have.across.first, reads.across.size)

    def _run(self, node: Node, inputs: dict[fx.Node, Any], region: Region, seeds: Seeds) -> Any:
        windows = self.geometry.windows(node)
        if windows is None:
            return run_node(self.geometry, node, inputs)
        (value,) = inputs.values()
        if node.kind == "conv2d":
            return F.conv2d(value, padding=0, **conv_parameters(self.geometry, node))
        sizes, strides = zip(*((window.size, window.stride) for window in windows), strict=True)
        total = F.avg_pool2d(value, sizes, strides, divisor_override=1)
        return total / self.divisors(node, region, seeds).to(value.device)

    def _pool(
        self, node: Node, inputs: dict[fx.Node, Any], region: Region, seeds: Seeds
    ) -> tuple[Tensor, Tensor]:
        """The maxima and their switches; what lies outside the map never wins."""
        ((source, value),) = inputs.items()
        windows = self.geometry.windows(node)
        if windows is None:
            raise ValueError(f"{node.name} has no even windows, so its dependency is not local")
        mask = self._mask(source, self.reads(node, region), seeds, value)
        if mask is not None:  # not masked_fill, which loses the memory format
            value = torch.where(mask, value.new_tensor(-torch.inf), value)
        return pooled(value, windows)

    def _outside(self, node: Node, region: Region, value: Any, seeds: Seeds) -> Any:
        """Put what lies outside the map to zero."""
        mask = self._mask(node.fx, region, seeds, value) if isinstance(value, Tensor) else None
        if mask is None:
            return value
        fresh = self.geometry.windows(node) is not None
        return value.masked_fill_(mask, 0) if fresh else value.masked_fill(mask, 0)

    def _mask(self, node: fx.Node, region: Region, seeds: Seeds, value: Tensor) -> Tensor | None:
        """Which positions of a region lie outside the map; None where none does."""
        mask = inside_mask(region, seeds, self.geometry.map_size(node))
        return None if mask is None else ~self.geometry.expand_mask(mask, node).to(value.device)

    def _save(
        self, saved: Saved, node: Node, inputs: dict[fx.Node, Any], value: Any, pad: tuple[int, int]
    ) -> None:
        kind = self.saves(node)
        windows = self.geometry.windows(node)
        if kind == "switches" and windows is not None:
            (before,) = inputs.values()
            saved[node.fx] = switches(before, windows, tuple(value.shape[2:]), pad)
        elif kind == "slope":
            saved[node.fx] = slope_of(self.geometry, node, inputs, value)
        elif kind == "inputs":
            saved[node.fx] = dict(inputs)

"""The way up for a projection: run the network and keep what the way down needs (ZF 2.1).

The invariant: a record made on crops holds the same values as one made on whole frames, because
what lies outside a map is put back to padding before the next operation reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, fx

from pipeline.analysis.transposes import (
    average_counts,
    call_with,
    convolution,
    slope_of,
    switches,
)
from pipeline.models.cones import Cone, Geometry, Region, inside_mask
from pipeline.models.graph import Node
from pipeline.models.operations import ACTIVATIONS, POINTWISE, RESHAPES
from schemas.errors import LayerError

Rule = Literal["deconvnet", "guided", "gradient"]
Seeds = tuple[Tensor, Tensor]
"""Rows and columns of the seeds' positions, int64 [n] each."""
Saved = dict[fx.Node, Any]
"""By node: switches (uint8), slopes (bool or float), or the inputs' values by input node."""

RELU_KIN = frozenset({"relu", "relu6"})
"""Activations that the deconvnet and guided rules are defined for."""
MAX_POOLS = frozenset({"max_pool2d", "adaptive_max_pool2d"})
# Their transposes need no value of the way up. Batch norm in eval is a fixed scale.
_LINEAR = (
    (POINTWISE - ACTIVATIONS - {"clamp", "abs", "exp", "sqrt", "pow", "square"})
    | RESHAPES
    | {"conv2d", "linear", "add", "sub", "avg_pool2d", "adaptive_avg_pool2d", "mean"}
)


class WayUp:
    """Runs frames or crops upwards and saves what the rule's way down needs.

    Args:
        geometry: of the traced network.
        rule: what happens at rectifiers on the way down.
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

    def on_frames(
        self, images: Tensor, wanted: set[fx.Node], until: str, seen: Callable[[str, Tensor], None]
    ) -> Saved:
        """Run whole frames.

        Args:
            images: [N, 3, S, S].
            wanted: the nodes on the way down.
            until: the deepest layer that is needed.
            seen: called with each node's name and value.

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
                windows = geometry.windows(node)
                pad = (windows[0].padding, windows[1].padding) if windows else (0, 0)
                self._save(saved, node, inputs, value, pad)
            if isinstance(value, Tensor):
                seen(node.name, value)

        geometry.graph.program(taps, until).visit(images, visit)
        return saved

    def on_crops(self, cone: Cone, crops: Tensor, seeds: Seeds) -> tuple[Saved, Tensor]:
        """Run crops of the input, one a seed, through a local cone.

        Args:
            cone: with no whole map in it.
            crops: [n, 3, rows, columns], the cone's region of each frame.
            seeds: their positions in the target's map.

        Returns:
            What was saved, [n, ...] each, and the target's values [n, C, 1, 1].
        """
        saved, values = Saved(), dict[fx.Node, Any]()
        for traced, region in reversed(cone.regions.items()):
            node = self.geometry.nodes[traced]
            if node.kind == "placeholder":
                values[traced] = crops
                continue
            inputs = {
                source: self._read(node, region, source, cone.regions[source], values[source])
                for source in self.geometry.data_inputs(traced)
            }
            if node.kind in MAX_POOLS:
                inputs = {
                    source: self._outside(
                        source, self.reads(node, region), value, seeds, -torch.inf
                    )
                    for source, value in inputs.items()
                }
            value = self._run(node, inputs, region, seeds)
            self._save(saved, node, inputs, value, (0, 0))
            values[traced] = self._outside(traced, region, value, seeds, 0.0)
        return saved, values[cone.target.fx]

    def reads(self, node: Node, region: Region) -> Region:
        """The region of its input that a node's region reads, padding included."""
        windows = self.geometry.windows(node)
        if windows is None:
            return region
        down, across = region.down.through(windows[0]), region.across.through(windows[1])
        return Region(down, across, whole=region.whole)

    def _read(self, node: Node, region: Region, source: fx.Node, have: Region, value: Any) -> Any:
        if source in self.geometry.tuples:
            return value
        reads, dims = self.reads(node, region), self.geometry.map_dims(source)
        value = value.narrow(dims[0], reads.down.first - have.down.first, reads.down.size)
        return value.narrow(dims[1], reads.across.first - have.across.first, reads.across.size)

    def _run(self, node: Node, inputs: dict[fx.Node, Any], region: Region, seeds: Seeds) -> Any:
        windows = self.geometry.windows(node)
        if windows is None:
            return call_with(self.geometry, node, inputs)
        (value,) = inputs.values()
        if node.kind == "conv2d":
            return F.conv2d(value, padding=0, **convolution(self.geometry, node))
        sizes = [
            (a, b) for a, b in zip(*((w.size, w.stride, w.dilation) for w in windows), strict=True)
        ]
        if node.kind in MAX_POOLS:
            return F.max_pool2d(value, sizes[0], sizes[1], 0, sizes[2])
        total = F.avg_pool2d(value, sizes[0], sizes[1], divisor_override=1)
        return total / average_counts(self.geometry, node, region, seeds).to(value.device)

    def _outside(self, node: fx.Node, region: Region, value: Any, seeds: Seeds, fill: float) -> Any:
        """Put what lies outside the map to ``fill``."""
        if not isinstance(value, Tensor):
            return value
        mask = inside_mask(region, seeds, self.geometry.map_size(node))
        if mask is None:
            return value
        return value.masked_fill(~self.geometry.spread(mask, node).to(value.device), fill)

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

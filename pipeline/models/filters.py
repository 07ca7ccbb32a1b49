"""The convolution that makes a layer's units, and its filters.

A unit of an activation is made by one filter of the convolution before it: batch norms,
activations, dropout, pools and response normalisation in between keep the units apart. Behind a sum
of two maps or a concatenation a unit has no filter of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from pipeline.models.geometry import Geometry
from pipeline.models.graph import Node
from pipeline.models.network import Network
from pipeline.models.operations import ADAPTIVE_POOLS, POINTWISE, POOLS
from pipeline.models.run_node import batch_norm_scale, conv_parameters, run_node
from schemas.errors import ModelError

_BATCH_NORMS = frozenset({"batch_norm2d", "batch_norm"})
_QUOTIENTS = frozenset({"div", "truediv"})
_KEEPS_UNITS = POINTWISE | POOLS | ADAPTIVE_POOLS | {"local_response_norm"}


@dataclass(frozen=True)
class Convolution:
    """The convolution behind a layer.

    Attributes:
        name: its node in the graph, torchvision's name.
        weight: [units, in_channels / groups, height, width], as the network holds it.
        gain: float64 [units], on the CPU: the factor of the batch norms between it and the layer; 1
            without.
        stride: down and across, in positions of its input.
        dilation: positions of its input between neighbouring weights, down and across.
        groups: of its channels.
        colour: it reads the image's three colours, with no other convolution before it.
    """

    name: str
    weight: Tensor
    gain: Tensor
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    colour: bool

    @property
    def filters(self) -> Tensor:
        """The weights as they act on the layer: times the gain; float64, on the CPU."""
        return self.weight.double().cpu() * self.gain[:, None, None, None]


def require_traced(network: Network) -> Geometry:
    """The geometry of a network.

    Raises:
        ModelError: its forward cannot be traced, so that nobody knows what feeds a layer.
    """
    if network.geometry is None:
        raise ModelError(
            "arch: which convolution makes a layer's units is seen in a network that can be traced "
            f"alone; {network.note}"
        )
    return network.geometry


def find_convolution(geometry: Geometry, layer: str) -> Convolution | str:
    """The convolution that makes a layer's units.

    Args:
        geometry: of the traced network.
        layer: name of a node.

    Returns:
        The convolution, or a clause that says why there is none: "relu comes after add".
    """
    node = geometry.graph.node(layer)
    gains = []
    while node.kind != "conv2d":
        sources = geometry.data_inputs(node.fx)
        gain = _gain(geometry, node, sources[0]) if len(sources) == 1 else None
        if gain is None:
            return f"{node.name} ({node.kind}) makes its units"
        gains.append(gain)
        node = geometry.nodes[sources[0]]
    if len(geometry.data_inputs(node.fx)) != 1:
        return f"{node.name} has weights that depend on the image"
    return _convolution(geometry, node, gains)


def _gain(geometry: Geometry, node: Node, source: fx.Node) -> Tensor | None:
    """What a node multiplies each unit by, float64 [units] or [1]; None where it mixes them."""
    if node.kind in _BATCH_NORMS:
        return batch_norm_scale(geometry, node)
    shifts = node.kind == "add" or (node.kind == "sub" and node.fx.args[0] is source)
    if node.kind in _KEEPS_UNITS or shifts:
        return torch.ones(1, dtype=torch.float64)
    # torchvision's frozen batch norm is traced as a product and a sum.
    if node.kind == "mul" or (node.kind in _QUOTIENTS and node.fx.args[0] is source):
        units = geometry.layouts[source].channels
        weight = next(geometry.graph.module.parameters(), torch.ones(1))
        ones = torch.ones(1, units, 1, 1, dtype=weight.dtype, device=weight.device)
        value: Tensor = run_node(geometry, node, {source: ones})
        return value.flatten().double() if value.shape == (1, units, 1, 1) else None
    return None


def _convolution(geometry: Geometry, node: Node, gains: list[Tensor]) -> Convolution:
    parameters = conv_parameters(geometry, node)
    weight: Tensor = parameters["weight"].detach()
    gain = torch.ones(len(weight), dtype=torch.float64)
    for each in gains:
        gain = gain * each.detach().cpu()
    first = not any(each.kind in ("conv2d", "linear") for each in _before(geometry, node))
    return Convolution(
        name=node.name,
        weight=weight,
        gain=gain,
        stride=_pair(parameters["stride"]),
        dilation=_pair(parameters["dilation"]),
        groups=int(parameters["groups"]),
        colour=first and weight.shape[1] == 3,
    )


def _pair(value: Any) -> tuple[int, int]:
    down, across = value if isinstance(value, tuple | list) else (value, value)
    return int(down), int(across)


def _before(geometry: Geometry, node: Node) -> list[Node]:
    """Every node that a node depends on."""
    found: dict[fx.Node, None] = {}
    waiting = list(node.fx.all_input_nodes)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found[one] = None
            waiting += one.all_input_nodes
    return [geometry.nodes[one] for one in found]

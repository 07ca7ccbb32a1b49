"""Run one node of a traced network on given values of its inputs, or read off its parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from pipeline.models.geometry import Geometry
from pipeline.models.graph import Node
from pipeline.models.operations import arguments_of


def run_node(geometry: Geometry, node: Node, inputs: dict[fx.Node, Any]) -> Any:
    """Run a node's own operation on other values of its inputs.

    Args:
        geometry: of the traced network.
        node: the operation.
        inputs: values of the inputs that depend on the image, of whole maps or of crops; sizes are
            read off these, and parameters off the model.
    """
    values = {used: _value_of(geometry, used, inputs) for used in node.fx.all_input_nodes}
    return geometry.graph.call(node, values)


# Not inside `run_node`: a function that knows itself is a cycle, and would keep the inputs' memory
# until the collector comes by.
def _value_of(geometry: Geometry, used: fx.Node, inputs: dict[fx.Node, Any]) -> Any:
    if used in inputs:
        return inputs[used]
    if used in geometry.layouts:  # only its shape can matter
        return torch.empty(_shape_beside(geometry, used, inputs), device="meta")
    values = {source: _value_of(geometry, source, inputs) for source in used.all_input_nodes}
    return geometry.graph.call(geometry.nodes[used], values)


def _shape_beside(geometry: Geometry, node: fx.Node, inputs: dict[fx.Node, Any]) -> tuple[int, ...]:
    """The shape of a node's value for the rows and the region that the inputs have."""
    near, value = next((n, v) for n, v in inputs.items() if isinstance(v, Tensor))
    shape = [value.shape[0], *geometry.layouts[node].shape[1:]]
    # A crop meets only operations that keep the map: a size read anywhere is that of the crop.
    if value.shape[1:] != geometry.layouts[near].shape[1:]:
        for dim, like in zip(geometry.map_dims(node), geometry.map_dims(near), strict=True):
            shape[dim] = value.shape[like]
    return tuple(shape)


def static_value(geometry: Geometry, value: Any) -> Any:
    """A parameter, whether it stands in the graph as a node or as itself."""
    if not isinstance(value, fx.Node):
        return value
    values = {used: static_value(geometry, used) for used in value.all_input_nodes}
    return geometry.graph.call(geometry.nodes[value], values)


def conv_parameters(geometry: Geometry, node: Node) -> dict[str, Any]:
    """``weight``, ``bias``, ``stride``, ``dilation`` and ``groups`` of a convolution."""
    module = geometry.graph.module
    arguments = arguments_of(node.fx, node.kind, module)
    if node.fx.op == "call_module":
        own = module.get_submodule(str(node.fx.target))
        arguments |= {"weight": own.weight, "bias": own.bias}
    names = ("weight", "bias", "stride", "dilation", "groups")
    return {name: static_value(geometry, arguments.get(name)) for name in names}


def batch_norm_scale(geometry: Geometry, node: Node) -> Tensor:
    """What a batch norm in eval multiplies each channel by, ``weight / sqrt(var + eps)``.

    Returns:
        float64 [channels], with the weight's sign.
    """
    arguments = arguments_of(node.fx, node.kind, geometry.graph.module)
    if node.fx.op == "call_module":
        own = geometry.graph.module.get_submodule(str(node.fx.target))
        arguments |= {"running_var": own.running_var, "weight": own.weight}
    variance = static_value(geometry, arguments["running_var"]).double()
    scale: Tensor = (variance + arguments.get("eps", 1e-5)).rsqrt()
    weight = static_value(geometry, arguments.get("weight"))
    return scale if weight is None else scale * weight.double()


def average_divisors(
    geometry: Geometry, node: Node, starts: tuple[Tensor, Tensor], size: tuple[int, int]
) -> Tensor:
    """What an average pool divides by at the output positions of some regions.

    Args:
        geometry: of the traced network.
        node: the pool, with even windows.
        starts: int64 [n] each, first rows and columns of the regions; may lie outside the map.
        size: rows and columns of each region.

    Returns:
        int64 [n, 1, rows, columns], at least 1; [1, 1, 1, 1] where one number holds everywhere.
    """
    windows = geometry.windows(node)
    if windows is None:
        raise ValueError(f"{node.name} has no even windows")
    arguments = arguments_of(node.fx, node.kind, geometry.graph.module)
    if arguments.get("divisor_override"):
        return torch.tensor(arguments["divisor_override"]).reshape(1, 1, 1, 1)
    counts_padding = bool(arguments.get("count_include_pad", True))
    source = geometry.data_inputs(node.fx)[0]
    counts = []
    for window, start, many, length in zip(
        windows, starts, size, geometry.map_size(source), strict=True
    ):
        first = window.input_start(start[:, None] + torch.arange(many, device=start.device))
        last = (first + window.size).clamp(max=length + window.padding)
        if not counts_padding:
            first, last = first.clamp(min=0), last.clamp(max=length)
        # Positions outside the map have no window; they are masked, but must not divide by 0.
        counts.append((last - first).clamp(min=1))
    return (counts[0][:, :, None] * counts[1][:, None, :])[:, None]

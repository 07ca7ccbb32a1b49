"""The values that an ascent raises: a class's score, or a unit's value in its map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, fx

from pipeline.models.graph import Node, Tap
from pipeline.models.layer import Layer
from pipeline.models.network import Network
from pipeline.models.operations import ACTIVATIONS
from schemas.arrays import Ints

Position = Literal["centre", "mean"]
Raised = Callable[[Tensor], Tensor]
"""From the network's input [N, 3, S, S] to the value that each image's target has, [N]."""

_MONOTONE = ACTIVATIONS | {"softmax", "log_softmax"}


@dataclass(frozen=True)
class Target:
    """A unit whose value is raised.

    Attributes:
        layer: its layer's name; the layer of the scores for a class.
        unit: its channel.
        start: which noise the ascent begins with, from 0.
    """

    layer: str
    unit: int
    start: int


def raised_layer(network: Network, layer: Layer) -> Layer:
    """The layer whose value is raised in place of a layer's own.

    Behind a rectifier a unit that is off has no gradient, and behind a softmax a class that is sure
    has hardly any; what goes in has. So it is the input of an activation function (one that grows
    with it, if not everywhere) or a softmax, as Simonyan et al. take the score before the softmax.

    Args:
        network: where it cannot be traced, what goes in is not seen, and the layer itself is given.
        layer: one of its layers.
    """
    if network.geometry is None:
        return layer
    graph = network.geometry.graph
    known = {each.name: each for each in network.layers}
    nodes = {node.fx: node for node in graph.nodes}
    node = graph.node(layer.name)
    while node.kind in _MONOTONE and (before := _input_of(node, nodes)) is not None:
        found = known.get(before.name)
        if found is None or found.layout.shape != layer.layout.shape:
            break
        node, layer = before, found
    return layer


def target_box(layer: Layer, unit: int, position: Position, frame_px: int) -> Ints:
    """What a target can see: its receptive field; for a mean, the frame.

    Args:
        layer: the target's.
        unit: its channel.
        position: of the map: the centre is row ``height // 2``, column ``width // 2``.
        frame_px: side of the input frame.

    Returns:
        int64 [4]: y0, x0, y1, x1, half-open, unclipped.
    """
    if position == "mean":
        return np.array([0, 0, frame_px, frame_px])
    y, x = (np.array([side // 2]) for side in layer.layout.map_size)
    box: Ints = layer.boxes(np.array([unit]), y, x)[0]
    return box


def raise_values(network: Network, targets: Sequence[Target], position: Position) -> Raised:
    """Compile a run that gives the targets' values, up to the deepest of their layers.

    Args:
        network: in eval mode.
        targets: one per image, in the order of the images.
        position: what is read of a map.

    Returns:
        A function of images; autograd goes through it.
    """
    layers = {name: raised_layer(network, network.layer(name)) for name in _names(targets)}
    taps = {layer.name: layer for layer in layers.values()}
    run = _run_up_to(network, max(taps.values(), key=lambda layer: layer.position), taps)

    def values(images: Tensor) -> Tensor:
        found: dict[int, Tensor] = {}

        def tap(name: str, value: Tensor) -> None:
            maps = taps[name].maps(value)
            for place, target in enumerate(targets):
                if layers[target.layer].name == name:
                    found[place] = _read(maps[place, target.unit], position)

        run(images, tap)
        return torch.stack([found[place] for place in range(len(targets))])

    return values


def read_scores(network: Network) -> Callable[[Tensor], Tensor]:
    """Compile a run that gives every class's score, before a softmax, [N, classes]."""
    layer = raised_layer(network, network.layers[-1])
    run = _run_up_to(network, layer, {layer.name: layer})

    def scores(images: Tensor) -> Tensor:
        found: list[Tensor] = []
        run(images, lambda _, value: found.append(layer.maps(value)))
        height, width = found[0].shape[2:]
        return found[0][:, :, height // 2, width // 2]

    return scores


def _read(plane: Tensor, position: Position) -> Tensor:
    """One value of a map [height, width]."""
    if position == "mean":
        return plane.mean()
    return plane[plane.shape[0] // 2, plane.shape[1] // 2]


def _names(targets: Sequence[Target]) -> list[str]:
    return list(dict.fromkeys(target.layer for target in targets))


def _run_up_to(
    network: Network, deepest: Layer, taps: dict[str, Layer]
) -> Callable[[Tensor, Tap], object]:
    if network.geometry is None:
        return network.runner(taps)
    graph = network.geometry.graph
    program = graph.program(taps, until=deepest.name)
    wanted = {graph.node(name).fx: name for name in taps}

    def run(images: Tensor, tap: Tap) -> None:
        def visit(node: fx.Node, value: Any, _: dict[fx.Node, Any]) -> None:
            if node in wanted:
                tap(wanted[node], value)

        program.visit(images, visit)

    return run


def _input_of(node: Node, nodes: dict[fx.Node, Node]) -> Node | None:
    """The node that an activation function is applied to."""
    inputs = node.fx.all_input_nodes
    return nodes[inputs[0]] if inputs else None

"""One operation of the network on areas of its maps instead of whole ones.

The invariant: an operation whose area is the whole map runs as the network has it; any other gets
its padding with what it reads, and pads nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, fx

from pipeline.analysis.deconvnet.forward import MAX_POOLS
from pipeline.analysis.deconvnet.transposes import Windows, call_with, convolution
from pipeline.analysis.occlusion.patched_map import LOWEST, ZERO
from pipeline.analysis.occlusion.plan import Area, Batch
from pipeline.models.affected_regions import map_of
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Node
from pipeline.models.operations import arguments_of

Operation = Callable[[dict[fx.Node, Any]], Any]
"""From the values of a node's inputs to its own."""


def outside_of(node: Node) -> int:
    """What a node reads where its window leaves the map."""
    return LOWEST if node.kind in MAX_POOLS else ZERO


def read_area(geometry: Geometry, node: Node, source: fx.Node, batch: Batch) -> Area:
    """The rectangles of an input's map that a node reads, padding included."""
    own = batch.areas[node.fx]
    windows = geometry.slides(node)
    if node.fx in batch.whole or (windows is None and not geometry.keeps_positions(node, source)):
        height, width = map_of(geometry, source)
        none = np.zeros_like(own.top)
        return Area(none, none, height, width)
    if windows is None:
        return own
    down, across = windows
    return Area(
        down.input_start(own.top),
        across.input_start(own.left),
        down.input_size(own.height),
        across.input_size(own.width),
    )


def operation_on_areas(geometry: Geometry, node: Node, batch: Batch) -> Operation:
    """What to run for a node of a batch."""
    windows = geometry.slides(node)
    if node.fx in batch.whole or windows is None:
        return partial(call_with, geometry, node)
    sizes = [
        (a, b) for a, b in zip(*((w.size, w.stride, w.dilation) for w in windows), strict=True)
    ]
    if node.kind == "conv2d":
        parameters = convolution(geometry, node)
        return lambda inputs: F.conv2d(_only(inputs), **parameters)
    if node.kind in MAX_POOLS:
        return lambda inputs: F.max_pool2d(_only(inputs), sizes[0], sizes[1], 0, sizes[2])
    counts = _counts(geometry, node, windows, batch.areas[node.fx])

    def average(inputs: dict[fx.Node, Any]) -> Tensor:
        value = _only(inputs)
        total = F.avg_pool2d(value, sizes[0], sizes[1], divisor_override=1)
        return total / counts.to(value.device)

    return average


def _only(inputs: dict[fx.Node, Any]) -> Tensor:
    (value,) = inputs.values()
    return value  # type: ignore[no-any-return]


def _counts(geometry: Geometry, node: Node, windows: Windows, area: Area) -> Tensor:
    """What an average pool divides by at each position, [n, 1, height, width] or 1."""
    arguments = arguments_of(node.fx, node.kind, geometry.graph.module)
    if arguments.get("divisor_override"):
        return torch.tensor(float(arguments["divisor_override"]))
    source = geometry.data_inputs(node.fx)[0]
    axes = []
    for window, start, count, length in zip(
        windows,
        (area.top, area.left),
        (area.height, area.width),
        geometry.map_size(source),
        strict=True,
    ):
        first = window.input_start(start[:, None] + np.arange(count))
        last = np.minimum(first + window.size, length + window.padding)
        if not arguments.get("count_include_pad", True):
            first, last = np.maximum(first, 0), np.minimum(last, length)
        axes.append(last - first)
    return torch.from_numpy((axes[0][:, :, None] * axes[1][:, None, :])[:, None].astype(np.float32))

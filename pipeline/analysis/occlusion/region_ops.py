"""One operation of the network on areas of its maps, where whole maps are not needed.

An operation whose area is the whole map runs as the network has it; any other is given its padding
with its input, and pads nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, fx

from pipeline.analysis.occlusion.patched_map import LOWEST, ZERO
from pipeline.analysis.occlusion.plan import Area, Batch
from pipeline.models.affected_regions import map_of
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Node
from pipeline.models.operations import MAX_POOLS
from pipeline.models.run_node import average_divisors, conv_parameters, run_node

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
        return partial(run_node, geometry, node)
    sizes = [
        (a, b) for a, b in zip(*((w.size, w.stride, w.dilation) for w in windows), strict=True)
    ]
    if node.kind == "conv2d":
        parameters = conv_parameters(geometry, node)
        return lambda inputs: F.conv2d(_only(inputs), **parameters)
    if node.kind in MAX_POOLS:
        return lambda inputs: F.max_pool2d(_only(inputs), sizes[0], sizes[1], 0, sizes[2])
    area = batch.areas[node.fx]
    starts = (torch.from_numpy(area.top), torch.from_numpy(area.left))
    divisors = average_divisors(geometry, node, starts, area.size)

    def average(inputs: dict[fx.Node, Any]) -> Tensor:
        value = _only(inputs)
        total = F.avg_pool2d(value, sizes[0], sizes[1], divisor_override=1)
        return total / divisors.to(value.device)

    return average


def _only(inputs: dict[fx.Node, Any]) -> Tensor:
    (value,) = inputs.values()
    return value  # type: ignore[no-any-return]

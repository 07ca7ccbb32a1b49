"""One operation on areas equals the same operation on the whole map, cut afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.analysis.occlusion.patched_map import PatchedMap, gather_index
from pipeline.analysis.occlusion.plan import Area, Batch
from pipeline.analysis.occlusion.region_ops import operation_on_areas, outside_of, read_area
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Graph
from pipeline.models.trace_receptive_fields import trace_receptive_fields

OPERATIONS = {
    "conv": nn.Conv2d(4, 6, 3, padding=1),
    "conv, strided": nn.Conv2d(4, 6, 5, stride=2, padding=2),
    "conv, dilated": nn.Conv2d(4, 6, 3, padding=2, dilation=2),
    "conv, grouped": nn.Conv2d(4, 6, 3, padding=1, groups=2),
    "conv, same": nn.Conv2d(4, 6, 5, padding="same", dilation=2),
    "conv, uneven": nn.Conv2d(4, 6, (1, 5), stride=(2, 1), padding=(0, 2)),
    "max pool": nn.MaxPool2d(3, 2, 1),
    "max pool, ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
    "max pool, dilated": nn.MaxPool2d(3, 1, 1, dilation=2),
    "average": nn.AvgPool2d(3, 2, 1),
    "average, ceil": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "average, inside": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "average, divisor": nn.AvgPool2d(2, 2, divisor_override=3),
    "relu": nn.ReLU(),
    "batch norm": nn.BatchNorm2d(4),
    "response norm": nn.LocalResponseNorm(3, alpha=0.1),
}
SIDE = 14


class _Head(nn.Module):
    """An operation between pixels (4 channels, all below zero) and scores."""

    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.operation = operation

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.operation(self.first(images) - 9)
        return maps.mean((2, 3))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("places", [[(0, 0), (1, 1)], [(2, 1), (0, 3), (3, 2)]])
def test_operation_on_areas_equals_the_whole_map_cut(name: str, places: list[tuple[int, int]]):
    graph = Graph(_Head(OPERATIONS[name]).eval())
    geometry = Geometry(graph, trace_receptive_fields(graph, SIDE))
    node, source = graph.node("operation"), graph.node("sub").fx
    clean = torch.randn(1, 4, SIDE, SIDE) - 9
    height, width = geometry.map_size(node.fx)
    top, left = (np.array(axis, dtype=np.int64) for axis in zip(*places, strict=True))
    # The last area ends at the map's lower right corner.
    top[-1], left[-1] = height - 3, width - 4
    batch = Batch(np.arange(len(top)), {node.fx: Area(top, left, 3, 4)}, frozenset())
    patched = PatchedMap((1, 4, SIDE, SIDE), (2, 3), 0)
    patched.set_clean(clean)

    wanted = read_area(geometry, node, source, batch)
    patch = patched.gather(gather_index(wanted, None, (SIDE, SIDE), outside_of(node)))
    with torch.inference_mode():
        found = operation_on_areas(geometry, node, batch)({source: patch})
        whole = OPERATIONS[name](clean)

    cut = [
        whole[0, :, y : y + 3, x : x + 4] for y, x in zip(top.tolist(), left.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(cut), rtol=1e-5, atol=1e-5)


def test_operation_whose_area_is_the_whole_map_pads_as_the_network_does():
    graph = Graph(_Head(OPERATIONS["average, ceil"]).eval())
    geometry = Geometry(graph, trace_receptive_fields(graph, SIDE))
    node, source = graph.node("operation"), graph.node("sub").fx
    none = np.zeros(2, dtype=np.int64)
    area = Area(none, none, *geometry.map_size(node.fx))
    batch = Batch(np.arange(2), {node.fx: area}, frozenset([node.fx]))
    maps = torch.randn(2, 4, SIDE, SIDE)

    assert (read_area(geometry, node, source, batch).height) == SIDE
    found = operation_on_areas(geometry, node, batch)({source: maps})

    assert torch.equal(found, OPERATIONS["average, ceil"](maps))

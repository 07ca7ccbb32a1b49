"""An affected region holds every position that a window changes, and in a chain no other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.models.affected_regions import IntervalArray, affected_regions, map_of
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Graph
from pipeline.models.operations import Window
from pipeline.models.trace_receptive_fields import trace_receptive_fields
from tests.families import Family
from tests.tiny_nets import small

SIDE = 64


def geometry_of(module: nn.Module, side: int) -> Geometry:
    graph = Graph(module.eval())
    return Geometry(graph, trace_receptive_fields(graph, side))


def intervals_of(starts: list[int], size: int) -> IntervalArray:
    low = np.array(starts, dtype=np.int64)
    return IntervalArray(low, low + size)


def changed(
    geometry: Geometry, side: int, window: tuple[int, int, int, int]
) -> dict[torch.fx.Node, Tensor]:
    """Which positions of each map differ when a window of noise gets other noise, [H, W] each."""
    y, x, height, width = window
    clean = torch.randn(1, 3, side, side, dtype=torch.float64)
    other = clean.clone()
    other[:, :, y : y + height, x : x + width] = 3 * torch.randn(1, 3, height, width).double()
    before, after = maps_of(geometry, clean), maps_of(geometry, other)
    return {
        node: by_position(geometry, node, value != after[node]) for node, value in before.items()
    }


def maps_of(geometry: Geometry, image: Tensor) -> dict[torch.fx.Node, Tensor]:
    found: dict[torch.fx.Node, Tensor] = {}

    def keep(node: torch.fx.Node, value: object, _: object) -> None:
        if node in geometry.layouts and isinstance(value, Tensor):
            found[node] = value.clone()

    names = [node.name for node in geometry.graph.nodes if node.fx in geometry.layouts]
    with torch.no_grad():
        geometry.graph.program(names).visit(image, keep)
    return found


def by_position(geometry: Geometry, node: torch.fx.Node, different: Tensor) -> Tensor:
    dims = geometry.map_dims(node)
    if different.dim() <= max(dims):
        return different.any().reshape(1, 1)
    rest = [d for d in range(different.dim()) if d not in dims]
    return different.permute(*dims, *rest).flatten(2).any(dim=2)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("size", "dilation"), [(1, 1), (3, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_intervals_through_a_window_is_what_reads_any_of_it(
    stride: int, size: int, dilation: int, padding: int
):
    window, length = Window(size, stride, padding, dilation), 20
    positions = (length + 2 * padding - window.extent) // stride + 1
    starts = list(range(length - 3))

    found = intervals_of(starts, 4).through(window, positions)

    for i, start in enumerate(starts):
        reading = [
            o
            for o in range(positions)
            if o * stride - padding <= start + 3 and o * stride - padding + window.extent > start
        ]
        if reading:
            assert (found.low[i], found.high[i]) == (reading[0], reading[-1] + 1)
        else:
            assert found.low[i] >= found.high[i]
            assert found.sizes[i] == 1


def test_affected_region_of_a_chain_is_exactly_what_changes():
    geometry = geometry_of(small().double(), 24)
    for y, x in ((0, 0), (9, 4), (18, 18)):
        regions = affected_regions(geometry, intervals_of([y], 6), intervals_of([x], 6))
        different = changed(geometry, 24, (y, x, 6, 6))
        for name in ("conv1", "relu1", "pool1", "conv2"):
            node = geometry.graph.node(name).fx
            down, across = regions[node].down, regions[node].across
            rows, columns = different[node].any(dim=1), different[node].any(dim=0)
            # A ReLU and a maximum may hide a change at the rim, a convolution does not.
            exact = name.startswith("conv")
            for axis, seen in ((down, rows), (across, columns)):
                places = seen.nonzero().flatten().tolist()
                assert axis.low[0] <= places[0]
                assert places[-1] < axis.high[0]
                assert not exact or (axis.low[0], axis.high[0]) == (places[0], places[-1] + 1)
        assert regions[geometry.graph.node("pool").fx].whole


def test_affected_regions_of_every_family_hold_what_changes(family: Family):
    module = family.build(signed=True).double()
    side = max(SIDE, family.narrow) if family.frame != 64 else 64
    geometry = geometry_of(module, side)
    for y, x in ((0, 3), (side // 2, side // 3), (side - 9, side - 9)):
        regions = affected_regions(geometry, intervals_of([y], 9), intervals_of([x], 9))
        for node, different in changed(geometry, side, (y, x, 9, 9)).items():
            if node not in regions:
                continue
            height, width = map_of(geometry, node)
            outside = torch.ones(height, width, dtype=torch.bool)
            down, across = regions[node].down, regions[node].across
            outside[down.low[0] : down.high[0], across.low[0] : across.high[0]] = False
            assert not bool((different & outside).any()), node
    assert any(not each.whole for each in regions.values())

"""One node on given inputs does what it does in the network; its parameters are the model's own."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from pipeline.analysis.deconvnet.transposes import sum_pool_transpose
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Graph, Node
from pipeline.models.run_node import average_divisors, conv_parameters, run_node, static_value
from pipeline.models.trace_receptive_fields import trace_receptive_fields

CORNER = (torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def geometry_of(*layers: nn.Module, side: int = 12) -> tuple[Geometry, list[Node]]:
    """A chain's geometry and its nodes, the image first."""
    graph = Graph(nn.Sequential(*layers).double().eval())
    return Geometry(graph, trace_receptive_fields(graph, side)), list(graph.nodes)


def test_conv_parameters_of_a_functional_call_has_its_weights():
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(noise(4, 3, 3, 3))

        def forward(self, images: Tensor) -> Tensor:
            return F.conv2d(images, self.weight * 2, stride=2)

    net = Functional()
    graph = Graph(net)
    geometry = Geometry(graph, trace_receptive_fields(graph, 12))
    node = next(node for node in graph.nodes if node.kind == "conv2d")

    found = conv_parameters(geometry, node)

    assert torch.equal(found["weight"], net.weight * 2)
    assert (found["bias"], found["stride"], found["groups"]) == (None, 2, 1)
    assert static_value(geometry, 5) == 5


@pytest.mark.parametrize(
    "options",
    [{}, {"padding": 1}, {"padding": 1, "count_include_pad": False},
     {"padding": 1, "ceil_mode": True}, {"ceil_mode": True, "count_include_pad": False},
     {"divisor_override": 4}],
)  # fmt: skip
def test_average_divisors_are_what_the_pool_divides_by(options: dict[str, Any]):
    pool = nn.AvgPool2d(3, 2, **options)
    geometry, nodes = geometry_of(pool)
    ones = torch.ones(1, 1, 12, 12, dtype=torch.float64)
    size = pool(ones).shape[2]

    counts = average_divisors(geometry, nodes[1], CORNER, (size, size))
    shares = sum_pool_transpose(
        (1 / counts.double()).expand(1, 1, size, size), geometry.windows(nodes[1])
    )

    value = ones.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(pool(value).sum(), value)
    pad = options.get("padding", 0)
    inside = shares[:, :, pad : pad + 12, pad : pad + 12]
    assert torch.allclose(inside, wanted[:, :, : inside.shape[2], : inside.shape[3]], atol=1e-14)


def test_average_divisors_of_seeds_are_those_of_their_positions():
    pool = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
    geometry, nodes = geometry_of(pool)
    every = average_divisors(geometry, nodes[1], CORNER, (6, 6))
    y, x = torch.tensor([0, 5, 3]), torch.tensor([0, 2, 5])

    found = average_divisors(geometry, nodes[1], (y - 1, x), (2, 1))

    assert found.shape == (3, 1, 2, 1)
    assert found[:, 0, 1, 0].tolist() == every[0, 0, y, x].tolist()
    assert found[0, 0, 0, 0] >= 1, "a place outside the map must not divide by nothing"


def test_run_node_keeps_no_input_alive():
    """A cycle would, until the collector comes by: a batch's maps are hundreds of megabytes."""
    graph = Graph(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()).eval())
    geometry = Geometry(graph, trace_receptive_fields(graph, 8))
    flatten = graph.nodes[-2]
    value = torch.zeros(1, 4, 6, 6)
    alive = weakref.ref(value)
    gc.disable()
    try:
        run_node(geometry, flatten, {flatten.fx.all_input_nodes[0]: value})
        del value
        assert alive() is None
    finally:
        gc.enable()


def test_run_node_reads_sizes_off_the_crop():
    class Reshaping(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            rows, channels, height, width = images.size()
            turned = images.view(rows, 1, channels, height, width).transpose(1, 2).contiguous()
            return turned.view(rows, channels, height, width)

    graph = Graph(Reshaping())
    geometry = Geometry(graph, trace_receptive_fields(graph, 12))
    last = [node for node in graph.nodes if node.kind == "view"][-1]
    source = geometry.data_inputs(last.fx)[0]
    crop = noise(5, 3, 1, 4, 2)

    found = run_node(geometry, last, {source: crop})

    assert torch.equal(found, crop.reshape(5, 3, 4, 2))

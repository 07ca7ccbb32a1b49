"""A dependency holds all that can feed its target, and is as small as the operations allow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torchvision import models

from pipeline.models.geometry import Geometry, InputDependency, Interval, Region, inside_mask
from pipeline.models.graph import Graph
from pipeline.models.operations import Window
from pipeline.models.trace_receptive_fields import trace_receptive_fields
from tests.tiny_nets import small


def geometry_of(net: nn.Module, side: int) -> Geometry:
    graph = Graph(net.eval())
    return Geometry(graph, trace_receptive_fields(graph, side))


def region_of(geometry: Geometry, dependency: InputDependency, name: str) -> Region:
    return dependency.regions[geometry.graph.node(name).fx]


class Between(nn.Module):
    """A convolution above and below any operation."""

    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.below, self.above = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)
        self.operation = operation

    def forward(self, images: Tensor) -> Tensor:
        return self.above(self.operation(self.below(images)))


def swapped(value: Tensor, dim: int) -> Tensor:
    one, other = value.chunk(2, dim)
    return torch.cat([other, one], dim)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (7, 2, 3, 1), (3, 2, 0, 2), (1, 4, 0, 1)],
)
def test_span_through_a_window_covers_what_its_positions_read(
    kernel: int, stride: int, padding: int, dilation: int
):
    interval, position = Interval(3, -2, 4), 5
    outputs = [position * 3 - 2 + i for i in range(4)]
    read = [o * stride - padding + k * dilation for o in outputs for k in range(kernel)]

    found = interval.through(Window(kernel, stride, padding, dilation))

    start = int(found.starts(torch.tensor([position]))[0])
    assert (start, start + found.size) == (min(read), max(read) + 1)
    assert found.step == 3 * stride


def test_span_hull_covers_both_and_refuses_unlike_steps():
    assert Interval(2, -1, 4).hull(Interval(2, 5, 1)) == Interval(2, -1, 7)
    assert Interval(2, 0, 9).hull(Interval(2, 3, 2)) == Interval(2, 0, 9)
    assert Interval(2, 0, 1).hull(Interval(1, 0, 1)) is None


def test_dependency_of_a_chain_equals_what_was_counted_by_hand():
    geometry = geometry_of(small(), 24)

    dependency = geometry.dependency("relu2")

    # relu2 reads 3x3 of pool1 with stride 2; a pool of 3 with stride 2; a convolution padded by 1.
    assert region_of(geometry, dependency, "pool1") == Region(
        Interval(2, 0, 3), Interval(2, 0, 3), whole=False
    )
    assert region_of(geometry, dependency, "relu1") == Region(
        Interval(4, 0, 7), Interval(4, 0, 7), whole=False
    )
    assert region_of(geometry, dependency, "input") == Region(
        Interval(4, -1, 9), Interval(4, -1, 9), whole=False
    )
    assert dependency.local
    assert next(iter(dependency.regions)).name == "relu2"
    assert not geometry.dependency("fc").local


NETS = {
    "squeezenet": (models.squeezenet1_1, 64, ["features.5", "features.6.cat"]),
    "resnet": (models.resnet18, 64, ["maxpool", "layer1.1.relu_1", "layer2.0.relu"]),
    "googlenet": (
        lambda: models.googlenet(aux_logits=False, init_weights=False, transform_input=True),
        96,
        ["inception3a.branch4.1.relu", "inception3b.cat"],
    ),
    "shufflenet": (models.shufflenet_v2_x0_5, 96, ["stage2.3.branch2.7", "stage3.1.getitem_1"]),
}


@pytest.mark.parametrize("name", NETS)
def test_dependency_at_the_input_is_the_hull_of_the_units_boxes(name: str):
    make, side, layers = NETS[name]
    geometry = geometry_of(make(), side)

    for layer in layers:
        dependency, layout = (
            geometry.dependency(layer),
            geometry.layouts[geometry.graph.node(layer).fx],
        )
        region = next(reversed(dependency.regions.values()))
        for interval, axis in ((region.down, layout.down), (region.across, layout.across)):
            assert dependency.local
            assert interval.step == axis.stride
            assert (interval.first, interval.first + interval.size) == (
                axis.low.min(),
                axis.high.max(),
            ), layer


@pytest.mark.parametrize("name", NETS)
def test_dependency_in_between_holds_every_position_with_a_gradient(name: str):
    make, side, layers = NETS[name]
    net = make().double().requires_grad_(requires_grad=False)
    geometry = geometry_of(net, side)
    layer = layers[-1]
    height, width = geometry.map_size(geometry.graph.node(layer).fx)
    dependency = geometry.dependency(layer)
    images = torch.randn(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    values: dict[torch.fx.Node, Tensor] = {}

    def visit(node: torch.fx.Node, value: object, _: object) -> None:
        if node in dependency.regions and isinstance(value, Tensor):
            values[node] = value

    names = [geometry.nodes[node].name for node in dependency.regions if node in geometry.layouts]
    geometry.graph.program(names, layer).visit(images, visit)
    for y, x in ((0, 0), (height - 1, width // 2), (height // 2, width // 2)):
        seeds = (torch.tensor([y]), torch.tensor([x]))
        seed = values[dependency.target.fx][..., y, x].abs().sum()
        grads = torch.autograd.grad(
            seed, list(values.values()), retain_graph=True, allow_unused=True
        )
        for (node, _), grad in zip(values.items(), grads, strict=True):
            dims = geometry.map_dims(node)
            other = [dim for dim in range(grad.dim()) if dim not in dims]
            for interval, places, kept in zip(
                (dependency.regions[node].down, dependency.regions[node].across),
                seeds,
                dims,
                strict=True,
            ):
                drop = [*other, *(dim for dim in dims if dim != kept)]
                touched = grad.abs().amax(drop).nonzero().flatten()
                start = int(interval.starts(places)[0])
                assert touched.min() >= start, node.name
                assert touched.max() < start + interval.size, node.name


@pytest.mark.parametrize(
    ("operation", "local"),
    [
        (lambda value: value * 2 + 1, True),
        (lambda value: value * torch.ones(4, 1, 1), True),
        (lambda value: value * torch.ones(16, 16), False),
        (lambda value: value + torch.arange(16.0)[None, :, None], False),
        (lambda value: torch.cat([value, value.relu()], 1)[:, :4], True),
        (lambda value: value.chunk(2, 1)[1].repeat(1, 2, 1, 1), False),
        (lambda value: swapped(value, 1), True),
        (lambda value: swapped(value, 2), False),
        (lambda value: F.avg_pool2d(value, 3, 1, 1), True),
        (lambda value: F.lp_pool2d(value, 2, 3, 1), False),
        (lambda value: F.adaptive_avg_pool2d(value, 8), False),
        (lambda value: F.interpolate(value, scale_factor=2), False),
        (lambda value: F.pad(value, (1, 1, 1, 1), mode="reflect"), False),
        (lambda value: value * value.mean((2, 3), keepdim=True), False),
        (lambda value: torch.roll(value, 1, 3), False),
    ],
)
def test_dependency_is_local_where_a_crop_can_be_run_alone(
    operation: Callable[[Tensor], Tensor], local: bool
):
    geometry = geometry_of(Between(operation), 16)

    dependency = geometry.dependency("above")

    assert dependency.local is local
    if not local:
        for node, region in dependency.regions.items():
            users = [user for user in dependency.regions if node in geometry.data_inputs(user)]
            if any(dependency.regions[user].whole for user in users):
                assert region.whole, f"{node.name} feeds a whole map and is cut"


def test_dependency_of_pieces_of_a_tuple_is_one_region():
    def unlike(value: Tensor) -> Tensor:
        one, other = value.chunk(2, 1)
        return torch.cat([F.max_pool2d(one, 5, 1, 2), other], 1)

    geometry = geometry_of(Between(unlike), 16)
    dependency = geometry.dependency("above")
    pieces = [region for node, region in dependency.regions.items() if "getitem" in node.name]

    assert pieces == [Region(Interval(1, -3, 7), Interval(1, -3, 7), whole=False)] * 2


def test_dependency_wider_than_the_map_is_the_whole_map():
    geometry = geometry_of(nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.Conv2d(4, 4, 3)), 6)

    dependency = geometry.dependency("1")

    assert region_of(geometry, dependency, "input") == Region(
        Interval(0, 0, 6), Interval(0, 0, 6), whole=True
    )
    assert region_of(geometry, dependency, "0") == Region(
        Interval(1, 0, 3), Interval(1, 0, 3), whole=False
    )


def test_inside_mask_tells_the_map_from_what_is_around():
    region = Region(Interval(2, -3, 4), Interval(1, 0, 2), whole=False)
    y, x = torch.tensor([0, 2, 4]), torch.tensor([0, 3, 7])

    mask = inside_mask(region, (y, x), (8, 8))

    assert mask.shape == (3, 4, 2)
    for row, column, found in zip(y.tolist(), x.tolist(), mask.numpy(), strict=True):
        down = [0 <= row * 2 - 3 + i < 8 for i in range(4)]
        across = [0 <= column + i < 8 for i in range(2)]
        assert (found == np.outer(down, across)).all()


def test_inside_mask_is_none_where_all_lies_inside():
    region = Region(Interval(1, -1, 3), Interval(1, -1, 3), whole=False)
    whole = Region(Interval(0, 0, 8), Interval(0, 0, 8), whole=True)
    middle = (torch.tensor([1, 6]), torch.tensor([3, 1]))

    assert inside_mask(region, middle, (8, 8)) is None
    assert inside_mask(whole, (torch.tensor([0]), torch.tensor([0])), (8, 8)) is None


def test_region_of_a_seed_moves_with_it():
    region = Region(Interval(2, -3, 4), Interval(1, 0, 2), whole=False)

    rows, columns = region.starts((torch.tensor([0, 3]), torch.tensor([1, 5])))

    assert (rows.tolist(), columns.tolist()) == ([-3, 3], [1, 5])
    assert region.size == (4, 2)

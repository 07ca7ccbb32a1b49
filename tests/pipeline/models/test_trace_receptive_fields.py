"""Boxes equal the support of the input's gradient, which knows nothing of our geometry."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torchvision import models, ops

from pipeline.models.graph import Graph
from pipeline.models.layer import Layer
from pipeline.models.network import TracedNetwork, open_network
from pipeline.models.zfnet import krizhevsky, zfnet


def wrong_boxes(
    reads: Any, layer: Layer, unit: int, positions: Iterable[tuple[int, int]]
) -> list[str]:
    """The positions of a unit whose box, within the frame, is not what their gradient reaches.

    Strides and floor-mode pools leave last rows and columns unread, so a box is also cut to
    what any position of the unit reads.
    """
    maps = layer.maps(reads.values[layer.name])
    y, x = np.array(list(positions)).T
    seeds = torch.zeros_like(maps)
    seeds[0, unit] = 1
    for row, place in enumerate(zip(y, x, strict=True), 1):
        seeds[row, unit, place[0], place[1]] = 1
    anywhere, *found = reads.support(maps, seeds)
    boxes = layer.boxes(np.full(len(y), unit), y, x)
    wanted = np.concatenate(
        [np.maximum(boxes[:, :2], anywhere[:2]), np.minimum(boxes[:, 2:], anywhere[2:])], axis=1
    )
    return [
        f"{layer.name} unit {unit} at {place}: box {box} within {anywhere} reads {hull}"
        for *place, box, hull, want in zip(y, x, boxes, found, wanted, strict=True)
        if (hull != want).any()
    ]


def some_positions(size: tuple[int, int], rng: np.random.Generator) -> list[tuple[int, int]]:
    """The first corner, the last, and another corner, a place on an edge, or one anywhere."""
    last = (size[0] - 1, size[1] - 1)
    y, x = (int(rng.integers(length)) for length in size)
    others = [(0, last[1]), (last[0], 0), (0, x), (last[0], x), (y, 0), (y, last[1]), (y, x)]
    return [(0, 0), last, others[rng.integers(len(others))]]


def test_boxes_of_every_family_equal_the_gradients_support(
    convolutional: Any, gradients: ModuleType
):
    """A box does not depend on the frame, so long thin frames show both ends of deep fields."""
    family = convolutional
    module = family.build(signed=False)
    network = open_network(module, family.frame)
    layers = [layer for layer in network.layers if layer.default]
    rng = np.random.default_rng(zlib.crc32(family.name.encode()))
    wrong, cases = [], 0
    for shape in ((family.frame, family.narrow), (family.narrow, family.frame)):
        reads = gradients.Reads(module, shape, batch=4)
        for layer in layers:
            size = tuple(layer.maps(reads.values[layer.name]).shape[2:])
            unit = int(rng.choice([0, layer.units - 1, rng.integers(layer.units)]))
            wrong += wrong_boxes(reads, layer, unit, some_positions(size, rng))
            cases += 3

    assert wrong == []
    assert {
        layer.name: layer.layout.whole_frame for layer in layers if layer.layout.whole_frame
    } == {}
    assert len(layers) >= 8
    print(f"{family.name}: {len(layers)} layers, {cases} cases of layer, unit and position")


class Calls(nn.Module):
    """A convolution and a function of its result."""

    def __init__(self, function: Callable[[Tensor], Tensor], channels: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.weight = nn.Parameter(torch.empty(4, channels, 3, 2))
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self.conv(images))


def joined(value: Tensor) -> Tensor:
    return torch.cat([value[:, :2], F.avg_pool2d(value, 3, 1, 1)[:, 2:]], 1)


def shuffled(value: Tensor) -> Tensor:
    n, c, h, w = value.shape
    return joined(value).view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def shifted(value: Tensor) -> Tensor:
    return value[:, :, 1:, ::2] + value[:, :, :-1, ::2]


class Functional(nn.Module):
    """A functional convolution, its weight a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, 3, 3, 2))

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(images, self.weight, None, (2, 1), padding=(1, 0), dilation=2)


class Standardised(nn.Conv2d):
    """Computes its weight while it runs."""

    def __init__(self) -> None:
        super().__init__(3, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(images, self.weight - self.weight.mean())


SMALL: dict[str, Callable[[], nn.Module]] = {
    "rectangular kernel": lambda: nn.Conv2d(3, 2, (1, 5), padding=(0, 2)),
    "rectangular stride": lambda: nn.Conv2d(3, 2, (3, 2), stride=(2, 3), padding=(2, 1)),
    "same padding, even kernel": lambda: nn.Conv2d(3, 2, (4, 3), padding="same"),
    "valid padding": lambda: nn.Conv2d(3, 2, 4, padding="valid", stride=3),
    "stride past the kernel": lambda: nn.Conv2d(3, 2, 2, stride=5),
    "grouped": lambda: Calls(nn.Sequential(nn.Conv2d(6, 6, 3), nn.Conv2d(6, 4, 3, groups=2))),
    "depthwise on unlike channels": lambda: Calls(
        lambda value: F.avg_pool2d(joined(value), (2, 1))
    ),
    "ceil-mode pool": lambda: nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(3, 2, 2)),
    "padded ceil-mode pool": lambda: nn.AvgPool2d(5, 3, padding=2, ceil_mode=True),
    "pool without a stride": lambda: nn.MaxPool2d((2, 3)),
    "pool functions": lambda: Calls(
        lambda value: F.avg_pool2d(F.max_pool2d(value, 3, 2, 1), (1, 2), stride=1, ceil_mode=True)
    ),
    "even adaptive pool": lambda: nn.AdaptiveAvgPool2d((6, 12)),
    "adaptive pool that keeps one side": lambda: nn.AdaptiveAvgPool2d((None, 3)),
    "functional convolution": Functional,
    "response norm": lambda: Calls(lambda value: F.local_response_norm(joined(value), 2)),
    "branches of unlike fields": lambda: Calls(joined),
    "channel shuffle": lambda: Calls(shuffled),
    "sum of branches": lambda: Calls(lambda value: value + F.avg_pool2d(value, 5, 1, 2)),
    "sum of shifted maps": lambda: Calls(shifted),
    "slice of rows": lambda: Calls(lambda value: value[:, 1:, 3:, ::2]),
    "turned map": lambda: Calls(lambda value: joined(value)[:, :, 1:].transpose(2, 3)),
    "channels last": lambda: Calls(
        lambda value: F.layer_norm(joined(value).permute(0, 2, 3, 1), (6,)).permute(0, 3, 1, 2)
    ),
    "flattened map": lambda: nn.Sequential(nn.Conv2d(3, 2, 7, stride=6), nn.Flatten()),
    "softmax over channels": lambda: Calls(lambda value: joined(value).softmax(dim=1)),
}  # fmt: skip


DILATED: dict[str, Callable[[], nn.Module]] = {
    "rectangular": lambda: nn.Conv2d(3, 2, (3, 2), (2, 3), padding=(2, 1), dilation=(2, 4)),
    "same padding": lambda: nn.Conv2d(3, 2, (4, 3), padding="same", dilation=(3, 2)),
}


def fill(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return module.eval().requires_grad_(requires_grad=False)


def small(name: str) -> tuple[nn.Module, Layer]:
    """A small net and its last layer, on a frame of 24 pixels."""
    module = fill((SMALL | DILATED)[name]())
    network = open_network(module, 24)
    assert network.geometry is not None
    layer = network.layers[-1]
    assert (layer.name, layer.layout.whole_frame) == (network.graph.output, None)
    return module, layer


def all_positions(layer: Layer) -> list[tuple[int, int]]:
    height, width = layer.layout.map_size
    return [(y, x) for y in range(height) for x in range(width)]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", SMALL)
def test_boxes_of_a_small_net_equal_the_gradients_support_everywhere(
    name: str, gradients: ModuleType
):
    module, layer = small(name)
    everywhere = all_positions(layer)
    reads = gradients.Reads(module, (24, 24), batch=1 + len(everywhere))

    wrong = [w for unit in range(layer.units) for w in wrong_boxes(reads, layer, unit, everywhere)]

    assert wrong == []


@pytest.mark.parametrize("name", DILATED)
def test_boxes_of_a_dilated_net_inside_the_frame_equal_the_gradients_support(
    name: str, gradients: ModuleType
):
    """At the border the frame's edge can fall between two pixels that are read."""
    module, layer = small(name)
    y, x = np.array(all_positions(layer)).T
    boxes = layer.boxes(np.zeros_like(y), y, x)
    fits = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] <= 24).all(1)
    inside = list(zip(y[fits], x[fits], strict=True))
    reads = gradients.Reads(module, (24, 24), batch=1 + len(inside))

    assert len(inside) > 20
    assert wrong_boxes(reads, layer, 0, inside) == []


WHOLE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "circular": (lambda: nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular"), "circular"),
    "reflect": (lambda: nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"), "reflect"),
    "uneven": (lambda: nn.AdaptiveAvgPool2d(7), "from 24 to 7 positions"),
    "group norm": (lambda: nn.GroupNorm(1, 3), "groupnorm mixes positions"),
    "spatial softmax": (lambda: Calls(lambda v: v.softmax(-1)), "softmax mixes positions"),
    "spatial layer norm": (lambda: nn.LayerNorm([3, 24, 24]), "layer_norm mixes positions"),
    "own statistics": (
        lambda: nn.BatchNorm2d(3, track_running_stats=False),
        "batch_statistics mixes positions",
    ),
    "batch statistics": (
        lambda: Calls(lambda v: F.batch_norm(v, None, None, training=True)),
        "batch_statistics mixes positions",
    ),
    "window of the map's size": (
        lambda: Calls(lambda v: F.avg_pool2d(v, v.shape[2:]) * torch.ones(1)),
        "avg_pool2d has a window that the network computes",
    ),
    "computed weight": (
        Standardised,
        "conv2d has a window that the network computes",
    ),
    "layer norm of the map's size": (
        lambda: Calls(lambda v: F.layer_norm(v, v.shape[1:])),
        "layer_norm mixes positions",
    ),
    "sum with the turned map": (lambda: Calls(lambda v: v + v.transpose(2, 3)), "add"),
    "sum of unlike channels": (lambda: Calls(lambda v: v + v[:, :1]), "add joins unlike maps"),
    "rolled": (lambda: Calls(lambda v: v.roll(3, 2)), "roll mixes positions"),
    "flipped": (lambda: Calls(lambda v: v.flip(2)), "flip mixes positions"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_box_that_cannot_be_exact_is_the_frame_with_the_reason(name: str):
    build, reason = WHOLE[name]
    torch.manual_seed(0)
    module = nn.Sequential(OrderedDict(what=build(), last=nn.Sigmoid()))

    layer = open_network(module.eval(), 24).layers[-1]

    assert layer.name == "last"
    assert reason in layer.layout.whole_frame
    boxes = layer.boxes(np.array([0, 1]), np.array([0, 2]), np.array([1, 0]))
    assert boxes.tolist() == [[0, 0, 24, 24]] * 2


def test_transformers_have_the_frame_as_box_and_the_reason(transformer: Any):
    network = open_network(transformer.build(signed=False), transformer.frame)
    layers = [layer for layer in network.layers if layer.default]

    assert network.geometry is not None
    assert layers
    assert layers[-1].units == 10
    for layer in layers:
        if layer.layout.whole_frame is None:  # what stands before the first attention
            assert max(layer.field_size) <= transformer.frame
        else:
            assert layer.boxes(*np.zeros((3, 1), np.int64)).tolist() == [[0, 0, 64, 64]]
    assert layers[-1].layout.whole_frame


def deep(build: Callable[[], nn.Module], frame_px: int) -> dict[str, Layer]:
    """Layers by name; on the meta device nothing is computed."""
    with torch.device("meta"):
        module = build().eval()
    return {layer.name: layer for layer in TracedNetwork(Graph(module), frame_px).layers}


# Worked out by hand: field += (kernel - 1) * jump, jump *= stride.
@pytest.mark.parametrize(
    ("build", "name", "size", "stride", "first"),
    [
        (zfnet, "relu1", 7, 2, -1),
        (zfnet, "relu2", 27, 8, -1),
        (zfnet, "relu5", 139, 16, -49),
        (krizhevsky, "relu5", 163, 16, -66),
        (models.vgg16, "features.8", 14, 2, -6),
        (models.vgg16, "features.15", 40, 4, -18),
        (models.vgg16, "features.22", 92, 8, -42),
        (models.vgg16, "features.29", 196, 16, -90),
        (models.vgg16, "features.30", 212, 32, -90),
        (models.resnet50, "relu", 7, 2, -3),
        (models.resnet50, "layer1.2.relu_2", 35, 4, -17),
        (models.resnet50, "layer4.2.relu_2", 427, 32, -213),
    ],
)
def test_field_equals_the_one_worked_out_by_hand(
    build: Callable[[], nn.Module], name: str, size: int, stride: int, first: int
):
    layer = deep(build, 224)[name]

    assert layer.field_size == (size, size)
    assert (layer.layout.down.stride, layer.layout.across.stride) == (stride, stride)
    assert layer.boxes(*np.array([[5], [2], [0]])).tolist() == [
        [2 * stride + first, first, 2 * stride + first + size, first + size]
    ]


def test_field_of_a_pooled_or_linear_layer_is_the_frame():
    layers = deep(models.resnet50, 224)

    for name in ("avgpool", "flatten", "fc"):
        layout = layers[name].layout
        assert (layers[name].field_size, layout.map_size) == ((224, 224), (1, 1))
        assert (layout.down.stride, layout.across.stride, layout.whole_frame) == (0, 0, None)


def test_gate_marks_what_follows_and_leaves_its_box_alone():
    module = nn.Sequential(
        OrderedDict(
            before=nn.Conv2d(3, 8, 5), gate=ops.SqueezeExcitation(8, 2), after=nn.Conv2d(8, 4, 3)
        )
    )

    layers = {layer.name: layer for layer in open_network(module.eval(), 24).layers}

    gated = {name: layer.layout.gated for name, layer in layers.items()}
    assert (gated["before"], gated["gate.scale_activation"]) == (False, False)
    assert (gated["gate.mul"], gated["after"]) == (True, True)
    assert layers["gate.scale_activation"].field_size == (24, 24)
    assert (layers["gate.mul"].field_size, layers["after"].field_size) == ((5, 5), (7, 7))
    assert layers["after"].layout.whole_frame is None

"""What a node does and with which window, whether a module, a function or a method does it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, fx, nn

from pipeline.models.operations import (
    Window,
    arguments_of,
    conv_weight,
    mixed_dims,
    node_kind,
    window_of,
)


class Calls(nn.Module):
    """A function of the images, and parameters that it may use."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(8, 3, 5, 2))
        self.register_buffer("blur", torch.ones(3, 1, 2, 4))
        self.relu = nn.ReLU()
        self.function = function

    def forward(self, images: Tensor) -> Any:
        return self.function(self, images)


def last(root: nn.Module) -> fx.Node:
    """The node whose value a traced module returns."""
    return next(n for n in fx.Tracer().trace(root).nodes if n.op == "output").args[0]


def of_function(function: Callable[[nn.Module, Tensor], Any]) -> tuple[fx.Node, nn.Module]:
    root = Calls(function)
    return last(root), root


def of_module(module: nn.Module) -> tuple[fx.Node, nn.Module]:
    root = nn.Sequential(module)
    return last(root), root


def windows(found: tuple[fx.Node, nn.Module], size: tuple[int, int] = (12, 12)) -> Any:
    node, root = found
    kind = node_kind(node, root)
    return window_of(kind, arguments_of(node, kind, root), size)


@pytest.mark.parametrize(
    ("module", "down", "across"),
    [
        (nn.Conv2d(3, 4, 3), (3, 1, 0, 1), (3, 1, 0, 1)),
        (
            nn.Conv2d(3, 4, (1, 7), stride=(2, 3), padding=(0, 3), dilation=(1, 2)),
            (1, 2, 0, 1),
            (7, 3, 3, 2),
        ),
        (nn.Conv2d(6, 6, 3, groups=6, padding=1), (3, 1, 1, 1), (3, 1, 1, 1)),
        (nn.Conv2d(3, 4, (3, 5), padding="same", dilation=2), (3, 1, 2, 2), (5, 1, 4, 2)),
        # torch puts the odd row or column of padding behind.
        (nn.Conv2d(3, 4, (2, 4), padding="same"), (2, 1, 0, 1), (4, 1, 1, 1)),
        (nn.Conv2d(3, 4, 3, padding="valid", stride=2), (3, 2, 0, 1), (3, 2, 0, 1)),
        (nn.MaxPool2d(3), (3, 3, 0, 1), (3, 3, 0, 1)),
        (nn.MaxPool2d(3, 2, 1, dilation=2), (3, 2, 1, 2), (3, 2, 1, 2)),
        (nn.MaxPool2d((2, 3), (1, 2), ceil_mode=True), (2, 1, 0, 1), (3, 2, 0, 1)),
        (nn.AvgPool2d(5, padding=2), (5, 5, 2, 1), (5, 5, 2, 1)),
        (nn.AvgPool2d((4, 1)), (4, 4, 0, 1), (1, 1, 0, 1)),
        (nn.LPPool2d(2, 3, stride=2), (3, 2, 0, 1), (3, 2, 0, 1)),
        (nn.AdaptiveAvgPool2d(1), (12, 12, 0, 1), (12, 12, 0, 1)),
        (nn.AdaptiveAvgPool2d((3, None)), (4, 4, 0, 1), (1, 1, 0, 1)),
        (nn.AdaptiveMaxPool2d((6, 2)), (2, 2, 0, 1), (6, 6, 0, 1)),
    ],
    ids=str,
)
def test_window_of_a_module_is_what_it_says(module: nn.Module, down: Any, across: Any):
    assert windows(of_module(module)) == (Window(*down), Window(*across))


@pytest.mark.parametrize(
    ("function", "down", "across"),
    [
        (lambda m, x: F.conv2d(x, m.weight), (5, 1, 0, 1), (2, 1, 0, 1)),
        (lambda m, x: F.conv2d(x, m.weight, None, 2, (1, 3)), (5, 2, 1, 1), (2, 2, 3, 1)),
        (
            lambda m, x: F.conv2d(input=x, weight=m.weight, dilation=(3, 1), padding="same"),
            (5, 1, 6, 3),
            (2, 1, 0, 1),
        ),
        (lambda m, x: torch.conv2d(x, m.weight, stride=(1, 4)), (5, 1, 0, 1), (2, 4, 0, 1)),
        (lambda m, x: F.conv2d(x, m.blur, groups=3), (2, 1, 0, 1), (4, 1, 0, 1)),
        (lambda _, x: F.max_pool2d(x, 3), (3, 3, 0, 1), (3, 3, 0, 1)),
        (lambda _, x: F.max_pool2d(x, 3, 2, 1), (3, 2, 1, 1), (3, 2, 1, 1)),
        (
            lambda _, x: F.max_pool2d(x, kernel_size=(2, 3), stride=1, ceil_mode=True),
            (2, 1, 0, 1),
            (3, 1, 0, 1),
        ),
        (lambda _, x: torch.max_pool2d(x, 3, 2, 1, 2), (3, 2, 1, 2), (3, 2, 1, 2)),
        (lambda _, x: F.avg_pool2d(x, (3, 1), padding=(1, 0)), (3, 3, 1, 1), (1, 1, 0, 1)),
        (lambda _, x: F.avg_pool2d(x, 2, 1), (2, 1, 0, 1), (2, 1, 0, 1)),
        (lambda _, x: F.adaptive_avg_pool2d(x, (4, 12)), (3, 3, 0, 1), (1, 1, 0, 1)),
        (lambda _, x: F.adaptive_max_pool2d(x, output_size=2), (6, 6, 0, 1), (6, 6, 0, 1)),
    ],
)
def test_window_of_a_call_is_what_its_arguments_say(function: Any, down: Any, across: Any):
    assert windows(of_function(function)) == (Window(*down), Window(*across))


@pytest.mark.parametrize(
    ("found", "size", "reason"),
    [
        (of_module(nn.AdaptiveAvgPool2d(5)), (12, 12), "from 12 to 5 positions has uneven"),
        (of_module(nn.AdaptiveAvgPool2d((3, 7))), (12, 4), "from 4 to 7 positions has uneven"),
        (of_module(nn.Conv2d(3, 2, 3, padding_mode="circular")), (12, 12), "circular"),
        (of_module(nn.Conv2d(3, 2, 3, padding_mode="replicate")), (12, 12), "replicate"),
        (of_function(lambda m, x: F.conv2d(x, m.weight * 2)), (12, 12), "network computes"),
        (of_function(lambda _, x: F.avg_pool2d(x, x.shape[2:])), (12, 12), "network computes"),
        (
            of_function(lambda _, x: F.max_pool2d(x, (x.size(2), 1))),
            (12, 12),
            "network computes",
        ),
    ],
)
def test_window_that_is_not_known_is_a_reason(found: Any, size: tuple[int, int], reason: str):
    assert reason in windows(found, size)


@pytest.mark.parametrize(
    "window",
    [
        Window(size=3, stride=2, padding=1, dilation=4),
        Window(size=1, stride=1, padding=0, dilation=7),
        Window(size=2, stride=3, padding=2, dilation=1),
    ],
)
def test_window_reads_from_its_start_on_as_many_positions_as_it_says(window: Window):
    def reads(output: int) -> list[int]:
        first = output * window.stride - window.padding
        return [first + j * window.dilation for j in range(window.size)]

    assert window.extent == reads(0)[-1] - reads(0)[0] + 1
    assert window.input_start(5) == reads(5)[0]
    assert window.input_start(np.array([5, 0])).tolist() == [reads(5)[0], reads(0)[0]]
    assert window.input_size(4) == reads(8)[-1] - reads(5)[0] + 1


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda m, x: m.relu(x), "relu"),
        (lambda _, x: F.relu(x), "relu"),
        (lambda _, x: F.relu_(x), "relu"),
        (lambda _, x: F.relu(x, inplace=True), "relu"),
        (lambda _, x: torch.relu_(x), "relu"),
        (lambda _, x: x.relu(), "relu"),
        (lambda _, x: x.relu_(), "relu"),
        (lambda _, x: F.leaky_relu(x, 0.1), "leaky_relu"),
        (lambda _, x: F.hardtanh_(x), "hardtanh"),
        (lambda _, x: x + x, "add"),
        (lambda _, x: operator.iadd(x, x), "add"),
        (lambda _, x: torch.add(x, 1), "add"),
        (lambda _, x: x.add_(1), "add"),
        (lambda _, x: x * 2, "mul"),
        (lambda _, x: x / 2, "truediv"),
        (lambda _, x: x[:, :1], "getitem"),
        (lambda _, x: torch.cat([x, x], 1), "cat"),
        (lambda _, x: torch.flatten(x, 1), "flatten"),
        (lambda _, x: x.flatten(1), "flatten"),
        (lambda _, x: F.max_pool2d(x, 2), "max_pool2d"),
        (lambda _, x: F.adaptive_max_pool2d(x, 2), "adaptive_max_pool2d"),
        (lambda _, x: x.mean([2, 3]), "mean"),
        (lambda _, x: F.batch_norm(x, torch.zeros(3), torch.ones(3)), "batch_norm"),
        (lambda _, x: F.batch_norm(x, None, None, training=True), "batch_statistics"),
        (lambda m, _: m.weight, "get_attr"),
        (lambda _, x: x, "placeholder"),
    ],
)  # fmt: skip
def test_kind_of_a_call_is_its_plain_name(function: Any, kind: str):
    assert node_kind(*of_function(function)) == kind


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.ReLU(inplace=True), "relu"),
        (nn.ReLU6(), "relu6"),
        (nn.LeakyReLU(), "leaky_relu"),
        (nn.PReLU(), "prelu"),
        (nn.SiLU(), "silu"),
        (nn.Hardswish(), "hardswish"),
        (nn.Conv2d(3, 2, 1), "conv2d"),
        (nn.BatchNorm2d(3), "batch_norm2d"),
        (nn.BatchNorm2d(3, track_running_stats=False), "batch_statistics"),
        (nn.LocalResponseNorm(5), "local_response_norm"),
        (nn.LogSoftmax(1), "log_softmax"),
        (nn.MaxPool2d(2), "max_pool2d"),
        (nn.AdaptiveAvgPool2d(1), "adaptive_avg_pool2d"),
        (nn.Linear(3, 2), "linear"),
        (nn.Flatten(), "flatten"),
        (nn.Dropout(), "dropout"),
        (nn.GroupNorm(1, 3), "groupnorm"),
    ],
    ids=str,
)
def test_kind_of_a_module_is_its_function_s_name(module: nn.Module, kind: str):
    assert node_kind(*of_module(module)) == kind


@pytest.mark.parametrize(
    ("found", "rank", "dims"),
    [
        (of_module(nn.Linear(3, 2)), 4, (3,)),
        (of_module(nn.LayerNorm(3)), 4, (3,)),
        (of_module(nn.LayerNorm([3, 8, 8])), 4, (1, 2, 3)),
        (of_function(lambda _, x: F.layer_norm(x, (8, 8))), 4, (2, 3)),
        (of_function(lambda _, x: F.layer_norm(x, x.shape[1:])), 4, ()),
        (of_module(nn.Softmax(dim=-3)), 4, (1,)),
        (of_function(lambda _, x: x.softmax(1)), 4, (1,)),
        (of_function(lambda _, x: F.log_softmax(x, dim=-1)), 2, (1,)),
        (of_module(nn.Softmax()), 2, ()),
    ],
)
def test_mixed_dims_are_those_along_which_values_mix(found: Any, rank: int, dims: tuple[int, ...]):
    node, root = found
    kind = node_kind(node, root)

    assert mixed_dims(kind, arguments_of(node, kind, root), rank) == dims


def test_arguments_of_a_call_leave_nodes_as_they_are():
    node, root = of_function(lambda m, x: F.conv2d(x, m.weight, padding=1))

    arguments = arguments_of(node, "conv2d", root)

    assert arguments["input"].op == "placeholder"
    assert (arguments["stride"], arguments["padding"], arguments["groups"]) == (1, 1, 1)


@pytest.mark.parametrize(
    "function",
    [lambda m, x: F.conv2d(x, m.weight), lambda m, x: F.conv2d(x, weight=m.weight)],
)
def test_conv_weight_of_a_call_is_looked_up(function: Any):
    node, root = of_function(function)
    weight = next(n for n in node.all_input_nodes if n.op == "get_attr")

    assert conv_weight(node, root, {weight: root.weight}) is root.weight


def test_conv_weight_of_a_module_is_its_own():
    node, root = of_module(nn.Conv2d(3, 2, 1))

    assert conv_weight(node, root, {}) is root[0].weight


def test_conv_weight_that_is_no_tensor_is_refused():
    node, root = of_function(lambda m, x: F.conv2d(x, m.weight))
    weight = next(n for n in node.all_input_nodes if n.op == "get_attr")

    with pytest.raises(TypeError, match="the weight of a convolution is str"):
        conv_weight(node, root, {weight: "heavy"})

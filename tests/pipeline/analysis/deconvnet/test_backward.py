"""The backward pass equals the deconvnet written from its definition, on crops and frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from tests.projecting import Place, Subject, images_of, largest_difference
from tests.reference import deconvnet

RULES = ("deconvnet", "guided", "gradient")
SIDE = 18


CHAINS = ("padded", "overlapping", "negative", "normalised", "averaged", "head")


def chain(name: str) -> nn.Sequential:
    """A chain in float64 with random weights, for frames of 18 pixels."""
    torch.manual_seed(11)
    layers = {
        "padded": [
            nn.Conv2d(3, 5, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(5, 6, 3, padding=1),
            nn.ReLU(),
        ],
        # Two windows of 3 with stride 2 share a row, so that one maximum may be taken twice.
        "overlapping": [
            nn.Conv2d(3, 5, 5, stride=1, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(5, 6, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        ],
        # Below zero, padding by zeros would win.
        "negative": [
            nn.Conv2d(3, 4, 3, padding=1),
            nn.MaxPool2d(3, 2, padding=1),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.ReLU(),
        ],
        "normalised": [
            nn.Conv2d(3, 6, 5, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.LocalResponseNorm(5, alpha=0.5, beta=0.75, k=2.0),
            nn.Conv2d(6, 5, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.LocalResponseNorm(4, alpha=0.5, beta=0.75, k=2.0),
        ],
        "averaged": [
            nn.Conv2d(3, 4, 3, stride=2, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
            nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2),
            nn.ReLU(),
            nn.AvgPool2d(2, 1, padding=1, count_include_pad=False),
        ],
        "head": [
            nn.Conv2d(3, 4, 5, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Flatten(),
            nn.Linear(36, 9),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(9, 3),
        ],
    }[name]
    if name == "negative":
        nn.init.constant_(layers[0].bias, -2)
    net = nn.Sequential(*layers).double().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.running_mean, -1, 1)
    return net


def reference(subject: Subject, net: nn.Sequential, layer: str, places: list[Place]) -> Tensor:
    """The definition's pictures of a chain's layer."""
    layers, maps = list(net)[: int(layer) + 1], subject.maps(layer)
    flat = any(isinstance(module, nn.Flatten) for module in layers)
    pictures = []
    with torch.no_grad():
        for row, unit, y, x in places:
            place = (unit,) if flat else (unit, y, x)
            value = float(maps[row, unit, y, x])
            image = subject.images[row : row + 1]
            pictures.append(deconvnet(layers, image, place, value, subject.rule))
    return torch.cat(pictures)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CHAINS)
def test_projection_of_every_layer_of_a_chain_equals_the_definition(name: str, rule: str):
    net = chain(name)
    subject = Subject(net, images_of(2, SIDE), rule)

    for layer in (str(index) for index in range(1, len(net))):
        places = subject.places(layer)
        wanted = reference(subject, net, layer, places)
        ways = ("frames", "crops") if layer in subject.local() else ("frames",)
        for how in ways:
            found = subject.project(layer, places, how)
            assert largest_difference(found.pictures, wanted) < 1e-12, (layer, how)
            assert found.reproduced.numpy() == pytest.approx(found.values.numpy(), rel=1e-6)


class CaptumNet(nn.Module):
    """The network of Captum's own tests; the first of three colours is its one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(3, 2, 3), nn.ReLU()
        self.fc1, self.relu2 = nn.Linear(8, 4, bias=False), nn.ReLU()
        with torch.no_grad():
            self.conv1.weight.zero_()[:, 0] = 1
            self.conv1.bias.copy_(torch.tensor([-50.0, -75.0]))
            self.fc1.weight.copy_(torch.tensor([1.0, 1, 1, 1, 1, -1, -1, -1]).expand(4, 8))

    def forward(self, images: Tensor) -> Tensor:
        return self.relu2(self.fc1(self.relu1(self.conv1(images)).flatten(1)))


@pytest.mark.parametrize(
    ("case", "rule"), [("captum_deconv_conv1", "deconvnet"), ("captum_guided_conv1", "guided")]
)
def test_projection_equals_captum_s_own_test_case(shared_data: Path, case: str, rule: str):
    cases = {one["id"]: one for one in json.loads((shared_data / "unit_cases.json").read_text())}
    images = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    images[0, 0] = torch.tensor(cases[case]["input"])
    subject = Subject(CaptumNet().double().eval(), images, rule)

    found = subject.project("relu2", [(0, 0, 0, 0)])

    # The case's seed is 1, ours is the activation.
    assert found.values.tolist() == [54]
    assert (found.pictures[0, 0] / 54).tolist() == cases[case]["expected"]


class Between(nn.Module):
    """Convolution and ReLU, any operation, and again."""

    def __init__(self, operation: Callable[[Tensor], Tensor], channels: int = 6) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.below, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
        self.operation = operation
        self.above, self.last = nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        value = self.relu(self.below(images))
        return self.last(self.above(self.operation(value)))


def gate(value: Tensor) -> Tensor:
    return value * F.hardsigmoid(F.adaptive_avg_pool2d(value, 1) - 0.2)


def halves(value: Tensor) -> Tensor:
    one, other = value.chunk(2, dim=1)
    return torch.cat([other * 2, one], 1)


def rows_swapped(value: Tensor) -> Tensor:
    upper, lower = value.chunk(2, dim=2)
    return torch.cat([lower, upper * 2], 2)


def quarters(value: Tensor) -> Tensor:
    parts = value.split([2, 1, 3], 1)
    return torch.cat([parts[0], parts[2] + parts[0][:, :1], parts[1]], 1) * parts[1]


def shuffled(value: Tensor) -> Tensor:
    rows, channels, height, width = value.shape
    value = value.view(rows, 2, channels // 2, height, width).transpose(1, 2).contiguous()
    return value.view(rows, channels, height, width)


ODD = {
    "twice itself": lambda value: value + value,
    "scaled sum": lambda value: torch.add(value, value.tanh(), alpha=3),
    "stacked on itself": lambda value: torch.cat([value, value], 1)[:, 3:9],
    "gate over the frame": gate,
    "halves changed": halves,
    "parts changed": quarters,
    "halves of rows swapped": rows_swapped,
    "upper half": lambda value: value.chunk(2, dim=2)[0],
    "channels shuffled": shuffled,
    "quadratic pool": lambda value: F.lp_pool2d(value + 1, 2, 2),
    "uneven adaptive pool": lambda value: F.adaptive_avg_pool2d(value, 7),
    "even adaptive pool": lambda value: F.adaptive_avg_pool2d(value, 6),
    "even adaptive maximum": lambda value: F.adaptive_max_pool2d(value, 6),
    "maximum of the frame": lambda value: value + F.max_pool2d(value, 18),
    "average by another number": lambda value: F.avg_pool2d(value, 3, 2, divisor_override=5),
    "rows turned to columns": lambda value: value.transpose(2, 3),
    "rows cut off": lambda value: value[:, :, 3:],
    "rolled": lambda value: torch.roll(value, 5, 3),
    "enlarged": lambda value: F.interpolate(value, scale_factor=2.0),
    "mirrored border": lambda value: F.pad(value, (2, 2, 2, 2), mode="reflect"),
    "softmax of channels": lambda value: value.softmax(1),
    "pixels shuffled": lambda value: F.pixel_unshuffle(value, 2)[:, :6],
    "linear of channels": lambda value: F.linear(
        value.permute(0, 2, 3, 1), torch.eye(6, dtype=torch.float64) + 0.5
    ).permute(0, 3, 1, 2),
    "constant map": lambda value: value * torch.linspace(-1, 1, 18, dtype=torch.float64),
    "standing still": lambda value: value.mul(2).div(3).neg().abs(),
}


@pytest.mark.parametrize("name", ODD)
def test_gradient_through_an_odd_operation_equals_autograd(name: str):
    net = Between(ODD[name]).double().eval()
    subject = Subject(net, images_of(2, 18), "gradient")
    operation = [layer for layer in subject.layers if layer not in ("above", "last", "output")][-1]

    for layer in (operation, "last"):
        places = subject.places(layer)
        wanted = []
        for row, unit, y, x in places:
            images = subject.images[row : row + 1].clone().requires_grad_()
            found: dict[str, Tensor] = {}
            subject.network.runner([layer])(images, found.__setitem__)
            value = subject.layers[layer].maps(found[layer])[0, unit, y, x]
            wanted.append(torch.autograd.grad(value, images, value.detach())[0])
        for how in ("frames", "crops") if layer in subject.local() else ("frames",):
            pictures = subject.project(layer, places, how).pictures
            assert largest_difference(pictures, torch.cat(wanted)) < 1e-12, (layer, how)

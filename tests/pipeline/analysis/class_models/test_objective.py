from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import tests.tiny_nets as nets
from pipeline.analysis.class_models.objective import (
    Target,
    raise_values,
    raised_layer,
    target_box,
)
from pipeline.models.network import open_network


def _images(count: int = 4, side: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, 3, side, side, generator=generator, dtype=torch.float64)


def _before_softmax() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Softmax(dim=1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "layer", "raised"),
    [
        (nets.small, "relu1", "conv1"),
        (nets.small, "relu2", "conv2"),
        (nets.small, "conv2", "conv2"),
        (nets.small, "fc", "fc"),
        (_before_softmax, "2", "0"),
        (_before_softmax, "5", "4"),
        (nets.forked, "dark", "dark"),
    ],
)
def test_raised_layer_is_what_goes_into_the_activation(
    build: Callable[[], nn.Module], layer: str, raised: str
):
    net = build().eval()
    network = open_network(net, 24)
    assert raised_layer(network, network.layer(layer)).name == raised


@pytest.mark.parametrize("position", ["centre", "mean"])
@torch.no_grad()
def test_raise_values_reads_each_target_s_own(position: str):
    net = nets.small().double().eval()
    targets = [Target("relu1", 5, 0), Target("relu2", 3, 1), Target("fc", 2, 0), Target("fc", 4, 0)]
    images = _images()

    found = raise_values(open_network(net, 24), targets, position)(images)  # type: ignore[arg-type]

    ends = {"relu1": 1, "relu2": 4, "fc": 8}
    for place, target in enumerate(targets):
        maps = net[: ends[target.layer]](images[place : place + 1].clone())[0, target.unit]
        centre = maps[maps.shape[0] // 2, maps.shape[1] // 2] if maps.dim() else maps
        wanted = maps.mean() if position == "mean" else centre
        assert found[place].item() == pytest.approx(wanted.item(), abs=1e-14)


def test_raise_values_runs_no_layer_that_no_target_needs():
    net, ran = nets.small().double().eval(), []
    for name, module in net.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    values = raise_values(open_network(net, 24), [Target("relu1", 0, 0)], "centre")
    ran.clear()
    values(_images(1))
    assert ran == ["conv1"]


def test_raise_values_of_a_network_that_cannot_be_traced_are_what_its_modules_give():
    net = nets.forked().double().eval()
    network = open_network(net, 24)
    images = _images(1)
    images += 3 - images.mean()
    found = raise_values(network, [Target("output", 2, 0)], "centre")(images)
    assert found[0].item() == pytest.approx(net(images)[0, 2].item(), abs=1e-14)


def test_target_box_is_the_receptive_field_in_the_frame():
    network = open_network(nets.small().eval(), 24)
    relu1, relu2, scores = (network.layer(name) for name in ("relu1", "relu2", "fc"))
    assert target_box(relu1, 0, "centre", 24).tolist() == [11, 11, 14, 14]
    # Row 2 of 5 sees rows 4..6 of the pool, rows 8..14 of the first maps, and a row on each side.
    assert target_box(relu2, 0, "centre", 24).tolist() == [7, 7, 16, 16]
    assert target_box(relu2, 0, "mean", 24).tolist() == [0, 0, 24, 24]
    assert target_box(scores, 0, "centre", 24).tolist() == [0, 0, 24, 24]

"""The paper's networks: its map sizes, its initial weights, its response normalisation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pipeline.models.zfnet import ARCHITECTURES, PREPROCESS, krizhevsky, small_zfnet, zfnet

MAPS = {
    "zfnet": {
        "conv1": (96, 110),
        "pool1": (96, 55),
        "conv2": (256, 26),
        "pool2": (256, 13),
        "conv3": (384, 13),
        "conv4": (384, 13),
        "conv5": (256, 13),
        "pool5": (256, 6),
    },
    "krizhevsky": {
        "conv1": (96, 55),
        "pool1": (96, 27),
        "conv2": (256, 27),
        "pool2": (256, 13),
        "conv3": (384, 13),
        "conv4": (384, 13),
        "conv5": (256, 13),
        "pool5": (256, 6),
    },
    "small_zfnet": {
        "conv1": (24, 46),
        "pool1": (24, 23),
        "conv2": (48, 23),
        "pool2": (48, 11),
        "conv3": (64, 11),
        "conv4": (64, 11),
        "conv5": (48, 11),
        "pool5": (48, 5),
    },
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_network_has_the_maps_of_its_plan(name: str):
    frame = PREPROCESS[name].crop_px
    with torch.device("meta"):
        network = ARCHITECTURES[name](num_classes=7)
        value = torch.zeros(2, 3, frame, frame)
    found = {}
    for child, module in network.named_children():
        value = module(value)
        if child in MAPS[name]:
            found[child] = (value.shape[1], value.shape[2])
            assert value.shape[2] == value.shape[3]

    assert found == MAPS[name]
    assert value.shape == (2, 7)


@pytest.mark.parametrize(
    ("build", "size", "stride"), [(zfnet, (7, 5), (2, 2)), (krizhevsky, (11, 5), (4, 1))]
)
def test_network_has_the_papers_first_filters(
    build: Callable[[], nn.Sequential], size: tuple[int, int], stride: tuple[int, int]
):
    with torch.device("meta"):
        network = build()

    assert (network.conv1.kernel_size[0], network.conv2.kernel_size[0]) == size
    assert (network.conv1.stride[0], network.conv2.stride[0]) == stride
    assert (network.fc6.out_features, network.fc7.out_features) == (4096, 4096)


def test_networks_share_their_layer_names():
    with torch.device("meta"):
        names = {tuple(dict(build().named_children())) for build in ARCHITECTURES.values()}

    assert len(names) == 1


def test_networks_of_the_paper_take_rgb_in_0_to_255_minus_its_mean():
    for name in ("zfnet", "krizhevsky"):
        preprocess = PREPROCESS[name]
        assert (preprocess.resize_px, preprocess.crop_px) == (256, 224)
        assert (preprocess.value_range, preprocess.std) == (255.0, (1.0, 1.0, 1.0))
        assert all(100 < mean < 130 for mean in preprocess.mean)
    assert ARCHITECTURES.keys() == PREPROCESS.keys()


def test_networks_have_the_papers_thousand_classes():
    with torch.device("meta"):
        assert (zfnet().fc8.out_features, krizhevsky().fc8.out_features) == (1000, 1000)


def test_initial_weights_have_deviation_a_hundredth_and_biases_zero():
    torch.manual_seed(0)
    network = zfnet(num_classes=10)
    layers = [module for module in network if isinstance(module, nn.Conv2d | nn.Linear)]

    assert len(layers) == 8
    for layer in layers:
        spread = 5 * 0.01 / layer.weight.numel() ** 0.5
        assert abs(layer.weight.std().item() - 0.01) < spread
        assert abs(layer.weight.mean().item()) < spread
        assert not layer.bias.any()


def test_initial_weights_of_the_small_network_keep_a_signals_size():
    """Deviation sqrt(2 / inputs), He et al. 2015, equation 10."""
    torch.manual_seed(0)
    network = small_zfnet()

    for layer in (network.conv2, network.conv5, network.fc6):
        wanted = (2 / layer.weight[0].numel()) ** 0.5
        assert layer.weight.std().item() == pytest.approx(wanted, rel=0.02)
        assert not layer.bias.any()


def test_response_norm_equals_krizhevskys_formula():
    """b_c = a_c / (2 + 1e-4 * sum of a^2 over channels c-2 .. c+2) ** 0.75."""
    with torch.device("meta"):
        norm = zfnet(num_classes=2).norm1
    values = torch.rand(1, 9, 2, 2, dtype=torch.float64) * 400
    wanted = torch.empty_like(values)
    for c in range(9):
        around = values[:, max(c - 2, 0) : c + 3]
        wanted[:, c] = values[:, c] / (2 + 1e-4 * around.square().sum(1)) ** 0.75

    assert torch.allclose(norm(values), wanted, rtol=1e-12, atol=0)

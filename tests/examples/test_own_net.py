from __future__ import annotations

from pathlib import Path

import torch

from examples import own_net as example
from examples.own_net import own_net
from pipeline.models.load import load_model
from pipeline.models.network import open_network
from schemas.specs import ModelSpec


def test_own_net_loads_by_its_path_with_every_relu_a_layer():
    arch = f"{Path(example.__file__)}:own_net"

    loaded = load_model(ModelSpec(arch=arch, weights="random", trust_code=True, num_classes=3))
    network = open_network(loaded.module, 64)

    assert [layer.name for layer in network.layers if layer.default] == ["relu", "relu_1", "scores"]
    assert network.note is None
    assert next(layer for layer in network.layers if layer.name == "relu").field_size == (5, 5)


def test_own_net_gives_scores_a_class():
    assert own_net(7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)

from __future__ import annotations

import numpy as np
import torch

from pipeline.analysis.feature_maps import feature_maps, mean_over_channels
from pipeline.models.network import open_network
from tests.tiny_nets import small


def test_feature_maps_of_layers_equal_the_modules_own_run():
    net = small()
    network = open_network(net, 24)
    modules = dict(net.named_modules())
    maps = [
        layer.name
        for layer in network.layers
        if layer.name in modules and layer.layout.map_size != (1, 1)
    ]
    assert len(maps) > 2
    image = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    asked = maps[::-1]

    found = feature_maps(network, image, asked, mean_over_channels)

    assert list(found) == asked
    values = {}
    for name in maps:
        hook = net.get_submodule(name).register_forward_hook(
            lambda _module, _input, output, name=name: values.update({name: output.clone()})
        )
        with torch.inference_mode():
            net(image)
        hook.remove()
    for name in maps:
        array = values[name][0].numpy().astype(np.float64)
        channels, height, width = array.shape
        slow = np.zeros((height, width))
        for channel in range(channels):
            slow += array[channel] / channels
        np.testing.assert_allclose(found[name].numpy(), slow, rtol=0, atol=1e-6)


def test_feature_maps_are_what_is_asked_of_the_values():
    network = open_network(small(), 24)
    last = network.layers[-1]

    found = feature_maps(network, torch.zeros(1, 3, 24, 24), [last.name], torch.Tensor.double)

    assert found[last.name].shape == (last.units,)
    assert found[last.name].dtype == torch.float64

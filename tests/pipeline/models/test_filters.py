"""Which convolution makes a layer's units, over the forms that networks give it."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from pipeline.models.filters import Convolution, find_convolution, require_traced
from pipeline.models.network import open_network
from pipeline.models.zfnet import small_zfnet
from schemas.errors import ModelError
from tests import tiny_nets
from tests.families import CONVOLUTIONAL


class Odd(nn.Module):
    """A functional convolution and batch norm, a grouped one with holes, a sum and a transpose."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 5, generator=generator))
        self.scale = nn.Parameter(torch.tensor([1.0, -2.0, 0.0, 0.5]))
        self.register_buffer("centre", torch.zeros(4))
        self.register_buffer("variance", torch.tensor([1.0, 4.0, 1.0, 0.25]))
        self.grouped = nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.frozen = FrozenBatchNorm2d(8)
        self.pool, self.drop, self.act = nn.MaxPool2d(2), nn.Dropout(), nn.SiLU(inplace=True)
        self.reflected = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.transposed = nn.ConvTranspose2d(8, 8, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = F.conv2d(images, self.weight, None, (2, 1))
        x = F.batch_norm(x, self.centre, self.variance, self.scale, None, False, 0.1, 1e-3)
        x = F.relu_(x)
        x = self.frozen(self.norm(self.grouped(x)))
        x = self.act(self.drop(self.pool(x)))
        y = F.relu(self.reflected(x))
        dynamic = F.relu(F.conv2d(y, y.mean((0, 2, 3))[None, :, None, None].expand(8, 8, 1, 1)))
        z = F.relu(x + dynamic)
        return self.head(F.relu(self.transposed(z)).mean((2, 3)))


@pytest.fixture(scope="module")
def odd() -> dict[str, Convolution | str]:
    """By node."""
    module = Odd().eval()
    with torch.no_grad():
        module.norm.running_var.copy_(torch.linspace(0.5, 2, 8))
        module.norm.weight.copy_(torch.linspace(-1, 1, 8))
        module.frozen.weight.copy_(torch.linspace(1, 3, 8))
    geometry = require_traced(open_network(module, 24))
    return {
        node.name: find_convolution(geometry, node.name)
        for node in geometry.graph.nodes
        if node.fx in geometry.layouts
    }


def _convolution(found: Convolution | str) -> Convolution:
    assert isinstance(found, Convolution), found
    return found


def test_functional_convolution_is_found_behind_its_batch_norm(odd: dict[str, Convolution | str]):
    found = _convolution(odd["relu_"])
    assert found.name == "conv2d"
    assert found.weight.shape == (4, 3, 3, 5)
    assert (found.stride, found.dilation, found.groups) == ((2, 1), (1, 1), 1)
    assert found.colour
    variance = torch.tensor([1.0, 4.0, 1.0, 0.25], dtype=torch.float64)
    wanted = torch.tensor([1, -2, 0, 0.5], dtype=torch.float64) / (variance + 1e-3).sqrt()
    assert found.gain.allclose(wanted, rtol=1e-12)
    assert found.filters.allclose(found.weight.double() * wanted[:, None, None, None])


def test_grouped_convolution_is_found_behind_two_norms_and_a_pool(
    odd: dict[str, Convolution | str],
):
    for layer in ("act", "pool", "frozen.add"):
        found = _convolution(odd[layer])
        assert found.name == "grouped"
        assert found.weight.shape == (8, 2, 3, 3)
        assert (found.stride, found.dilation, found.groups) == ((1, 1), (2, 2), 2)
        assert not found.colour
        norm = torch.linspace(-1, 1, 8) / (torch.linspace(0.5, 2, 8) + 1e-5).sqrt()
        assert found.gain.float().allclose(norm * torch.linspace(1, 3, 8), rtol=1e-4)
    assert (_convolution(odd["grouped"]).gain == 1).all()


def test_convolution_with_another_padding_is_found(odd: dict[str, Convolution | str]):
    assert _convolution(odd["relu"]).name == "reflected"


def test_layer_without_a_filter_of_its_own_says_what_made_it(odd: dict[str, Convolution | str]):
    assert odd["relu_2"] == "add (add) makes its units"
    assert odd["relu_1"] == "conv2d_1 has weights that depend on the image"
    assert odd["relu_3"] == "transposed (convtranspose2d) makes its units"
    assert odd["head"] == "head (linear) makes its units"
    assert odd["images"] == "images (placeholder) makes its units"


def test_gain_and_filters_give_the_layer_s_own_values():
    """What the convolution with `filters` says of noise is what the network's batch norm says."""
    torch.manual_seed(0)
    net = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 5, 3, bias=False),
            norm=nn.BatchNorm2d(5),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(5, 2),
        )
    ).eval()
    with torch.no_grad():
        net.norm.running_var.uniform_(0.5, 2)
        net.norm.weight.normal_()
    found = _convolution(find_convolution(require_traced(open_network(net, 16)), "relu"))
    noise = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        wanted = net.norm(net.conv(noise))
    assert F.conv2d(noise.double(), found.filters).float().allclose(wanted, atol=1e-5)


def test_paper_s_network_is_found_through_pool_and_response_norm():
    geometry = require_traced(open_network(small_zfnet().eval(), 96))
    for number in range(1, 6):
        assert _convolution(find_convolution(geometry, f"relu{number}")).name == f"conv{number}"
    assert _convolution(find_convolution(geometry, "norm1")).name == "conv1"
    assert find_convolution(geometry, "relu6") == "fc6 (linear) makes its units"


@pytest.mark.parametrize("family", ["resnet", "densenet", "googlenet"])
def test_families_units_are_as_many_as_their_filters(family: str):
    [own] = [each for each in CONVOLUTIONAL if each.name == family]
    network = open_network(own.build(signed=True), own.frame)
    geometry = require_traced(network)
    found = {layer.name: find_convolution(geometry, layer.name) for layer in network.layers}
    convolutions = {name: each for name, each in found.items() if isinstance(each, Convolution)}
    assert len({each.name for each in convolutions.values()}) > 4
    for name, each in convolutions.items():
        assert len(each.weight) == network.layer(name).units == len(each.gain), name
    assert sum(each.colour for each in convolutions.values()) >= 1


def test_network_that_cannot_be_traced_is_refused():
    with pytest.raises(ModelError, match="can be traced alone; Forked cannot be traced"):
        require_traced(open_network(tiny_nets.forked().eval(), 24))

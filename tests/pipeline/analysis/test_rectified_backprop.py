from __future__ import annotations

import copy

import pytest
import torch
from captum.attr import Deconvolution, GuidedBackprop
from torch import Tensor, nn

import tests.tiny_nets as nets
from pipeline.analysis.rectified_backprop import (
    RectifiedBackprop,
    RectifierRule,
    require_rectifiers,
)
from pipeline.analysis.saliency import score_gradient
from pipeline.models.network import open_network
from schemas.errors import LayerError
from tests.reference import deconvnet

RULES: tuple[RectifierRule, ...] = ("guided", "deconvnet")
TARGETS = torch.tensor([0, 3])


class Functional(nn.Module):
    """ReLUs in every way that a forward can call them, one of them in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.next = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        first = nn.functional.relu(self.conv(images), inplace=True)
        second = torch.relu(self.next(first))
        third = self.next(second).relu_() + second
        return self.fc(third.relu().mean(dim=(2, 3)))


class Modules(Functional):
    """The same with modules alone."""

    def __init__(self) -> None:
        super().__init__()
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(4))

    def forward(self, images: Tensor) -> Tensor:
        first = self.relus[0](self.conv(images))
        second = self.relus[1](self.next(first))
        third = self.relus[2](self.next(second)) + second
        return self.fc(self.relus[3](third).mean(dim=(2, 3)))


def _images(side: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 3, side, side, generator=generator).double()


def _found(net: nn.Module, images: Tensor, rule: RectifierRule) -> tuple[Tensor, Tensor]:
    network = open_network(net, images.shape[-1])
    require_rectifiers(network, rule)
    run = network.runner(())
    with RectifiedBackprop(rule):
        return score_gradient(lambda given: run(given, lambda *_: None), images, lambda _: TARGETS)


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["small", "functional"])
def test_gradients_equal_captum_s(kind: str, rule: RectifierRule):
    torch.manual_seed(1)
    if kind == "small":
        net = nets.small().double().eval()
        modules = copy.deepcopy(net)
        modules.relu1.inplace = modules.relu2.inplace = False
    else:
        net, modules = Functional().double().eval(), Modules().double().eval()
        modules.load_state_dict(net.state_dict())
    images = _images(24)
    scores, found = _found(net, images, rule)
    method = (GuidedBackprop if rule == "guided" else Deconvolution)(modules)
    wanted = method.attribute(images.clone().requires_grad_(), target=TARGETS)
    assert (found - wanted).abs().max() < 1e-14
    with torch.no_grad():
        assert (scores - modules(images)).abs().max() < 1e-14


@pytest.mark.parametrize("rule", RULES)
def test_gradients_equal_the_definition_through_response_normalisation(rule: RectifierRule):
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.LocalResponseNorm(3), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5),
    ).double().eval()  # fmt: skip
    images = _images(12)
    _, found = _found(net, images, rule)
    for place, target in enumerate(TARGETS.tolist()):
        with torch.no_grad():
            wanted = deconvnet(list(net), images[place : place + 1].clone(), (target,), 1.0, rule)
        assert (found[place] - wanted[0]).abs().max() < 1e-14


def test_guided_gradient_of_relu6_is_shut_at_both_ends():
    net = nn.Sequential(nn.Flatten(), nn.ReLU6(inplace=True), nn.Linear(48, 5))
    nn.init.ones_(net[2].weight)
    images = torch.full((2, 3, 4, 4), 3.0)
    images[0, 0, 0, 0], images[0, 0, 0, 1] = -1, 7
    _, found = _found(net.eval(), images, "guided")
    assert found[0, 0, 0].tolist() == [0, 0, 1, 1]
    _, found = _found(net, images, "deconvnet")
    assert found[0, 0, 0].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("kind", [nn.ReLU, nn.ReLU6])
def test_open_gradient_passes_rectifiers_as_if_there_were_none(kind: type[nn.Module]):
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 5)]
    net = nn.Sequential(layers[0], kind(inplace=True), *layers[1:]).double().eval()
    images = _images(4)
    network = open_network(net, 4)
    run = network.runner(())
    with RectifiedBackprop("open"):
        scores, found = score_gradient(
            lambda given: run(given, lambda *_: None), images, lambda _: TARGETS
        )
    _, wanted = score_gradient(nn.Sequential(*layers), images, lambda _: TARGETS)
    assert (found - wanted).abs().max() < 1e-14
    with torch.no_grad():
        assert (scores - net(images)).abs().max() < 1e-14


@pytest.mark.parametrize("rule", RULES)
def test_network_that_the_rules_are_not_defined_for_is_refused(rule: RectifierRule):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(16, 5)).eval()
    with pytest.raises(LayerError, match=rf"{rule}.* 1 is silu; take the other methods"):
        require_rectifiers(open_network(net, 4), rule)
    with pytest.raises(LayerError, match="can be traced"):
        require_rectifiers(open_network(nets.forked().eval(), 24), rule)

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from torch import Tensor, nn

import tests.tiny_nets as nets
from pipeline.analysis.saliency import (
    attribution,
    copies_at_once,
    magnitude,
    mean_gradient,
    noise_generator,
    noisy_copies,
    path_points,
    positive_part,
    score_gradient,
)
from pipeline.models.network import open_network
from schemas.errors import ModelError
from tests import saliency_reference as reference

NETS = {"small": nets.small, "forked": nets.forked}
TARGETS = torch.tensor([0, 3, 4])
COUNT = 7
DEVIATION = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).view(3, 1, 1)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(5)).double()


def _net(name: str) -> nn.Module:
    return NETS[name]().double().eval()


def _run(net: nn.Module) -> Callable[[Tensor], Tensor]:
    run = open_network(net, 24).runner(())
    return lambda images: run(images, lambda *_: None)


def _chosen(_: Tensor) -> Tensor:
    return TARGETS


def _noises(image: Tensor, image_id: int) -> list[Tensor]:
    own = noise_generator(3, image_id)
    return [torch.randn(image.shape, generator=own).double() * DEVIATION for _ in range(COUNT)]


def _noisy(images: Tensor) -> list[list[Tensor]]:
    return [[image + noise for noise in _noises(image, each)] for each, image in enumerate(images)]


@pytest.mark.parametrize("name", NETS)
def test_score_gradient_equals_one_image_at_a_time(name: str, images: Tensor):
    net = _net(name)
    _, found = score_gradient(_run(net), images, _chosen)
    # The fork looks at the mean of a whole batch.
    bright = [images.mean() > 0] * 3 if name == "forked" else []
    for place, image in enumerate(images):
        if bright and (image.mean() > 0) != bright[0]:
            continue
        wanted = reference.gradient(net, image, int(TARGETS[place]))
        assert (found[place] - wanted).abs().max() < 1e-14


def test_score_gradient_equals_the_difference_quotient(images: Tensor):
    net = _net("small")
    _, found = score_gradient(_run(net), images, _chosen)
    for at in ((0, 3, 4), (1, 11, 12), (2, 20, 7), (0, 0, 0)):
        wanted = reference.difference_quotient(net, images[1], 3, at)
        assert float(found[(1, *at)]) == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("at_once", [1, 3, 7, 10, 15, 64])
def test_mean_gradient_of_noisy_copies_equals_the_loop(at_once: int, images: Tensor):
    net = _net("small")
    found = mean_gradient(
        _run(net), [iter(each) for each in _noisy(images)], TARGETS, COUNT, at_once, 4
    )
    for place, image in enumerate(images):
        noises = _noises(image, place)
        wanted = reference.smooth_gradient(net, image, int(TARGETS[place]), noises)
        assert (found[place] - wanted).abs().max() < 1e-14


@pytest.mark.parametrize(
    ("at_once", "count", "slots", "shapes"),
    [(64, 2, 4, [8]), (7, 2, 5, [6]), (3, 4, 5, [3, 1, 3, 1])],
)
def test_mean_gradient_runs_passes_of_one_shape_however_few_images(
    at_once: int, count: int, slots: int, shapes: list[int], images: Tensor
):
    run, seen = _run(_net("small")), []

    def watched(given: Tensor) -> Tensor:
        seen.append(len(given))
        return run(given)

    own = [iter([image] * count) for image in images[:2]]
    found = mean_gradient(watched, own, TARGETS[:2], count, at_once, slots)
    assert seen == shapes
    _, wanted = score_gradient(run, images[:2], lambda _: TARGETS[:2])
    assert (found - wanted).abs().max() < 1e-14


def test_noisy_copies_have_the_deviation_and_leave_the_image(images: Tensor):
    before = images.clone()
    copies = torch.stack(list(noisy_copies(images[0], DEVIATION, 400, noise_generator(0, 9))))
    noise = copies - images[0]
    assert torch.equal(images, before)
    assert noise.std(dim=(0, 2, 3)).tolist() == pytest.approx([0.1, 0.2, 0.3], rel=0.02)
    assert abs(float(noise.mean())) < 1e-3


def test_noise_is_the_image_s_own_and_repeats():
    draws = [torch.randn(8, generator=noise_generator(*pair)) for pair in ((0, 1), (0, 2), (1, 1))]
    assert torch.equal(draws[0], torch.randn(8, generator=noise_generator(0, 1)))
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_integrated_gradients_equal_the_loop_and_are_complete(images: Tensor):
    net, steps = _net("small"), 400
    baseline = torch.zeros(3, 1, 1, dtype=torch.float64)
    points = [path_points(image, baseline, steps) for image in images]
    mean = mean_gradient(_run(net), points, TARGETS, steps, 32, 3)
    found = attribution(mean, images)
    with torch.no_grad():
        change = net(images) - net(torch.zeros_like(images))
    for place, image in enumerate(images):
        target = int(TARGETS[place])
        wanted = reference.integrated(net, image, torch.zeros_like(image), target, steps).sum(0)
        assert (found[place] - wanted).abs().max() < 1e-13
        assert float(found[place].sum()) == pytest.approx(float(change[place, target]), abs=1e-4)


def test_maps_take_the_strongest_colour(images: Tensor):
    for place, image in enumerate(images):
        wanted = reference.strongest_colour(image)
        assert torch.equal(magnitude(images)[place], wanted)
        wanted = reference.strongest_colour(image, positive=True)
        assert torch.equal(positive_part(images)[place], wanted)


def test_gradients_equal_captum_s(images: Tensor, monkeypatch: pytest.MonkeyPatch):
    net = _net("small")
    run, still = _run(net), copy.deepcopy(net)
    still.relu1.inplace = still.relu2.inplace = False
    leaf = images.clone().requires_grad_()
    _, gradient = score_gradient(run, images, _chosen)
    wanted = Saliency(still).attribute(leaf, TARGETS, abs=False)
    assert (gradient - wanted).abs().max() < 1e-14
    wanted = InputXGradient(still).attribute(leaf, TARGETS).sum(dim=1)
    assert (attribution(gradient, images) - wanted).abs().max() < 1e-13

    zero = torch.zeros(3, 1, 1, dtype=torch.float64)
    points = [path_points(image, zero, 20) for image in images]
    mean = mean_gradient(run, points, TARGETS, 20, 8, 3)
    method = IntegratedGradients(still)
    wanted = method.attribute(leaf, target=TARGETS, n_steps=20, method="riemann_middle").sum(dim=1)
    # Captum rounds the places of its steps to fp32.
    assert (attribution(mean, images) - wanted).abs().max() < 1e-9

    noises = [noise for place, image in enumerate(images) for noise in _noises(image, place)]
    with monkeypatch.context() as patch:
        patch.setattr(torch, "normal", lambda *_: torch.stack(noises))
        tunnel = NoiseTunnel(Saliency(still))
        wanted = tunnel.attribute(
            images.clone(), nt_type="smoothgrad", nt_samples=COUNT, target=TARGETS, abs=False
        )
    smooth = mean_gradient(run, [iter(each) for each in _noisy(images)], TARGETS, COUNT, 8, 3)
    assert (smooth - wanted).abs().max() < 1e-14


@pytest.mark.parametrize("name", NETS)
def test_gradients_leave_module_and_images_as_they_came(name: str, images: Tensor):
    net = _net(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    flags = [(module.training, getattr(module, "inplace", None)) for module in net.modules()]
    frames = images.clone()
    run = _run(net)
    score_gradient(run, images, _chosen)
    mean_gradient(run, [iter(each) for each in _noisy(images)], TARGETS, COUNT, 5, 3)
    assert torch.equal(images, frames)
    assert not images.requires_grad
    assert all(value.grad is None and value.requires_grad for value in net.parameters())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert flags == [(each.training, getattr(each, "inplace", None)) for each in net.modules()]
    assert not any(each._forward_hooks or each._backward_hooks for each in net.modules())


def test_score_gradient_where_nothing_flows_names_the_reason(images: Tensor):
    net = _net("small")
    with pytest.raises(ModelError, match="no_grad"):
        score_gradient(lambda given: net(given).detach(), images, _chosen)


@pytest.mark.parametrize("name", NETS)
def test_copies_at_once_grow_with_the_bytes(name: str):
    network = open_network(NETS[name]().eval(), 24)
    found = [copies_at_once(network, 24, size) for size in (1, 2**20, 2**24)]
    assert found[0] == 1
    assert found[0] < found[1] < found[2]
    assert 14 <= found[2] / found[1] <= 18

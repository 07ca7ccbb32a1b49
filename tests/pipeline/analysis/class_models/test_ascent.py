from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import tests.tiny_nets as nets
from pipeline.analysis.class_models.ascent import Ascent, ascend, beginning, largest_shift
from pipeline.analysis.class_models.objective import Raised, Target, raise_values
from pipeline.analysis.class_models.priors import root_mean_square
from pipeline.models.network import open_network
from schemas.errors import ModelError
from tests import class_models_reference as reference

SIDE = 24
TARGETS = [Target("relu1", 5, 0), Target("relu2", 3, 0), Target("relu2", 3, 1), Target("fc", 2, 0)]
CUTS = {"relu1": 1, "relu2": 4, "fc": 8}
"""Layers of `nets.small` up to what is raised: relu1 and relu2 before the ReLU."""
PLAIN = Ascent(SIDE, steps=12, rate=0.05, normalise=True, l2=1e-2, basis="pixel")


def _raised(net: nn.Module, targets: list[Target] = TARGETS) -> Raised:
    return raise_values(open_network(net, SIDE), targets, "centre")


def _start(ascent: Ascent, targets: list[Target] = TARGETS) -> tuple[Tensor, Tensor]:
    found = [beginning(each, 0, 0.3, 2, ascent) for each in targets]
    return torch.stack([image for image, _ in found]), torch.stack([shift for _, shift in found])


def _value(net: nn.Module, target: Target) -> reference.Value:
    def value(image: Tensor) -> Tensor:
        found = net[: CUTS[target.layer]](image[None].clone())[0, target.unit]
        return found[found.shape[0] // 2, found.shape[1] // 2] if found.dim() else found

    return value


@pytest.mark.parametrize(
    "ascent",
    [
        PLAIN,
        replace(PLAIN, normalise=False, rate=0.3),
        replace(PLAIN, basis="fourier"),
        replace(PLAIN, basis="fourier", normalise=False, rate=0.3),
        replace(PLAIN, blur_px=0.7, blur_every=4),
        replace(PLAIN, basis="fourier", blur_px=0.7, blur_every=3, l2=0.0),
    ],
    ids=["pixel", "plain-gradient", "fourier", "fourier-plain", "blur", "fourier-blur"],
)
def test_ascend_equals_one_target_at_a_time(ascent: Ascent):
    net = nets.small().double().eval()
    images, shifts = _start(ascent)

    found = ascend(_raised(net), images.double(), shifts, ascent)

    assert found.values.shape == (4, 12)
    for place, target in enumerate(TARGETS):
        image, values, penalties = reference.ascend(
            _value(net, target), images[place].double(), shifts[place], rate=ascent.rate,
            normalise=ascent.normalise, l2=ascent.l2, basis=ascent.basis, blur=ascent.blur_px,
            every=ascent.blur_every,
        )  # fmt: skip
        assert (found.images[place] - image).abs().max() < 1e-12
        assert found.values[place].tolist() == pytest.approx(values, abs=1e-12)
        assert found.penalties[place].tolist() == pytest.approx(penalties, abs=1e-12)
    assert found.stopped.tolist() == [0] * 4


def test_ascend_takes_the_gradient_of_the_value_less_the_penalty():
    net = nets.small().double().eval()
    step = Ascent(SIDE, steps=1, rate=1.0, normalise=False, l2=0.01, basis="pixel")
    images, _ = _start(step)
    images, still = images.double(), torch.zeros(4, 1, 2, dtype=torch.int64)
    change = ascend(_raised(net), images, still, step).images - images
    for place, target in enumerate(TARGETS):
        for at in ((0, 12, 12), (1, 11, 13), (2, 20, 7), (0, 0, 0)):
            wanted = reference.difference_quotient(_value(net, target), images[place], 0.01, at)
            assert float(change[(place, *at)]) == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("basis", ["pixel", "fourier"])
def test_ascend_by_small_steps_never_lowers_the_value_less_the_penalty(basis: str):
    net = nets.small().double().eval()
    ascent = Ascent(SIDE, 32, rate=0.02, normalise=False, l2=0.1, basis=basis)  # type: ignore[arg-type]
    images, shifts = _start(ascent)
    found = ascend(_raised(net), images.double(), torch.zeros_like(shifts), ascent)
    raised = found.values - found.penalties
    assert (raised.diff(dim=1) >= 0).all()
    assert (raised[:, -1] > raised[:, 0]).all()


def test_ascend_with_a_larger_penalty_ends_with_a_smaller_image():
    net = nets.small().double().eval()
    sizes = []
    for l2 in (0.0, 0.01, 0.1, 1.0):
        ascent = Ascent(SIDE, 40, rate=0.2, normalise=False, l2=l2, basis="pixel")
        images, shifts = _start(ascent)
        found = ascend(_raised(net), images.double(), shifts, ascent)
        sizes.append(root_mean_square(found.images).flatten())
    assert (torch.stack(sizes).diff(dim=0) < 0).all()


@pytest.mark.parametrize("basis", ["pixel", "fourier"])
def test_ascend_of_a_target_is_the_same_in_any_company(basis: str):
    net = nets.small().eval()
    ascent = replace(PLAIN, basis=basis, blur_px=0.5, blur_every=3)
    images, shifts = _start(ascent)
    together = ascend(_raised(net), images, shifts, ascent)
    for place, target in enumerate(TARGETS):
        own = torch.tensor([place] * 4)
        alone = ascend(_raised(net, [target] * 4), images[own], shifts[own], ascent)
        assert torch.equal(alone.images[0], together.images[place])
        assert torch.equal(alone.values[0], together.values[place])
    backwards = ascend(_raised(net, TARGETS[::-1]), images.flip(0), shifts.flip(0), ascent)
    assert torch.equal(backwards.images.flip(0), together.images)


def test_ascend_gets_past_rectifiers_that_are_all_off():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.manual_seed(0)
    for parameter in net[0].parameters():
        nn.init.normal_(parameter) if parameter.dim() > 1 else nn.init.constant_(parameter, -2)
    net.double().eval()
    ascent = Ascent(8, 10, rate=0.2, normalise=True, l2=0.0, basis="pixel")
    raised = raise_values(open_network(net, 8), [Target("3", 0, 0), Target("0", 1, 0)], "centre")
    still = torch.zeros(2, 10, 2, dtype=torch.int64)
    found = ascend(raised, torch.zeros(2, 3, 8, 8).double(), still, ascent)
    assert found.values[0, 0] == 0
    assert found.values[0, -1] > 0
    assert 0 < found.stopped[0] < 10
    assert found.stopped[1] == 0


def test_ascend_of_a_network_without_a_gradient_is_refused():
    def blind(images: Tensor) -> Tensor:
        return images.detach().sum(dim=(1, 2, 3))

    images, shifts = _start(PLAIN)
    with pytest.raises(ModelError, match="no gradient"):
        ascend(blind, images, shifts, PLAIN)


def test_ascend_leaves_network_and_start_as_they_came():
    net = nets.small().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images, shifts = _start(PLAIN)
    kept = images.clone()
    ascend(_raised(net), images, shifts, PLAIN)
    assert torch.equal(images, kept)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_curve_steps_are_about_thirty_two_from_the_first():
    assert replace(PLAIN, steps=5).curve_steps == (0, 1, 2, 3, 4)
    assert replace(PLAIN, steps=128).curve_steps == tuple(range(0, 128, 4))
    assert replace(PLAIN, steps=33).curve_steps == tuple(range(0, 33, 2))


@pytest.mark.parametrize("basis", ["pixel", "fourier"])
def test_beginning_is_the_target_s_own_noise(basis: str):
    ascent = replace(PLAIN, basis=basis)
    image, shifts = beginning(TARGETS[1], 7, 0.25, 3, ascent)
    again = beginning(TARGETS[1], 7, 0.25, 3, ascent)
    assert torch.equal(image, again[0])
    assert torch.equal(shifts, again[1])
    assert float(root_mean_square(image[None])) == pytest.approx(0.25, rel=1e-6)
    assert shifts.shape == (12, 2)
    assert set(shifts.flatten().tolist()) <= set(range(-3, 4))
    others = [beginning(TARGETS[1], 8, 0.25, 3, ascent), beginning(TARGETS[2], 7, 0.25, 3, ascent)]
    assert not any(torch.equal(image, other) for other, _ in others)


def test_beginning_without_noise_is_the_mean_colour():
    image, shifts = beginning(TARGETS[0], 0, 0.0, 0, PLAIN)
    assert not image.any()
    assert not shifts.any()


def test_largest_shift_is_small_for_a_small_field():
    assert [largest_shift(8, side, 224) for side in (7, 31, 64, 224)] == [0, 1, 4, 8]
    assert largest_shift(3, 224, 224) == 3

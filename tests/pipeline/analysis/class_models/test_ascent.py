from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import tests.tiny_nets as nets
from pipeline.analysis.class_models.ascent import Ascent, Start, ascend, beginning
from pipeline.analysis.class_models.objective import Raised, Target, raise_values
from pipeline.analysis.class_models.priors import root_mean_square
from pipeline.models.network import open_network
from schemas.errors import ModelError
from tests import class_models_reference as reference

SIDE = 24
TARGETS = [Target("relu1", 5, 0), Target("relu2", 3, 0), Target("relu2", 3, 1), Target("fc", 2, 0)]
CUTS = {"relu1": 1, "relu2": 4, "fc": 8}
"""Layers of `nets.small` up to what is raised: relu1 and relu2 before the ReLU."""
FIELDS = [(3, 3), (9, 9), (9, 9), (24, 24)]
PLAIN = Ascent(
    SIDE, steps=12, rate=0.05, normalise=True, l2=1e-2, basis="pixel",
    lowest=(-0.8, -0.7, -0.9), highest=(0.9, 0.8, 1.1), jitter_px=2, noise=0.3,
)  # fmt: skip
FREE = replace(PLAIN, normalise=False, lowest=(-99,) * 3, highest=(99,) * 3)


def _raised(net: nn.Module, targets: list[Target] = TARGETS) -> Raised:
    return raise_values(open_network(net, SIDE), targets, "centre")


def _start(ascent: Ascent, dtype: torch.dtype = torch.float64) -> Start:
    found = [beginning(*each, ascent) for each in zip(TARGETS, FIELDS, strict=True)]
    images = torch.stack([image for image, _ in found]).to(dtype)
    return Start(images, torch.stack([shifts for _, shifts in found]), FIELDS)


def _still(start: Start) -> Start:
    return replace(start, shifts=torch.zeros_like(start.shifts))


def _chosen(start: Start, places: list[int]) -> Start:
    own = torch.tensor(places)
    return Start(start.images[own], start.shifts[own], [start.fields[place] for place in places])


def _value(net: nn.Module, target: Target) -> reference.Value:
    def value(image: Tensor) -> Tensor:
        found = net[: CUTS[target.layer]](image[None].clone())[0, target.unit]
        return found[found.shape[0] // 2, found.shape[1] // 2] if found.dim() else found

    return value


@pytest.mark.parametrize(
    "ascent",
    [
        PLAIN,
        replace(FREE, rate=0.3),
        replace(PLAIN, basis="fourier"),
        replace(PLAIN, basis="fourier", normalise=False, rate=0.3),
        replace(PLAIN, blur_px=0.7, blur_every=4),
        replace(PLAIN, basis="fourier", blur_px=0.7, blur_every=3, l2=0.0),
    ],
    ids=["pixel", "plain-gradient", "fourier", "fourier-plain", "blur", "fourier-blur"],
)
def test_ascend_equals_one_target_at_a_time(ascent: Ascent):
    net = nets.small().double().eval()
    start = _start(ascent)

    found = ascend(_raised(net), start, ascent)

    assert found.values.shape == (4, 12)
    for place, target in enumerate(TARGETS):
        image, values, penalties = reference.ascend(
            _value(net, target), start.images[place], start.shifts[place], rate=ascent.rate,
            normalise=ascent.normalise, l2=ascent.l2, basis=ascent.basis, field=FIELDS[place][0],
            lowest=ascent.lowest, highest=ascent.highest, blur=ascent.blur_px,
            every=ascent.blur_every,
        )  # fmt: skip
        assert (found.images[place] - image).abs().max() < 1e-12
        assert found.values[place].tolist() == pytest.approx(values, abs=1e-12)
        assert found.penalties[place].tolist() == pytest.approx(penalties, abs=1e-12)
    assert found.stopped.tolist() == [0] * 4


def test_ascend_takes_the_gradient_of_the_value_less_the_penalty():
    net = nets.small().double().eval()
    step = replace(FREE, steps=1, rate=1.0)
    start = _still(_start(step))
    change = ascend(_raised(net), start, step).images - start.images
    for place, target in enumerate(TARGETS):
        for at in ((0, 12, 12), (1, 11, 13), (2, 20, 7), (0, 0, 0)):
            wanted = reference.difference_quotient(
                _value(net, target), start.images[place], 0.01, at
            )
            assert float(change[(place, *at)]) == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("basis", ["pixel", "fourier"])
def test_ascend_by_small_steps_never_lowers_the_value_less_the_penalty(basis: str):
    net = nets.small().double().eval()
    ascent = replace(FREE, steps=32, rate=0.02, l2=0.1, basis=basis)
    found = ascend(_raised(net), _still(_start(ascent)), ascent)
    raised = found.values - found.penalties
    assert (raised.diff(dim=1) >= 0).all()
    assert (raised[:, -1] > raised[:, 0]).all()


def test_ascend_with_a_larger_penalty_ends_with_a_smaller_image():
    net = nets.small().double().eval()
    sizes = []
    for l2 in (0.0, 0.01, 0.1, 1.0):
        ascent = replace(FREE, steps=40, rate=0.2, l2=l2)
        found = ascend(_raised(net), _start(ascent), ascent)
        sizes.append(root_mean_square(found.images).flatten())
    assert (torch.stack(sizes).diff(dim=0) < 0).all()


@pytest.mark.parametrize("basis", ["pixel", "fourier"])
def test_ascend_of_a_target_is_the_same_in_any_company(basis: str):
    net = nets.small().eval()
    ascent = replace(PLAIN, basis=basis, blur_px=0.5, blur_every=3)
    start = _start(ascent, torch.float32)
    together = ascend(_raised(net), start, ascent)
    for place, target in enumerate(TARGETS):
        alone = ascend(_raised(net, [target] * 4), _chosen(start, [place] * 4), ascent)
        assert torch.equal(alone.images[0], together.images[place])
        assert torch.equal(alone.values[0], together.values[place])
    backwards = ascend(_raised(net, TARGETS[::-1]), _chosen(start, [3, 2, 1, 0]), ascent)
    assert torch.equal(backwards.images.flip(0), together.images)


def test_ascend_gets_past_rectifiers_that_are_all_off():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.manual_seed(0)
    for parameter in net[0].parameters():
        nn.init.normal_(parameter) if parameter.dim() > 1 else nn.init.constant_(parameter, -2)
    net.double().eval()
    ascent = replace(PLAIN, side=8, steps=10, rate=0.2, l2=0.0)
    raised = raise_values(open_network(net, 8), [Target("3", 0, 0), Target("0", 1, 0)], "centre")
    still = torch.zeros(2, 10, 2, dtype=torch.int64)
    start = Start(torch.zeros(2, 3, 8, 8).double(), still, [(8, 8), (3, 3)])
    found = ascend(raised, start, ascent)
    assert found.values[0, 0] == 0
    assert found.values[0, -1] > 0
    assert 0 < found.stopped[0] < 10
    assert found.stopped[1] == 0


def test_ascend_of_a_network_without_a_gradient_is_refused():
    def blind(images: Tensor) -> Tensor:
        return images.detach().sum(dim=(1, 2, 3))

    with pytest.raises(ModelError, match="no gradient"):
        ascend(blind, _start(PLAIN), PLAIN)


def test_ascend_leaves_network_and_start_as_they_came():
    net = nets.small().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    start = _start(PLAIN, torch.float32)
    kept = start.images.clone()
    ascend(_raised(net), start, PLAIN)
    assert torch.equal(start.images, kept)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_curve_steps_are_about_thirty_two_from_the_first():
    assert replace(PLAIN, steps=5).curve_steps == (0, 1, 2, 3, 4)
    assert replace(PLAIN, steps=128).curve_steps == tuple(range(0, 128, 4))
    assert replace(PLAIN, steps=33).curve_steps == tuple(range(0, 33, 2))


@pytest.mark.parametrize("basis", ["pixel", "fourier"])
def test_beginning_is_the_target_s_own_noise(basis: str):
    ascent = replace(PLAIN, basis=basis, noise=0.1, seed=7)
    whole, small = (SIDE, SIDE), (9, 9)
    image, shifts = beginning(TARGETS[1], whole, ascent)
    again = beginning(TARGETS[1], whole, ascent)
    assert torch.equal(image, again[0])
    assert torch.equal(shifts, again[1])
    assert float(root_mean_square(image[None])) == pytest.approx(0.1, rel=1e-6)
    assert shifts.shape == (12, 2)
    assert set(shifts.flatten().tolist()) == set(range(-2, 3))
    assert set(beginning(TARGETS[1], small, ascent)[1].flatten().tolist()) == {-1, 0, 1}
    others = [
        beginning(TARGETS[1], whole, replace(ascent, seed=8)),
        beginning(TARGETS[2], whole, ascent),
    ]
    assert not any(torch.equal(image, other) for other, _ in others)


def test_within_cuts_to_black_and_white():
    images = torch.linspace(-2, 2, 12).view(1, 3, 2, 2)
    found = PLAIN.within(images)
    for colour in range(3):
        low, high = PLAIN.lowest[colour], PLAIN.highest[colour]
        assert torch.equal(found[0, colour], images[0, colour].clamp(low, high))


def test_beginning_without_noise_is_the_mean_colour():
    ascent = replace(PLAIN, noise=0.0, jitter_px=0)
    image, shifts = beginning(TARGETS[0], (3, 3), ascent)
    assert not image.any()
    assert not shifts.any()


def test_jitter_of_a_small_field_is_small():
    ascent = replace(PLAIN, jitter_px=8)
    assert [ascent.jitter_of((side, 224)) for side in (7, 31, 64, 224)] == [0, 3, 8, 8]

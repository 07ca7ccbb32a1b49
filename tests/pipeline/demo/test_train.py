"""Training: it learns, holds the first layer's filters down, and gives the same weights again."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from pipeline.demo import train as training
from pipeline.demo.train import Epoch, Recipe, accuracy, limit_filters, train
from schemas.errors import JobError, SpecError
from schemas.specs import PreprocessSpec

CROP = PreprocessSpec(crop_px=12, resize_px=None, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
RECIPE = Recipe(CROP, epochs=6, batch_size=16, learning_rate=0.05)


def _net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(24, 3),
    )


def _frames(count: int = 96) -> tuple[Tensor, Tensor]:
    """One class is bright in red, one in green, one in blue."""
    draws = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 120, (count, 3, 16, 16), generator=draws, dtype=torch.uint8)
    labels = torch.arange(count) % 3
    for frame, label in zip(frames, labels, strict=True):
        frame[label] += 90
    return frames, labels


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_train_lowers_the_loss_and_classifies_what_it_has_not_seen():
    module, (frames, labels) = _net(), _frames()
    told: list[Epoch] = []

    history = train(module, frames[:72], labels[:72], RECIPE, on_epoch=told.append)

    assert list(history) == told
    assert [epoch.number for epoch in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1].loss < 0.5 * history[0].loss
    assert history[-1].accuracy > history[0].accuracy
    assert accuracy(module, frames[72:], labels[72:], CROP) > 0.9
    assert not module.training


def test_train_first_epoch_reports_the_mean_over_its_steps():
    module, (frames, labels) = _net(), _frames(48)
    module[4].p = 0.0
    whole = frames[:, :, :12, :12].repeat(1, 1, 1, 1)
    inputs = (whole / 255 - 0.5) / 0.25
    expected = nn.functional.cross_entropy(module(inputs), labels).item()

    still = Recipe(CROP, epochs=1, batch_size=16, learning_rate=0.0, filter_rms=math.inf)
    [epoch] = train(module, whole, labels, still)

    assert epoch.loss == pytest.approx(expected, rel=1e-5)
    assert epoch.accuracy == accuracy(module, whole, labels, CROP)


def test_train_filters_stay_within_the_limit_after_every_step(monkeypatch: pytest.MonkeyPatch):
    module, (frames, labels) = _net(), _frames()
    largest: list[float] = []
    before: list[float] = []
    limit = training.limit_filters

    def rms() -> float:
        return module[0].weight.detach().square().mean(dim=(1, 2, 3)).sqrt().max().item()

    def watched(net: nn.Module, allowed: float) -> None:
        before.append(rms())
        limit(net, allowed)
        largest.append(rms())

    monkeypatch.setattr(training, "limit_filters", watched)
    train(module, frames, labels, Recipe(CROP, 2, batch_size=16, learning_rate=0.1, filter_rms=0.1))

    assert len(largest) == 2 * 96 // 16
    assert max(before) > 0.1
    assert max(largest) <= 0.1 * (1 + 1e-6)


def test_limit_filters_scales_only_the_large_ones_of_the_first_layer():
    module = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Conv2d(3, 1, 2))
    with torch.no_grad():
        for unit, size in enumerate((0.05, 0.1, 4.0)):
            module[0].weight[unit] = torch.tensor([[size, -size], [-size, size]])
    later = module[1].weight.clone()

    limit_filters(module, 0.1)

    found = module[0].weight[:, 0, 0, 0].tolist()
    assert found == pytest.approx([0.05, 0.1, 0.1])
    assert torch.equal(module[0].weight[2].sign()[0], torch.tensor([[1.0, -1], [-1, 1]]))
    assert torch.equal(module[1].weight, later)


def test_limit_filters_leaves_a_filter_of_zeros():
    module = nn.Conv2d(1, 1, 2)
    nn.init.zeros_(module.weight)

    limit_filters(module, 0.1)

    assert module.weight.count_nonzero() == 0


def test_train_again_gives_the_same_weights_and_another_seed_others():
    frames, labels = _frames()
    states = []
    for seed in (0, 0, 1):
        module = _net()
        torch.rand(seed + 3)
        train(module, frames, labels, Recipe(CROP, 2, batch_size=16, seed=seed))
        states.append(_state(module))

    assert _equal(states[0], states[1])
    assert not _equal(states[0], states[2])


def test_train_leaves_frames_and_the_caller_s_random_state_alone():
    module, (frames, labels) = _net(), _frames(32)
    kept, state = copy.deepcopy(frames), torch.get_rng_state()

    train(module, frames, labels, RECIPE)

    assert torch.equal(frames, kept)
    assert torch.equal(torch.get_rng_state(), state)


def test_train_sees_every_frame_once_a_pass_at_several_places(monkeypatch: pytest.MonkeyPatch):
    frames = torch.arange(64, dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 16, 16)
    frames[:, 1] = torch.arange(16, dtype=torch.uint8)[:, None]
    seen: list[int] = []
    tops: set[int] = set()

    def watch(cut: Tensor, preprocess: PreprocessSpec) -> Tensor:
        seen.extend(cut[:, 0, 0, 0].tolist())
        tops.update(cut[:, 1, 0, 0].tolist())
        return cut.float() / preprocess.value_range

    monkeypatch.setattr(training, "_inputs", watch)
    train(_net(), frames, torch.zeros(64, dtype=torch.int64), Recipe(CROP, 8, batch_size=8))

    passes = [seen[start : start + 64] for start in range(0, len(seen), 64)]
    assert len(passes) == 8
    assert all(sorted(one) == list(range(64)) for one in passes)
    assert passes[0] != passes[1]
    assert tops == {0, 1, 2, 3, 4}


def test_accuracy_judges_the_centre_crop_of_every_frame():
    frames = torch.zeros(5, 3, 16, 16, dtype=torch.uint8)
    frames[:, 0, 2:14, 2:14] = 255
    labels = torch.tensor([1, 1, 0, 1, 1])

    class Bright(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images: Tensor) -> Tensor:
            full = (images[:, 0] == 2).all(dim=(1, 2)).float()
            return torch.stack([1 - full, full], dim=1)

    assert accuracy(Bright(), frames, labels, CROP, batch_size=2) == pytest.approx(0.8)
    assert accuracy(Bright(), frames[:0], labels[:0], CROP) == 0


def test_train_errors_say_what_to_do():
    frames, labels = _frames(16)

    with pytest.raises(SpecError, match="16 frames do not fill a batch of 128"):
        train(_net(), frames, labels, Recipe(CROP, 1))
    with pytest.raises(SpecError, match=r"\(10, 16\) pixels are smaller than the crop of 12"):
        train(_net(), frames[:, :, :10], labels, RECIPE)
    with pytest.raises(JobError, match="epoch 1; try a learning_rate smaller than inf"):
        train(_net(), frames, labels, Recipe(CROP, 2, batch_size=8, learning_rate=math.inf))

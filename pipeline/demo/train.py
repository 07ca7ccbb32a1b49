"""Trains a classifier as the paper does, on frames that fit into memory (ZF 3).

The same module, frames, labels and recipe give the same weights on one kind of machine with one
number of threads. The caller's random state and the frames stay as they were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR

from pipeline.data.preprocess import normalise
from schemas.errors import JobError, SpecError
from schemas.specs import PreprocessSpec


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults are the paper's where it gives one (ZF 3).

    Attributes:
        preprocess: ``crop_px``, value range, mean and deviation of the network's input. The crop
            is cut at a random place to train, from the centre to judge; nothing is resized.
        epochs: passes over the frames.
        batch_size: frames per step; a pass leaves out what does not fill a batch.
        learning_rate: at the start; it falls to zero along half a cosine, where the paper lowers
            it by hand.
        momentum: of stochastic gradient descent.
        weight_decay: of every parameter.
        filter_rms: a first-layer filter whose root mean square is larger after a step is scaled
            back to it, so that none dominates.
        seed: of order, crops and dropout.
    """

    preprocess: PreprocessSpec
    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    filter_rms: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """What one pass gave.

    Attributes:
        number: from 1.
        loss: mean cross-entropy over its steps, dropout on.
        accuracy: share of its frames that were classified right, dropout on.
    """

    number: int
    loss: float
    accuracy: float


def train(
    module: nn.Module,
    frames: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> tuple[Epoch, ...]:
    """Train a classifier in place; it ends in eval mode, on the device where it was.

    Args:
        module: [N, 3, crop_px, crop_px] to logits [N, classes].
        frames: uint8 [N, 3, H, W] on the CPU, H and W at least ``crop_px``.
        labels: int64 [N] on the CPU.
        recipe: how.
        on_epoch: told of every pass when it ends.

    Returns:
        One entry per pass.

    Raises:
        SpecError: fewer frames than a batch, or smaller ones than the crop.
        JobError: the loss is no finite number any more.
    """
    _check(frames, recipe)
    device = next(module.parameters()).device
    module.train().requires_grad_(requires_grad=True).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        module.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    steps = len(frames) // recipe.batch_size
    schedule = CosineAnnealingLR(optimiser, T_max=recipe.epochs * steps)
    draws = torch.Generator().manual_seed(recipe.seed)
    history = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        for number in range(1, recipe.epochs + 1):
            loss, right = 0.0, 0
            for inputs, targets in _batches(frames, labels, recipe, draws):
                scores = module(inputs.to(device))
                cost = functional.cross_entropy(scores, targets.to(device))
                _descend(cost, optimiser)
                limit_filters(module, recipe.filter_rms)
                schedule.step()
                loss += _finite(cost.item(), number, recipe)
                right += int((scores.argmax(1).cpu() == targets).sum())
            history.append(Epoch(number, loss / steps, right / (steps * recipe.batch_size)))
            on_epoch(history[-1])
    module.eval()
    return tuple(history)


def limit_filters(module: nn.Module, rms: float) -> None:
    """Scale the first convolution's filters back to ``rms``, where theirs is larger (ZF 3).

    Args:
        module: holds at least one ``nn.Conv2d``; the first one registered is changed in place.
        rms: the largest root mean square of a filter's weights.
    """
    first = next(child for child in module.modules() if isinstance(child, nn.Conv2d))
    with torch.no_grad():
        own = first.weight.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        first.weight.mul_((rms / own).clamp(max=1.0))


def accuracy(
    module: nn.Module,
    frames: Tensor,
    labels: Tensor,
    preprocess: PreprocessSpec,
    *,
    batch_size: int = 128,
) -> float:
    """Share of the frames whose most probable class is their label; 0 without frames.

    Args:
        module: in eval mode.
        frames: uint8 [N, 3, H, W] on the CPU; the centre crop is judged.
        labels: int64 [N] on the CPU.
        preprocess: as in `Recipe`.
        batch_size: frames at a time.
    """
    device = next(module.parameters()).device
    crop, right = preprocess.crop_px, 0
    top, left = (frames.shape[2] - crop) // 2, (frames.shape[3] - crop) // 2
    with torch.inference_mode():
        for begin in range(0, len(frames), batch_size):
            cut = frames[begin : begin + batch_size, :, top : top + crop, left : left + crop]
            scores = module(_inputs(cut, preprocess).to(device))
            right += int((scores.argmax(1).cpu() == labels[begin : begin + batch_size]).sum())
    return right / max(1, len(frames))


def _check(frames: Tensor, recipe: Recipe) -> None:
    if len(frames) < recipe.batch_size:
        raise SpecError(
            f"training: {len(frames)} frames do not fill a batch of {recipe.batch_size}; give more "
            "frames, or a smaller batch_size"
        )
    if min(frames.shape[2:]) < recipe.preprocess.crop_px:
        raise SpecError(
            f"training: frames of {tuple(frames.shape[2:])} pixels are smaller than the crop of "
            f"{recipe.preprocess.crop_px}; give larger frames, or a smaller crop_px"
        )


def _batches(
    frames: Tensor, labels: Tensor, recipe: Recipe, draws: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass in random order, each batch cut at a place of its own; inputs and labels."""
    crop, size = recipe.preprocess.crop_px, recipe.batch_size
    order = torch.randperm(len(frames), generator=draws)
    for begin in range(0, len(frames) - size + 1, size):
        top, left = (
            int(torch.randint(side - crop + 1, (), generator=draws)) for side in frames.shape[2:]
        )
        chosen = order[begin : begin + size]
        cut = frames[chosen, :, top : top + crop, left : left + crop]
        yield _inputs(cut, recipe.preprocess), labels[chosen]


def _inputs(cut: Tensor, preprocess: PreprocessSpec) -> Tensor:
    return normalise(cut.contiguous(memory_format=torch.channels_last), preprocess, torch.float32)


def _descend(cost: Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad(set_to_none=True)
    cost.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _finite(loss: float, epoch: int, recipe: Recipe) -> float:
    if not math.isfinite(loss):
        raise JobError(
            f"training: the loss is {loss} in epoch {epoch}; try a learning_rate smaller than "
            f"{recipe.learning_rate}"
        )
    return loss

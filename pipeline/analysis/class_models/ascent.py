"""Gradient ascent on images (Simonyan et al. 2013, section 2; Erhan et al. 2009).

Of each image I, in the network's input space where 0 is the mean colour, ``value(I) - l2 |I|^2`` is
raised: the penalty is *taken off* the value, and so the gradient is ``d value / d I - 2 l2 I``.
After every step what no picture can show is cut to black and white, so that the picture of the last
image is the one that has its value.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pipeline.analysis.class_models.objective import Raised, Target
from pipeline.analysis.class_models.priors import (
    blurred,
    root_mean_square,
    shifted,
    wave_weights,
    weigh_waves,
)
from pipeline.analysis.rectified_backprop import RectifiedBackprop
from pipeline.analysis.saliency import score_gradient

Basis = Literal["pixel", "fourier"]
Colour = tuple[float, float, float]
Field = tuple[int, int]
"""Height and width of the part of the frame that a target can see, in pixels."""
CURVE_POINTS = 32
"""About so many values of an ascent are kept."""


@dataclass(frozen=True)
class Ascent:
    """How images are changed.

    Attributes:
        side: S, of the square images in pixels.
        steps: how many.
        rate: what a step's direction is multiplied by.
        normalise: whether the direction is first divided by its root mean square over what the
            target can see, so that ``rate`` is the root mean square of what changes there.
        lowest: what black is, per colour; no value is ever below.
        highest: what white is, per colour; no value is ever above.
        l2: lambda of the penalty; from 0.
        basis: what the gradient is with respect to: pixels, or coefficients of waves that are
            weighed by 1/frequency, see `priors.weigh_waves`; the noise of the start is alike.
        blur_px: standard deviation of the blur; 0: none.
        blur_every: steps from one blur to the next; the last step is never blurred.
        jitter_px: most pixels that a step shifts an image by, along each axis, before it is shown.
        noise: root mean square of the start, before it is cut to black and white; 0: the mean
            colour itself.
        seed: of noise and shifts, with the target.
    """

    side: int
    steps: int
    rate: float
    normalise: bool
    l2: float
    basis: Basis
    lowest: Colour
    highest: Colour
    blur_px: float = 0.0
    blur_every: int = 1
    jitter_px: int = 0
    noise: float = 0.0
    seed: int = 0

    @property
    def curve_steps(self) -> tuple[int, ...]:
        """The steps before which the values are kept."""
        return tuple(range(0, self.steps, -(-self.steps // CURVE_POINTS)))

    def jitter_of(self, field: Field) -> int:
        """The jitter for a receptive field: at most an eighth of its shorter side.

        More would smear out what a small field looks for.
        """
        return min(self.jitter_px, min(field) // 8)

    def weights_of(self, field: Field) -> Tensor:
        """The weights of waves for a receptive field, float64 [S, S // 2 + 1]."""
        return wave_weights(self.side, min(field))

    def within(self, images: Tensor) -> Tensor:
        """The images [N, 3, S, S] with what no picture can show cut to black and white."""
        lowest, highest = (
            torch.tensor(colour, dtype=images.dtype, device=images.device).view(3, 1, 1)
            for colour in (self.lowest, self.highest)
        )
        return images.clamp(lowest, highest)

    def penalty(self, images: Tensor) -> Tensor:
        """``l2 |I|^2`` of each image, [N, 3, S, S] to float64 [N]."""
        return torch.stack([self.l2 * image.double().square().sum() for image in images])


@dataclass(frozen=True)
class Start:
    """Where the ascent of some targets starts.

    Attributes:
        images: [N, 3, S, S].
        shifts: int64 [N, steps, 2], what each step moves each image by before it is shown.
        fields: what each target can see.
    """

    images: Tensor
    shifts: Tensor
    fields: list[Field]


@dataclass(frozen=True)
class Ascended:
    """What an ascent ended with.

    Attributes:
        images: [N, 3, S, S].
        values: float64 [N, points], before the steps `Ascent.curve_steps`, of the shifted images.
        penalties: float64 [N, points], then.
        stopped: int64 [N], steps in which an image's gradient was zero everywhere, so that it
            followed the gradient that rectifiers do not stop.
    """

    images: Tensor
    values: Tensor
    penalties: Tensor
    stopped: Tensor


def ascend(raised: Raised, start: Start, ascent: Ascent) -> Ascended:
    """Raise the value of each image's target, less the penalty.

    Args:
        raised: the targets' values.
        start: from where; its images stay untouched.
        ascent: how.

    Raises:
        ModelError: the network lets no gradient through.
    """
    images = start.images
    shares = [height * width / ascent.side**2 for height, width in start.fields]
    seen = torch.tensor(shares, dtype=images.dtype, device=images.device).view(-1, 1, 1, 1)
    weights = torch.stack([ascent.weights_of(field) for field in start.fields]).to(images).square()
    values, penalties = [], []
    stopped = torch.zeros(len(images), dtype=torch.int64)
    for step in range(ascent.steps):
        value, gradient, zero = _gradient(raised, images, start.shifts[:, step])
        stopped += zero.cpu()
        if step in ascent.curve_steps:
            values.append(value.double().cpu())
            penalties.append(ascent.penalty(images).cpu())
        direction = gradient - 2 * ascent.l2 * images
        if ascent.basis == "fourier":
            direction = weigh_waves(direction, weights)
        if ascent.normalise:
            length = root_mean_square(direction) / seen.sqrt()
            direction = direction / torch.where(length > 0, length, 1)
        images = ascent.within(images + ascent.rate * direction)
        if ascent.blur_px and (step + 1) % ascent.blur_every == 0 and step + 1 < ascent.steps:
            images = blurred(images, ascent.blur_px)
    return Ascended(images, torch.stack(values, 1), torch.stack(penalties, 1), stopped)


def _gradient(raised: Raised, images: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values [N] of the shifted images, gradients as if they were not shifted, and which stopped.

    Where all rectifiers on the way to a target are off, nothing tells the ascent where to go; then
    the gradient passes them as if they were on, until one is.
    """
    seen = shifted(images, shifts).contiguous(memory_format=torch.channels_last)
    value, gradient = _value_gradient(raised, seen)
    zero = (gradient == 0).flatten(start_dim=1).all(dim=1)
    if zero.any():
        with RectifiedBackprop("open"):
            _, passed = _value_gradient(raised, seen)
        gradient = torch.where(zero.view(-1, 1, 1, 1), passed, gradient)
    return value, shifted(gradient, -shifts), zero


def _value_gradient(raised: Raised, images: Tensor) -> tuple[Tensor, Tensor]:
    """Values [N], and the gradient of each with respect to its image."""
    values, gradient = score_gradient(
        lambda seen: raised(seen)[:, None],
        images,
        lambda scores: torch.zeros(len(scores), dtype=torch.int64, device=scores.device),
    )
    return values[:, 0], gradient


def beginning(target: Target, field: Field, ascent: Ascent) -> tuple[Tensor, Tensor]:
    """The image that a target's ascent starts from, and its shifts; its own in any company.

    Args:
        target: with the seed it decides the random numbers.
        field: what it can see.
        ascent: how it goes on.

    Returns:
        float32 [3, S, S] and int64 [steps, 2], on the CPU, so that every device gets the same.
    """
    name = f"{ascent.seed}:{target.layer}:{target.unit}:{target.start}"
    digest = hashlib.sha256(name.encode()).digest()
    own = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    start = torch.randn((1, 3, ascent.side, ascent.side), generator=own, dtype=torch.float64)
    if ascent.basis == "fourier":
        start = weigh_waves(start, ascent.weights_of(field)[None])
    start = ascent.within(ascent.noise * start / root_mean_square(start))
    most = ascent.jitter_of(field)
    shifts = torch.randint(-most, most + 1, (ascent.steps, 2), generator=own)
    return start[0].float(), shifts

"""What is wrong with the filters of a layer, in sentences (ZF 4.1).

ZF saw a few first-layer filters that dominate, dead ones, ones of extremely high or low frequency
with little in between, and a stride that aliases. Each finding is a number beyond a threshold of
the spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.jobs.filters import WHOLE_LAYER, FiltersSpec, FindingKind

Floats = NDArray[np.float64]
_NOISE_MIDDLE = "26 %"


@dataclass(frozen=True)
class LayerNumbers:
    """The filters of a layer in numbers, per unit; NaN where there is none.

    Attributes:
        rms: root of the mean squared weight.
        dominance: RMS divided by the layer's median.
        low: share of the energy at low frequencies; NaN of a 1 x 1 kernel.
        middle: of the middle ones, likewise.
        high: of the high ones, likewise.
        alias: share above the Nyquist frequency of the stride.
        not_finite: how many weights are NaN or infinite.
        active: images that fire the unit.
        images: images that count.
        activation: whether an activation function made the layer.
        patterned: whether a kernel has more than one position.
        stride: of the convolution, down and across.
        position: what a position of its input is called: pixel, position.
    """

    rms: Floats
    dominance: Floats
    low: Floats
    middle: Floats
    high: Floats
    alias: Floats
    not_finite: NDArray[np.int64]
    active: NDArray[np.int64]
    images: NDArray[np.int64]
    activation: bool
    patterned: bool
    stride: tuple[int, int]
    position: str

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Units that no image fires, of those that some image counts for."""
        silent: NDArray[np.bool_] = (self.images > 0) & (self.active == 0)
        return silent & self.activation

    def near_dead(self, share: float) -> NDArray[np.bool_]:
        """Units that fire on some images, but on fewer than a share of them."""
        rare: NDArray[np.bool_] = (self.active > 0) & (self.active < share * self.images)
        return rare & self.activation


@dataclass(frozen=True)
class Finding:
    """A number beyond its threshold.

    Attributes:
        unit: `WHOLE_LAYER` for the layer as a whole.
        kind: what was found.
        value: the number.
        sentence: in words.
    """

    unit: int
    kind: FindingKind
    value: float
    sentence: str


def findings(numbers: LayerNumbers, spec: FiltersSpec) -> list[Finding]:
    """What stands out, by unit and kind; the layer as a whole first."""
    found = [*_of_layer(numbers, spec)]
    for unit in range(len(numbers.dominance)):
        found += _of_weights(numbers, unit, spec)
        found += _of_statistics(numbers, unit, spec)
        found += _of_spectrum(numbers, unit, spec)
    return sorted(found, key=lambda each: (each.unit, each.kind))


def nyquist(stride: Sequence[int], position: str) -> str:
    """The Nyquist frequency of a stride in words: "1/8 cycles per pixel"."""
    down, across = (f"1/{2 * step}" for step in stride)
    where = down if down == across else f"{down} (down) and {across} (across)"
    return f"{where} cycles per {position}"


def _of_layer(numbers: LayerNumbers, spec: FiltersSpec) -> Iterator[Finding]:
    middle, alias = numbers.middle, numbers.alias
    if np.isfinite(middle).any() and (share := float(np.nanmean(middle))) < spec.middle:
        yield Finding(
            WHOLE_LAYER,
            "middle_missing",
            share,
            f"the layer misses the middle frequencies: they hold {_percent(share)} of a filter's "
            f"energy in the mean, where filters of noise have {_NOISE_MIDDLE}",
        )
    if max(numbers.stride) > 1 and np.isfinite(alias).any():
        share = float(np.nanmedian(alias))
        if share >= spec.aliasing:
            yield Finding(
                WHOLE_LAYER,
                "aliasing",
                share,
                f"the layer aliases: half of its filters have {_percent(share)} or more of their "
                f"energy above {nyquist(numbers.stride, numbers.position)}, which its stride folds "
                "onto lower frequencies",
            )


def _of_weights(numbers: LayerNumbers, unit: int, spec: FiltersSpec) -> Iterator[Finding]:
    count, times = int(numbers.not_finite[unit]), float(numbers.dominance[unit])
    if count:
        weights = f"{count:,} weight{' that is' if count == 1 else 's that are'}"
        sentence = f"unit {unit} has {weights} NaN or infinite"
        yield Finding(unit, "not_finite", count, sentence)
    if not np.isfinite(times):
        return
    if times >= spec.dominant:
        sentence = f"unit {unit}'s RMS is {times:.1f} times the layer's median"
        yield Finding(unit, "dominant", times, sentence)
    if times <= spec.weak:
        share = f"RMS is {times:.2g} of the layer's median" if times else "filter is all 0"
        sentence = f"unit {unit}'s {share}"
        yield Finding(unit, "weak", times, sentence)


def _of_statistics(numbers: LayerNumbers, unit: int, spec: FiltersSpec) -> Iterator[Finding]:
    active, images = int(numbers.active[unit]), int(numbers.images[unit])
    if numbers.dead[unit]:
        sentence = f"unit {unit} is dead: it fires on none of {images:,} images"
        yield Finding(unit, "dead", 0.0, sentence)
    if numbers.near_dead(spec.near_dead)[unit]:
        sentence = f"unit {unit} is nearly dead: it fires on {active:,} of {images:,} images"
        yield Finding(unit, "near_dead", active / images, sentence)


def _of_spectrum(numbers: LayerNumbers, unit: int, spec: FiltersSpec) -> Iterator[Finding]:
    per = f"cycles per {numbers.position}"
    low, high, alias = (float(each[unit]) for each in (numbers.low, numbers.high, numbers.alias))
    if low >= spec.extreme:
        sentence = f"unit {unit} has {_percent(low)} of its energy at low frequencies, below 1/6 "
        yield Finding(unit, "low_frequency", low, sentence + per)
    if high >= spec.extreme:
        sentence = f"unit {unit} has {_percent(high)} of its energy at high frequencies, from 1/3 "
        yield Finding(unit, "high_frequency", high, sentence + per)
    # What a stride does to 1 x 1 kernels it does to all of them alike.
    if numbers.patterned and max(numbers.stride) > 1 and alias >= spec.extreme:
        edge = nyquist(numbers.stride, numbers.position)
        sentence = f"unit {unit} aliases {_percent(alias)} of its energy: it lies above {edge}"
        yield Finding(unit, "aliasing", alias, sentence)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"

"""Captions of an occluded image: the texts, scales and legends of its maps (ZF 4.2, fig. 7).

The gallery's pages and the PNG of ``unitscope show`` print the same captions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.report.class_names import ClassName
from pipeline.report.formats import percent, three_digits
from pipeline.report.pictures import Colour
from pipeline.report.sections.occlusion.heatmaps import OTHERS, ClassColours, finite_range
from pipeline.report.sections.occlusion.reader import Occluded, WindowMap


@dataclass(frozen=True)
class Spot:
    """The outline of a window: its upper left corner and size in pixels of the frame."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True)
class Scale:
    """A legend bar of a heat map.

    Attributes:
        bounds: the values of the first colour and of the last.
        low: the first value as text.
        high: the last value as text.
        clean: the clean image's value as text.
        mark: where on the bar that value stands, 0 to 100.
    """

    bounds: tuple[float, float]
    low: str
    high: str
    clean: str
    mark: float


@dataclass(frozen=True)
class ClassKey:
    """A class in the legend of map e.

    Attributes:
        colour: ``#rrggbb``.
        name: the class's.
        share: of the window positions at which it is the most probable class, as text.
        role: "target", "clean image" (the prediction without a window), or empty.
    """

    colour: str
    name: str
    share: str
    role: str


def image_facts(image: Occluded, name: ClassName) -> tuple[tuple[str, str], ...]:
    """(name, value) of the image, without a window on it."""
    return (
        ("file", image.image),
        ("image", str(image.image_id)),
        ("target", f"{name(image.target)}, p {three_digits(image.p_target)}"),
        ("most probable", f"{name(image.predicted)}, p {three_digits(image.p_predicted)}"),
        ("window filled with", image.windows[0].fill),
    )


def window_title(window: WindowMap) -> str:
    """A window's size and step."""
    return f"Window {window.size[0]} x {window.size[1]} px, step {window.stride_px} px"


def window_facts(image: Occluded, window: WindowMap) -> tuple[tuple[str, str], ...]:
    """(name, text) of an image under one window: what occlude/pictures holds of it."""
    positions = window.p.size
    changed = round(window.changed * positions)
    facts = [
        ("largest drop of p", _drop(image, window)),
        (
            "p falls to half or less",
            f"on {percent(window.half_area)} of the pixels, by the mean over the windows on each",
        ),
        (
            "another class most probable",
            f"at {changed:,} of {positions:,} positions ({percent(window.changed)})",
        ),
    ]
    if window.drop_inside is not None:
        facts.append(("in the object's box", f"{percent(window.drop_inside)} of the drop"))
    if window.pointed is not None:
        where = "inside" if window.pointed else "outside"
        facts.append(("pointing", f"the window of the largest drop is centred {where} the box"))
    return tuple(facts)


def spot(window: WindowMap) -> Spot:
    """The window of the largest drop."""
    return Spot(*window.drop_at, *window.size)


def best_window(image: Occluded) -> WindowMap:
    """The window with the largest drop, the first of equal ones."""
    return max(image.windows, key=lambda each: each.largest_drop)


def p_scale(image: Occluded, window: WindowMap) -> Scale:
    """The scale of map d: from 0 to the largest p(target)."""
    return _scale((0.0, finite_range(window.p, image.p_target)[1]), image.p_target)


def activity_scale(image: Occluded, window: WindowMap) -> Scale:
    """The scale of map b: from the smallest activity to the largest."""
    return _scale(finite_range(window.activity, image.activity), image.activity)


def class_keys(
    image: Occluded, window: WindowMap, colours: ClassColours, name: ClassName
) -> tuple[ClassKey, ...]:
    """The legend of map e: the classes that are most probable anywhere, the most frequent first."""
    shares = _shares(window.predicted)
    own = sorted(set(shares) & set(colours.colours), key=lambda index: (-shares[index], index))
    keys = [
        ClassKey(
            hexadecimal(colours.colours[index]),
            name(index),
            percent(shares[index]),
            _role(image, index),
        )
        for index in own
    ]
    others = set(shares) & colours.others
    if others:
        share = percent(sum(shares[index] for index in sorted(others)))
        keys.append(ClassKey(hexadecimal(OTHERS), f"other classes ({len(others)})", share, ""))
    return tuple(keys)


def hexadecimal(colour: Colour) -> str:
    """A colour as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def map_note(image: Occluded) -> str:
    """Why the strongest map's projection of this image, or its patches, are missing; or empty."""
    notes = []
    if image.projection.missing:
        notes.append(f"There is no projection of this image: {image.projection.missing}.")
    if not image.evidence.scanned:
        notes.append("The scan did not take this layer, so there are no top patches of this map.")
    return " ".join(notes)


def projected_words(image: Occluded) -> str:
    """What is projected, and how much of the map's activity it is."""
    value = image.projection.value
    share = value / image.activity if image.activity > 0 else float("nan")
    of_all = f", {percent(share)} of the map's sum" if np.isfinite(share) else ""
    return f"of its largest activation, {three_digits(value)}{of_all}"


def _drop(image: Occluded, window: WindowMap) -> str:
    y, x = window.drop_at
    lowest = image.p_target - window.largest_drop
    where = f"window at y {y} to {y + window.size[0] - 1}, x {x} to {x + window.size[1] - 1}"
    if window.largest_drop <= 0:
        return f"none: p is nowhere below the clean {three_digits(image.p_target)}; lowest, {where}"
    return (
        f"{three_digits(window.largest_drop)}, from {three_digits(image.p_target)} to "
        f"{three_digits(max(lowest, 0.0))}; {where}"
    )


def _scale(bounds: tuple[float, float], clean: float) -> Scale:
    low, high = bounds
    mark = 100 * (clean - low) / (high - low) if high > low else 0.0
    return Scale(
        bounds=bounds,
        low=three_digits(low),
        high=three_digits(high),
        clean=three_digits(clean),
        mark=round(mark, 2) if np.isfinite(mark) else 0.0,
    )


def _shares(predicted: NDArray[np.int32]) -> dict[int, float]:
    indices, counts = np.unique(predicted, return_counts=True)
    return dict(zip(indices.tolist(), (counts / predicted.size).tolist(), strict=True))


def _role(image: Occluded, index: int) -> str:
    if index == image.target:
        return "target"
    return "clean image" if index == image.predicted else ""

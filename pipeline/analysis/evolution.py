"""How far the strongest images of units agree at two checkpoints of a network (ZF fig. 4).

A unit's top images at a checkpoint are the k images with the largest spatial maximum, k at most
nine; a unit without any is dead there. A and B are its top images at two checkpoints:

    overlap = |A and B| / max(|A|, |B|),

from 0 (no image in common) to 1 (the same images); where both have nine it is the number in common
over nine. A unit that is dead at one of the two has overlap 0; one that is dead at both says
nothing and is left out. The strongest image is the first of A; the unit *jumps* where both have one
and it is another image (ZF: "sudden jumps in appearance result from a change in the image from
which the strongest activation originates").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.arrays import Ints

NONE = -1
"""In place of an image where a unit has fewer."""


@dataclass(frozen=True)
class Agreement:
    """How far the units of a layer agree at two checkpoints.

    Attributes:
        compared: units that are dead at not more than one of the two.
        jumps: units that are dead at neither, and whose strongest images differ.
        stayed: share of the compared units whose strongest image is the same, 0 to 1; None where
            none is compared.
        overlap: mean over the compared units, 0 to 1; None where none is compared.
    """

    compared: int
    jumps: int
    stayed: float | None
    overlap: float | None


def jumped(before: Ints, after: Ints) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which units jump.

    Args:
        before: int64 [units, k], image ids by rank at one checkpoint, `NONE` where there are fewer.
        after: int64 [units, k], the same at the other.

    Returns:
        bool [units]: the unit jumps; and bool [units]: it is dead at neither.
    """
    living = (before[:, 0] != NONE) & (after[:, 0] != NONE)
    return living & (before[:, 0] != after[:, 0]), living


def agreement(before: Ints, after: Ints) -> Agreement:
    """Compare the units of a layer at two checkpoints; the arguments are those of `jumped`."""
    counts = np.stack([(before != NONE).sum(axis=1), (after != NONE).sum(axis=1)]).max(axis=0)
    compared = counts > 0
    jumps, living = jumped(before, after)
    if not compared.any():
        return Agreement(0, 0, None, None)
    equal = (before[:, :, None] == after[:, None, :]) & (before[:, :, None] != NONE)
    shares = equal.sum(axis=(1, 2))[compared] / counts[compared]
    stayed = (living & ~jumps)[compared]
    return Agreement(
        int(compared.sum()), int(jumps.sum()), float(stayed.mean()), float(shares.mean())
    )


def settled_at(overlaps: Sequence[float | None], threshold: float) -> int | None:
    """When a layer settles: the first checkpoint from which on it looks much as at the end.

    Args:
        overlaps: per checkpoint the layer's overlap with the last one, the last one's own included;
            None where no unit is compared, which is not settled.
        threshold: the least overlap of a settled layer, above 0, at most 1.

    Returns:
        The first t with ``overlaps[s] >= threshold`` for every s from t on; None where that is the
        last checkpoint, which agrees with itself whatever it learnt, or none at all.
    """
    first = len(overlaps)
    while first and (value := overlaps[first - 1]) is not None and value >= threshold:
        first -= 1
    return first if first < len(overlaps) - 1 else None

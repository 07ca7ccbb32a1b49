"""Agreement of top images: against sets written from the definition, and where it settles."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pipeline.analysis.evolution import NONE, agreement, jumped, settled_at
from schemas.arrays import Ints


def _tops(random: np.random.Generator, units: int, images: int) -> list[list[int]]:
    """Top images of units, the strongest first; some have few, some none."""
    counts = random.integers(0, 10, units) * (random.random(units) < 0.8)
    return [random.choice(images, size=min(n, images), replace=False).tolist() for n in counts]


def _table(tops: list[list[int]]) -> Ints:
    return np.array([[*top, *[NONE] * (9 - len(top))] for top in tops], np.int64)


@pytest.mark.parametrize("seed", range(20))
def test_agreement_equals_the_definition_in_exact_fractions(seed: int):
    random = np.random.default_rng(seed)
    before, after = (_tops(random, 40, images=12) for _ in range(2))
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a or b]
    overlaps = [Fraction(len({*a} & {*b}), max(len(a), len(b))) for a, b in pairs]
    stayed = [bool(a and b and a[0] == b[0]) for a, b in pairs]

    found = agreement(_table(before), _table(after))

    assert found.compared == len(pairs)
    assert found.jumps == sum(bool(a and b and a[0] != b[0]) for a, b in pairs)
    assert found.stayed == pytest.approx(sum(stayed) / len(pairs), abs=1e-15)
    assert found.overlap == pytest.approx(float(sum(overlaps) / len(pairs)), abs=1e-15)
    assert agreement(_table(after), _table(before)) == found


def test_agreement_of_dead_units_is_none_and_of_equal_ones_whole():
    dead, tops = np.full((3, 9), NONE), _table([[4, 2], [1], [3, 4, 5]])

    nothing, gone, same = agreement(dead, dead), agreement(tops, dead), agreement(tops, tops)

    assert (nothing.compared, nothing.stayed, nothing.overlap) == (0, None, None)
    assert (gone.compared, gone.jumps, gone.stayed, gone.overlap) == (3, 0, 0.0, 0.0)
    assert (same.compared, same.jumps, same.stayed, same.overlap) == (3, 0, 1.0, 1.0)


def test_unit_jumps_where_it_lives_and_its_first_image_changes():
    before = _table([[1, 2], [1, 2], [], [1]])
    after = _table([[2, 1], [1], [1], []])

    jumps, known = jumped(before, after)

    assert jumps.tolist() == [True, False, False, False]
    assert known.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("overlaps", "at"),
    [
        ([0.1, 0.4, 0.5, 0.9, 1.0], 2),
        ([0.6, 0.4, 0.7, 1.0], 2),
        ([0.5, 0.5, 1.0], 0),
        ([0.1, 0.4, 1.0], None),
        ([0.9, None, 0.8, 1.0], 2),
        ([0.9, 0.9, None], None),
        ([None, None], None),
    ],
)
def test_layer_settles_where_its_overlap_stays_above(overlaps: list[float | None], at: int | None):
    assert settled_at(overlaps, 0.5) == at

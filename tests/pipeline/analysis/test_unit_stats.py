"""Statistics of the per-image maxima equal float64 sums and a plain count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline.analysis.unit_stats import UnitStats, UnitSums
from tests.reference import EDGES, UnitStatistics, unit_statistics

CPU = torch.device("cpu")
SUMS = ("images", "active", "nonfinite", "max", "total", "squares", "histogram")


def sums_of(*batches: NDArray[np.float32]) -> UnitSums:
    stats = UnitStats(batches[0].shape[1], CPU)
    for maxima in batches:
        stats.update(torch.from_numpy(maxima), torch.ones(len(maxima), dtype=torch.bool))
    return UnitSums(**{name: getattr(stats, name).numpy() for name in SUMS})


def described(sums: UnitSums) -> list[UnitStatistics]:
    """As the reference says it, one a unit."""

    def known(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return [
        UnitStatistics(*map(int, counts), *map(known, floats), histogram.tolist())
        for *counts, floats, histogram in zip(
            sums.images,
            sums.active,
            sums.nonfinite,
            zip(sums.max, sums.mean(), sums.std(), strict=True),
            sums.histogram,
            strict=True,
        )
    ]


def assert_same(found: UnitStatistics, wanted: UnitStatistics) -> None:
    assert (found.images, found.active, found.nonfinite) == (
        wanted.images,
        wanted.active,
        wanted.nonfinite,
    )
    assert (found.max, found.histogram) == (wanted.max, wanted.histogram)
    if wanted.mean is None:
        assert (found.mean, found.std) == (None, None)
        return
    # Sums of squares lose digits where the mean is large against the spread.
    size = max(abs(wanted.mean), wanted.std)
    assert found.mean == pytest.approx(wanted.mean, rel=1e-12, abs=1e-12 * size)
    assert found.std == pytest.approx(wanted.std, rel=1e-9, abs=1e-7 * size)


@settings(max_examples=60)
@given(
    maxima=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.integers(1, 4)),
        elements=st.one_of(
            st.floats(width=32), st.sampled_from([np.float32(edge).item() for edge in EDGES])
        ),
    ),
    cut=st.integers(0, 30),
)
def test_unit_stats_of_any_values_equal_the_definitions(maxima: NDArray[np.float32], cut: int):
    # The spread of values near the type's limit has no square in float64's digits to compare.
    maxima = np.where(np.abs(maxima) > 1e15, np.inf, maxima)
    parts = [part for part in np.split(maxima, [min(cut, len(maxima))]) if len(part)]

    for found, values in zip(described(sums_of(*parts)), maxima.T, strict=True):
        assert_same(found, unit_statistics(values.tolist()))


def test_unit_stats_values_on_the_edges_fall_below_them():
    values = np.array([np.float32(edge) for edge in EDGES], np.float32)
    around = np.concatenate(
        [values, np.nextafter(values, np.float32(np.inf)), np.nextafter(values, -np.float32(1e9))]
    )
    histogram = sums_of(around[:, None]).histogram[0].tolist()

    assert histogram == unit_statistics(around.tolist()).histogram
    assert len(histogram) == 84
    # 1.0 is an edge that both types hold: it ends its bin, and the next number begins another.
    assert EDGES[62] == 1.0
    one = sums_of(np.float32([[1.0, np.nextafter(np.float32(1), np.float32(2))]])).histogram
    assert (one[0].argmax(), one[1].argmax()) == (62, 63)


def test_unit_stats_silent_images_stand_in_the_bin_that_ends_at_zero():
    histogram = sums_of(np.zeros((5, 1), np.float32)).histogram[0]

    assert histogram[EDGES.index(0.0)] == histogram.sum() == 5


def test_unit_stats_constant_unit_has_no_spread():
    for value in (0.1, -3.7e5, 1e-20, 123456.789):
        found = sums_of(np.full((1000, 1), value, np.float32))
        assert found.mean()[0] == pytest.approx(np.float32(value).item(), rel=1e-12)
        assert 0 <= found.std()[0] <= 1e-6 * abs(value)


def test_unit_stats_count_nonfinite_values_and_sum_none():
    maxima = np.float32([[1, np.nan], [np.inf, np.nan], [3, -np.inf], [np.nan, np.nan]])
    spread, nothing = described(sums_of(maxima))

    assert (spread.images, spread.nonfinite, spread.max) == (2, 2, 3.0)
    assert (spread.mean, spread.std) == (2.0, 1.0)
    assert (nothing.images, nothing.nonfinite, nothing.max) == (0, 4, None)
    assert sum(nothing.histogram) == 0


def test_unit_stats_leave_out_padding_and_rejects():
    maxima = torch.tensor([[5.0], [torch.nan], [2.0]])
    stats = UnitStats(1, CPU)
    stats.update(maxima, torch.tensor([False, False, True]))

    assert (stats.images.item(), stats.nonfinite.item(), stats.max.item()) == (1, 0, 2.0)
    assert (stats.total.item(), stats.squares.item()) == (2.0, 4.0)


def test_unit_sums_of_shards_add_to_those_of_all_images():
    random = np.random.default_rng(0)
    parts = [random.normal(size=(n, 5)).astype(np.float32) for n in (7, 1, 12)]
    parts[1][0, 2] = np.nan
    first, *others = (sums_of(part) for part in parts)
    for other in others:
        first += other

    for found, values in zip(described(first), np.concatenate(parts).T, strict=True):
        assert_same(found, unit_statistics(values.tolist()))

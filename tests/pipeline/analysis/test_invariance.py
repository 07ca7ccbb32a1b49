from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import tests.tiny_nets as nets
from pipeline.analysis.invariance import band, distances, frames_at_once, relative
from pipeline.models.network import open_network


def test_distances_are_euclidean_in_float64_and_depend_on_no_other_row():
    values = torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    plain = values[0]

    found = distances(values, plain)

    wanted = [
        math.sqrt(
            math.fsum((a - b) ** 2 for a, b in zip(row, plain.flatten().tolist(), strict=True))
        )
        for row in values.flatten(1).tolist()
    ]
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, wanted, rtol=1e-14)
    assert found[0] == 0
    assert torch.equal(distances(values[3:], plain), found[3:])


@pytest.mark.parametrize("norm", [0.0, math.inf, math.nan])
def test_relative_distance_needs_a_length(norm: float):
    assert np.isnan(relative(np.ones(3), norm)).all()
    np.testing.assert_array_equal(relative(np.array([0.0, 3.0]), 2.0), [0.0, 1.5])


def test_band_is_mean_and_quartiles_over_the_images_that_have_a_value():
    values = np.array([[1.0, np.nan], [2.0, np.nan], [6.0, np.nan], [np.nan, np.nan]])

    found = band(values)

    assert (found.mean[0], found.low[0], found.high[0]) == (3.0, 1.5, 4.0)
    assert np.isnan([found.mean[1], found.low[1], found.high[1]]).all()


@pytest.mark.parametrize("count", [1, 2, 7, 58])
def test_frames_at_once_is_bounded_and_fills_its_passes(count: int):
    network = open_network(nets.small(), 24)

    for batch_bytes in (2**10, 2**18, 2**20, 2**30):
        size = frames_at_once(network, batch_bytes, count)
        passes = -(-count // size)
        assert 1 <= size <= count
        assert passes * size - count < passes
    assert frames_at_once(network, 2**10, count) == 1
    assert frames_at_once(network, 2**30, count) == count

"""RMS, bands and aliasing of filters, against the definitions in float64."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.analysis import filters as analysis
from pipeline.analysis.filters import GRID, dominance, energy_shares, root_mean_square
from tests.filters_reference import direct_shares, exact_alias, shares, spectrum, spectrum_by_fft

CASES = [
    ((3, 11, 11), (4, 4), (1, 1)),
    ((3, 7, 7), (2, 2), (1, 1)),
    ((2, 1, 1), (2, 2), (1, 1)),
    ((1, 1, 7), (1, 3), (1, 1)),
    ((4, 3, 5), (2, 1), (3, 2)),
    ((1, 2, 2), (1, 1), (1, 1)),
]
"""Channels and kernel, stride, dilation."""


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def _found(filters: torch.Tensor, *window: tuple[int, int]) -> np.ndarray:
    found = energy_shares(filters, *window)
    return torch.stack([found.low, found.middle, found.high, found.alias], dim=1).numpy()


@pytest.mark.parametrize(("shape", "stride", "dilation"), CASES)
def test_energy_shares_are_those_of_an_fft(
    shape: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int]
):
    filters = _random(3, *shape)
    found = _found(filters, stride, dilation)
    for own, kernel in zip(found, filters.double().numpy(), strict=True):
        wanted = shares(spectrum_by_fft(kernel, dilation, GRID), stride)
        np.testing.assert_allclose(own, wanted, rtol=0, atol=1e-13)
    np.testing.assert_allclose(found[:, :3].sum(axis=1), 1, atol=1e-13)


def test_energy_shares_are_those_of_the_definition():
    filters = _random(1, 1, 3, 2)
    wanted = direct_shares(filters[0].double().numpy(), (2, 1), (2, 1))
    np.testing.assert_allclose(_found(filters, (2, 1), (2, 1))[0], wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("shape", "stride", "dilation"), CASES)
def test_both_references_agree_on_a_coarse_grid(
    shape: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int]
):
    kernel = _random(*shape).double().numpy()[:1]
    direct = spectrum(kernel, dilation, 12)
    np.testing.assert_allclose(direct, spectrum_by_fft(kernel, dilation, 12), rtol=1e-10)
    assert stride


@pytest.mark.parametrize(("shape", "stride", "dilation"), CASES)
def test_alias_share_is_near_the_exact_integral(
    shape: tuple[int, ...], stride: tuple[int, int], dilation: tuple[int, int]
):
    filters = _random(1, *shape)
    exact = exact_alias(filters[0].double().numpy(), stride, dilation)
    assert _found(filters, stride, dilation)[0, 3] == pytest.approx(exact, abs=4 / GRID)


def test_energy_of_waves_lies_in_their_bands():
    window = torch.hann_window(48, periodic=False)  # without it, some leaks into every band
    waves = [torch.cos(2 * math.pi * f * torch.arange(48)) * window for f in (0, 0.08, 0.25, 0.45)]
    filters = torch.stack([window[:, None] * wave[None] for wave in waves])[:, None]
    low, middle, high, alias = _found(filters, (4, 4), (1, 1)).T
    assert (low[:2] > 0.999).all()
    assert middle[2] > 0.999
    assert high[3] > 0.999
    assert (alias[:2] < 0.001).all()
    assert (alias[2:] > 0.999).all()


def test_one_weight_passes_all_frequencies_alike():
    low, middle, high, alias = _found(_random(1, 5, 1, 1), (2, 2), (1, 1))[0]
    areas = math.pi / 36, math.pi / 9 - math.pi / 36, 1 - math.pi / 9
    np.testing.assert_allclose((low, middle, high), areas, atol=1e-3)
    assert alias == 0.75


def test_stride_of_one_aliases_nothing():
    assert (_found(_random(4, 2, 3, 3), (1, 1), (1, 1))[:, 3] == 0).all()


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_filter_without_energy_or_not_finite_has_no_shares_and_leaves_the_others(value: float):
    filters = _random(3, 2, 3, 3)
    alone = _found(filters, (2, 2), (1, 1))
    filters[1] = 0
    filters[1, 0, 1, 1] = value
    found = _found(filters, (2, 2), (1, 1))
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2]], alone[[0, 2]], atol=1e-15)


def test_energy_shares_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch):
    filters = _random(7, 3, 5, 5)
    whole = _found(filters, (2, 2), (1, 1))
    monkeypatch.setattr(analysis, "_CHUNK_BYTES", 64 * 75 * 2)
    np.testing.assert_allclose(_found(filters, (2, 2), (1, 1)), whole, atol=1e-15)


def test_filters_of_a_network_move_to_lower_frequencies_as_it_learns(shared_data: Path):
    epochs = [
        shared_data / "weights" / "minizf" / f"epoch{epoch}.safetensors" for epoch in ("00", "24")
    ]
    before, after = (
        _found(load_file(each)["conv1.weight"], (1, 1), (1, 1)).mean(axis=0) for each in epochs
    )
    areas = math.pi / 36, math.pi / 9 - math.pi / 36, 1 - math.pi / 9
    np.testing.assert_allclose(before[:3], areas, atol=0.02)
    assert after[0] > 1.5 * before[0]
    assert after[2] < 0.8 * before[2]


def test_root_mean_square_and_dominance():
    filters = torch.ones(4, 2, 3, 3) * torch.tensor([1.0, 2.0, 3.0, math.nan])[:, None, None, None]
    filters[0, 0] *= -1
    sizes = root_mean_square(filters)
    assert sizes[:3].tolist() == [1, 2, 3]
    assert dominance(sizes)[:3].tolist() == [0.5, 1, 1.5]
    assert dominance(sizes)[3].isnan()
    assert dominance(sizes[3:]).isnan().all()
    assert not dominance(torch.zeros(3, dtype=torch.float64)).isfinite().any()

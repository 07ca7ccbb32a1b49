"""Size and spectrum of a convolution's filters (ZF 4.1): RMS, bands of frequency, aliasing.

A filter w [C, h, w] of a convolution with dilation d has the spectrum, per input channel c,

    F_c(f) = sum over n of w_c[n] exp(-2 pi i f . (n d)),   f in cycles per position of the input,

and the energy P(f) = sum over c of |F_c(f)|^2: what the filter passes of white noise. Its
share in a set of frequencies is the sum of P over those of a grid that lie in the set, divided by
the sum over all. The grid has its points in the middle of its cells, so that none lies at zero. The
mean of a filter is not taken off before: it counts as low frequency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from schemas.jobs.filters import HIGH_FROM, LOW_BELOW

GRID = 256
"""Frequencies from -1/2 to 1/2 along an axis, (k + 1/2) / GRID - 1/2."""
_CHUNK_BYTES = 2**26


@dataclass(frozen=True)
class EnergyShares:
    """Where the spectral energy of filters lies; float64 [units], 0 to 1, NaN without energy.

    Attributes:
        low: at distances from zero below `LOW_BELOW` cycles per position.
        middle: from there to below `HIGH_FROM`.
        high: from there; the three add up to 1.
        alias: above the Nyquist frequency of the output, 1/(2 stride), down or across.
    """

    low: Tensor
    middle: Tensor
    high: Tensor
    alias: Tensor


def root_mean_square(filters: Tensor) -> Tensor:
    """sqrt(mean w^2) over the weights of each filter (ZF 4.1): [U, C, h, w] to float64 [U]."""
    norms: Tensor = torch.linalg.vector_norm(filters.double(), dim=(1, 2, 3))
    return norms / math.sqrt(filters[0].numel())


def dominance(sizes: Tensor) -> Tensor:
    """Each filter's RMS divided by the layer's median (ZF 4.1).

    Args:
        sizes: RMS, float64 [U]; ones that are not finite do not count for the median.

    Returns:
        float64 [U], from 0; not finite where the median is 0 or the filter's own RMS is not finite.
    """
    return sizes / sizes[sizes.isfinite()].quantile(0.5) if sizes.isfinite().any() else sizes


def energy_shares(
    filters: Tensor, stride: tuple[int, int], dilation: tuple[int, int]
) -> EnergyShares:
    """The shares of each filter's spectral energy by frequency.

    P is the Fourier transform of the filter's autocorrelation A (Wiener-Khinchin), so the share in
    a set is the sum over lags of A(lag) times a wave that depends on the set alone, divided by
    A(0): no spectrum is computed per filter.

    Args:
        filters: [U, C, h, w].
        stride: of the convolution, down and across.
        dilation: of the convolution, down and across.

    Returns:
        Of U filters; of one without energy, or with a weight that is not finite, all are NaN.
    """
    height, width = filters.shape[2:]
    waves = _band_waves((height, width), stride, dilation)
    # Of a weight, its spectrum at twice the size takes most: 4 complex numbers of 16 bytes.
    size = max(1, _CHUNK_BYTES // (64 * filters[0].numel()))
    found = []
    for chunk in torch.split(filters, size):
        lags = _autocorrelation(chunk.double())
        energy = lags[:, height - 1, width - 1]
        shares = torch.einsum("uyx,byx->bu", lags, waves) / energy
        shares[:, ~(energy > 0)] = torch.nan
        found.append(shares.clamp(0, 1))  # rounding may pass the ends; NaN stays
    return EnergyShares(*torch.cat(found, dim=1))


def _autocorrelation(filters: Tensor) -> Tensor:
    """A(lag) = sum over c and n of w_c[n] w_c[n + lag].

    Args:
        filters: float64 [U, C, h, w].

    Returns:
        float64 [U, 2h - 1, 2w - 1]; lag 0 is the middle.
    """
    sides = (2 * filters.shape[2] - 1, 2 * filters.shape[3] - 1)
    # At twice the kernel's size the circular autocorrelation is the plain one.
    energy = torch.fft.rfft2(filters, s=sides).abs().square().sum(dim=1)
    found: Tensor = torch.fft.fftshift(torch.fft.irfft2(energy, s=sides), dim=(1, 2))
    return found


def _band_waves(
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:
    """Per set of frequencies the sum of cos(2 pi f . lag) over it, divided by the grid's points.

    Returns:
        float64 [4, 2h - 1, 2w - 1]: low, middle, high, alias; by lag, lag 0 is the middle.
    """
    extent = max((size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True))
    # A grid that is not finer than the kernel is wide would take one lag for another.
    points = max(GRID, 2 ** math.ceil(math.log2(2 * extent)))
    frequencies = (torch.arange(points, dtype=torch.float64) + 0.5) / points - 0.5
    distance = torch.hypot(frequencies[:, None], frequencies[None])
    beyond = [frequencies.abs() > 1 / (2 * step) for step in stride]
    sets = torch.stack([
        distance < LOW_BELOW,
        (distance >= LOW_BELOW) & (distance < HIGH_FROM),
        distance >= HIGH_FROM,
        beyond[0][:, None] | beyond[1][None],
    ])  # fmt: skip
    down, across = (
        torch.exp(2j * math.pi * frequencies[:, None] * step * torch.arange(1 - size, size))
        for size, step in zip(kernel, dilation, strict=True)
    )
    waves: Tensor = (down.T @ sets.to(down.dtype) @ across).real / points**2
    return waves

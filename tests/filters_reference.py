"""Slow float64 versions of the filters' numbers, each from its definition, without a transform."""

from __future__ import annotations

import cmath
import math

import numpy as np

from pipeline.analysis.filters import GRID


def spectrum(kernel: np.ndarray, dilation: tuple[int, int], points: int) -> np.ndarray:
    """sum over c of |F_c(f)|^2 on a grid of ``points`` frequencies each way, term by term.

    Args:
        kernel: [C, h, w].
        dilation: positions between weights.
        points: frequencies along an axis, (k + 1/2) / points - 1/2.
    """
    energy = np.zeros((points, points))
    for row in range(points):
        for column in range(points):
            down, across = ((k + 0.5) / points - 0.5 for k in (row, column))
            for channel in kernel:
                total = 0j
                for (y, x), weight in np.ndenumerate(channel):
                    turns = down * y * dilation[0] + across * x * dilation[1]
                    total += float(weight) * cmath.exp(-2j * math.pi * turns)
                energy[row, column] += abs(total) ** 2
    return energy


def spectrum_by_fft(kernel: np.ndarray, dilation: tuple[int, int], points: int) -> np.ndarray:
    """The same by numpy's FFT: of the kernel with its zeros, moved by half a frequency."""
    height, width = (
        (size - 1) * step + 1 for size, step in zip(kernel.shape[1:], dilation, strict=True)
    )
    spread = np.zeros((len(kernel), height, width))
    spread[:, :: dilation[0], :: dilation[1]] = kernel
    down, across = np.arange(height), np.arange(width)
    half = np.exp(-1j * np.pi * (down[:, None] + across[None]) / points)
    energy = np.abs(np.fft.fft2(spread * half, s=(points, points))) ** 2
    shifted: np.ndarray = np.fft.fftshift(energy.sum(axis=0))
    return shifted


def shares(energy: np.ndarray, stride: tuple[int, int]) -> list[float]:
    """Low, middle, high and alias share of a spectrum; sums are exact."""
    points = len(energy)
    down = (np.arange(points)[:, None] + 0.5) / points - 0.5
    across = down.T
    distance = np.sqrt(down**2 + across**2)
    sets = (
        distance < 1 / 6,
        (distance >= 1 / 6) & (distance < 1 / 3),
        distance >= 1 / 3,
        (abs(down) > 1 / (2 * stride[0])) | (abs(across) > 1 / (2 * stride[1])),
    )
    return [math.fsum(energy[each]) / math.fsum(energy.flat) for each in sets]


def direct_shares(
    kernel: np.ndarray, stride: tuple[int, int], dilation: tuple[int, int]
) -> list[float]:
    """From the definition, on the grid that the analysis uses."""
    return shares(spectrum(kernel, dilation, GRID), stride)


def exact_alias(kernel: np.ndarray, stride: tuple[int, int], dilation: tuple[int, int]) -> float:
    """The share above the Nyquist frequency over all frequencies, without a grid.

    The energy within |fy| <= a, |fx| <= b is the sum over pairs of weights of their product times
    sin(2 pi a d) / (pi d) down and across, for their distance d; 2 a where d is 0.
    """

    def within(distance: int, edge: float) -> float:
        if distance == 0:
            return 2 * edge
        return math.sin(2 * math.pi * edge * distance) / (math.pi * distance)

    total = 0.0
    for channel in kernel:
        for (y, x), one in np.ndenumerate(channel):
            for (v, u), other in np.ndenumerate(channel):
                down = within((y - v) * dilation[0], 1 / (2 * stride[0]))
                total += one * other * down * within((x - u) * dilation[1], 1 / (2 * stride[1]))
    return float(1 - total / (kernel**2).sum())

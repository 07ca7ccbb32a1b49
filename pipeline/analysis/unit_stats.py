"""Statistics of every unit over the data set: how often it fires, how strongly, and how variably.

All are of the per-image spatial maximum. Sums are kept in float64 and, across shards, added in the
order of the shards, so that they do not depend on which worker did what.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.arrays import Floats, Ints
from schemas.jobs.scan import HISTOGRAM_EDGES


class UnitStats:
    """Running sums of a batch-by-batch scan; every attribute is a tensor with one row per unit.

    Attributes:
        images: int64 [units], images with a finite maximum.
        active: int64 [units], of these, above zero.
        nonfinite: int64 [units], images whose maximum is NaN or infinite.
        max: float32 [units], -inf before the first image.
        total: float64 [units], sum of the maxima.
        squares: float64 [units], sum of their squares.
        histogram: int64 [units, bins] over `schemas.tables.HISTOGRAM_EDGES`.
    """

    def __init__(self, units: int, device: torch.device) -> None:
        def counts() -> Tensor:
            return torch.zeros(units, dtype=torch.int64, device=device)

        self.images, self.active, self.nonfinite = counts(), counts(), counts()
        self.max = torch.full((units,), -torch.inf, device=device)
        self.total = torch.zeros(units, dtype=torch.float64, device=device)
        self.squares = torch.zeros(units, dtype=torch.float64, device=device)
        # In float64 the edges are those that the table's metadata name, to the last digit.
        self._edges = torch.tensor(HISTOGRAM_EDGES, dtype=torch.float64, device=device)
        bins = len(HISTOGRAM_EDGES) + 1
        self.histogram = torch.zeros((units, bins), dtype=torch.int64, device=device)

    def update(self, maxima: Tensor, valid: Tensor) -> None:
        """Take in a batch.

        Args:
            maxima: float32 [N, units].
            valid: bool [N]; false for padding and rejected images.
        """
        finite = torch.isfinite(maxima) & valid[:, None]
        self.images += finite.sum(dim=0)
        self.nonfinite += valid.sum() - finite.sum(dim=0)
        self.active += (finite & (maxima > 0)).sum(dim=0)
        self.max = torch.maximum(self.max, torch.where(finite, maxima, -torch.inf).amax(dim=0))
        exact = torch.where(finite, maxima, 0).double()
        self.total += exact.sum(dim=0)
        self.squares += exact.square().sum(dim=0)
        bins = torch.bucketize(exact.t().contiguous(), self._edges)
        self.histogram.scatter_add_(1, bins, finite.t().long())


@dataclass(frozen=True)
class UnitSums:
    """`UnitStats` as arrays, as they are written and merged; shapes as there."""

    images: Ints
    active: Ints
    nonfinite: Ints
    max: NDArray[np.float32]
    total: Floats
    squares: Floats
    histogram: Ints

    def __add__(self, other: UnitSums) -> UnitSums:
        """Both together; float sums depend on the order of addition, so add by shard number."""
        return UnitSums(
            images=self.images + other.images,
            active=self.active + other.active,
            nonfinite=self.nonfinite + other.nonfinite,
            max=np.maximum(self.max, other.max),
            total=self.total + other.total,
            squares=self.squares + other.squares,
            histogram=self.histogram + other.histogram,
        )

    def mean(self) -> Floats:
        """Mean of the per-image maximum, [units]; NaN without images."""
        images = np.where(self.images > 0, self.images, np.nan)
        return np.asarray(self.total / images, dtype=np.float64)

    def std(self) -> Floats:
        """Its standard deviation (over n), [units]; NaN without images."""
        images = np.where(self.images > 0, self.images, np.nan)
        # Rounding can leave a constant unit a hair below zero.
        variance = np.maximum(self.squares / images - np.square(self.total / images), 0.0)
        return np.asarray(np.sqrt(variance), dtype=np.float64)

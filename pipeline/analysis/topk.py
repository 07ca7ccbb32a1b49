"""Top patches: per unit, the k images with the largest spatial maximum (ZF 2.1, fig. 2).

Candidates have a total order: value descending, then image_id, then y, then x. It makes the result
independent of how the images are split and merged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.arrays import Ints


@dataclass(frozen=True)
class Peaks:
    """The largest activations of each unit in each image; NaN wherever the map holds a NaN.

    Attributes:
        rows: [N, units, height], of each row of the map, in the map's type.
        maxima: float32 [N, units], of the whole map.
    """

    rows: Tensor
    maxima: Tensor


def find_peaks(maps: Tensor) -> Peaks:
    """Look at every activation once, and keep enough to find a maximum again at small cost.

    Args:
        maps: feature maps [N, units, height, width], any float type and memory layout.
    """
    rows = maps.permute(0, 2, 3, 1)
    if rows.is_contiguous():
        # Over the second of three dimensions, whose inner one is read in one piece.
        rows = rows.flatten(0, 1).amax(dim=1).view(rows.shape[0], rows.shape[1], rows.shape[3])
        rows = rows.transpose(1, 2)
    else:
        rows = maps.amax(dim=3)
    return Peaks(rows, rows.amax(dim=2).float())


class TopPatches:
    """The running top k of one layer's units.

    Attributes:
        values: float32 [k, units], best first; -inf marks a place not yet taken.
        image_ids: int64 [k, units].
        positions: int64 [k, units], y * width + x in the layer's map.
    """

    def __init__(self, units: int, k: int, device: torch.device) -> None:
        self.values = torch.full((k, units), -torch.inf, device=device)
        self.image_ids = torch.zeros((k, units), dtype=torch.int64, device=device)
        self.positions = torch.zeros((k, units), dtype=torch.int64, device=device)

    def update(self, maps: Tensor, peaks: Peaks, eligible: Tensor, image_ids: Tensor) -> None:
        """Take in a batch.

        Args:
            maps: [N, units, height, width].
            peaks: of these maps.
            eligible: bool [N, units]; false for padding, rejects, non-finite and silent units.
            image_ids: int64 [N], ascending, and all larger than any taken in before: then a
                stable sort by value alone keeps the total order.
        """
        k, maxima = self.values.shape[0], peaks.maxima
        beats = eligible & (maxima > self.values[-1])
        units = self._units_to_update(beats)
        candidates = torch.where(beats, maxima, -torch.inf)[:, units]
        best, which = candidates.sort(dim=0, descending=True, stable=True)
        best, which = best[:k], which[:k]
        found = _first_maximum(maps, peaks.rows, best > -torch.inf, (which, units))
        values = torch.cat([self.values[:, units], best])
        values, order = values.sort(dim=0, descending=True, stable=True)
        order = order[:k]
        ids = torch.cat([self.image_ids[:, units], image_ids[which]])
        positions = torch.cat([self.positions[:, units], found])
        self.values[:, units] = values[:k]
        self.image_ids[:, units] = ids.gather(0, order)
        self.positions[:, units] = positions.gather(0, order)

    @staticmethod
    def _units_to_update(beats: Tensor) -> Tensor:
        if beats.device.type == "cuda":
            # Asking which units changed would wait for the GPU once a layer and batch.
            return torch.arange(beats.shape[1], device=beats.device)
        return beats.any(dim=0).nonzero().squeeze(1)


def _first_maximum(
    maps: Tensor, rows: Tensor, wanted: Tensor, pairs: tuple[Tensor, Tensor]
) -> Tensor:
    """Flat position of the maximum, the first by y then x, for the pairs (which[i,j], units[j]).

    A pair reads one column of ``rows`` and one row of its map. Pairs that are not ``wanted`` get
    any position; it is never used.
    """
    which, units = pairs
    column = units.expand_as(which)
    if maps.device.type != "cuda":
        which, column = which[wanted], column[wanted]
    # torch.argmax promises the first of equal maxima.
    y = rows[which, column].argmax(dim=-1)
    place = y * maps.shape[3] + maps[which, column, y].argmax(dim=-1)
    if maps.device.type == "cuda":
        return place
    return torch.zeros(wanted.shape, dtype=torch.int64).masked_scatter_(wanted, place)


def cut_to_top(
    slots: Ints, values: NDArray[np.float32], image_ids: Ints, *, k: int
) -> tuple[Ints, Ints]:
    """Order candidate rows by the total order and keep the first k per slot.

    Args:
        slots: int64 [n], which unit a row belongs to.
        values: float32 [n], finite.
        image_ids: int64 [n]; one row per image and slot, so positions never decide.
        k: how many to keep.

    Returns:
        Indices of the kept rows in order (slot, then best first), and their ranks from 1.
    """
    order = np.lexsort((image_ids, -values, slots))
    ordered = slots[order]
    first = np.searchsorted(ordered, ordered, side="left")
    rank = np.arange(len(order)) - first + 1
    keep = rank <= k
    return order[keep], rank[keep]

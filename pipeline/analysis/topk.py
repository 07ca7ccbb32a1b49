"""Each unit's top patches: the k images with the largest spatial maximum (ZF 2.1, fig. 2).

The invariant is the total order: value descending, then image_id, then y, then x. It makes the
result independent of how the images are split and merged.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.fields import Ints


def spatial_maximum(maps: Tensor) -> Tensor:
    """The largest activation of each unit in each image.

    Args:
        maps: feature maps [N, units, height, width], any float type and memory layout.

    Returns:
        float32 [N, units]; NaN where a map holds one.
    """
    return maps.amax(dim=(2, 3)).float()


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

    def update(self, maps: Tensor, maxima: Tensor, eligible: Tensor, image_ids: Tensor) -> None:
        """Take in a batch.

        Args:
            maps: [N, units, height, width], the values that ``maxima`` are the maxima of.
            maxima: float32 [N, units].
            eligible: bool [N, units]; false for padding, rejects, non-finite and silent units.
            image_ids: int64 [N], ascending, and all larger than any taken in before: then a
                stable sort by value alone keeps the total order.
        """
        k = self.values.shape[0]
        beats = eligible & (maxima > self.values[-1])
        units = self._units_to_update(beats)
        candidates = torch.where(beats, maxima, -torch.inf)[:, units]
        best, which = candidates.sort(dim=0, descending=True, stable=True)
        best, which = best[:k], which[:k]
        found = _first_maximum(maps, best, which, units)
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


def _first_maximum(maps: Tensor, best: Tensor, which: Tensor, units: Tensor) -> Tensor:
    """Flat position of the maximum, the first by y then x, for the pairs (which[i,j], units[j]).

    Pairs whose ``best`` is -inf get 0; their place is never used.
    """
    found = torch.zeros_like(which)
    wanted = best > -torch.inf
    if maps.device.type == "cuda":
        rows = maps[which.reshape(-1), units.repeat(which.shape[0])]
        return rows.flatten(1).argmax(dim=1).reshape(which.shape)
    column = units.expand_as(which)[wanted]
    rows = maps[which[wanted], column]
    # torch.argmax promises the first of equal maxima.
    found[wanted] = rows.flatten(1).argmax(dim=1)
    return found


def cut_to_top(
    slots: Ints, values: NDArray[np.float32], image_ids: Ints, *, k: int
) -> tuple[Ints, Ints]:
    """Order candidate rows by the total order and keep the first k a slot.

    Args:
        slots: int64 [n], which unit a row belongs to.
        values: float32 [n], finite.
        image_ids: int64 [n]; one row an image and slot, so positions never decide.
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

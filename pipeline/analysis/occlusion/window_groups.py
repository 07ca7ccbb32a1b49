"""Group the windows of one axis so that those of a group change about equally much of every map.

Windows of a group are computed with areas of one size, that of the largest, so grouping trades
wasted positions for fewer, larger batches.
"""

from __future__ import annotations

import numpy as np
from torch import fx

from pipeline.models.affected_regions import IntervalArray
from pipeline.models.flops import CostCounter
from schemas.arrays import Ints


def groups_along(
    costs: CostCounter,
    intervals: dict[fx.Node, tuple[IntervalArray, int]],
    count: int,
    most: int,
) -> list[Ints]:
    """Groups of the windows of one axis whose affected regions have about the same sizes.

    Positions near a border change less of a map. The windows are sorted by the work along the
    axis; a dynamic programme cuts that order into groups, where every window of a group costs as
    much as its most expensive one.

    Args:
        costs: of the network's nodes.
        intervals: by node, what each window changes of its map along the axis, and the axis (0: y).
        count: windows along the axis.
        most: groups at most.

    Returns:
        The groups' windows, int64 and ascending; together range(count).
    """
    sizes, weights = [], []
    for node, (interval, axis) in intervals.items():
        if node in costs.channels:
            other = costs.geometry.map_size(node)[1 - axis]
            sizes.append(interval.sizes)
            weights.append(
                costs.frame_work(node) / max(1, costs.geometry.map_size(node)[axis]) / other
            )
    table = np.array(sizes, dtype=np.float64)
    mean = table.mean(axis=1)
    own = np.array(weights) * mean
    order = np.argsort(own @ table, kind="stable")
    table = table[:, order]
    price = np.full((count, count + 1), np.inf)
    for start in range(count):
        largest = np.maximum.accumulate(table[:, start:], axis=1)
        for stop in range(start + 1, count + 1):
            price[start, stop] = (stop - start) * float(own @ largest[:, stop - start - 1])
    return [np.sort(order[start:stop]) for start, stop in cheapest_cuts(price, count, most)]


def cheapest_cuts(price: np.ndarray, count: int, most: int) -> list[tuple[int, int]]:
    """At most ``most`` consecutive pieces of range(count) with the smallest sum of prices.

    Args:
        price: float64 [count, count + 1]; at [start, stop] that of the piece from start to stop.
        count: how many.
        most: pieces.

    Returns:
        Start and stop of each piece, in order.
    """
    best = np.full((most + 1, count + 1), np.inf)
    best[0, 0] = 0.0
    back = np.zeros((most + 1, count + 1), dtype=np.int64)
    for used in range(1, most + 1):
        for stop in range(1, count + 1):
            totals = best[used - 1, :stop] + price[:stop, stop]
            back[used, stop] = int(np.argmin(totals))
            best[used, stop] = totals[back[used, stop]]
    used, stop = int(np.argmin(best[:, count])), count
    cuts = []
    while used:
        start = int(back[used, stop])
        cuts.append((start, stop))
        used, stop = used - 1, start
    return cuts[::-1]

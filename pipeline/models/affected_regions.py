"""Affected regions: what an occluding window of pixels can change in every later map.

The graph is walked from the image to the scores. Outside its affected region a map equals the clean
one; a region may be larger than what really changes, never smaller.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from torch import fx

from pipeline.models.geometry import Geometry
from pipeline.models.operations import Window
from schemas.arrays import Ints


@dataclass(frozen=True)
class IntervalArray:
    """One interval per window, along one axis of a map: what each can change.

    Attributes:
        low: int64 [n], the first position that each window can change.
        high: int64 [n], one past the last; not more than ``low`` where nothing changes.
    """

    low: Ints
    high: Ints

    @property
    def sizes(self) -> Ints:
        """How many positions each window can change, int64 [n], at least 1."""
        sizes: Ints = np.maximum(self.high - self.low, 1)
        return sizes

    def through(self, window: Window, length: int) -> IntervalArray:
        """The output positions of a sliding window, ``length`` in all, that read any of these."""
        low = -((window.extent - 1 - window.padding - self.low) // window.stride)
        high = (self.high - 1 + window.padding) // window.stride + 1
        return IntervalArray(np.clip(low, 0, length), np.clip(high, 0, length))

    def hull(self, other: IntervalArray) -> IntervalArray:
        """Both together."""
        return IntervalArray(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def whole(self, length: int) -> IntervalArray:
        """The whole axis, for as many windows."""
        return IntervalArray(np.zeros_like(self.low), np.full_like(self.high, length))


@dataclass(frozen=True)
class AffectedRegion:
    """What some windows can change of one map.

    Attributes:
        down: along y, of n windows' rows.
        across: along x, of m windows' columns; window (i, j) changes the product of both.
        whole: every window can change the whole map, by an operation that mixes positions.
    """

    down: IntervalArray
    across: IntervalArray
    whole: bool


def affected_regions(
    geometry: Geometry, down: IntervalArray, across: IntervalArray
) -> dict[fx.Node, AffectedRegion]:
    """What each window of a grid can change of every map.

    Args:
        geometry: of a traced network.
        down: rows of the input frame that the windows cover.
        across: columns likewise.

    Returns:
        By traced node, for every node that depends on the image and holds a tensor or a tuple of
        them.
    """
    found: dict[fx.Node, AffectedRegion] = {}
    for node in geometry.graph.nodes:
        if node.kind == "placeholder" and node.fx in geometry.layouts:
            found[node.fx] = AffectedRegion(down, across, whole=False)
            continue
        sources = geometry.data_inputs(node.fx)
        if not sources or (node.fx not in geometry.layouts and node.fx not in geometry.tuples):
            continue
        windows = geometry.slides(node)
        reads = [found[source] for source in sources]
        if any(each.whole for each in reads):
            found[node.fx] = _whole(geometry, node.fx, reads[0])
        elif windows is not None:
            height, width = geometry.map_size(node.fx)
            found[node.fx] = AffectedRegion(
                reads[0].down.through(windows[0], height),
                reads[0].across.through(windows[1], width),
                whole=False,
            )
        elif all(geometry.keeps_positions(node, source) for source in sources):
            found[node.fx] = _hull(reads)
        else:
            found[node.fx] = _whole(geometry, node.fx, reads[0])
    return found


def map_of(geometry: Geometry, node: fx.Node) -> tuple[int, int]:
    """Positions down and across of a node's map; of its pieces for a tuple."""
    if node in geometry.layouts:
        return geometry.map_size(node)
    return next(geometry.map_size(piece) for piece in node.users if piece in geometry.layouts)


def _whole(geometry: Geometry, node: fx.Node, like: AffectedRegion) -> AffectedRegion:
    height, width = map_of(geometry, node)
    return AffectedRegion(like.down.whole(height), like.across.whole(width), whole=True)


def _hull(several: Iterable[AffectedRegion]) -> AffectedRegion:
    def both(one: AffectedRegion, other: AffectedRegion) -> AffectedRegion:
        return AffectedRegion(one.down.hull(other.down), one.across.hull(other.across), whole=False)

    return reduce(both, several)

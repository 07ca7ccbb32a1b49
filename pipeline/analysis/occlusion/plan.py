"""Plan an occlusion: cut a grid of windows into batches, and say what each computes of each map.

Plans are chosen by counted cost, never by time, so that the same network, frame and grid are always
cut the same way; every plan gives the scores of whole forward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from torch import Tensor, fx

from pipeline.analysis.occlusion.grid import Grid
from pipeline.analysis.occlusion.window_groups import groups_along
from pipeline.models.affected_regions import AffectedRegion, IntervalArray, affected_regions, map_of
from pipeline.models.flops import CostCounter
from pipeline.models.geometry import Geometry
from schemas.arrays import Ints

MOST_GROUPS = 8
# A region that covers more of its map than this costs no less than the map itself.
_WHOLE_SHARE = 0.85
_WORTH_IT = 0.95


@dataclass(frozen=True)
class Area:
    """A rectangle of one map for each window of a batch: of one size, each at its own position.

    Attributes:
        top: int64 [n], first rows.
        left: int64 [n], first columns.
        height: rows.
        width: columns.
    """

    top: Ints
    left: Ints
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of each rectangle."""
        return self.height, self.width

    def same_as(self, other: Area) -> bool:
        """Whether both are the same rectangles."""
        return self is other or (
            self.size == other.size
            and bool(np.array_equal(self.top, other.top) and np.array_equal(self.left, other.left))
        )


Observer = Callable[[Tensor, Area, Ints], None]
"""Is shown the watched layer's value over some areas, the areas, and the windows' numbers."""


@dataclass(frozen=True)
class Batch:
    """Windows that are computed together.

    Attributes:
        windows: int64 [n], their numbers in the grid, row by row.
        areas: what is computed of each node's map.
        whole: the nodes whose area is the whole map.
    """

    windows: Ints
    areas: dict[fx.Node, Area]
    whole: frozenset[fx.Node]


@dataclass(frozen=True)
class OcclusionPlan:
    """The batches of a grid.

    Attributes:
        batches: together they hold every window once.
        cost: work of all batches, in multiply-adds (see `CostCounter`).
        dense_cost: of whole forward passes for as many windows.
    """

    batches: tuple[Batch, ...]
    cost: float
    dense_cost: float

    @property
    def worth_it(self) -> bool:
        """Whether computing the affected areas alone saves anything."""
        return self.cost < _WORTH_IT * self.dense_cost


def make_plan(geometry: Geometry, grid: Grid, *, live_bytes: int) -> OcclusionPlan:
    """Cut a grid of windows into the cheapest batches.

    Args:
        geometry: of a traced network.
        grid: the windows.
        live_bytes: what the maps of a batch may take at once.
    """
    costs = CostCounter(geometry)
    regions = affected_regions(geometry, *grid.covered)
    cuts = [
        _blocks(costs, regions, grid, groups, live_bytes) for groups in range(1, MOST_GROUPS + 1)
    ]
    blocks = min(cuts, key=_cost_of)
    dense = len(grid.corners) * sum(costs.frame_work(node.fx) for node in costs.nodes)
    batches = (batch for block in blocks for batch in _batches(geometry, block))
    return OcclusionPlan(tuple(batches), _cost_of(blocks), dense)


@dataclass(frozen=True)
class _Block:
    """Windows, rows by columns, whose areas have one size in every map.

    Attributes:
        windows: int64 [n], their numbers in the grid.
        areas: by node, with one ``top`` per row and one ``left`` per column of the windows.
        most: windows of a batch.
        cost: of all batches.
    """

    windows: Ints
    areas: dict[fx.Node, Area]
    most: int
    cost: float


def _blocks(
    costs: CostCounter,
    regions: dict[fx.Node, AffectedRegion],
    grid: Grid,
    groups: int,
    live_bytes: int,
) -> list[_Block]:
    """The grid as groups of rows times groups of columns."""
    counts = (len(grid.rows), len(grid.columns))
    rows = groups_along(costs, {n: (p.down, 0) for n, p in regions.items()}, counts[0], groups)
    columns = groups_along(costs, {n: (p.across, 1) for n, p in regions.items()}, counts[1], groups)
    blocks = []
    for own_rows, own_columns in product(rows, columns):
        areas = _areas(costs.geometry, regions, own_rows, own_columns)
        most = max(1, live_bytes // _bytes_of_one(costs, areas))
        windows = (own_rows[:, None] * counts[1] + own_columns).reshape(-1)
        batches = -(-len(windows) // most)
        cost = batches * costs.batch_overhead() + len(windows) * _cost_of_one(costs, areas)
        blocks.append(_Block(windows, areas, most, cost))
    return blocks


def _cost_of(blocks: list[_Block]) -> float:
    return sum(block.cost for block in blocks)


def _areas(
    geometry: Geometry, regions: dict[fx.Node, AffectedRegion], rows: Ints, columns: Ints
) -> dict[fx.Node, Area]:
    """The areas of these rows by these columns of windows, see `_Block`."""
    areas: dict[fx.Node, Area] = {}
    whole: set[fx.Node] = set()
    for node, region in regions.items():
        height, width = map_of(geometry, node)
        top, tall = _common_size(region.down, rows, height)
        left, wide = _common_size(region.across, columns, width)
        covered = tall * wide >= _WHOLE_SHARE * height * width
        if covered or any(source in whole for source in geometry.data_inputs(node)):
            whole.add(node)
            areas[node] = Area(np.zeros_like(rows), np.zeros_like(columns), height, width)
        else:
            areas[node] = Area(top, left, tall, wide)
    return areas


def _common_size(intervals: IntervalArray, windows: Ints, length: int) -> tuple[Ints, int]:
    """First positions and the one size of some windows' intervals, moved inside the map."""
    size = min(int(intervals.sizes[windows].max()), length)
    return np.minimum(intervals.low[windows], length - size), size


def _cost_of_one(costs: CostCounter, areas: dict[fx.Node, Area]) -> float:
    total = 0.0
    for node in costs.nodes:
        if node.fx in areas:
            size = areas[node.fx].size
            total += costs.work(node.fx, size[0] * size[1], costs.read_size(node, size))
    return total


def _bytes_of_one(costs: CostCounter, areas: dict[fx.Node, Area]) -> int:
    """fp32 maps of one window: those that wait, their patched maps, the largest step."""
    own = {
        node: 4 * area.height * area.width * costs.channels[node]
        for node, area in areas.items()
        if node in costs.channels
    }
    nodes = [node for node in costs.nodes if node.fx in own]
    inputs = {
        node.fx: [s for s in costs.geometry.data_inputs(node.fx) if s in own] for node in nodes
    }
    last = {source: node.fx for node in nodes for source in inputs[node.fx]}
    gathered: set[fx.Node] = set()
    alive = peak = 0
    for node in nodes:
        read = 4 * costs.read_size(node, areas[node.fx].size)
        gathers = {s: read * costs.channels[s] for s in inputs[node.fx]}
        # What is read as it is, is neither gathered nor copied.
        gathers = {source: size for source, size in gathers.items() if size != own[source]}
        gathered |= gathers.keys()
        alive += own[node.fx]
        peak = max(peak, alive + sum(gathers.values()))
        alive -= sum(own[source] for source in inputs[node.fx] if last[source] is node.fx)
    return peak + sum(own[source] for source in gathered)


def _batches(geometry: Geometry, block: _Block) -> Iterator[Batch]:
    """A block in batches of sizes as equal as can be.

    Maps with the same areas share them, for the many nodes of a block have the same ones.
    """
    whole = frozenset(
        node for node, area in block.areas.items() if area.size == map_of(geometry, node)
    )
    keys = {node: _key(area) for node, area in block.areas.items()}
    corners = {
        keys[node]: np.meshgrid(area.top, area.left, indexing="ij")
        for node, area in block.areas.items()
    }
    parts = -(-len(block.windows) // block.most)
    for part in range(parts):
        cut = slice(*(edge * len(block.windows) // parts for edge in (part, part + 1)))
        # Copies: a slice would keep the corners of the whole block alive, batch after batch.
        own = {
            key: Area(top.reshape(-1)[cut].copy(), left.reshape(-1)[cut].copy(), *key[2:])
            for key, (top, left) in corners.items()
        }
        areas = {node: own[key] for node, key in keys.items()}
        yield Batch(block.windows[cut], areas, whole)


def _key(area: Area) -> tuple[bytes, bytes, int, int]:
    return area.top.tobytes(), area.left.tobytes(), area.height, area.width

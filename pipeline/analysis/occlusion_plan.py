"""How a grid of occluding windows is cut into batches, and what each batch computes of each map.

The invariant: a plan is a matter of cost alone, counted and never timed, so that the same network,
frame and grid are always cut the same way; every plan gives the dense answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from torch import fx

from pipeline.analysis.node_costs import NodeCosts, read_size
from pipeline.analysis.window_grid import Grid
from pipeline.models.cones import Geometry
from pipeline.models.fields import Ints
from pipeline.models.footprints import Footprint, Reach, footprints, map_of

MOST_CLASSES = 8
# A region that covers more of its map than this costs no less than the map itself.
_WHOLE_SHARE = 0.85
_WORTH_IT = 0.95


@dataclass(frozen=True)
class Area:
    """A rectangle of one map for each window of a batch: of one size, each at its own place.

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

    def same_as(self, other: Area) -> bool:
        """Whether both are the same rectangles."""
        return (self.height, self.width) == (other.height, other.width) and bool(
            np.array_equal(self.top, other.top) and np.array_equal(self.left, other.left)
        )


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
        cost: multiply-adds, and bytes and calls in their coin.
        dense_cost: of whole forward passes for as many windows.
    """

    batches: tuple[Batch, ...]
    cost: float
    dense_cost: float

    @property
    def worth_it(self) -> bool:
        """Whether computing footprints alone saves anything."""
        return self.cost < _WORTH_IT * self.dense_cost


def make_plan(geometry: Geometry, grid: Grid, *, batch_bytes: int) -> OcclusionPlan:
    """Cut a grid of windows into the cheapest batches.

    Args:
        geometry: of a traced network.
        grid: the windows.
        batch_bytes: what the maps of a batch may take.
    """
    costs = NodeCosts(geometry)
    prints = footprints(geometry, *_covered(grid))
    plans = (
        _plan(costs, prints, grid, classes, batch_bytes) for classes in range(1, MOST_CLASSES + 1)
    )
    return min(plans, key=lambda plan: plan.cost)


def _covered(grid: Grid) -> tuple[Reach, Reach]:
    """The rows and columns of the frame that the windows cover."""
    down, across = (
        Reach(low, low + side)
        for low, side in zip((grid.rows, grid.columns), grid.size, strict=True)
    )
    return down, across


def _plan(
    costs: NodeCosts,
    prints: dict[fx.Node, Footprint],
    grid: Grid,
    classes: int,
    batch_bytes: int,
) -> OcclusionPlan:
    counts = (len(grid.rows), len(grid.columns))
    rows = _classes(costs, {n: (p.down, 0) for n, p in prints.items()}, counts[0], classes)
    columns = _classes(costs, {n: (p.across, 1) for n, p in prints.items()}, counts[1], classes)
    batches: list[Batch] = []
    cost = 0.0
    for own_rows, own_columns in product(rows, columns):
        areas = _areas(costs.geometry, prints, own_rows, own_columns)
        each = _cost_of_one(costs, areas)
        most = max(1, batch_bytes // _bytes_of_one(costs, areas))
        windows = (own_rows[:, None] * counts[1] + own_columns).reshape(-1)
        for part in _cut_evenly(len(windows), most):
            batches.append(_batch(costs.geometry, areas, windows, part))
            cost += costs.overhead() + len(batches[-1].windows) * each
    dense = sum(costs.dense(node.fx) for node in costs.nodes)
    return OcclusionPlan(tuple(batches), cost, counts[0] * counts[1] * dense)


def _classes(
    costs: NodeCosts,
    reaches: dict[fx.Node, tuple[Reach, int]],
    count: int,
    classes: int,
) -> list[Ints]:
    """Windows of one axis in classes whose footprints have much the same sizes.

    Positions near a border change less of a map. The windows are sorted by the work along the
    axis; cutting that order into classes, each as dear as its dearest, is a dynamic programme.
    """
    sizes, weights = [], []
    for node, (reach, axis) in reaches.items():
        if node in costs.channels:
            other = costs.geometry.map_size(node)[1 - axis]
            sizes.append(reach.sizes)
            weights.append(costs.dense(node) / max(1, costs.geometry.map_size(node)[axis]) / other)
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
    return [np.sort(order[start:stop]) for start, stop in _cheapest_cuts(price, count, classes)]


def _cheapest_cuts(price: np.ndarray, count: int, classes: int) -> list[tuple[int, int]]:
    """At most ``classes`` consecutive pieces of range(count) with the smallest sum of prices."""
    best = np.full((classes + 1, count + 1), np.inf)
    best[0, 0] = 0.0
    back = np.zeros((classes + 1, count + 1), dtype=np.int64)
    for used in range(1, classes + 1):
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


def _areas(
    geometry: Geometry, prints: dict[fx.Node, Footprint], rows: Ints, columns: Ints
) -> dict[fx.Node, tuple[Ints, int, Ints, int]]:
    """By node: first rows and height, first columns and width, of these windows' areas."""
    areas: dict[fx.Node, tuple[Ints, int, Ints, int]] = {}
    whole: set[fx.Node] = set()
    for node, footprint in prints.items():
        height, width = map_of(geometry, node)
        top, tall = _span(footprint.down, rows, height)
        left, wide = _span(footprint.across, columns, width)
        covered = tall * wide >= _WHOLE_SHARE * height * width
        if covered or any(source in whole for source in geometry.data_inputs(node)):
            whole.add(node)
            areas[node] = (np.zeros_like(rows), height, np.zeros_like(columns), width)
        else:
            areas[node] = (top, tall, left, wide)
    return areas


def _span(reach: Reach, windows: Ints, length: int) -> tuple[Ints, int]:
    """First positions and the one size of some windows' spans, moved inside the map."""
    size = min(int(reach.sizes[windows].max()), length)
    return np.minimum(reach.low[windows], length - size), size


def _cost_of_one(costs: NodeCosts, areas: dict[fx.Node, tuple[Ints, int, Ints, int]]) -> float:
    total = 0.0
    for node in costs.nodes:
        if node.fx in areas:
            _, height, _, width = areas[node.fx]
            total += costs.of(
                node.fx, height * width, read_size(costs.geometry, node, (height, width))
            )
    return total


def _bytes_of_one(costs: NodeCosts, areas: dict[fx.Node, tuple[Ints, int, Ints, int]]) -> int:
    """fp32 maps of one window: those that wait for later readers, their pools, the largest step."""
    own = {
        node: 4 * height * width * costs.channels[node]
        for node, (_, height, _, width) in areas.items()
        if node in costs.channels
    }
    nodes = [node for node in costs.nodes if node.fx in own]
    inputs = {
        node.fx: [s for s in costs.geometry.data_inputs(node.fx) if s in own] for node in nodes
    }
    last = {source: node.fx for node in nodes for source in inputs[node.fx]}
    pooled: set[fx.Node] = set()
    alive = peak = 0
    for node in nodes:
        _, height, _, width = areas[node.fx]
        read = 4 * read_size(costs.geometry, node, (height, width))
        gathers = {s: read * costs.channels[s] for s in inputs[node.fx]}
        # What is read as it is, is neither pooled nor copied.
        gathers = {source: size for source, size in gathers.items() if size != own[source]}
        pooled |= gathers.keys()
        alive += own[node.fx]
        peak = max(peak, alive + sum(gathers.values()))
        alive -= sum(own[source] for source in inputs[node.fx] if last[source] is node.fx)
    return peak + sum(own[source] for source in pooled)


def _cut_evenly(count: int, most: int) -> Iterator[slice]:
    """Slices of at most ``most``, of sizes as equal as can be."""
    parts = -(-count // most)
    for part in range(parts):
        yield slice(part * count // parts, (part + 1) * count // parts)


def _batch(
    geometry: Geometry,
    areas: dict[fx.Node, tuple[Ints, int, Ints, int]],
    windows: Ints,
    part: slice,
) -> Batch:
    """The windows of a slice of (rows x columns), each with its own places."""

    def area(top: Ints, height: int, left: Ints, width: int) -> Area:
        # Copies: a slice would keep the places of the whole group alive, batch after batch.
        tops, lefts = (
            places.reshape(-1)[part].copy() for places in np.meshgrid(top, left, indexing="ij")
        )
        return Area(tops, lefts, height, width)

    own = {node: area(*edges) for node, edges in areas.items()}
    whole = {
        node
        for node, (_, height, _, width) in areas.items()
        if (height, width) == map_of(geometry, node)
    }
    return Batch(windows[part], own, frozenset(whole))

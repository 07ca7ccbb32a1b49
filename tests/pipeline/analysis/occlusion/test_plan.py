from __future__ import annotations

import numpy as np
import pytest
from torchvision import models

from pipeline.analysis.occlusion.grid import Grid, windows_along
from pipeline.analysis.occlusion.plan import OcclusionPlan, make_plan
from pipeline.models.affected_regions import IntervalArray, affected_regions, map_of
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Graph
from pipeline.models.trace_receptive_fields import trace_receptive_fields

SIDE = 96
BYTES = 8 * 2**20


def geometry_of(name: str) -> Geometry:
    graph = Graph(models.get_model(name, weights=None).eval())
    return Geometry(graph, trace_receptive_fields(graph, SIDE))


def grid_of(window: tuple[int, int], stride: int) -> Grid:
    rows, columns = (windows_along(SIDE, side, stride) for side in window)
    return Grid(rows, columns, window, SIDE)


@pytest.fixture(scope="module", params=["vgg11", "squeezenet1_1", "resnet18"])
def planned(request: pytest.FixtureRequest) -> tuple[Geometry, Grid, OcclusionPlan]:
    geometry, grid = geometry_of(request.param), grid_of((9, 14), 10)
    return geometry, grid, make_plan(geometry, grid, live_bytes=BYTES)


def test_plan_holds_every_window_once(planned: tuple[Geometry, Grid, OcclusionPlan]):
    _, grid, plan = planned

    windows = np.concatenate([batch.windows for batch in plan.batches])

    assert sorted(windows.tolist()) == list(range(len(grid.corners)))


def test_areas_lie_in_their_maps_and_hold_what_is_affected(
    planned: tuple[Geometry, Grid, OcclusionPlan],
):
    geometry, grid, plan = planned
    down, across = (
        IntervalArray(low, low + side)
        for low, side in zip((grid.rows, grid.columns), grid.size, strict=True)
    )
    regions = affected_regions(geometry, down, across)
    for batch in plan.batches:
        rows, columns = np.divmod(batch.windows, len(grid.columns))
        for node, area in batch.areas.items():
            height, width = map_of(geometry, node)
            for start, size, length, intervals, own in (
                (area.top, area.height, height, regions[node].down, rows),
                (area.left, area.width, width, regions[node].across, columns),
            ):
                changes = intervals.high[own] > intervals.low[own]
                assert (start >= 0).all()
                assert (start + size <= length).all()
                assert (start <= intervals.low[own])[changes].all()
                assert (start + size >= intervals.high[own])[changes].all()
            assert (node in batch.whole) == ((area.height, area.width) == (height, width))


def test_whole_areas_stay_whole(planned: tuple[Geometry, Grid, OcclusionPlan]):
    geometry, _, plan = planned
    for batch in plan.batches:
        for node in batch.areas:
            if any(source in batch.whole for source in geometry.data_inputs(node)):
                assert node in batch.whole


def test_the_pixels_area_is_the_window_itself(planned: tuple[Geometry, Grid, OcclusionPlan]):
    geometry, grid, plan = planned
    pixels = geometry.graph.nodes[0].fx
    for batch in plan.batches:
        area = batch.areas[pixels]
        assert (area.height, area.width) == grid.size
        assert np.array_equal(np.stack([area.top, area.left], 1), grid.corners[batch.windows])


def test_plan_of_fewer_bytes_has_smaller_batches():
    geometry, grid = geometry_of("squeezenet1_1"), grid_of((9, 9), 6)

    wide = make_plan(geometry, grid, live_bytes=512 * 2**20)
    narrow = make_plan(geometry, grid, live_bytes=2**20)

    assert max(len(b.windows) for b in narrow.batches) < max(len(b.windows) for b in wide.batches)
    assert narrow.cost > wide.cost


def test_plan_is_worth_it_for_small_windows_only():
    geometry = geometry_of("vgg11")

    assert make_plan(geometry, grid_of((8, 8), 16), live_bytes=BYTES).worth_it
    assert not make_plan(geometry, grid_of((90, 90), 6), live_bytes=BYTES).worth_it


def test_plan_is_the_same_each_time():
    first, second = (
        make_plan(geometry_of("resnet18"), grid_of((12, 12), 12), live_bytes=BYTES)
        for _ in range(2)
    )

    assert first.cost == second.cost
    for one, other in zip(first.batches, second.batches, strict=True):
        assert np.array_equal(one.windows, other.windows)

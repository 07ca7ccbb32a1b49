from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from torchvision import models

from pipeline.analysis.occlusion.window_groups import cheapest_cuts, groups_along
from pipeline.models.affected_regions import IntervalArray, affected_regions
from pipeline.models.flops import CostCounter
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Graph
from pipeline.models.trace_receptive_fields import trace_receptive_fields


@pytest.mark.parametrize("most", [1, 3, 8])
def test_groups_hold_every_window_once_and_those_at_borders_apart(most: int):
    graph = Graph(models.squeezenet1_1(weights=None).eval())
    geometry = Geometry(graph, trace_receptive_fields(graph, 96))
    low = np.arange(0, 88, 4)
    own = IntervalArray(low, low + 8)
    regions = affected_regions(geometry, own, own)

    found = groups_along(
        CostCounter(geometry), {n: (p.down, 0) for n, p in regions.items()}, len(low), most
    )

    assert sorted(np.concatenate(found).tolist()) == list(range(len(low)))
    assert len(found) <= most
    middle = next(each for each in found if len(low) // 2 in each)
    assert (0 in middle) == (most == 1)


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_cheapest_cuts_equal_those_of_trying_all(most: int):
    count = 7
    price = np.random.default_rng(most).uniform(1, 9, (count, count + 1))

    def total(cuts: tuple[int, ...]) -> float:
        edges = [0, *cuts, count]
        return sum(price[a, b] for a, b in pairwise(edges))

    best = min(
        total(cuts)
        for pieces in range(1, most + 1)
        for cuts in combinations(range(1, count), pieces - 1)
    )

    found = cheapest_cuts(price, count, most)

    assert sum(price[a, b] for a, b in found) == pytest.approx(best)
    assert [a for a, _ in found[1:]] == [b for _, b in found[:-1]]
    assert (found[0][0], found[-1][1]) == (0, count)

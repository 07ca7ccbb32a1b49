"""Whole forward passes fill each window alone, in batches of any size, within their memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.analysis.occlusion.dense import Dense, bytes_of_a_frame
from pipeline.analysis.occlusion.grid import sliding_grid
from pipeline.analysis.occlusion.plan import Area
from pipeline.models.network import open_network
from schemas.jobs.occlude import SlidingWindow
from tests.reference import occluded
from tests.tiny_nets import small

SIDE = 24


def test_bytes_of_a_frame_count_what_lives_at_once():
    """conv1 and relu1 in place of each other's: two maps of 6 x 24 x 24, and the frame."""
    network = open_network(small().eval(), SIDE)

    assert bytes_of_a_frame(network) == 4 * (2 * 6 * 24 * 24 + 3 * 24 * 24)


@pytest.mark.parametrize("live_bytes", [1, 2**24])
def test_scores_and_maps_equal_the_definition_whatever_the_batch(live_bytes: int):
    module = small().double().eval()
    network = open_network(module, SIDE)
    grid = sliding_grid(SlidingWindow(height_px=7, width_px=5, stride_px=6), SIDE)
    engine = Dense(network, network.layer("relu2"), grid, live_bytes)
    frame = torch.randn(1, 3, SIDE, SIDE, dtype=torch.float64)
    fill = torch.full_like(frame, 0.25)
    sums = torch.zeros(len(grid.corners), 8, dtype=torch.float64)

    def observe(value: Tensor, area: Area, windows: np.ndarray) -> None:
        assert area.size == network.layer("relu2").layout.map_size
        sums[windows] = value.sum(dim=(2, 3))

    with torch.inference_mode():
        clean, watched = engine.record_clean(frame)
        found = engine.run(fill, observe)

    windows = [(y, x, *grid.size) for y, x in grid.corners.tolist()]
    wanted, maps = occluded(module, frame, fill, windows, module.relu2)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(sums, maps, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(clean, module(frame), rtol=1e-9, atol=1e-12)
    assert watched.shape[1] == 8

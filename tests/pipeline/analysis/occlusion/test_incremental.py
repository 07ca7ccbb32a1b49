"""The affected areas alone give what whole forward passes give."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.analysis.occlusion.grid import Grid, windows_along
from pipeline.analysis.occlusion.incremental import Incremental, joint
from pipeline.analysis.occlusion.plan import Area, make_plan
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Graph
from pipeline.models.trace_receptive_fields import trace_receptive_fields
from tests.families import CONVOLUTIONAL, Family
from tests.reference import occluded
from tests.tiny_nets import small


class Case:
    """A network with a grid of windows, and the engine for it."""

    def __init__(
        self,
        module: nn.Module,
        side: int,
        watched: str,
        window: tuple[int, int],
        stride: int = 7,
    ) -> None:
        graph = Graph(module)
        self.geometry = Geometry(graph, trace_receptive_fields(graph, side))
        rows, columns = (windows_along(side, own, stride) for own in window)
        self.grid = Grid(rows, columns, window, side)
        self.plan = make_plan(self.geometry, self.grid, live_bytes=8 * 2**20)
        self.engine = Incremental(self.geometry, self.plan, watched)

    def scores(self, frame: Tensor, fill: Tensor) -> tuple[Tensor, Tensor]:
        """Clean scores, and those of every window."""
        with torch.inference_mode():
            clean, _ = self.engine.record_clean(frame)
            return clean, self.engine.run(fill, lambda *_: None)


def frames(side: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(side)
    frame = torch.randn(1, 3, side, side, generator=generator, dtype=dtype)
    fill = torch.randn(1, 3, side, side, generator=generator, dtype=dtype)
    return frame, fill


def dense(module: nn.Module, frame: Tensor, fill: Tensor, grid: Grid) -> Tensor:
    """Whole forward passes of our own making, all windows in one batch."""
    height, width = grid.size
    batch = frame.repeat(len(grid.corners), 1, 1, 1)
    for place, (y, x) in enumerate(grid.corners.tolist()):
        cut = (slice(None), slice(y, y + height), slice(x, x + width))
        batch[place][cut] = fill[0][cut]
    with torch.inference_mode():
        return module(batch)


def last_map(geometry: Geometry) -> str:
    maps = [n for n in geometry.graph.nodes if n.kind == "conv2d"]
    return maps[-1].name


@pytest.mark.parametrize("family", CONVOLUTIONAL, ids=lambda family: family.name)
def test_scores_of_every_family_equal_whole_forward_passes(family: Family):
    """In float64, where nothing but an error of ours could differ; an odd side has odd borders."""
    module = family.build(signed=True).double()
    side = max(family.narrow, 49)
    graph = Graph(module)
    watched = last_map(Geometry(graph, trace_receptive_fields(graph, side)))
    case = Case(module, side, watched, (8, 13), stride=17)
    frame, fill = frames(side, torch.float64)

    clean, found = case.scores(frame, fill)

    wanted = dense(module, frame, fill, case.grid)
    scale = wanted.abs().max()
    assert (found - wanted).abs().max() <= 1e-9 * scale
    assert (wanted - clean).abs().max() > 1e-6 * scale


def test_scores_of_a_small_net_equal_the_definition():
    module = small().double().eval()
    case = Case(module, 24, "relu2", (5, 6))
    frame, fill = frames(24, torch.float64)
    windows = [(y, x, 5, 6) for y, x in case.grid.corners.tolist()]
    shown = torch.full((len(windows), 8), torch.nan, dtype=torch.float64)
    with torch.inference_mode():
        _, value = case.engine.record_clean(frame)
        maps = value[0].clone()

        def observe(changed: Tensor, area: Area, numbers: np.ndarray) -> None:
            for i, number in enumerate(numbers):
                whole = maps.clone()
                rows = slice(area.top[i], area.top[i] + area.height)
                whole[:, rows, area.left[i] : area.left[i] + area.width] = changed[i]
                shown[number] = whole.sum(dim=(1, 2))

        found = case.engine.run(fill, observe)

    scores, sums = occluded(module, frame, fill, windows, module.relu2)
    torch.testing.assert_close(found, scores, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(shown, sums, rtol=1e-12, atol=1e-12)


def test_run_of_a_second_frame_forgets_the_first():
    module = small().eval()
    case = Case(module, 24, "relu2", (5, 6))
    frame, fill = frames(24)
    case.scores(torch.randn(1, 3, 24, 24), torch.zeros(1, 3, 24, 24))

    _, found = case.scores(frame, fill)

    again = Case(module, 24, "relu2", (5, 6)).scores(frame, fill)[1]
    assert torch.equal(found, again)


def test_run_leaves_the_model_and_the_frames_alone():
    module = small().eval()
    before = copy.deepcopy(module.state_dict())
    frame, fill = frames(24)
    kept = frame.clone(), fill.clone()

    Case(module, 24, "relu1", (6, 6)).scores(frame, fill)

    assert torch.equal(frame, kept[0])
    assert torch.equal(fill, kept[1])
    assert module.relu1.inplace
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(m._forward_hooks for m in module.modules())


def test_joint_is_the_input_of_the_first_linear_layer_or_the_output():
    case = Case(small().eval(), 24, "relu2", (5, 5))
    nodes = [n for n in case.geometry.graph.nodes if n.fx in case.plan.batches[0].areas]

    assert joint(case.geometry, nodes[1:], case.plan).name == "flatten"


def test_joint_of_a_net_without_linear_layers_is_its_output():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    case = Case(net.eval(), 24, "1", (5, 5))
    nodes = [n for n in case.geometry.graph.nodes if n.fx in case.plan.batches[0].areas]

    assert case.geometry.nodes[joint(case.geometry, nodes[1:], case.plan)].name == "3"


def test_watched_layer_behind_the_joint_is_shown_whole():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
        nn.ReLU(), nn.Linear(3, 2),
    ).eval()  # fmt: skip
    case = Case(module, 24, "5", (5, 5))
    frame, fill = frames(24)
    shown: dict[int, Tensor] = {}

    def observe(value: Tensor, area: Area, numbers: np.ndarray) -> None:
        assert (area.height, area.width) == (1, 1)
        shown.update(zip(numbers.tolist(), value, strict=True))

    with torch.inference_mode():
        case.engine.record_clean(frame)
        case.engine.run(fill, observe)

    assert sorted(shown) == list(range(len(case.grid.corners)))

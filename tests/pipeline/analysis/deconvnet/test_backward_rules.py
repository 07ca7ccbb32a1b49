"""One node's transpose, on its own: what it covers, and that nothing flows into padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.analysis.deconvnet.backward_rules import BackwardRules, BackwardState
from pipeline.analysis.deconvnet.forward import ForwardRecorder, Rule
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Graph
from pipeline.models.trace_receptive_fields import trace_receptive_fields

SIDE = 12


class Net(nn.Module):
    """Padded convolutions with a sum, a concatenation and an average pool."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.AvgPool2d(2)
        self.last = nn.Conv2d(8, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        one = torch.relu(self.first(images))
        two = self.second(one) + one
        both = self.pool(torch.cat([one, two], 1))
        return self.last(both).mean((2, 3))


def transposes(rule: Rule = "deconvnet") -> tuple[BackwardRules, Geometry]:
    graph = Graph(Net().eval())
    geometry = Geometry(graph, trace_receptive_fields(graph, SIDE))
    return BackwardRules(ForwardRecorder(geometry, rule)), geometry


def state_from(geometry: Geometry, layer: str, y: int, x: int) -> BackwardState:
    dependency = geometry.dependency(layer)
    seeds = (torch.tensor([y]), torch.tensor([x]))
    return BackwardState(dependency, torch.tensor([0]), seeds, torch.ones(1), {}, None)


def test_filtered_signal_at_a_corner_is_zero_in_the_padding():
    own, geometry = transposes()
    node = geometry.graph.node("second")
    state = state_from(geometry, "second", 0, 0)
    region = state.dependency.regions[node.fx]

    ((source, found),) = own(node, region, torch.ones(1, 4, 1, 1), state).items()

    assert geometry.nodes[source].name == "relu"
    assert found.shape[2:] == (3, 3)
    assert (found[:, :, 0] == 0).all()
    assert (found[:, :, :, 0] == 0).all()
    weight = geometry.graph.module.get_parameter("second.weight")
    torch.testing.assert_close(found[0, :, 1:, 1:], weight.sum(0)[:, 1:, 1:])


def test_reads_of_a_convolution_are_what_its_signal_covers():
    own, geometry = transposes()
    node = geometry.graph.node("second")
    state = state_from(geometry, "second", 5, 6)
    region = state.dependency.regions[node.fx]

    found = own.reads(node, region)

    assert (found.down.first, found.down.size) == (-1, 3)
    assert found == own.recorder.reads(node, region)


def test_sum_gives_each_branch_memory_of_its_own():
    own, geometry = transposes()
    node = geometry.graph.node("add")
    state = state_from(geometry, "add", 5, 5)
    signal = torch.ones(1, 4, 1, 1)

    found = own(node, state.dependency.regions[node.fx], signal, state)

    first, second = found.values()
    first.add_(1)
    assert (second == 1).all()


def test_concatenation_splits_the_signal_by_channels():
    own, geometry = transposes()
    node = geometry.graph.node("cat")
    state = state_from(geometry, "cat", 5, 5)
    signal = torch.arange(8.0).view(1, 8, 1, 1)

    found = own(node, state.dependency.regions[node.fx], signal, state)

    assert [part.flatten().tolist() for part in found.values()] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_average_spreads_its_signal_evenly():
    own, geometry = transposes()
    node = geometry.graph.node("pool")
    state = state_from(geometry, "pool", 2, 2)
    signal = torch.full((1, 8, 1, 1), 4.0)

    ((_, found),) = own(node, state.dependency.regions[node.fx], signal, state).items()

    assert found.shape[2:] == (2, 2)
    assert (found == 1).all()

from __future__ import annotations

from pipeline.models.flops import CostCounter
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Graph
from pipeline.models.trace_receptive_fields import trace_receptive_fields
from tests.tiny_nets import small


def costs() -> CostCounter:
    graph = Graph(small().eval())
    return CostCounter(Geometry(graph, trace_receptive_fields(graph, 24)))


def test_weights_are_the_multiply_adds_of_one_position():
    found = costs()
    graph = found.geometry.graph

    assert found.weights[graph.node("conv1").fx] == 6 * 3 * 9
    assert found.weights[graph.node("fc").fx] == 8 * 5
    assert found.weights[graph.node("relu1").fx] == 0


def test_work_grows_with_positions_and_with_what_is_read():
    found = costs()
    conv = found.geometry.graph.node("conv2").fx

    assert found.work(conv, 4, 25) > found.work(conv, 2, 25) > found.work(conv, 2, 9) > 0
    bare = found.work(conv, 10, 0) - found.work(conv, 0, 0)
    assert bare >= 10 * found.weights[conv]


def test_frame_work_is_that_of_every_position():
    found = costs()
    graph = found.geometry.graph
    conv = graph.node("conv1").fx

    assert found.frame_work(conv) == found.work(conv, 24 * 24, 24 * 24)


def test_read_size_counts_the_windows_padding_too():
    found = costs()
    geometry = found.geometry

    assert found.read_size(geometry.graph.node("conv1"), (1, 1)) == 9
    assert found.read_size(geometry.graph.node("conv2"), (2, 3)) == 5 * 7
    assert found.read_size(geometry.graph.node("relu1"), (2, 3)) == 6


def test_overhead_of_a_batch_counts_calls_and_weights():
    assert costs().batch_overhead() > 0


def test_multiply_adds_of_a_frame_are_those_of_every_layer_below():
    assert costs().frame_macs("relu1") == 24 * 24 * 6 * 3 * 9
    assert costs().frame_macs("fc") > costs().frame_macs("relu2") > costs().frame_macs("relu1")


def test_multiply_adds_of_a_crop_are_those_of_its_regions():
    found = costs()

    assert found.crop_macs(found.geometry.dependency("relu1")) == 6 * 3 * 9
    assert found.crop_macs(found.geometry.dependency("fc")) == float("inf")

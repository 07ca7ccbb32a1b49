from __future__ import annotations

from pipeline.models.flops import NodeCosts, read_size
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Graph
from pipeline.models.trace_receptive_fields import trace_receptive_fields
from tests.tiny_nets import small


def costs() -> NodeCosts:
    graph = Graph(small().eval())
    return NodeCosts(Geometry(graph, trace_receptive_fields(graph, 24)))


def test_weights_are_the_multiply_adds_of_one_position():
    found = costs()
    graph = found.geometry.graph

    assert found.weights[graph.node("conv1").fx] == 6 * 3 * 9
    assert found.weights[graph.node("fc").fx] == 8 * 5
    assert found.weights[graph.node("relu1").fx] == 0


def test_work_grows_with_positions_and_with_what_is_read():
    found = costs()
    conv = found.geometry.graph.node("conv2").fx

    assert found.of(conv, 4, 25) > found.of(conv, 2, 25) > found.of(conv, 2, 9) > 0
    bare = found.of(conv, 10, 0) - found.of(conv, 0, 0)
    assert bare >= 10 * found.weights[conv]


def test_dense_work_is_that_of_every_position():
    found = costs()
    graph = found.geometry.graph
    conv = graph.node("conv1").fx

    assert found.dense(conv) == found.of(conv, 24 * 24, 24 * 24)


def test_read_size_counts_the_windows_padding_too():
    found = costs()
    geometry = found.geometry

    assert read_size(geometry, geometry.graph.node("conv1"), (1, 1)) == 9
    assert read_size(geometry, geometry.graph.node("conv2"), (2, 3)) == 5 * 7
    assert read_size(geometry, geometry.graph.node("relu1"), (2, 3)) == 6


def test_overhead_of_a_batch_counts_calls_and_weights():
    assert costs().overhead() > 0

"""Each transpose is the adjoint of its operation; switches say where the maxima were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from pipeline.analysis.deconvnet.transposes import (
    pull_back,
    rectify,
    slope_of,
    sum_pool_transpose,
    switches,
    unpool,
)
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Graph, Node
from pipeline.models.operations import Window
from pipeline.models.trace_receptive_fields import trace_receptive_fields

Windows = tuple[Window, Window]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def windows_of(size: int, stride: int, *, across: int = 0, dilation: int = 1) -> Windows:
    return Window(size, stride, 0, dilation), Window(across or size, stride, 0, dilation)


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> dict[str, Any]:
    return {one["id"]: one for one in json.loads((shared_data / "unit_cases.json").read_text())}


def geometry_of(*layers: nn.Module, side: int = 12) -> tuple[Geometry, list[Node]]:
    """A chain's geometry and its nodes, the image first."""
    graph = Graph(nn.Sequential(*layers).double().eval())
    return Geometry(graph, trace_receptive_fields(graph, side)), list(graph.nodes)


def test_switches_equal_the_published_case(cases: dict[str, Any]):
    case = cases["vizlib_max_switches"]
    value = torch.tensor(case["input"], dtype=torch.float64)[None, None]

    found = switches(value, windows_of(2, 2), (2, 2), (0, 0))

    assert found.dtype == torch.uint8
    assert found[0, 0].tolist() == case["expected_switches"]


def test_unpool_equals_the_published_case(cases: dict[str, Any]):
    case = cases["vizlib_unpool"]
    signal = torch.tensor(case["input"], dtype=torch.float64)[None]

    found = unpool(signal, torch.tensor(case["switches"])[None], windows_of(2, 2))

    assert found[0].tolist() == case["expected"]


@pytest.mark.parametrize(
    ("name", "height", "added"),
    [
        # Windows that chose one place: Caffe keeps one of the equal signals, the transpose adds.
        ("caffe_unpool_square", 2, {(0, 2): 10, (1, 0): 18, (1, 4): 16, (2, 2): 10}),
        (
            "caffe_unpool_rect_high",
            3,
            {(1, 1): 64, (2, 4): 6 * 27, (3, 2): 66, (4, 2): 3 * 34, (5, 1): 72, (5, 4): 36},
        ),
    ],
)
def test_unpool_adds_where_caffe_overwrote(
    cases: dict[str, Any], name: str, height: int, added: dict[tuple[int, int], int]
):
    case = cases[name]
    signal = torch.tensor(case["input"], dtype=torch.float64)[None, None]
    mask = np.array(case["mask"])
    y, x = np.divmod(mask, case["output_size"][1])
    rows, columns = np.indices(mask.shape)
    places = torch.from_numpy((y - rows) * 2 + (x - columns))[None, None]

    found = unpool(signal, places, windows_of(height, 1, across=2))

    caffe = np.array(case["expected"])
    wanted = caffe.copy()
    for place, value in added.items():
        assert caffe[place] != value
        wanted[place] = value
    assert found[0, 0].tolist() == wanted.tolist()
    assert found.sum() == signal.sum(), "nothing is lost on the way"


@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation", "ceil_mode"),
    [(2, 2, 0, 1, False), (3, 2, 1, 1, False), (3, 2, 0, 1, True), (3, 1, 1, 2, False),
     (2, 3, 0, 1, False), (12, 1, 0, 1, False), (5, 4, 2, 1, True)],
)  # fmt: skip
@pytest.mark.parametrize("ties", [False, True])
def test_unpool_by_switches_is_the_gradient_of_max_pooling(
    size: int, stride: int, padding: int, dilation: int, ceil_mode: bool, ties: bool
):
    value = noise(2, 3, 12, 12)
    value = value.relu() if ties else value
    value.requires_grad_()
    pooled = F.max_pool2d(value, size, stride, padding, dilation, ceil_mode)
    signal = noise(*pooled.shape, seed=1)
    (wanted,) = torch.autograd.grad(pooled, value, signal)
    window = Window(size, stride, padding, dilation)

    shape = (pooled.shape[2], pooled.shape[3])
    places = switches(value.detach(), (window, window), shape, (padding, padding))
    found = unpool(signal, places, (window, window))

    side = min(12, found.shape[2] - padding)
    inside = found[:, :, padding : padding + side, padding : padding + side]
    assert torch.allclose(inside, wanted[:, :, :side, :side], rtol=0, atol=1e-14)
    assert found.sum() == pytest.approx(float(signal.sum()), abs=1e-12), "none falls into padding"


def test_switches_of_a_window_of_more_than_256_places_do_not_wrap():
    value = torch.zeros(1, 1, 20, 20)
    value[0, 0, 17, 3] = 1

    places = switches(value, windows_of(20, 1), (1, 1), (0, 0))
    found = unpool(torch.full((1, 1, 1, 1), 7.0), places, windows_of(20, 1))

    assert places.item() == 17 * 20 + 3
    assert found.nonzero().tolist() == [[0, 0, 17, 3]]


@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(2, 2, 1), (3, 2, 1), (3, 1, 2), (4, 5, 1)]
)
def test_sum_pool_transpose_is_the_adjoint_of_the_sum_over_windows(
    size: int, stride: int, dilation: int
):
    signal, window = noise(2, 3, 4, 5), Window(size, stride, 0, dilation)
    found = sum_pool_transpose(signal, (window, window))
    value = noise(*found.shape, seed=1)

    filters = torch.ones(3, 1, size, size, dtype=torch.float64)
    sums = F.conv2d(value, filters, stride=stride, dilation=dilation, groups=3)
    assert (sums * signal).sum() == pytest.approx(float((value * found).sum()), rel=1e-12)


def test_sum_pool_transpose_of_one_position_fills_its_window():
    found = sum_pool_transpose(
        torch.tensor([2.0, 3.0]).reshape(1, 2, 1, 1), windows_of(3, 1, across=2)
    )

    assert found.shape == (1, 2, 3, 2)
    assert found[0, 0].unique().tolist() == [2]
    assert found[0, 1].unique().tolist() == [3]


@pytest.mark.parametrize(
    ("rule", "slope", "wanted"),
    [
        ("deconvnet", None, [2, 0, 3, 0]),
        ("guided", [True, True, False, False], [2, 0, 0, 0]),
        ("gradient", [True, True, False, False], [2, -1, 0, 0]),
        ("gradient", [0.5, 2.0, 1.0, -1.0], [1, -2, 3, 4]),
    ],
)
def test_rectify_follows_the_rule(rule: str, slope: list[float] | None, wanted: list[float]):
    signal = torch.tensor([2.0, -1.0, 3.0, -4.0])

    found = rectify(signal, rule, None if slope is None else torch.tensor(slope))

    assert found.tolist() == wanted
    assert found is signal, "no fresh memory"


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.1), nn.ELU(), nn.SiLU(), nn.GELU(), nn.Hardswish(),
     nn.Sigmoid(), nn.Tanh(), nn.Mish(), nn.Softplus(), nn.Hardtanh()],
    ids=lambda module: type(module).__name__,
)  # fmt: skip
def test_slope_of_an_activation_is_its_derivative(activation: nn.Module):
    geometry, nodes = geometry_of(activation)
    value = (4 * noise(2, 3, 12, 12)).requires_grad_()
    result = activation(value)
    (wanted,) = torch.autograd.grad(result.sum(), value)

    found = slope_of(geometry, nodes[1], {nodes[0].fx: value.detach()}, result.detach())

    assert torch.equal(found.double(), wanted)
    assert (found.dtype == torch.bool) == isinstance(activation, nn.ReLU | nn.ReLU6)


def test_pull_back_equals_autograd_and_keeps_no_gradient():
    norm = nn.LocalResponseNorm(3, alpha=0.9)
    geometry, nodes = geometry_of(norm)
    value, signal = noise(2, 3, 12, 12), noise(2, 3, 12, 12, seed=1)
    leaf = value.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(norm(leaf), leaf, signal)

    with torch.no_grad():
        found = pull_back(geometry, nodes[1], {nodes[0].fx: value}, signal)

    assert torch.equal(found[nodes[0].fx], wanted)
    assert not value.requires_grad

"""What the forward pass saves, and for which rule; crops save the same as whole frames."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from pipeline.analysis.deconvnet.forward import ForwardRecorder, Rule
from pipeline.models.crops import crop
from pipeline.models.network import open_network
from schemas.errors import LayerError

SIDE = 32


def _recorder(rule: Rule, activation: nn.Module | None = None) -> ForwardRecorder:
    torch.manual_seed(2)
    module = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 4, 3, padding=1),
            relu1=activation or nn.ReLU(),
            pool1=nn.MaxPool2d(3, 2, padding=1),
            norm1=nn.LocalResponseNorm(3),
            conv2=nn.Conv2d(4, 4, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(4, 2),
        )
    )
    network = open_network(module.double().eval(), SIDE)
    return ForwardRecorder(network.geometry, rule)


def _saves(recorder: ForwardRecorder) -> dict[str, str]:
    return {
        node.name: recorder.saves(node)
        for node in recorder.geometry.graph.nodes
        if node.fx.op == "call_module"
    }


@pytest.mark.parametrize(
    ("rule", "relu", "norm"),
    [
        ("deconvnet", "nothing", "nothing"),
        ("guided", "slope", "nothing"),
        ("gradient", "slope", "inputs"),
    ],
)
def test_recorder_saves_what_the_rule_needs(rule: Rule, relu: str, norm: str):
    saves = _saves(_recorder(rule))

    assert saves["relu1"] == saves["relu2"] == relu
    assert saves["pool1"] == "switches"
    assert saves["norm1"] == norm
    assert {saves[name] for name in ("conv1", "conv2", "pool2", "flatten", "fc")} == {"nothing"}


def test_recorder_of_a_smooth_activation_is_refused_but_for_the_gradient():
    with pytest.raises(LayerError, match="relu1 is silu; take --rule gradient"):
        _saves(_recorder("deconvnet", nn.SiLU()))
    assert _saves(_recorder("gradient", nn.SiLU()))["relu1"] == "slope"


def test_recorder_on_crops_equals_the_whole_frame():
    recorder = _recorder("deconvnet")
    dependency = recorder.geometry.dependency("relu2")
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    rows, y, x = [0, 1, 1, 0], torch.tensor([0, 7, 15, 8]), torch.tensor([15, 7, 0, 0])
    seen: dict[str, Tensor] = {}
    region = next(reversed(dependency.regions.values()))

    with torch.no_grad():
        recorder.record_frames(
            images, set(dependency.regions), "relu2", lambda name, v: seen.update({name: v})
        )
        starts = (region.down.starts(y), region.across.starts(x))
        size = (region.down.size, region.across.size)
        crops = crop(images, (2, 3), starts, size, rows)
        _, values = recorder.record_crops(dependency, crops, (y, x))

    torch.testing.assert_close(values[:, :, 0, 0], seen["relu2"][rows, :, y, x], rtol=1e-12, atol=0)

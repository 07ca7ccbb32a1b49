"""Layers have torchvision's values, names and a default choice; what cannot be traced is hooked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from pipeline.models.graph import Graph
from pipeline.models.load import published_preprocess
from pipeline.models.network import HookedNetwork, TracedNetwork, open_network
from schemas.errors import LayerError, ModelError, TraceError
from schemas.specs import LayerSelection, ModelSpec


def images(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def values_of(network: Any, names: list[str], batch: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Each layer's value as it was when its tap saw it, and the scores."""
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        scores = network.runner(names)(batch, lambda n, v: seen.update({n: v.clone()}))
    return seen, scores


def hooks_of(module: nn.Module) -> int:
    return sum(len(child._forward_hooks) for child in module.modules())


def without_weights(build: Callable[..., nn.Module], frame_px: int) -> TracedNetwork:
    """On the meta device nothing is computed."""
    with torch.device("meta"):
        module = build(num_classes=10).eval()
    return TracedNetwork(Graph(module), frame_px)


def default_names(module: nn.Module, frame_px: int) -> list[str]:
    return [layer.name for layer in open_network(module.eval(), frame_px).layers if layer.default]


@pytest.mark.parametrize(
    "name", ["resnet", "vgg_bn", "squeezenet", "densenet", "googlenet", "shufflenet", "mnasnet"]
)
def test_layer_maps_equal_torchvisions_features(family_named: Callable[[str], Any], name: str):
    module = family_named(name).build(signed=True)
    network = open_network(module, 64)
    layers = {layer.name: layer for layer in network.layers if layer.default}
    # An in-place operation would overwrite what torchvision's extractor returns.
    for child in module.modules():
        if hasattr(child, "inplace"):
            child.inplace = False
    batch = images(64)
    with torch.inference_mode():
        wanted = create_feature_extractor(module, {layer: layer for layer in layers})(batch)

    seen, _ = values_of(network, list(layers), batch)

    for layer in layers.values():
        found = layer.maps(seen[layer.name])
        assert torch.equal(found, wanted[layer.name].reshape(found.shape))
        assert found.shape == (2, layer.units, *layer.layout.map_size)


def test_layer_maps_of_channels_last_values_have_channels_first(
    family_named: Callable[[str], Any],
):
    module = family_named("convnext").build(signed=True)
    network = open_network(module, 64)
    name = "features.1.0.block.4"
    layer = next(layer for layer in network.layers if layer.name == name)
    batch = images(64)
    with torch.inference_mode():
        wanted = create_feature_extractor(module, [name])(batch)[name]

    seen, _ = values_of(network, [name], batch)

    assert (layer.kind, wanted.shape) == ("gelu", (2, 16, 16, 384))
    assert layer.layout.channel_dims == (3,)
    assert torch.equal(layer.maps(seen[name]), wanted.permute(0, 3, 1, 2))


def test_default_layers_of_vgg_are_every_relu_and_the_scores():
    network = without_weights(models.vgg11, 224)
    children = network.module.named_modules()
    relus = [name for name, child in children if isinstance(child, nn.ReLU)]

    assert [layer.name for layer in network.layers if layer.default] == [*relus, "classifier.6"]
    assert [layer.units for layer in network.layers if layer.default][-3:] == [4096, 4096, 10]


def test_default_layers_of_resnet_name_each_use_of_a_shared_relu():
    network = without_weights(models.resnet18, 64)

    names = [layer.name for layer in network.layers if layer.default]

    blocks = [f"layer{i}.{j}.relu{k}" for i in range(1, 5) for j in range(2) for k in ("", "_1")]
    assert names == ["relu", *blocks, "fc"]


def test_default_layers_of_squeezenet_end_in_its_pooled_scores():
    network = without_weights(models.squeezenet1_1, 224)

    names = [layer.name for layer in network.layers if layer.default]

    assert names[-2:] == ["classifier.2", "flatten"]


@pytest.mark.parametrize(
    ("build", "gate"),
    [
        (models.mobilenet_v3_small, "hardsigmoid"),
        (models.efficientnet_b0, "sigmoid"),
        (models.regnet_y_400mf, "sigmoid"),
    ],
)
def test_default_layers_leave_gates_out(build: Callable[[], nn.Module], gate: str):
    module = build().eval()
    network = open_network(module, 64)

    gates = [layer for layer in network.layers if layer.kind == gate]
    inner = [layer for layer in network.layers if ".avgpool" in layer.name and not layer.default]

    assert len(gates) >= 9
    assert not any(layer.default for layer in gates)
    assert len(inner) == len(gates)
    chosen = [layer for layer in network.layers if layer.default]
    assert all(layer.activation for layer in chosen[:-1])
    assert chosen[-1].kind == "linear"


def test_default_layers_keep_a_sigmoid_that_is_no_gate():
    module = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), squash=nn.Sigmoid()))

    assert default_names(module, 16) == ["squash"]


def test_default_layers_count_functional_activations():
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            value = F.leaky_relu(self.conv(x), 0.1).mean((2, 3))
            return self.fc(torch.tanh(value.relu()))

    assert default_names(Functional(), 16) == ["leaky_relu", "relu", "tanh", "fc"]


def select(network: Any, **selection: tuple[str, ...]) -> list[str]:
    return [layer.name for layer in network.select(LayerSelection(**selection))]


@pytest.fixture
def chain() -> TracedNetwork:
    parts = OrderedDict(
        conv1=nn.Conv2d(3, 4, 3),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(4, 4, 3),
        relu2=nn.ReLU(),
        flatten=nn.Flatten(),
        fc=nn.Linear(4 * 16, 2),
    )
    return open_network(nn.Sequential(parts).eval(), 8)


def test_select_without_words_takes_the_default(chain: TracedNetwork):
    assert select(chain) == ["relu1", "relu2", "fc"]
    assert select(chain, exclude=("relu*",)) == ["fc"]


def test_select_by_glob_takes_any_node_in_the_networks_order(chain: TracedNetwork):
    assert select(chain, include=("relu2", "conv*")) == ["conv1", "conv2", "relu2"]
    assert select(chain, include=("*1",), exclude=("relu?",)) == ["conv1"]
    assert select(chain, include=("[!ci]*",)) == ["relu1", "relu2", "flatten", "fc"]


def test_select_by_a_misspelt_name_lists_near_ones(chain: TracedNetwork):
    with pytest.raises(LayerError, match=r"'rleu2' matches no layer of the model; nearest: relu2"):
        select(chain, include=("rleu2",))
    with pytest.raises(LayerError, match="'pool9' matches no layer"):
        select(chain, exclude=("pool9",))
    with pytest.raises(LayerError, match="'RELU1' matches no layer"):
        select(chain, include=("RELU1",))


def test_select_that_leaves_none_is_refused(chain: TracedNetwork):
    with pytest.raises(LayerError, match="the selection leaves no layer"):
        select(chain, include=("relu1",), exclude=("relu*",))


def test_layer_by_name_is_that_one_and_a_misspelt_name_lists_near_ones(chain: TracedNetwork):
    assert chain.layer("conv2") is chain.layers[3]
    with pytest.raises(LayerError, match=r"no layer 'rleu2'; nearest: relu2"):
        chain.layer("rleu2")


def test_geometry_is_made_once_and_knows_every_layer(chain: TracedNetwork):
    assert chain.geometry is chain.geometry
    assert {chain.geometry.graph.node(layer.name).fx for layer in chain.layers} <= set(
        chain.geometry.layouts
    )


def test_select_of_a_node_that_cannot_be_scanned_says_why():
    class Grown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(self.conv(x), scale_factor=2).mean((2, 3))

    network = open_network(Grown().eval(), 8)

    with pytest.raises(LayerError, match="interpolate cannot be scanned: interpolate mixes"):
        select(network, include=("interpolate",))


def test_layers_of_transformers_are_readable_by_their_channels(transformer: Any):
    network = open_network(transformer.build(signed=True), transformer.frame)
    chosen = [layer for layer in network.layers if layer.default]

    seen, scores = values_of(network, [layer.name for layer in chosen], images(transformer.frame))

    for layer in chosen:
        assert layer.maps(seen[layer.name]).shape == (2, layer.units, *layer.layout.map_size)
    assert scores.shape == (2, 10)
    assert network.note is None


class Branching(nn.Module):
    """Cannot be traced: looks at the pictures' mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
        self.act, self.fc = nn.ReLU(inplace=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 100:
            raise RuntimeError("too bright")
        value = self.act(self.other(self.act(self.conv(x))))
        return self.fc(value.mean((2, 3)))


def test_untraceable_model_is_hooked_and_says_so():
    module = Branching().eval()

    network = open_network(module, 16)

    assert isinstance(network, HookedNetwork)
    assert network.geometry is None
    assert "Branching cannot be traced" in network.note
    assert "scanned by hooks, boxes are the whole frame" in network.note
    found = [(layer.name, layer.kind, layer.units, layer.position) for layer in network.layers]
    assert found == [("act", "relu", 4, 0), ("act_1", "relu", 6, 1), ("output", "output", 2, 2)]
    assert [layer.layout.map_size for layer in network.layers] == [(14, 14), (12, 12), (1, 1)]
    assert [layer.activation for layer in network.layers] == [True, True, False]
    assert all(layer.default for layer in network.layers)
    for layer in network.layers:
        assert layer.boxes(*np.zeros((3, 1), np.int64)).tolist() == [[0, 0, 16, 16]]
        assert "cannot be traced" in layer.layout.whole_frame


def test_untraceable_model_runs_as_it_is_and_shows_the_asked_layers():
    module = Branching().eval()
    network = open_network(module, 16)
    batch = images(16)
    with torch.inference_mode():
        first = module.conv(batch).relu()
        wanted = {"act": first, "act_1": module.other(first).relu(), "output": module(batch)}

    seen, scores = values_of(network, ["act_1", "output"], batch)

    assert seen.keys() == {"act_1", "output"}
    assert all(torch.equal(value, wanted[name]) for name, value in seen.items())
    assert torch.equal(scores, wanted["output"])
    again, _ = values_of(network, ["act"], batch)
    assert torch.equal(again["act"], wanted["act"])


def test_untraceable_model_keeps_only_its_own_hooks():
    module = Branching().eval()
    module.conv.register_forward_hook(lambda *_: None)

    network = open_network(module, 16)
    assert hooks_of(module) == 1
    values_of(network, ["act"], images(16))
    assert hooks_of(module) == 1


def test_untraceable_model_that_raises_keeps_no_hooks():
    module = Branching().eval()
    network = open_network(module, 16)

    with pytest.raises(RuntimeError, match="too bright"):
        values_of(network, ["act"], images(16) + 1000)

    assert hooks_of(module) == 0


def test_untraceable_model_whose_tap_raises_keeps_no_hooks():
    module = Branching().eval()
    network = open_network(module, 16)

    def tap(name: str, _: Tensor) -> None:
        raise ValueError(name)

    with torch.inference_mode(), pytest.raises(ValueError, match="act"):
        network.runner(["act"])(images(16), tap)

    assert hooks_of(module) == 0


class Spoilt(nn.Module):
    """A forward whose trace would be another network."""

    def __init__(self, function: Callable[[Any, Tensor, Any], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv, self.same, self.act = nn.Conv2d(3, 4, 3), nn.Identity(), nn.ReLU()
        self.function = function

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        return self.function(self, self.act(self.conv(x)) - 0.3, scale).mean((2, 3))


def through_a_view(_: Any, value: Tensor, __: Any) -> Tensor:
    value[:, :2].relu_()
    return value


def through_an_identity(net: Any, value: Tensor, __: Any) -> Tensor:
    return F.relu(net.same(value), inplace=True) + value


SPOILT = {
    "view changed in place": through_a_view,
    "identity changed in place": through_an_identity,
    "optional input": lambda _, value, scale: value if scale is None else value * scale,
    "method without a plain form": lambda _, value, __: value + torch.ones_like(value).zero_(),
    "random numbers": lambda _, value, __: value + torch.rand_like(value),
}


@pytest.mark.parametrize("name", SPOILT)
def test_model_whose_trace_is_another_network_is_hooked(name: str):
    module = Spoilt(SPOILT[name]).eval()

    network = open_network(module, 16)

    assert isinstance(network, HookedNetwork)
    assert network.note.startswith("its trace ")
    assert [layer.name for layer in network.layers] == ["act", "output"]


def test_model_with_nonfinite_weights_is_still_traced():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    with torch.no_grad():
        module[0].weight[1, 0, 0, 0] = torch.nan
        module[2].weight[1, 0, 0, 0] = torch.inf

    assert isinstance(open_network(module.eval(), 16), TracedNetwork)


def test_model_that_makes_tensors_in_its_forward_is_left_as_it_was():
    class Making(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) * torch.tensor([2.0, 3.0]).reshape(1, 2, 1, 1)

    module = Making().eval()
    before = set(vars(module))

    network = open_network(module, 8)

    assert set(vars(module)) == before
    _, scores = values_of(network, [], images(8))
    with torch.inference_mode():
        assert torch.equal(scores, module(images(8)))


@pytest.mark.parametrize("branch", [False, True])
def test_model_that_returns_more_than_scores_is_refused(branch: bool):
    class Several(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            if branch and x.sum() > 0:
                return x, x
            return x, -x

    with pytest.raises(TraceError, match="Several returns tuple, not one tensor of class scores"):
        open_network(Several().eval(), 8)


def test_model_that_fails_on_the_frame_is_refused_with_a_way_out():
    sized = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()

    assert open_network(sized, 8).layers[-1].units == 2
    with pytest.raises(
        ModelError, match=r"fails on a frame of 16 px \(.*mat1 and mat2.*preprocess.crop_px"
    ):
        open_network(sized, 16)


@pytest.fixture
def weightless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights without memory: VGG's 500 MB are neither filled nor multiplied by."""
    parameter, buffer = nn.Module.register_parameter, nn.Module.register_buffer

    def bare_parameter(module: nn.Module, name: str, given: nn.Parameter | None) -> None:
        parameter(module, name, None if given is None else nn.Parameter(given.to("meta")))

    def bare_buffer(module: nn.Module, name: str, given: Tensor | None, **options: bool) -> None:
        buffer(module, name, None if given is None else given.to("meta"), **options)

    monkeypatch.setattr(nn.Module, "register_parameter", bare_parameter)
    monkeypatch.setattr(nn.Module, "register_buffer", bare_buffer)


@pytest.mark.usefixtures("weightless")
@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
def test_every_torchvision_name_has_exact_boxes_or_a_reason():
    exact, reasons = set(), {}
    for name in (names := models.list_models(module=models)):
        options = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        module = models.get_model(name, weights=None, **options).eval()
        frame_px = published_preprocess(ModelSpec(arch=name, weights="random")).crop_px

        layers = [x for x in TracedNetwork(Graph(module), frame_px).layers if x.default]

        assert layers[-1].units == 1000, name
        assert len(layers) >= 8, name
        whole = {layer.layout.whole_frame for layer in layers if layer.layout.whole_frame}
        if whole:
            reasons[name] = whole
        else:
            exact.add(name)
    assert len(names) >= 80
    # Attention looks everywhere; whatever only convolves, pools, gates and adds is exact.
    assert {name.split("_")[0] for name in reasons} == {"maxvit", "swin", "vit"}
    assert all(why for whys in reasons.values() for why in whys)
    assert exact == set(names) - set(reasons)


def test_opening_a_network_leaves_the_random_numbers_alone(chain: TracedNetwork):
    torch.manual_seed(0)
    wanted = torch.rand(3)

    torch.manual_seed(0)
    open_network(chain.module, 8)

    assert torch.equal(torch.rand(3), wanted)

"""The traced network computes what the module computes, shows raw values, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import get_graph_node_names

from pipeline.models.graph import Graph
from schemas.errors import TraceError


def images(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def state(module: nn.Module) -> dict[str, Any]:
    """Everything of a module that a walk over it could leave changed."""
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    return {
        "tensors": {n: (id(t), t.requires_grad, t.grad) for n, t in tensors.items()},
        "values": {name: hash(t.numpy(force=True).tobytes()) for name, t in tensors.items()},
        "modules": {
            name: (id(child), child.training, getattr(child, "inplace", None), set(vars(child)))
            for name, child in module.named_modules()
        },
        "hooks": [
            (name, len(hooks))
            for child in module.modules()
            for name, hooks in vars(child).items()
            if name.endswith("_hooks")
        ],
    }


@torch.inference_mode()
def test_program_of_every_family_equals_the_module_bit_for_bit(family: Any):
    side = max(64, family.narrow)
    module = family.build(signed=True)
    before = state(module)
    batch = images(side)
    wanted = module(batch)

    graph = Graph(module)
    plain = graph.program().run(batch)
    seen: dict[str, Any] = {}
    tapped = graph.program(node.name for node in graph.nodes).run(batch, seen.__setitem__)

    assert torch.isfinite(wanted).all()
    assert wanted.unique().numel() > 2
    assert torch.equal(plain, wanted)
    assert torch.equal(tapped, wanted)
    assert len(seen) == len(graph.nodes)
    assert torch.equal(batch, images(side))
    assert state(module) == before


class Net(nn.Module):
    """Two convolutions, and a function that uses them as it likes."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.other = nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.silu = nn.ReLU(inplace=True), nn.SiLU(inplace=True)
        self.function = function

    def forward(self, pictures: Tensor) -> Tensor:
        return self.function(self, pictures).mean((2, 3))


def added(net: Any, x: Tensor) -> Tensor:
    value = net.conv(x)
    value += net.other(value)
    return value


def scaled(net: Any, x: Tensor) -> Tensor:
    value = net.conv(x)
    value *= 3
    value -= 1
    value /= 2
    return value


def skipped(net: Any, x: Tensor) -> Tensor:
    """A residual block whose shortcut is read after the in-place ReLU, and so sees it."""
    value = net.conv(x)
    return net.other(net.relu(value)) + value


IN_PLACE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "module": lambda net, x: net.relu(net.conv(x)),
    "silu module": lambda net, x: net.silu(net.conv(x)),
    "function with a flag": lambda net, x: F.relu(net.conv(x), inplace=True),
    "function with a positional flag": lambda net, x: F.leaky_relu(net.conv(x), 0.2, True),
    "function of its own": lambda net, x: torch.relu_(net.conv(x)),
    "functional of its own": lambda net, x: F.relu_(net.conv(x)),
    "method": lambda net, x: net.conv(x).relu_(),
    "method with an argument": lambda net, x: net.conv(x).clamp_(min=0.1),
    "added by method": lambda net, x: net.conv(x).add_(1).mul_(2),
    "+=": added,
    "*=": scaled,
    "dropout": lambda net, x: F.dropout(net.conv(x), 0.5, False, True),
    "shortcut": skipped,
}


@torch.inference_mode()
@pytest.mark.parametrize("name", IN_PLACE)
def test_tap_before_an_in_place_operation_sees_the_raw_value(name: str):
    module = Net(IN_PLACE[name]).eval()
    before = state(module)
    batch = images(8)
    raw, wanted = module.conv(batch), module(batch)

    seen: dict[str, Tensor] = {}
    found = Graph(module).program(["conv"]).run(batch, lambda n, v: seen.update({n: v}))

    assert (raw < 0).any()
    assert torch.equal(seen["conv"], raw)
    assert torch.equal(found, wanted)
    assert torch.equal(Graph(module).program().run(batch), wanted)
    assert state(module) == before


@torch.inference_mode()
def test_tap_sees_its_value_while_it_is_alive_and_in_order():
    module = Net(skipped).eval()
    batch = images(8)
    seen: list[tuple[str, Tensor]] = []

    program = Graph(module).program(["add", "relu", "conv"])
    program.run(batch, lambda name, value: seen.append((name, value.clone())))

    raw = module.conv(batch)
    assert [name for name, _ in seen] == ["conv", "relu", "add"]
    assert torch.equal(seen[0][1], raw)
    assert torch.equal(seen[1][1], raw.relu())
    assert torch.equal(seen[2][1], module.other(raw.relu()) + raw.relu())


@torch.inference_mode()
def test_images_that_the_module_changes_in_place_stay_as_they_are():
    module = Net(lambda net, x: net.conv(x.sub_(1))).eval()
    batch = images(8)

    found = Graph(module).program().run(batch)

    assert torch.equal(batch, images(8))
    assert torch.equal(found, module(images(8)))


def test_reused_relu_gets_numbered_names():
    def twice(net: Any, x: Tensor) -> Tensor:
        return net.relu(net.other(net.relu(net.conv(x))))

    nodes = [(node.name, node.kind) for node in Graph(Net(twice).eval()).nodes]

    assert [pair for pair in nodes if pair[1] == "relu"] == [("relu", "relu"), ("relu_1", "relu")]
    assert [name for name, _ in nodes] == [
        "pictures", "conv", "relu", "other", "relu_1", "mean", "output",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arch",
    ["alexnet", "vgg11_bn", "resnet18", "squeezenet1_1", "densenet121", "googlenet",
     "mnasnet0_5", "shufflenet_v2_x0_5"],
)  # fmt: skip
def test_names_equal_torchvisions(arch: str):
    extra = {"init_weights": False} if arch == "googlenet" else {}
    with torch.device("meta"):
        module = models.get_model(arch, weights=None, **extra).eval()

    names = [node.name for node in Graph(module).nodes]

    wanted = get_graph_node_names(module, suppress_diff_warning=True)[1]
    assert names == [*wanted, "output"]


def test_output_names_the_node_that_the_network_returns():
    with torch.device("meta"):
        assert Graph(models.squeezenet1_1().eval()).output == "flatten"
        assert Graph(models.resnet18().eval()).output == "fc"


@torch.inference_mode()
def test_program_until_a_node_runs_nothing_after_it():
    module = Net(lambda net, x: net.other(net.conv(x))).eval()
    graph = Graph(module)
    visited = []

    graph.program(until="other").visit(images(8), lambda node, *_: visited.append(str(node)))

    assert visited == ["pictures", "conv", "other"]
    assert [node.name for node in graph.up_to("conv")] == ["pictures", "conv"]


@torch.inference_mode()
def test_visit_shows_every_value_with_its_inputs():
    module = Net(skipped).eval()
    graph = Graph(module)
    shown = {}

    def visitor(node: Any, value: Any, alive: dict[Any, Any]) -> None:
        shown[str(node)] = (value, [alive[used] for used in node.all_input_nodes])

    graph.program(["conv"]).visit(images(8), visitor)

    assert list(shown) == [str(node.fx) for node in graph.nodes]
    assert torch.equal(shown["relu"][1][0], module.conv(images(8)))
    assert torch.equal(shown["output"][0], module(images(8)))


@torch.inference_mode()
def test_call_runs_one_node_out_of_place_on_given_values():
    graph = Graph(Net(IN_PLACE["module"]).eval())
    value = torch.tensor([[-1.0, 2.0]])

    result = graph.call(graph.node("relu"), {graph.node("conv").fx: value})

    assert result.tolist() == [[0.0, 2.0]]
    assert value.tolist() == [[-1.0, 2.0]]


def test_node_of_an_unknown_name_raises():
    with pytest.raises(KeyError):
        Graph(Net(added).eval()).node("relu9")


def test_module_that_branches_on_values_cannot_be_traced():
    module = Net(lambda net, x: net.conv(x) if x.mean() > 0 else net.conv(-x)).eval()

    with pytest.raises(TraceError, match="Net cannot be traced: symbolically traced variables"):
        Graph(module)


class Optional(nn.Module):
    """Takes inputs of its own beside the images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, pictures: Tensor, scale: float = 2.0) -> Tensor:
        return self.conv(pictures).mean((2, 3)) * scale


class Demanding(Optional):
    """Cannot do without its second input."""

    def forward(self, pictures: Tensor, scale: float) -> Tensor:
        return super().forward(pictures, scale)


@torch.inference_mode()
def test_second_input_takes_its_default_or_is_refused():
    module = Optional().eval()

    assert torch.equal(Graph(module).program().run(images(8)), module(images(8)))
    with pytest.raises(TraceError, match="a second input, scale, that has no default"):
        Graph(Demanding()).program().run(images(8))


@pytest.mark.parametrize(
    "function",
    [lambda net, x: (net.conv(x), x), lambda net, x: {"scores": net.conv(x)}],
)
def test_network_that_returns_more_than_scores_is_refused(function: Any):
    class Several(Net):
        def forward(self, pictures: Tensor) -> Any:
            return self.function(self, pictures)

    with pytest.raises(TraceError, match="not one tensor of class scores; wrap it"):
        Graph(Several(function))

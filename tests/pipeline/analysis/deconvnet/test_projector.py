"""Projections of real networks equal Captum's and do not depend on what runs on crops."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import NeuronDeconvolution, NeuronGradient, NeuronGuidedBackprop
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2
from torchvision.models.vgg import cfgs, make_layers

from pipeline.analysis.deconvnet.projector import Projector, Targets
from pipeline.models.network import open_network
from schemas.errors import LayerError, TraceError
from tests.projecting import Place, Subject, images_of, largest_difference
from tests.tiny_nets import forked, small

EXACT = 1e-9
"""Largest difference in float64, relative to the scale of the picture."""

NEAR_TIES = 0.05
"""Share of fp32 pictures that may differ by more than 1e-5: a pool chose another of two maxima."""


def share_beyond(found: Tensor, wanted: Tensor) -> float:
    each = [
        largest_difference(one[None], other[None]) for one, other in zip(found, wanted, strict=True)
    ]
    return sum(difference >= 1e-5 for difference in each) / len(each)


def vgg() -> nn.Module:
    """VGG-11 with a thin head: its 4096 units only cost time."""
    net = models.VGG(make_layers(cfgs["A"]), num_classes=7, init_weights=False)
    net.classifier = nn.Sequential(
        nn.Linear(25088, 16), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(16, 7)
    )
    return net


def googlenet() -> nn.Module:
    return models.googlenet(aux_logits=False, init_weights=False, transform_input=True)


def small_densenet() -> nn.Module:
    return models.DenseNet(8, (3, 3, 2, 2), 16, num_classes=5)


NETS: dict[str, Callable[[], nn.Module]] = {
    "squeezenet": models.squeezenet1_1,
    "vgg": vgg,
    "resnet": models.resnet18,
    "googlenet": googlenet,
    "shufflenet": models.shufflenet_v2_x0_5,
    "densenet": models.densenet121,
    "small_densenet": small_densenet,
}


def build(make: Callable[[], nn.Module], dtype: torch.dtype = torch.float64) -> nn.Module:
    """A network with random weights that let values through to its end."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = make()
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.normal_(module.running_mean, std=0.3)
    return net.eval().requires_grad_(requires_grad=False).to(dtype)


class SplitBlock(nn.Module):
    """A residual block whose one ReLU is two, so that each can have a hook."""

    def __init__(self, block: BasicBlock) -> None:
        super().__init__()
        self.below = nn.Sequential(block.conv1, block.bn1, nn.ReLU(), block.conv2, block.bn2)
        self.beside = block.downsample or nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, value: Tensor) -> Tensor:
        return self.relu(self.below(value) + self.beside(value))


def for_captum(net: nn.Module) -> nn.Module:
    """A copy in which every rectifier is a module of its own that changes nothing in place."""
    net = copy.deepcopy(net)
    for name, module in list(net.named_modules()):
        if isinstance(module, BasicBlock):
            parent, _, own = name.rpartition(".")
            setattr(net.get_submodule(parent), own, SplitBlock(module))
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return net


METHODS = {
    "deconvnet": NeuronDeconvolution,
    "guided": NeuronGuidedBackprop,
    "gradient": NeuronGradient,
}


def captum_s(
    subject: Subject, net: nn.Module, module: str, layer: str, places: list[Place]
) -> Tensor:
    """Captum's pictures of a seed of one, times the activations."""
    method = METHODS[subject.rule](net, net.get_submodule(module))
    maps, pictures = subject.maps(layer), []
    for row, unit, y, x in places:
        flat = maps.shape[2:] == (1, 1)
        images = subject.images[row : row + 1].clone().requires_grad_()
        found = method.attribute(images, (unit,) if flat else (unit, y, x))
        pictures.append(found.detach() * maps[row, unit, y, x])
    return torch.cat(pictures)


CAPTUM = [
    (
        "squeezenet",
        "deconvnet",
        64,
        {"features.12.cat": "features.12", "features.4.cat": "features.4"},
    ),
    ("squeezenet", "guided", 64, {"features.9.cat": "features.9", "features.2": "features.2"}),
    (
        "vgg",
        "deconvnet",
        48,
        {
            "features.19": "features.19",
            "features.10": "features.10",
            "classifier.3": "classifier.3",
        },
    ),
    (
        "resnet",
        "deconvnet",
        64,
        {
            "layer2.1.relu_1": "layer2.1.relu",
            "layer4.1.relu_1": "layer4.1.relu",
            "layer1.0.relu": "layer1.0.below.2",
            "fc": "fc",
        },
    ),
    (
        "googlenet",
        "gradient",
        64,
        {
            "inception3b.cat": "inception3b",
            "inception4d.branch2.1.relu": "inception4d.branch2.1",
            "fc": "fc",
        },
    ),
    (
        "densenet",
        "gradient",
        64,
        {
            "features.transition1.conv": "features.transition1.conv",
            "features.denseblock3.denselayer4.conv2": "features.denseblock3.denselayer4.conv2",
            "classifier": "classifier",
        },
    ),
]


@pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor 0")
@pytest.mark.parametrize(("name", "rule", "side", "layers"), CAPTUM)
def test_projection_equals_captum_s_times_the_activation(
    name: str, rule: str, side: int, layers: dict[str, str]
):
    net = build(NETS[name])
    subject = Subject(net, images_of(2, side), rule)
    split = for_captum(net)

    for layer, module in layers.items():
        places = subject.places(layer, inside=1)
        wanted = captum_s(subject, split, module, layer, places)
        found = subject.project(layer, places, "chosen")
        assert largest_difference(found.pictures, wanted) < EXACT, layer


@pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor 0")
@pytest.mark.parametrize(
    ("name", "layer", "module"),
    [
        ("squeezenet", "features.12.cat", "features.12"),
        ("resnet", "layer3.1.relu_1", "layer3.1.relu"),
    ],
)
def test_projection_in_fp32_differs_from_captum_s_in_few_near_ties_only(
    name: str, layer: str, module: str
):
    net = build(NETS[name], torch.float32)
    subject = Subject(net, images_of(2, 64, torch.float32))
    places = subject.places(layer, inside=16)

    wanted = captum_s(subject, for_captum(net), module, layer, places)
    found = subject.project(layer, places, "chosen").pictures

    assert share_beyond(found, wanted) <= NEAR_TIES


LOCAL = {
    "squeezenet": (64, ["features.4.expand3x3_activation", "features.6.cat", "features.3.squeeze"]),
    "vgg": (64, ["features.14", "features.6"]),
    "resnet": (96, ["layer2.1.relu", "layer1.1.add"]),
    "googlenet": (96, ["inception4a.branch3.0.relu", "inception3a.branch4.0"]),
    "shufflenet": (96, ["stage3.1.branch2.2", "stage2.2.branch2.7"]),
    "small_densenet": (
        96,
        ["features.denseblock2.denselayer3.relu2", "features.denseblock1.denselayer3.cat"],
    ),
}
"""Side of a frame, and layers that crops do for."""


@pytest.mark.parametrize(
    ("name", "rule"),
    [*((name, "deconvnet") for name in LOCAL), ("squeezenet", "guided"), ("resnet", "gradient")],
)
def test_projection_on_crops_equals_that_on_whole_frames(name: str, rule: str):
    side, layers = LOCAL[name]
    subject = Subject(build(NETS[name]), images_of(2, side), rule)

    for layer in layers:
        places = subject.places(layer, inside=4)
        whole, cut = (subject.project(layer, places, how) for how in ("frames", "crops"))
        assert whole.pictures.flatten(1).abs().amax(1).min() > 0, "a picture of nothing"
        assert largest_difference(cut.pictures, whole.pictures) < EXACT, layer
        assert torch.allclose(cut.reproduced, whole.values.float(), rtol=1e-6)


@pytest.mark.parametrize("name", LOCAL)
def test_projection_in_fp32_differs_in_few_near_ties_only(name: str):
    side, layers = LOCAL[name]
    net = build(NETS[name], torch.float32).to(memory_format=torch.channels_last)
    images = images_of(2, side, torch.float32).contiguous(memory_format=torch.channels_last)
    subject = Subject(net, images)

    for layer in layers:
        places = subject.places(layer, inside=20)
        whole, cut = (subject.project(layer, places, how) for how in ("frames", "crops"))
        assert share_beyond(cut.pictures, whole.pictures) <= NEAR_TIES, layer


def small_vit() -> nn.Module:
    net = models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=5)
    nn.init.normal_(net.heads.head.weight)
    return net


def small_swin() -> nn.Module:
    return models.SwinTransformer([4, 4], 24, [2, 2], [2, 2], [4, 4], num_classes=5)


def small_swin_v2() -> nn.Module:
    return models.SwinTransformer(
        [4, 4], 24, [2, 2], [2, 2], [4, 4], num_classes=5,
        block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2,
    )  # fmt: skip


def small_maxvit() -> nn.Module:
    return models.MaxVit((64, 64), 16, 2, [16, 32], [1, 1], 8, 0.0, num_classes=5)


def small_efficientnet() -> nn.Module:
    """The blocks of both versions."""
    blocks = [
        MBConvConfig(1, 3, 1, 32, 16, 1, width_mult=0.5, depth_mult=1),
        FusedMBConvConfig(4, 3, 2, 8, 16, 2),
        MBConvConfig(6, 5, 2, 16, 24, 2, width_mult=1, depth_mult=1),
    ]
    return models.EfficientNet(blocks, 0.2, num_classes=5)


def small_resnext() -> nn.Module:
    return models.ResNet(Bottleneck, [1, 1, 1, 1], num_classes=5, groups=32, width_per_group=4)


def small_convnext() -> nn.Module:
    blocks = [CNBlockConfig(12, 24, 1), CNBlockConfig(24, None, 2)]
    return models.ConvNeXt(blocks, layer_scale=0.5, num_classes=5)


FAMILIES: dict[str, tuple[Callable[[], nn.Module], int, str | None]] = {
    "alexnet": (models.alexnet, 64, None),
    "convnext": (small_convnext, 48, "gelu"),
    "densenet": (small_densenet, 48, None),
    "efficientnet": (small_efficientnet, 48, "silu"),
    "googlenet": (googlenet, 48, None),
    "inception": (lambda: models.inception_v3(aux_logits=False, init_weights=False), 80, None),
    "maxvit": (small_maxvit, 64, "tanh"),
    "mnasnet": (models.mnasnet0_5, 48, None),
    "mobilenet_v2": (models.mobilenet_v2, 48, None),
    "mobilenet_v3": (models.mobilenet_v3_small, 48, "hardswish"),
    "regnet_x": (models.regnet_x_400mf, 48, None),
    "regnet_y": (models.regnet_y_400mf, 48, "sigmoid"),
    "resnet": (models.resnet18, 48, None),
    "resnext": (small_resnext, 48, None),
    "shufflenet": (models.shufflenet_v2_x0_5, 48, None),
    "squeezenet": (models.squeezenet1_1, 48, None),
    "swin": (small_swin, 32, "gelu"),
    "swin_v2": (small_swin_v2, 32, "gelu"),
    "vgg": (vgg, 32, None),
    "vit": (small_vit, 32, "gelu"),
}
"""A small member of every family of torchvision, side of a frame, and what its deconvnet lacks."""


def some_layers(subject: Subject) -> list[str]:
    """Three layers spread over the depth of the network, the last one with them."""
    readable = [layer.name for layer in subject.network.layers if layer.kind != "placeholder"]
    return [readable[int(share * (len(readable) - 1))] for share in (0.3, 0.7, 1)]


@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_of_every_family_equals_autograd(name: str):
    make, side, _ = FAMILIES[name]
    net = build(make)
    subject = Subject(net, images_of(2, side), "gradient")

    for layer in some_layers(subject):
        places = subject.places(layer, inside=1)[:3]
        images = subject.images.clone().requires_grad_()
        held: dict[str, Tensor] = {}
        subject.network.runner([layer])(images, held.__setitem__)
        maps = subject.layers[layer].maps(held[layer])
        wanted = [
            torch.autograd.grad(
                maps[r, u, y, x], images, maps[r, u, y, x].detach(), retain_graph=True
            )[0][r]
            for r, u, y, x in places
        ]
        found = subject.project(layer, places, "chosen")
        assert largest_difference(found.pictures, torch.stack(wanted)) < EXACT, layer


@pytest.mark.parametrize("name", FAMILIES)
def test_deconvnet_of_every_family_works_or_says_why_not(name: str):
    make, side, lacks = FAMILIES[name]
    subject = Subject(build(make, torch.float32), images_of(1, side, torch.float32))

    if lacks:
        with pytest.raises(LayerError, match=f"is {lacks}; take --rule gradient"):
            subject.projector(some_layers(subject)[-1])
        return
    for layer in some_layers(subject):
        done = subject.project(layer, subject.places(layer, inside=1), "chosen")
        assert done.pictures.isfinite().all()
        assert torch.allclose(done.reproduced, done.values, rtol=1e-4, atol=1e-5)


def test_projector_of_an_untraceable_network_says_why():
    network = open_network(forked().eval(), 24)

    with pytest.raises(TraceError, match="projections need a traced network: Forked cannot be"):
        Projector(network, network.layers, "deconvnet")


def every_target(subject: Subject, names: list[str]) -> dict[str, Targets]:
    return {name: subject.targets(name, subject.places(name)) for name in names}


def test_project_takes_crops_below_and_shares_frames_above(monkeypatch: pytest.MonkeyPatch):
    subject = Subject(build(models.squeezenet1_1), images_of(3, 96))
    names = ["features.1", "features.4.cat", "features.12.cat", "classifier.2"]
    ways: dict[str, list[str]] = {"crops": [], "frames": []}
    crops, frames = Projector._from_crops, Projector._from_frames

    def record_crops(self: Projector, images: Tensor, name: str, part: Targets) -> object:
        ways["crops"].append(name)
        return crops(self, images, name, part)

    def record_frames(self: Projector, images: Tensor, targets: dict[str, Targets]) -> object:
        ways["frames"] += targets
        return frames(self, images, targets)

    monkeypatch.setattr(Projector, "_from_crops", record_crops)
    monkeypatch.setattr(Projector, "_from_frames", record_frames)

    low = subject.projector(*names).project(subject.images, every_target(subject, names[:2]))
    assert (ways["frames"], Counter(ways["crops"])) == ([], Counter(names[:2]))
    every = subject.projector(*names).project(subject.images, every_target(subject, names))

    assert Counter(ways["frames"]) == Counter(names), "the deepest needs the whole frame anyway"
    for name, done in low.items():
        other = every[name]
        assert largest_difference(torch.stack(done.pictures), torch.stack(other.pictures)) < EXACT


def test_project_of_some_targets_does_not_depend_on_the_others():
    subject = Subject(build(models.squeezenet1_1), images_of(3, 64))
    name = "features.9.cat"
    targets = subject.targets(name, subject.places(name, inside=6))
    projector = subject.projector(name)
    every = projector.project(subject.images, {name: targets})[name]

    for index in range(len(targets.rows)):
        one = slice(index, index + 1)
        alone = Targets(
            targets.rows[one],
            targets.units[one],
            targets.y[one],
            targets.x[one],
            targets.values[one],
            targets.boxes[one],
        )
        done = projector.project(subject.images, {name: alone})[name]
        wanted = every.pictures[index][None]
        assert largest_difference(done.pictures[0][None], wanted) < EXACT
        assert done.reproduced[0] == pytest.approx(float(every.reproduced[index]), rel=1e-6)


def test_project_in_small_chunks_gives_the_same(monkeypatch: pytest.MonkeyPatch):
    subject = Subject(build(models.squeezenet1_1), images_of(2, 64))
    layer = "features.4.cat"
    places = subject.places(layer, inside=6)
    together = {how: subject.project(layer, places, how) for how in ("crops", "frames")}
    monkeypatch.setattr("pipeline.analysis.deconvnet.projector._MOST_AT_ONCE", 3)

    for how, wanted in together.items():
        found = subject.project(layer, places, how)
        assert largest_difference(found.pictures, wanted.pictures) < EXACT
        assert torch.allclose(found.reproduced, wanted.reproduced)


def test_project_returns_each_target_s_own_box():
    subject = Subject(small().double().eval(), images_of(2, 24))
    name, places = "relu2", subject.places("relu2")
    layer, whole = subject.layers[name], subject.project(name, places).pictures
    targets = subject.targets(name, places)
    own = layer.boxes(targets.units.numpy(), targets.y.numpy(), targets.x.numpy())
    own[0] = [-3, 2, 5, 30]
    targets = Targets(targets.rows, targets.units, targets.y, targets.x, targets.values, own)

    with torch.no_grad():
        done = subject.projector(name).project(subject.images, {name: targets})[name]

    for picture, frame, box in zip(done.pictures, whole, own, strict=True):
        padded = np.pad(frame.numpy(), ((0, 0), (40, 40), (40, 40)))
        y0, x0, y1, x1 = box + 40
        np.testing.assert_allclose(picture.numpy(), padded[:, y0:y1, x0:x1], atol=1e-12)


def state(net: nn.Module) -> dict[str, object]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "hooks": [len(getattr(m, kind)) for m in net.modules() for kind in hooks],
        "training": [m.training for m in net.modules()],
        "inplace": [getattr(m, "inplace", None) for m in net.modules()],
        "modules": [(name, id(m)) for name, m in net.named_modules()],
        "attributes": [sorted(vars(m)) for m in net.modules()],
        "requires_grad": [p.requires_grad for p in net.parameters()],
        "grads": [p.grad for p in net.parameters()],
        "values": [(name, value.clone()) for name, value in net.state_dict().items()],
        "addresses": [value.data_ptr() for value in net.state_dict().values()],
    }


@pytest.mark.parametrize("rule", ["deconvnet", "guided", "gradient"])
def test_project_leaves_the_user_s_network_as_it_was(rule: str):
    net = build(models.resnet18).requires_grad_()
    net.layer4[0].conv1.requires_grad_(requires_grad=False)
    images = images_of(2, 48)
    before, pixels = state(net), images.clone()

    subject = Subject(net, images, rule)
    for layer, how in (("layer1.0.relu", "crops"), ("layer2.0.relu_1", "chosen"), ("fc", "frames")):
        subject.project(layer, subject.places(layer), how)

    after = state(net)
    assert torch.equal(images, pixels)
    for (name, one), (_, other) in zip(before.pop("values"), after.pop("values"), strict=True):
        assert torch.equal(one, other), name
    assert after == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rule", ["deconvnet", "gradient"])
def test_projection_on_a_gpu_equals_that_on_a_cpu(rule: str):
    net = build(models.shufflenet_v2_x0_5)
    on_cpu = Subject(net, images_of(2, 96), rule)
    on_gpu = Subject(copy.deepcopy(net).cuda(), images_of(2, 96).cuda(), rule)

    for layer, how in (
        ("stage2.2.branch2.7", "crops"),
        ("stage3.1.cat", "frames"),
        ("fc", "frames"),
    ):
        places = on_cpu.places(layer)
        found, wanted = (one.project(layer, places, how) for one in (on_gpu, on_cpu))
        assert largest_difference(found.pictures.cpu(), wanted.pictures) < EXACT, layer
        assert torch.allclose(found.reproduced, wanted.reproduced, rtol=1e-6)

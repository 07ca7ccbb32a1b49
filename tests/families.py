"""One small member of every family of torchvision's classifiers, with weights that suit a test.

Invariant: a family gives the same network each time; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torchvision import models
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import Bottleneck

CLASSES = 10


@dataclass(frozen=True)
class Family:
    """How to build a member.

    Attributes:
        name: of the family.
        make: builds it, with any weights.
        frame: side of a frame on which every layer has an exact box.
        narrow: the shortest side that the network takes.
        on_meta: whether it can be built without memory, to skip torch's own initial weights.
    """

    name: str
    make: Callable[[], nn.Module]
    frame: int = 224
    narrow: int = 32
    on_meta: bool = True

    def build(self, *, signed: bool) -> nn.Module:
        """The network in eval mode, random weights, of both signs or positive."""
        with torch.device("meta" if self.on_meta else "cpu"):
            module = _with_thin_classifier(self.make())
        if self.on_meta:
            module = module.to_empty(device="cpu")
        _fill(module, signed=signed)
        return module.eval().requires_grad_(requires_grad=False)


def _with_thin_classifier(module: nn.Module, width: int = 16) -> nn.Module:
    """AlexNet's and VGG's 4096 units only cost time."""
    last = getattr(module, "classifier", nn.Identity())
    wide = [child for child in last.children() if isinstance(child, nn.Linear)]
    if len(wide) == 3:
        wide[0].out_features = wide[1].in_features = wide[1].out_features = width
        wide[2].in_features = width
        for linear in wide:
            linear.weight = nn.Parameter(torch.empty(linear.out_features, linear.in_features))
            linear.bias = nn.Parameter(torch.empty(linear.out_features))
    return module


def _fill(module: nn.Module, *, signed: bool) -> None:
    """Values keep their order of magnitude from layer to layer, so that none overflows."""
    generator = torch.Generator().manual_seed(0)
    floats = [value for value in module.state_dict().values() if value.is_floating_point()]
    variances = [value for name, value in module.named_buffers() if name.endswith("running_var")]
    for value in floats:
        value.uniform_(-1.5 if signed else 0.5, 1.5, generator=generator)
        if value.dim() > 1:
            inputs = value[0].numel()
            value.mul_(1.6 * inputs**-0.5 if signed else 1 / inputs)
    for value in variances:
        value.abs_().add_(0.5)


def _named(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: models.get_model(name, weights=None, num_classes=CLASSES, **options)


def _residual(**options: int) -> Callable[[], nn.Module]:
    return lambda: models.ResNet(Bottleneck, [1, 1, 1, 1], num_classes=CLASSES, **options)


def _densenet() -> nn.Module:
    """Four dense blocks of six layers, a quarter of DenseNet-121's width."""
    return models.DenseNet(8, (6, 6, 6, 6), num_init_features=16, num_classes=CLASSES)


def _efficientnet_v2() -> nn.Module:
    """Every kind of block of EfficientNetV2 once or twice."""
    blocks = [
        FusedMBConvConfig(1, 3, 1, 24, 24, 2),
        FusedMBConvConfig(4, 3, 2, 24, 48, 1),
        MBConvConfig(4, 3, 2, 48, 64, 2),
        MBConvConfig(6, 3, 1, 64, 80, 1),
        MBConvConfig(6, 3, 2, 80, 96, 1),
    ]
    return models.EfficientNet(blocks, 0.0, num_classes=CLASSES, last_channel=128)


def _regnet(**options: float) -> Callable[[], nn.Module]:
    """RegNet-400MF at half its depth."""
    return lambda: models.RegNet(
        BlockParams.from_init_params(
            depth=10, w_0=24, w_a=36.0, w_m=2.5, group_width=16, **options
        ),
        num_classes=CLASSES,
    )


_INCEPTION = {"aux_logits": False, "init_weights": False, "transform_input": True}
CONVOLUTIONAL = [
    Family("alexnet", _named("alexnet"), narrow=64),
    Family("vgg", _named("vgg11")),
    Family("vgg_bn", _named("vgg11_bn")),
    Family("resnet", _named("resnet18")),
    Family("resnext", _residual(groups=32, width_per_group=4)),
    Family("wide_resnet", _residual(width_per_group=128)),
    Family("squeezenet", _named("squeezenet1_1")),
    Family("densenet", _densenet),
    Family("googlenet", _named("googlenet", **_INCEPTION), frame=160),
    Family("inception_v3", _named("inception_v3", **_INCEPTION), frame=96, narrow=75),
    Family("mobilenet_v2", _named("mobilenet_v2")),
    Family("mobilenet_v3", _named("mobilenet_v3_small")),
    Family("efficientnet", _named("efficientnet_b0")),
    Family("efficientnet_v2", _efficientnet_v2),
    Family("mnasnet", _named("mnasnet0_5")),
    Family("shufflenet", _named("shufflenet_v2_x0_5")),
    Family("regnet_x", _regnet(), on_meta=False),
    Family("regnet_y", _regnet(se_ratio=0.25), on_meta=False),
    Family("convnext", _named("convnext_tiny")),
]
TRANSFORMERS = [
    Family(
        "vit",
        lambda: models.VisionTransformer(64, 16, 2, 2, 32, 64, num_classes=CLASSES),
        frame=64,
        on_meta=False,
    ),
    Family(
        "swin",
        lambda: models.SwinTransformer([4, 4], 24, [2, 2], [2, 2], [4, 4], num_classes=CLASSES),
        frame=64,
        on_meta=False,
    ),
    Family(
        "maxvit",
        lambda: models.MaxVit((64, 64), 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=CLASSES),
        frame=64,
        on_meta=False,
    ),
]

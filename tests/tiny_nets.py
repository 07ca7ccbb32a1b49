"""Builders of small networks, loaded by tests through an import path, and small pictures.

Invariant: a builder gives the same network in every process; nothing outside torch is imported,
so that a copy of this file works anywhere.
"""

from __future__ import annotations

import os
import signal
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

CRASH = "crash_after"
"""A file of this name beside a copy of this module makes `mortal` end its process once: it holds
the folder of the shards' markers and how many have to stand by then."""


def small(num_classes: int = 5) -> nn.Module:
    """Two convolutions with ReLU, average pool, linear; 6 and 8 units."""
    torch.manual_seed(7)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 6, 3, padding=1),
            relu1=nn.ReLU(inplace=True),
            pool1=nn.MaxPool2d(3, 2),
            conv2=nn.Conv2d(6, 8, 3, stride=2),
            relu2=nn.ReLU(inplace=True),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(8, num_classes),
        )
    )


def wounded() -> nn.Module:
    """`small` whose second ReLU's unit 3 never fires, and whose last unit 1 is always negative."""
    net = small()
    with torch.no_grad():
        net.conv2.weight[3], net.conv2.bias[3] = 0, -1
        net.fc.weight[1], net.fc.bias[1] = -net.fc.weight[1].abs(), -1
    return net


def dead() -> nn.Module:
    """`small` without one unit that fires in relu2."""
    net = small()
    nn.init.zeros_(net.conv2.weight)
    nn.init.constant_(net.conv2.bias, -1)
    return net


def constant() -> nn.Module:
    """`small` that gives the same positive value everywhere."""
    net = small()
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0 if parameter.dim() > 1 else 0.7)
    return net


def smooth() -> nn.Module:
    """`small` with SiLU for its second ReLU: the deconvnet's rule is defined for rectifiers."""
    net = small()
    net.relu2 = nn.SiLU()
    return net


def poisoned() -> nn.Module:
    """`small` with one NaN in unit 2 of the first convolution."""
    net = small()
    with torch.no_grad():
        net.conv1.weight[2, 0, 1, 1] = torch.nan
    return net


def infinite() -> nn.Module:
    """`small` with one infinity in unit 2 of the first convolution."""
    net = small()
    with torch.no_grad():
        net.conv1.weight[2, 0, 1, 1] = torch.inf
    return net


def overflowing() -> nn.Module:
    """`small` whose first unit shows red alone, beyond fp32's largest number from 250 upwards."""
    net = small()
    red = (249.5 / 255 - 0.485) / 0.229
    with torch.no_grad():
        net.conv1.weight[0], net.conv1.bias[0] = 0, 0
        net.conv1.weight[0, 0, 1, 1] = 2.0 / red * 2.0**127
    return net


def flat() -> nn.Module:
    """No convolution at all, for frames of 16 pixels."""
    torch.manual_seed(3)
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(3 * 16 * 16, 4)))


def maps_only() -> nn.Module:
    """Returns maps, not scores of classes."""
    torch.manual_seed(3)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), relu=nn.ReLU()))


class Forked(nn.Module):
    """Cannot be traced: bright batches go through one ReLU, dark ones through the other."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small()
        self.bright, self.dark = nn.ReLU(), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        scores = self.body(images)
        return self.bright(scores) if images.mean() > 0 else self.dark(scores)


def forked() -> nn.Module:
    """See `Forked`; a frame of zeros, by which layers are found, counts as dark."""
    return Forked()


def mortal() -> nn.Module:
    """`small` that kills its process in the middle of a shard, once; see `CRASH`."""
    net = small()
    net.conv2.register_forward_pre_hook(_crash_once)
    return net


def _crash_once(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    order = Path(__file__).with_name(CRASH)
    # One image alone only shows the network's shapes.
    if len(inputs[0]) == 1 or not order.exists():
        return
    # Of several processes that come here at once, the one whose unlink succeeds dies.
    with suppress(FileNotFoundError):
        folder, count = order.read_text().splitlines()
        if len(list(Path(folder).glob("*.json"))) >= int(count):
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

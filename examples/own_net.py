"""A network of one's own, scanned by its import path.

    unitscope layers --arch examples/own_net.py:own_net --trust-code --weights random
    unitscope scan --arch examples/own_net.py:own_net --trust-code --weights mine.safetensors \
        --data photos/ --out runs/mine --set preprocess.resize_px=72 --set preprocess.crop_px=64

Any function that returns a `torch.nn.Module` will do, from [N, 3, S, S] to [N, classes].
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn


class OwnNet(nn.Module):
    """Two convolutions with a short cut around the second; its ReLUs are functions, no modules."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 5, stride=2, padding=2)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.scores = nn.Linear(16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, S, S] to logits [N, classes]."""
        edges = F.relu(self.first(images))
        parts = F.relu(self.second(edges) + edges)
        scores: Tensor = self.scores(parts.mean(dim=(2, 3)))
        return scores


def own_net(num_classes: int = 10) -> nn.Module:
    """What ``--arch`` names; the weights file decides ``num_classes`` where it differs."""
    return OwnNet(num_classes)

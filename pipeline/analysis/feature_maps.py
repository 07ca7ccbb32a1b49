"""The feature maps of one image: a layer's values as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.models.network import Network


def feature_maps(
    network: Network, image: Tensor, layers: Sequence[str], of: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """What is asked of each layer's values, in the order of ``layers``.

    Args:
        network: on the device of the image.
        image: [1, 3, S, S], the network's input.
        layers: names of layers.
        of: called with a layer's values [C, H, W], or [C] where it has no positions; what it gives
            is kept, so that no more than that is in memory after the run.
    """
    found: dict[str, Tensor] = {}

    def tap(name: str, values: Tensor) -> None:
        found[name] = of(values[0])

    with torch.inference_mode():
        network.runner(layers)(image, tap)
    return {name: found[name] for name in layers}


def mean_over_channels(values: Tensor) -> Tensor:
    """``sum over c of values[c] / C``, float64 [H, W], of values [C, H, W] of any float dtype."""
    return values.double().mean(dim=0)

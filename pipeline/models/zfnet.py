"""ZFNet and its baseline, Krizhevsky's net, with the paper's sizes (ZF 3, fig. 3), and a small one.

They share their layers' names, so that what is asked of one can be asked of all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from schemas.specs import PreprocessSpec


@dataclass(frozen=True)
class _Upper:
    """The sizes of what follows the second layer.

    Attributes:
        widths: maps of conv3, conv4 and conv5.
        side: of pool5's maps.
        hidden: units of fc6 and of fc7.
        dropout: on both.
    """

    widths: tuple[int, int, int]
    side: int
    hidden: int
    dropout: float


_PAPER = _Upper((384, 384, 256), side=6, hidden=4096, dropout=0.5)


def _response_norm() -> nn.LocalResponseNorm:
    # Krizhevsky's b = a / (2 + 1e-4 sum a^2)^0.75 over 5 maps; torch divides alpha by the size.
    return nn.LocalResponseNorm(size=5, alpha=5e-4, beta=0.75, k=2.0)


def _pool() -> nn.MaxPool2d:
    # Ceil mode gives the paper's 110 -> 55 and 26 -> 13.
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _network(conv1: nn.Conv2d, conv2: nn.Conv2d, upper: _Upper, num_classes: int) -> nn.Sequential:
    """The chain of fig. 3."""
    widths, hidden = upper.widths, upper.hidden
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=conv1,
            relu1=nn.ReLU(),
            pool1=_pool(),
            norm1=_response_norm(),
            conv2=conv2,
            relu2=nn.ReLU(),
            pool2=_pool(),
            norm2=_response_norm(),
            conv3=nn.Conv2d(conv2.out_channels, widths[0], 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(widths[0], widths[1], 3, padding=1),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(widths[1], widths[2], 3, padding=1),
            relu5=nn.ReLU(),
            pool5=_pool(),
            flatten=nn.Flatten(),
            fc6=nn.Linear(widths[2] * upper.side**2, hidden),
            relu6=nn.ReLU(),
            drop6=nn.Dropout(upper.dropout),
            fc7=nn.Linear(hidden, hidden),
            relu7=nn.ReLU(),
            drop7=nn.Dropout(upper.dropout),
            fc8=nn.Linear(hidden, num_classes),
        )
    )


def _draw_weights(network: nn.Sequential, draw: Callable[[Tensor], object]) -> nn.Sequential:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            draw(module.weight)
            nn.init.zeros_(module.bias)
    return network


def _as_in_the_paper(weight: Tensor) -> Tensor:
    return nn.init.normal_(weight, std=0.01)


def zfnet(num_classes: int = 1000) -> nn.Sequential:
    """ZFNet (ZF fig. 3).

    Args:
        num_classes: width of the softmax layer, ``fc8``.

    Returns:
        A network from [N, 3, 224, 224] float (RGB in 0..255 minus the mean) to logits
        [N, num_classes]; weights drawn with deviation 0.01, biases 0 (ZF 3).
    """
    conv1 = nn.Conv2d(3, 96, 7, stride=2, padding=1)
    conv2 = nn.Conv2d(96, 256, 5, stride=2)
    network = _network(conv1, conv2, _PAPER, num_classes)
    return _draw_weights(network, _as_in_the_paper)


def krizhevsky(num_classes: int = 1000) -> nn.Sequential:
    """The paper's baseline: first layer 11x11 stride 4, second 5x5 stride 1, dense (ZF 3).

    Args:
        num_classes: width of the softmax layer, ``fc8``.

    Returns:
        A network of the same input, output and layer names as `zfnet`.
    """
    conv1 = nn.Conv2d(3, 96, 11, stride=4, padding=2)
    conv2 = nn.Conv2d(96, 256, 5, padding=2)
    network = _network(conv1, conv2, _PAPER, num_classes)
    return _draw_weights(network, _as_in_the_paper)


def small_zfnet(num_classes: int = 10) -> nn.Sequential:
    """ZFNet for small frames, with a quarter of the maps: two minutes of training on two cores.

    The second layer has stride 1, so that the maps above it are nearly as large as ZFNet's.
    Weights are drawn as He et al. do, the classifier's with the paper's deviation: with 0.01
    everywhere, and half of fc6 and fc7 dropped, so short a training would not get off the ground.

    Args:
        num_classes: width of the softmax layer, ``fc8``.

    Returns:
        A network from [N, 3, 96, 96] float (RGB in -2..2) to logits [N, num_classes], with the
        layer names of `zfnet`.
    """
    conv1, conv2 = nn.Conv2d(3, 24, 7, stride=2, padding=1), nn.Conv2d(24, 48, 5, padding=2)
    upper = _Upper((64, 64, 48), side=5, hidden=256, dropout=0.3)
    network = _draw_weights(_network(conv1, conv2, upper, num_classes), nn.init.kaiming_normal_)
    nn.init.normal_(network.get_parameter("fc8.weight"), std=0.01)
    return network


ARCHITECTURES: dict[str, Callable[..., nn.Sequential]] = {
    "zfnet": zfnet,
    "krizhevsky": krizhevsky,
    "small_zfnet": small_zfnet,
}
"""The networks of the paper, and the demo's, by the name that ``--arch`` takes."""

# The paper subtracts the mean image from RGB in 0..255 (ZF 3); its mean colour stands in.
_AS_IN_THE_PAPER = PreprocessSpec(
    value_range=255.0, mean=(123.675, 116.28, 103.53), std=(1.0, 1.0, 1.0)
)

PREPROCESS: dict[str, PreprocessSpec] = {
    "zfnet": _AS_IN_THE_PAPER,
    "krizhevsky": _AS_IN_THE_PAPER,
    "small_zfnet": PreprocessSpec(
        resize_px=104, crop_px=96, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
    ),
}
"""What each of them expects of its input frames."""

"""Transposed convolution with the layer's own filters (ZF 2.1), in the form that runs fastest.

Every form gives the transpose of the convolution; they differ in the order of their sums alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from pipeline.analysis.deconvnet.transposes import empty_input, window_slices
from pipeline.models.operations import Window, Windows

_FEW = 4
"""At most so many input channels (an image's): libraries have no fast kernel for them."""

ConvTranspose = Callable[[Tensor, tuple[int, int], Tensor | None], Tensor]
"""``(signal [n, C, rows, columns], cut, only_channel) -> [n, C in, rows, columns]``: over all input
positions that the signal's positions read, padding included, less ``cut`` rows and columns on
every side; ``only_channel`` as in `weighted`."""


def conv_transpose(parameters: dict[str, Any]) -> ConvTranspose:
    """Prepare the transpose of a convolution once, to be called for every batch of signals.

    Args:
        parameters: see `run_node.conv_parameters`; the bias plays no part.
    """
    weight: Tensor = parameters["weight"].detach()
    stride, dilation = (_pair(parameters[name]) for name in ("stride", "dilation"))
    groups: int = parameters["groups"]
    down, across = (
        Window(size, step, 0, gap)
        for size, step, gap in zip(weight.shape[2:], stride, dilation, strict=True)
    )
    if groups == 1 and weight.shape[1] <= _FEW:
        return partial(_to_few_channels, weight, (down, across))
    if stride != (1, 1):
        return partial(_strided, weight, stride, groups, dilation)
    if groups == 1 and weight.shape[2:] == (1, 1):
        return partial(_by_position, weight[:, :, 0, 0].contiguous())
    return partial(_turned, _turn(weight, groups), (down.extent, across.extent), groups, dilation)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _turn(weight: Tensor, groups: int) -> Tensor:
    """Filters turned by half a circle, with inputs and outputs exchanged within each group."""
    height, width = weight.shape[2:]
    parts = weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2).flip(3, 4)
    turned = parts.reshape(groups * weight.shape[1], -1, height, width)
    return turned.contiguous(memory_format=torch.channels_last)


def _turned(
    weight: Tensor,
    extent: tuple[int, int],
    groups: int,
    dilation: tuple[int, int],
    signal: Tensor,
    cut: tuple[int, int],
    _only_channel: Tensor | None,
) -> Tensor:
    """With stride 1 the transpose is a convolution, whose kernels are built faster (measured)."""
    padding = (extent[0] - 1 - cut[0], extent[1] - 1 - cut[1])
    if min(padding) < 0:
        return _less(_turned(weight, extent, groups, dilation, signal, (0, 0), None), cut)
    return F.conv2d(signal, weight, None, 1, padding, dilation, groups)


def _by_position(
    matrix: Tensor, signal: Tensor, cut: tuple[int, int], only_channel: Tensor | None
) -> Tensor:
    """A kernel of 1 x 1: a matrix product, in channels_last without a copy."""
    mixed = weighted(signal.permute(0, 2, 3, 1), matrix, only_channel)
    return _less(mixed.permute(0, 3, 1, 2), cut)


def weighted(signal: Tensor, matrix: Tensor, only_channel: Tensor | None) -> Tensor:
    """The transpose of a linear layer.

    Args:
        signal: [n, ..., C].
        matrix: [C, C in].
        only_channel: int64 [n], the only channel of each signal that is not zero; None where there
            are more.
    """
    if only_channel is None:
        return torch.matmul(signal, matrix)
    between = [1] * (signal.dim() - 2)
    index = only_channel.view(-1, *between, 1).expand(*signal.shape[:-1], 1)
    return signal.gather(-1, index) * matrix[only_channel].view(len(only_channel), *between, -1)


def _to_few_channels(
    weight: Tensor,
    windows: Windows,
    signal: Tensor,
    cut: tuple[int, int],
    _only_channel: Tensor | None,
) -> Tensor:
    """One matrix product for all positions of the window, added up position by position."""
    shape = (len(signal), weight.shape[1], -1, *signal.shape[2:])
    columns = torch.matmul(weight.flatten(1).t(), signal.flatten(2)).view(shape)
    result = empty_input(signal, windows, channels=weight.shape[1]).zero_()
    for k, view in enumerate(window_slices(result, signal, windows)):
        view.add_(columns[:, :, k])
    return _less(result, cut)


def _strided(
    weight: Tensor,
    stride: tuple[int, int],
    groups: int,
    dilation: tuple[int, int],
    signal: Tensor,
    cut: tuple[int, int],
    _only_channel: Tensor | None,
) -> Tensor:
    whole = F.conv_transpose2d(signal, weight, None, stride, 0, 0, groups, dilation)
    return _less(whole, cut)


def _less(value: Tensor, cut: tuple[int, int]) -> Tensor:
    rows, columns = value.shape[2:]
    return value[:, :, cut[0] : rows - cut[0], cut[1] : columns - cut[1]]

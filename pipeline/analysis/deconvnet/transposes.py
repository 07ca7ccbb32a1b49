"""The transpose of each operation: what it does to a backward signal (ZF 2.1).

Every function works on regions: its result covers all input positions that the given output
positions read, padding included. Where two pooling windows chose the same input their signals add,
as the transpose of the forward's selection demands.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, fx

from pipeline.models.geometry import Geometry
from pipeline.models.graph import Node
from pipeline.models.operations import Windows
from pipeline.models.run_node import run_node


def switches(
    value: Tensor, windows: Windows, positions: tuple[int, int], pad: tuple[int, int]
) -> Tensor:
    """Where in its window each maximum was (ZF: switches).

    Args:
        value: the pool's input [N, C, H, W].
        windows: down and across.
        positions: rows and columns of the pool's output.
        pad: rows and columns of padding before the first position of ``value``.

    Returns:
        uint8 [N, C, rows, columns], int32 for windows of more than 256 positions: the row-major
        index in the window, of the first of equal maxima.
    """
    after = [
        window.input_size(count) - before - size
        for count, window, before, size in zip(
            positions, windows, pad, value.shape[2:], strict=True
        )
    ]
    if any(pad) or any(after):
        value = F.pad(value, (pad[1], after[1], pad[0], after[0]), value=-torch.inf)
    return pooled(value, windows)[1]


def pooled(value: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
    """The maximum of each window that fits into ``value``, and its switch: see `switches`."""
    down, across = windows
    maxima, index = F.max_pool2d(
        value,
        (down.size, across.size),
        (down.stride, across.stride),
        0,
        (down.dilation, across.dilation),
        return_indices=True,
    )
    # A table of the few distances within a window is several times faster than dividing.
    steps = _steps(windows, value.shape[3], value.device)
    kind = torch.uint8 if len(steps) <= 256 else torch.int32
    farthest = (down.extent - 1) * value.shape[3] + across.extent - 1
    known = torch.zeros(farthest + 1, dtype=kind, device=value.device)
    known[steps] = torch.arange(len(steps), device=value.device).to(kind)
    distances = index.sub_(_first_positions(windows, index, value.shape[3]))
    return maxima, _look_up(known, distances)


def _steps(windows: Windows, width: int, device: torch.device) -> Tensor:
    """How far each position of a window lies from its first, in a flat map of that width."""
    down, across = (torch.arange(w.size, device=device) * w.dilation for w in windows)
    return (down[:, None] * width + across).flatten()


def _first_positions(windows: Windows, like: Tensor, width: int) -> Tensor:
    """Where each window begins in a map of rows of ``width``, int64 [rows, columns]."""
    down, across = (
        torch.arange(count, device=like.device) * window.stride
        for count, window in zip(like.shape[2:], windows, strict=True)
    )
    return down[:, None] * width + across


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    """``table[index]`` for [n, C, H, W], faster: a plain index is slow on a CPU (measured)."""
    rows = index.permute(0, 2, 3, 1)
    flat = rows.reshape(-1)
    flat = flat if flat.dtype == torch.int64 else flat.to(torch.int32)
    return table.index_select(0, flat).view(rows.shape).permute(0, 3, 1, 2)


def unpool(signal: Tensor, chosen: Tensor, windows: Windows) -> Tensor:
    """Each value goes back to where the maximum was; zero elsewhere (ZF 2.1).

    Args:
        signal: [n, C, rows, columns].
        chosen: of the same shape, see `switches`.
        windows: down and across.
    """
    if not signal.is_cpu:  # torch's own kernel adds in any order there
        return _unpool_in_turn(signal, chosen, windows)
    down, across = windows
    like = empty_input(signal, windows, channels=signal.shape[1])
    index = _look_up(_steps(windows, like.shape[3], signal.device), chosen)
    return torch.ops.aten.max_pool2d_with_indices_backward(  # type: ignore[no-any-return]
        signal,
        like,
        (down.size, across.size),
        (down.stride, across.stride),
        (0, 0),
        (down.dilation, across.dilation),
        False,  # noqa: FBT003 - ceil_mode
        index.add_(_first_positions(windows, signal, like.shape[3])),
    )


def _unpool_in_turn(signal: Tensor, chosen: Tensor, windows: Windows) -> Tensor:
    result = empty_input(signal, windows, channels=signal.shape[1]).zero_()
    for k, view in enumerate(window_slices(result, signal, windows)):
        view.add_(torch.where(chosen == k, signal, 0))
    return result


def sum_pool_transpose(signal: Tensor, windows: Windows) -> Tensor:
    """The transpose of a sum over windows: every position of a window gets its value."""
    if signal.shape[2:] == (1, 1):
        size = [window.extent for window in windows]
        return signal.expand(*signal.shape[:2], *size).contiguous()
    result = empty_input(signal, windows, channels=signal.shape[1]).zero_()
    for view in window_slices(result, signal, windows):
        view.add_(signal)
    return result


def empty_input(signal: Tensor, windows: Windows, *, channels: int) -> Tensor:
    """Uninitialised memory for all input positions that the signal's positions read."""
    sizes = [
        window.input_size(count) for count, window in zip(signal.shape[2:], windows, strict=True)
    ]
    return torch.empty(
        (len(signal), channels, *sizes),
        dtype=signal.dtype,
        device=signal.device,
        memory_format=torch.channels_last,
    )


def window_slices(result: Tensor, signal: Tensor, windows: Windows) -> list[Tensor]:
    """Views of ``result``: the k-th has position k of every window, k in row-major order."""
    down, across = windows
    rows = (signal.shape[2] - 1) * down.stride + 1
    columns = (signal.shape[3] - 1) * across.stride + 1
    return [
        result[:, :, y : y + rows : down.stride, x : x + columns : across.stride]
        for y in range(0, down.extent, down.dilation)
        for x in range(0, across.extent, across.dilation)
    ]


def rectify(signal: Tensor, rule: str, slope: Tensor | None) -> Tensor:
    """An activation function's effect on the backward signal.

    Args:
        signal: from above; it is overwritten and returned, as fresh memory costs more than this.
        rule: deconvnet: ReLU on the signal (ZF 2.1). guided: that, and the forward's gate.
            gradient: the slope of the forward.
        slope: the activation's derivative in the forward pass; None for the deconvnet.
    """
    if rule != "gradient":
        signal.clamp_(min=0)
    return signal if slope is None else signal.mul_(slope)


def slope_of(geometry: Geometry, node: Node, inputs: dict[fx.Node, Any], value: Tensor) -> Tensor:
    """The derivative of an activation function: bool for rectifiers, else float, as ``value``."""
    if node.kind == "relu":
        return value > 0
    if node.kind == "relu6":
        return (value > 0) & (value < 6)
    ((source, before),) = inputs.items()
    return pull_back(geometry, node, {source: before}, torch.ones_like(value))[source]


def pull_back(
    geometry: Geometry, node: Node, inputs: dict[fx.Node, Any], signal: Any
) -> dict[fx.Node, Tensor]:
    """The transposed derivative of one operation at the given inputs, by torch's autograd.

    Args:
        geometry: of the traced network.
        node: the operation.
        inputs: values of the inputs that depend on the image.
        signal: for the node's value; for a tuple, a dict of signals by index.

    Returns:
        The signal for each input.
    """
    with torch.enable_grad():
        leaves = {source: value.detach().requires_grad_() for source, value in inputs.items()}
        result = run_node(geometry, node, dict(leaves))
        if isinstance(signal, dict):
            results = [result[index] for index in signal]
            signals = list(signal.values())
        else:
            results, signals = [result], [signal]
        grads = torch.autograd.grad(results, list(leaves.values()), signals, allow_unused=True)
    return {source: grad for source, grad in zip(leaves, grads, strict=True) if grad is not None}

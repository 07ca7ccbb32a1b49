"""The layout of a node's value, and the receptive field of each of its channels.

A `Layout` says which dimensions hold channels, rows and columns, and for each channel the affine
box ``[y * stride + low, y * stride + high)`` down, and the same across. Receptive fields are kept
per channel because concatenations join branches whose fields differ in size (DenseNet, GoogLeNet,
ShuffleNet).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.models.operations import Window
from schemas.arrays import Ints


@dataclass(frozen=True)
class Axis:
    """Receptive fields along one direction.

    Attributes:
        dim: the tensor's dimension that holds the positions; None where there is one position.
        stride: input pixels between neighbouring positions.
        low: int64, per channel the first pixel that position 0 reads; unclipped.
        high: int64, per channel one past its last pixel.
    """

    dim: int | None
    stride: int
    low: Ints
    high: Ints

    def hull(self, other: Axis) -> Axis:
        """The hull of both, channel by channel."""
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return replace(self, low=low, high=high)

    def through(self, window: Window, positions: int) -> Axis:
        """The receptive fields of a window's output positions, channels unchanged."""
        back = window.padding * self.stride
        return Axis(
            dim=self.dim if positions > 1 else None,
            stride=self.stride * window.stride,
            low=self.low - back,
            high=self.high - back + (window.extent - 1) * self.stride,
        )

    def over_neighbours(self, before: int, after: int) -> Axis:
        """The hull over each channel's neighbours ``c - before .. c + after``."""
        count = len(self.low)
        around = [
            np.clip(np.arange(count) + shift, 0, count - 1) for shift in range(-before, after + 1)
        ]
        low = np.min([self.low[index] for index in around], axis=0)
        return replace(self, low=low, high=np.max([self.high[index] for index in around], axis=0))

    def mixed(self, groups: int, out_channels: int) -> Axis:
        """The hull over each group's channels, given to each group's output channels."""
        repeat = out_channels // groups
        low = self.low.reshape(groups, -1).min(axis=1).repeat(repeat)
        high = self.high.reshape(groups, -1).max(axis=1).repeat(repeat)
        return replace(self, low=low, high=high)


@dataclass(frozen=True)
class Layout:
    """The layout of a value [1, ...] and the receptive field of each of its channels.

    Attributes:
        shape: of the value for one image.
        channel_dims: dimensions that hold channels (two while a channel shuffle splits them).
        down, across: receptive fields along y and x; ``low`` and ``high`` have the channels' shape.
        gated: behind a gate that saw the whole frame; boxes leave the gate out.
        whole_frame: why the boxes are the whole frame; None where they are exact.
    """

    shape: tuple[int, ...]
    channel_dims: tuple[int, ...]
    down: Axis
    across: Axis
    gated: bool = False
    whole_frame: str | None = None

    @property
    def channels(self) -> int:
        """Number of units."""
        return int(np.prod([self.shape[dim] for dim in self.channel_dims], dtype=np.int64))

    @property
    def map_size(self) -> tuple[int, int]:
        """Positions down and across; 1 where there is no such dimension."""
        down, across = self.down.dim, self.across.dim
        return (
            1 if down is None else self.shape[down],
            1 if across is None else self.shape[across],
        )

    @property
    def is_standard(self) -> bool:
        """Whether the layout is [N, C, H, W]."""
        return (
            len(self.shape) == 4
            and self.channel_dims == (1,)
            and self.down.dim in (2, None)
            and self.across.dim in (3, None)
        )

    def aligned_with(self, other: Layout) -> bool:
        """Whether equal indices of both mean the same channel and position."""
        mine, theirs = (
            (
                layout.channel_dims,
                *((axis.dim, axis.stride) for axis in (layout.down, layout.across)),
            )
            for layout in (self, other)
        )
        return mine == theirs

    @property
    def readable(self) -> bool:
        """Whether every dimension is known to hold the batch, channels, rows or columns."""
        known = {0, *self.channel_dims, self.down.dim, self.across.dim} - {None}
        loose = [d for d, size in enumerate(self.shape) if size > 1 and d not in known]
        return not loose and len(self.channel_dims) == 1


def coordinates(layouts: list[Layout]) -> list[Tensor]:
    """The channel, row and column of each element of each value.

    Returns:
        For each layout an int64 tensor [3, ...]: channel (numbered on through all layouts), y, x.
    """
    result, first = [], 0
    for layout in layouts:
        shape = layout.shape[1:]
        channel = torch.zeros((1, *shape), dtype=torch.int64)
        numbers = torch.arange(layout.channels) + first
        sizes = [
            layout.shape[d] if d in layout.channel_dims else 1 for d in range(len(layout.shape))
        ]
        channel += numbers.reshape(sizes)
        found = [channel]
        for axis in (layout.down, layout.across):
            position = torch.zeros_like(channel)
            if axis.dim is not None:
                sizes = [1] * len(layout.shape)
                sizes[axis.dim] = layout.shape[axis.dim]
                position += torch.arange(layout.shape[axis.dim]).reshape(sizes)
            found.append(position)
        result.append(torch.cat(found))
        first += layout.channels
    return result


def read_coordinates(moved: Tensor, layouts: list[Layout]) -> Layout | str:
    """The layout of a value whose elements came from the elements of others.

    Args:
        moved: [3, 1, ...] int64, the `coordinates` after the operation ran on them.
        layouts: of the operation's inputs, in the order in which their channels were numbered.

    Returns:
        The layout, or a clause that says why there is none.
    """
    channel, *positions = moved
    shape = tuple(channel.shape)
    source_strides = {(layout.down.stride, layout.across.stride) for layout in layouts}
    if len(source_strides) > 1:
        return "joins maps of unlike strides"
    channel_dims = _varying(channel)
    dims: list[int | None] = []
    for position in positions:
        varying = [dim for dim in _varying(position) if dim not in channel_dims]
        if len(varying) > 1:
            return "splits the positions"
        dims.append(varying[0] if varying else None)
    if dims[0] is not None and dims[0] == dims[1]:
        return "strings the positions together"
    if not channel_dims:  # one channel: it lies in a dimension of size 1, if there is one
        channel_dims = tuple(
            dim for dim in range(1, len(shape)) if shape[dim] == 1 and dim not in dims
        )[:1]
    index = tuple(slice(None) if dim in channel_dims else 0 for dim in range(len(shape)))
    numbers = channel[index].numpy()
    axes = []
    for position, dim, side in zip(positions, dims, ("down", "across"), strict=True):
        axis: Axis = getattr(layouts[0], side)
        low = np.concatenate([getattr(layout, side).low.reshape(-1) for layout in layouts])
        high = np.concatenate([getattr(layout, side).high.reshape(-1) for layout in layouts])
        offset = position[index].numpy() * axis.stride
        step = 1
        if dim is not None:
            steps = position.diff(dim=dim)
            step = int(steps.reshape(-1)[0])
            if not bool((steps == step).all()):
                return "reorders the positions"
        axes.append(Axis(dim, axis.stride * step, low[numbers] + offset, high[numbers] + offset))
    return Layout(shape, channel_dims, axes[0], axes[1])


def _varying(position: Tensor) -> tuple[int, ...]:
    return tuple(
        dim
        for dim in range(1, position.dim())
        if position.shape[dim] > 1 and not bool((position == position.narrow(dim, 0, 1)).all())
    )

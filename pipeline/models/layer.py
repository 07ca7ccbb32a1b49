"""One layer as the jobs see it: its name, its maps and the receptive fields of its units.

Whatever the memory layout of the layer's value, its maps are [N, units, y, x], and its boxes are in
pixels of the input frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pipeline.models.operations import ACTIVATIONS
from pipeline.models.receptive_field import Layout
from schemas.arrays import Ints


@dataclass(frozen=True)
class Layer:
    """A node whose value can be scanned.

    Attributes:
        name: torchvision's name for the node.
        position: its place in the order of execution.
        kind: the operation.
        layout: which dimensions hold channels and positions, and each channel's receptive field.
        default: whether it is selected where nothing else is asked for.
    """

    name: str
    position: int
    kind: str
    layout: Layout
    default: bool

    @property
    def activation(self) -> bool:
        """Whether an activation function made it: then only values above zero count as active."""
        return self.kind in ACTIVATIONS

    @property
    def units(self) -> int:
        """Number of channels."""
        return self.layout.channels

    @property
    def field_size(self) -> tuple[int, int]:
        """Height and width of the largest receptive field, in input-frame pixels."""
        down, across = self.layout.down, self.layout.across
        return int((down.high - down.low).max()), int((across.high - across.low).max())

    def maps(self, value: Tensor) -> Tensor:
        """The layer's value, or a crop's, as feature maps [N, units, height, width].

        It is a view where the memory layout allows.
        """
        layout = self.layout
        dims = [axis.dim for axis in (layout.down, layout.across)]
        order = [0, *layout.channel_dims, *(dim for dim in dims if dim is not None)]
        order += [dim for dim in range(value.dim()) if dim not in order]
        height, width = (1 if dim is None else value.shape[dim] for dim in dims)
        return value.permute(order).reshape(value.shape[0], self.units, height, width)

    def boxes(self, units: Ints, y: Ints, x: Ints) -> Ints:
        """Receptive fields in input-frame pixels.

        Args:
            units: int64 [n], channels.
            y: int64 [n], rows in the map.
            x: int64 [n], columns in the map.

        Returns:
            int64 [n, 4]: y0, x0, y1, x1, half-open, unclipped.
        """
        down, across = self.layout.down, self.layout.across
        top, left = y * down.stride, x * across.stride
        edges = (
            top + down.low[units],
            left + across.low[units],
            top + down.high[units],
            left + across.high[units],
        )
        return np.stack(edges, axis=-1).astype(np.int64)

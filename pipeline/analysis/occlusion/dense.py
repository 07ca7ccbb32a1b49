"""Occlusion by whole forward passes: batches of frames, each with one window filled (ZF 4.2)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.analysis.occlusion.grid import Grid
from pipeline.analysis.occlusion.plan import Area, Observer
from pipeline.models.layer import Layer
from pipeline.models.network import Network
from schemas.arrays import Ints


class Dense:
    """Whole forward passes of many windows at a time.

    Args:
        network: traced or hooked.
        layer: the layer to watch.
        grid: the windows.
        live_bytes: bound of the maps that live at once.
    """

    def __init__(
        self,
        network: Network,
        layer: Layer,
        grid: Grid,
        live_bytes: int,
    ) -> None:
        self._run = network.runner([layer.name])
        self._map = layer.layout.map_size
        self._corners, self._size = grid.corners, grid.size
        self._most = max(1, min(len(self._corners), live_bytes // bytes_of_a_frame(network)))
        self._frame = torch.empty(0)

    def record_clean(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """See `Incremental.record_clean`."""
        self._frame = frame
        watched: list[Tensor] = []
        return self._run(frame, lambda _, value: watched.append(value)), watched[0]

    def run(self, fill: Tensor, observe: Observer) -> Tensor:
        """See `Incremental.run`."""
        batch = self._frame.repeat(self._most, 1, 1, 1).contiguous(
            memory_format=torch.channels_last
        )
        scores = []
        for first in range(0, len(self._corners), self._most):
            windows = np.arange(first, min(first + self._most, len(self._corners)))
            self._paste(batch, fill, windows)
            none = np.zeros_like(windows)
            area = Area(none, none, *self._map)

            def tap(_: str, value: Tensor, area: Area = area, windows: Ints = windows) -> None:
                observe(value, area, windows)

            scores.append(self._run(batch[: len(windows)], tap))
            self._paste(batch, self._frame, windows)
        return torch.cat(scores)

    def _paste(self, batch: Tensor, picture: Tensor, windows: Ints) -> None:
        """Only the windows are written: a copy of the frame per window would cost more."""
        height, width = self._size
        for row, (y, x) in enumerate(self._corners[windows].tolist()):
            cut = (slice(None), slice(y, y + height), slice(x, x + width))
            batch[row][cut] = picture[0][cut]


def bytes_of_a_frame(network: Network) -> int:
    """fp32 maps that live at once while one frame runs through a network.

    A network that could not be traced is taken to keep all the maps that are known of it.
    """
    geometry = network.geometry
    if geometry is None:
        return sum(8 * int(np.prod(layer.layout.shape)) for layer in network.layers)
    sizes = {node: 4 * int(np.prod(layout.shape)) for node, layout in geometry.layouts.items()}
    last = {used: node for node in geometry.graph.nodes for used in node.fx.all_input_nodes}
    most = alive = 0
    for node in geometry.graph.nodes:
        alive += sizes.get(node.fx, 0)
        most = max(most, alive)
        done = {used for used in node.fx.all_input_nodes if last[used] is node}
        # The frames themselves are written to again for the next batch.
        alive -= sum(sizes.get(used, 0) for used in done if used.op != "placeholder")
    return most

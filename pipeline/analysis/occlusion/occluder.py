"""Slide a window over a frame: scores and a map's total activity at every position (ZF 4.2).

Two engines give the same answer: whole forward passes in batches, and footprints alone
(`pipeline.analysis.occlusion.incremental`). The invariant: which one runs is a matter of counted
cost, and the frame and the model are left as they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.analysis.occlusion.grid import Grid, windows_along
from pipeline.analysis.occlusion.incremental import Incremental, Observer
from pipeline.analysis.occlusion.plan import (
    Area,
    OcclusionPlan,
    make_plan,
)
from pipeline.models.flops import CostCounter
from pipeline.models.layer import Layer
from pipeline.models.network import Network
from schemas.arrays import Floats, Ints
from schemas.errors import ModelError, SpecError
from schemas.jobs import SlidingWindow

Engine = Literal["incremental", "dense"]

# The share of its bytes that a batch's maps may live in. Every batch has maps of other sizes, and
# the allocator keeps the freed pieces that the next ones do not fit: a process was seen to grow by
# three to four times what lives (`python -m benchmarks occlude`, the memory rows).
_LIVE_SHARE = 5


@dataclass(frozen=True)
class Occlusion:
    """One frame under every window.

    Attributes:
        clean: float32 [classes], the scores of the frame as it is.
        unit: the watched layer's map with the largest sum over positions, the first of equal ones.
        clean_activity: that sum.
        scores: float32 [windows, classes], before the softmax; windows row by row.
        activity: float64 [windows], the sum of the same map.
    """

    clean: Tensor
    unit: int
    clean_activity: float
    scores: Tensor
    activity: Tensor


class _EngineOf(Protocol):
    def record_clean(self, frame: Tensor) -> tuple[Tensor, Tensor]: ...

    def run(self, fill: Tensor, observe: Observer) -> Tensor: ...


class Occluder:
    """Occludes frames of one size with one window.

    Args:
        network: in eval mode.
        layer: whose strongest map is watched.
        window: its size and step.
        frame_px: side of the frames.
        engine: ``auto`` takes the one that costs less by count.
        batch_bytes: what the batches may add to the process's memory: a fifth of it in maps that
            live at once, the rest in pieces that the allocator holds.

    Attributes:
        grid: the windows.
        engine: the one that runs.

    Raises:
        SpecError: the window is larger than the frame.
        ModelError: ``incremental`` is asked for, and the network could not be traced.
    """

    def __init__(
        self,
        network: Network,
        layer: Layer,
        window: SlidingWindow,
        *,
        frame_px: int,
        engine: Literal["auto", "incremental", "dense"],
        batch_bytes: int,
    ) -> None:
        require_fit([window], frame_px)
        height, width = window.size
        self.grid = Grid(
            windows_along(frame_px, height, window.stride_px),
            windows_along(frame_px, width, window.stride_px),
            (height, width),
            frame_px,
        )
        self._layer = layer
        live_bytes = batch_bytes // _LIVE_SHARE
        plan = self._plan(network, engine, live_bytes)
        self.engine: Engine = "dense" if plan is None else "incremental"
        self._engine: _EngineOf
        if plan is not None and network.geometry is not None:
            self._engine = Incremental(network.geometry, plan, layer.name)
        else:
            self._engine = Dense(network, layer, self.grid, live_bytes)

    def _plan(self, network: Network, engine: str, live_bytes: int) -> OcclusionPlan | None:
        """None where whole forward passes are to run."""
        if engine == "dense":
            return None
        if network.geometry is None:
            if engine == "incremental":
                raise ModelError(
                    f"engine incremental needs a network that can be traced: {network.note}; take "
                    "engine dense"
                )
            return None
        plan = make_plan(network.geometry, self.grid, live_bytes=live_bytes)
        return plan if plan.worth_it or engine == "incremental" else None

    def occlude(self, frame: Tensor, fill: Tensor) -> Occlusion:
        """Occlude one frame everywhere.

        Args:
            frame: the network's input, [1, 3, S, S].
            fill: what a window shows instead, of the same shape.
        """
        with torch.inference_mode():
            scores, value = self._engine.record_clean(frame)
            watch = _Watch(self._layer, value, len(self.grid.corners))
            occluded = self._engine.run(fill, watch.observe)
        return Occlusion(
            clean=scores[0].float().cpu(),
            unit=watch.unit,
            clean_activity=watch.total,
            scores=occluded.float().cpu(),
            activity=watch.activity,
        )


class _Watch:
    """Sums the strongest map of a layer, from what changes of it."""

    def __init__(self, layer: Layer, value: Tensor, windows: int) -> None:
        self._layer = layer
        maps = layer.maps(value)[0].double()
        self.unit = int(torch.nan_to_num(maps.sum(dim=(1, 2)), nan=-torch.inf).argmax())
        clean = maps[self.unit].cpu()
        self.total = float(clean.sum())
        self._sums = torch.nn.functional.pad(clean.cumsum(0).cumsum(1), (1, 0, 1, 0))
        self.activity = torch.full((windows,), torch.nan, dtype=torch.float64)

    def observe(self, value: Tensor, area: Area, windows: Ints) -> None:
        changed = self._layer.maps(value)[:, self.unit].double().sum(dim=(1, 2)).cpu()
        top, left = torch.from_numpy(area.top), torch.from_numpy(area.left)
        low, right = top + area.height, left + area.width
        corners = self._sums
        clean = corners[low, right] - corners[top, right] - corners[low, left] + corners[top, left]
        whole = area.size == tuple(size - 1 for size in corners.shape)
        # Where the whole map was computed nothing of the clean sum is left, nor of its rounding.
        total = changed if whole else self.total - clean + changed
        self.activity[torch.from_numpy(windows)] = total


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
        """Only the windows are written: a copy of the frame a window would cost more."""
        height, width = self._size
        for place, (y, x) in enumerate(self._corners[windows].tolist()):
            cut = (slice(None), slice(y, y + height), slice(x, x + width))
            batch[place][cut] = picture[0][cut]


def bytes_of_a_frame(network: Network) -> int:
    """fp32 maps that live at once while one frame runs through a network.

    A network that could not be traced is taken to keep all the maps that are known of it.
    """
    geometry = network.geometry
    if geometry is None:
        return sum(8 * int(np.prod(layer.layout.shape)) for layer in network.layers)
    sizes = {
        n.fx: 4 * int(np.prod(geometry.layouts[n.fx].shape)) for n in CostCounter(geometry).nodes
    }
    last = {used: node for node in geometry.graph.nodes for used in node.fx.all_input_nodes}
    most = alive = 0
    for node in geometry.graph.nodes:
        alive += sizes.get(node.fx, 0)
        most = max(most, alive)
        done = {used for used in node.fx.all_input_nodes if last[used] is node}
        # The frames themselves are written to again for the next batch.
        alive -= sum(sizes.get(used, 0) for used in done if used.op != "placeholder")
    return most


def require_fit(windows: Iterable[SlidingWindow], frame_px: int) -> None:
    """Refuse a window that is larger than the frame.

    Raises:
        SpecError: names the window and the frame.
    """
    for height, width in (window.size for window in windows):
        if max(height, width) > frame_px:
            raise SpecError(
                f"window_px: a window of {height} x {width} pixels does not fit into the input "
                f"frame of {frame_px} x {frame_px}; take a smaller one"
            )


def softmax(scores: Tensor) -> Floats:
    """Probabilities in float64, so that rounding shows no drop; over the last dimension."""
    return scores.double().softmax(dim=-1).numpy()

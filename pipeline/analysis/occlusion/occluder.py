"""Occlusion sensitivity: scores and one map's activity with a window at every position (ZF 4.2).

Two engines give the same answer: whole forward passes (`dense`), and the affected areas alone
(`incremental`). Which one runs is a matter of counted cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from pipeline.analysis.occlusion.dense import Dense
from pipeline.analysis.occlusion.grid import sliding_grid
from pipeline.analysis.occlusion.incremental import Incremental
from pipeline.analysis.occlusion.plan import Area, Observer, OcclusionPlan, make_plan
from pipeline.models.layer import Layer
from pipeline.models.network import Network
from schemas.arrays import Floats, Ints
from schemas.errors import ModelError
from schemas.jobs.occlude import SlidingWindow

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
        peak_at: (y, x), where the map is largest on the frame as it is, the first of equal ones;
            NaN counts as lowest.
        peak: the activation there.
        scores: float32 [windows, classes], before the softmax; windows row by row.
        activity: float64 [windows], the sum of the same map.
    """

    clean: Tensor
    unit: int
    clean_activity: float
    peak_at: tuple[int, int]
    peak: float
    scores: Tensor
    activity: Tensor


class _OcclusionEngine(Protocol):
    def record_clean(self, frame: Tensor) -> tuple[Tensor, Tensor]: ...

    def run(self, fill: Tensor, observe: Observer) -> Tensor: ...


class Occluder:
    """Occludes frames of one size with a window of one size at every position.

    Args:
        network: in eval mode.
        layer: whose strongest map is watched.
        window: its size and stride.
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
        self.grid = sliding_grid(window, frame_px)
        self._layer = layer
        live_bytes = batch_bytes // _LIVE_SHARE
        plan = self._plan(network, engine, live_bytes)
        self.engine: Engine = "dense" if plan is None else "incremental"
        self._engine: _OcclusionEngine
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
            watch = _MapActivity(self._layer, value, len(self.grid.corners))
            occluded = self._engine.run(fill, watch.observe)
        return Occlusion(
            clean=scores[0].float().cpu(),
            unit=watch.unit,
            clean_activity=watch.total,
            peak_at=watch.peak_at,
            peak=watch.peak,
            scores=occluded.float().cpu(),
            activity=watch.activity,
        )


class _MapActivity:
    """The total activity of a layer's strongest map under each window, from what changes of it."""

    def __init__(self, layer: Layer, value: Tensor, windows: int) -> None:
        self._layer = layer
        maps = layer.maps(value)[0].double()
        self.unit = int(torch.nan_to_num(maps.sum(dim=(1, 2)), nan=-torch.inf).argmax())
        clean = maps[self.unit].cpu()
        self.total = float(clean.sum())
        at = int(torch.nan_to_num(clean, nan=-torch.inf).argmax())
        self.peak_at = (at // clean.shape[1], at % clean.shape[1])
        self.peak = float(clean[self.peak_at])
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


def softmax(scores: Tensor) -> Floats:
    """Probabilities in float64, so that rounding shows no drop; over the last dimension."""
    return scores.double().softmax(dim=-1).numpy()

"""Project many top patches of a batch: on crops of their own, or sharing whole frames.

Which of the two is a matter of counted cost; both give the same projections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.analysis.deconvnet.backward import DeconvNet
from pipeline.analysis.deconvnet.backward_rules import BackwardState
from pipeline.analysis.deconvnet.forward import ForwardRecorder, Rule, Saved
from pipeline.models.crops import crop
from pipeline.models.flops import CostCounter
from pipeline.models.geometry import InputDependency, Seeds
from pipeline.models.layer import Layer
from pipeline.models.network import Network
from schemas.arrays import Ints
from schemas.errors import TraceError

# In the backward pass signals of about a dozen nodes live at once. A CPU is fastest where they stay
# in its caches and the allocator does not go back to the system for each (2 to 4 times, measured).
_BYTES_AT_ONCE = {"cpu": 64 * 2**20, "cuda": 256 * 2**20}
_MOST_AT_ONCE = 256


@dataclass(frozen=True)
class Targets:
    """Top patches of one layer whose images lie in one batch.

    Attributes:
        rows: int64 [n], the image's row in the batch.
        units: int64 [n].
        y: int64 [n], the position in the layer's map.
        x: int64 [n].
        values: float32 [n], the activations in the index.
        boxes: int64 [n, 4], y0, x0, y1, x1, what to return of the input frame.
    """

    rows: Tensor
    units: Tensor
    y: Tensor
    x: Tensor
    values: Tensor
    boxes: Ints


@dataclass(frozen=True)
class Projected:
    """The projections of one layer's targets, in their order.

    Attributes:
        pictures: float [3, height, width] each, over the target's box; zero outside the frame.
        reproduced: float32 [n], the activations when they were computed again.
    """

    pictures: list[Tensor]
    reproduced: Tensor


class Projector:
    """Projects top patches of a network.

    Args:
        network: traced; in eval mode.
        layers: the layers that targets may come from.
        rule: what happens to the backward signal at rectifiers.

    Raises:
        TraceError: the network could not be traced.
        LayerError: an activation below a layer that the rule is not defined for.
    """

    def __init__(self, network: Network, layers: tuple[Layer, ...], rule: Rule) -> None:
        if network.geometry is None:
            raise TraceError(f"projections need a traced network: {network.note}")
        self.geometry = network.geometry
        self.recorder = ForwardRecorder(self.geometry, rule)
        self.deconvnet = DeconvNet(self.recorder)
        self.layers = {layer.name: layer for layer in layers}
        self.dependencies = {layer.name: self.geometry.dependency(layer.name) for layer in layers}
        for dependency in self.dependencies.values():
            for traced in dependency.regions:
                self.recorder.saves(self.geometry.nodes[traced])
        costs = CostCounter(self.geometry)
        self._frame_macs = {layer.name: costs.frame_macs(layer.name) for layer in layers}
        self._crop_macs = {name: costs.crop_macs(one) for name, one in self.dependencies.items()}
        self._seed_bytes = {name: _seed_bytes(costs, d) for name, d in self.dependencies.items()}
        self._weight = next(network.module.parameters(), torch.zeros(1))

    def project(self, frames: Tensor, targets: dict[str, Targets]) -> dict[str, Projected]:
        """Project the targets of one batch of images.

        Args:
            frames: the network's input, [N, 3, S, S].
            targets: by layer.

        Returns:
            By layer.
        """
        depth = self._shared_depth(targets)
        shared = {name: own for name, own in targets.items() if self._position(name) <= depth}
        result: dict[str, Projected] = {}
        with torch.no_grad():
            if shared:
                result |= self._from_frames(frames, shared)
            for name in targets.keys() - shared.keys():
                result[name] = self._from_crops(frames, name, targets[name])
        return result

    def _position(self, name: str) -> int:
        return self.layers[name].position

    def _shared_depth(self, targets: dict[str, Targets]) -> int:
        """The deepest layer whose targets share whole frames, by counted multiply-adds."""
        names = sorted(targets, key=self._position)
        alone = [len(targets[name].rows) * self._crop_macs[name] for name in names]
        best, best_cost = -1, sum(alone)
        images: set[int] = set()
        for index, name in enumerate(names):
            images.update(targets[name].rows.tolist())
            cost = len(images) * self._frame_macs[name] + sum(alone[index + 1 :])
            if cost < best_cost:
                best, best_cost = self._position(name), cost
        return best

    def _from_frames(self, frames: Tensor, targets: dict[str, Targets]) -> dict[str, Projected]:
        rows = torch.unique(torch.cat([own.rows for own in targets.values()]))
        saved_row = torch.full((len(frames),), -1).index_put_((rows,), torch.arange(len(rows)))
        deepest = max(targets, key=self._position)
        wanted = {node for name in targets for node in self.dependencies[name].regions}
        found: dict[str, Tensor] = {}

        def tap(name: str, value: Tensor) -> None:
            if name in targets:
                own, maps = targets[name], self.layers[name].maps(value)
                found[name] = maps[saved_row[own.rows], own.units, own.y, own.x].float().cpu()

        frames = frames[rows]
        saved = self.recorder.record_frames(frames, wanted, deepest, tap)
        return {
            name: Projected(self._backward(name, own, saved, saved_row[own.rows]), found[name])
            for name, own in targets.items()
        }

    def _from_crops(self, frames: Tensor, name: str, targets: Targets) -> Projected:
        dependency = self.dependencies[name]
        region = next(reversed(dependency.regions.values()))
        pictures: list[Tensor] = []
        reproduced = []
        for chunk in self._chunks(name, len(targets.rows)):
            some = _slice(targets, chunk)
            seeds = (some.y, some.x)
            crops = crop(frames, (2, 3), region.starts(seeds), region.size, some.rows.tolist())
            saved, values = self.recorder.record_crops(dependency, crops, seeds)
            maps = self.layers[name].maps(values)
            reproduced.append(maps[torch.arange(len(some.rows)), some.units, 0, 0].float().cpu())
            pictures += self._pictures(name, some, saved, None)
        return Projected(pictures, torch.cat(reproduced))

    def _backward(self, name: str, targets: Targets, saved: Saved, rows: Tensor) -> list[Tensor]:
        pictures: list[Tensor] = []
        for chunk in self._chunks(name, len(targets.rows)):
            pictures += self._pictures(name, _slice(targets, chunk), saved, rows[chunk])
        return pictures

    def _pictures(
        self, name: str, targets: Targets, saved: Saved, rows: Tensor | None
    ) -> list[Tensor]:
        dependency, seeds = self.dependencies[name], (targets.y, targets.x)
        values = targets.values.to(self._weight)
        signal = self.deconvnet.project(
            BackwardState(dependency, targets.units, seeds, values, saved, rows)
        )
        return _cut_boxes(signal, dependency, seeds, targets.boxes)

    def _chunks(self, name: str, count: int) -> list[slice]:
        room = _BYTES_AT_ONCE[self._weight.device.type]
        size = max(1, min(_MOST_AT_ONCE, room // self._seed_bytes[name]))
        return [slice(first, first + size) for first in range(0, count, size)]


def _slice(targets: Targets, chunk: slice) -> Targets:
    return Targets(
        targets.rows[chunk],
        targets.units[chunk],
        targets.y[chunk],
        targets.x[chunk],
        targets.values[chunk],
        targets.boxes[chunk],
    )


def _cut_boxes(
    signal: Tensor, dependency: InputDependency, seeds: Seeds, boxes: Ints
) -> list[Tensor]:
    """What of each signal lies in its box; the region is as large as the largest unit's."""
    region = next(reversed(dependency.regions.values()))
    top, left = (start.numpy() for start in region.starts(seeds))
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    pictures: list[Tensor] = [torch.empty(0)] * len(boxes)
    for size in {(int(h), int(w)) for h, w in zip(height, width, strict=True)}:
        which = np.flatnonzero((height == size[0]) & (width == size[1]))
        starts = [
            torch.from_numpy(edge[which] - start[which])
            for edge, start in ((boxes[:, 0], top), (boxes[:, 1], left))
        ]
        cut = crop(signal, (2, 3), (starts[0], starts[1]), size, which.tolist())
        for index, picture in zip(which, cut, strict=True):
            pictures[index] = picture
    return pictures


def _seed_bytes(costs: CostCounter, dependency: InputDependency) -> int:
    """Memory of one seed's backward pass: a few fp32 signals of the largest size."""
    sizes = (
        costs.channels[node] * region.down.size * region.across.size
        for node, region in dependency.regions.items()
        if node in costs.channels
    )
    return 4 * 4 * max(1, *sizes)

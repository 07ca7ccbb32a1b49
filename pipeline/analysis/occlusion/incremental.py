"""Exact incremental occlusion: compute of each map only what an occluding window can have changed.

The clean maps are kept; for a batch of windows each operation reads its inputs from the changed
areas and, around them, from the clean maps. The scores are those of whole forward passes, but for
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from pipeline.analysis.occlusion.patched_map import ZERO, GatherIndex, PatchedMap, gather_index
from pipeline.analysis.occlusion.plan import Area, Batch, Observer, OcclusionPlan
from pipeline.analysis.occlusion.region_ops import operation_on_areas, outside_of, read_area
from pipeline.models.geometry import Geometry
from pipeline.models.graph import Node
from pipeline.models.run_node import run_node
from schemas.arrays import Ints

_JOINT_WINDOWS = 256


@dataclass(frozen=True)
class _Step:
    """One node of one batch.

    Attributes:
        node: the operation.
        indices: how each input is read; None: its value as it is.
        run: from the inputs to the value.
        keeps: the value goes to its patched map, for later readers.
        frees: nodes whose values nobody reads any more.
    """

    node: Node
    indices: dict[fx.Node, GatherIndex | None]
    run: Callable[[dict[fx.Node, Any]], Any]
    keeps: bool
    frees: tuple[fx.Node, ...]


class Incremental:
    """Runs the batches of a plan on one frame after another.

    Args:
        geometry: of a traced network in eval mode.
        plan: for the grid of windows.
        watched: name of the layer that is shown to the callers of `record_clean` and `run`.
    """

    def __init__(self, geometry: Geometry, plan: OcclusionPlan, watched: str) -> None:
        self._geometry = geometry
        self._watched = geometry.graph.node(watched).fx
        nodes = [n for n in geometry.graph.nodes if n.fx in plan.batches[0].areas]
        self._input, self._body = nodes[0].fx, nodes[1:]
        self._joint = joint(geometry, self._body, plan)
        cut = self._body.index(geometry.nodes[self._joint]) + 1
        self._body, self._rest = self._body[:cut], self._body[cut:]
        last = {used: n.fx for n in self._body for used in geometry.data_inputs(n.fx)}
        self._frees: dict[fx.Node, list[fx.Node]] = {node.fx: [] for node in self._body}
        for used, reader in last.items():
            if used is not self._joint:
                self._frees[reader].append(used)
        capacities: dict[fx.Node, int] = {}
        self._batches = [
            (batch, tuple(self._steps(batch, capacities)), self._under(batch))
            for batch in plan.batches
        ]
        self._patched = {
            node: PatchedMap(geometry.layouts[node].shape, geometry.map_dims(node), capacity)
            for node, capacity in capacities.items()
        }
        names = {geometry.nodes[node].name for node in self._patched}
        self._clean = geometry.graph.program({*names, watched})

    def record_clean(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Run the clean frame and keep its maps.

        Args:
            frame: the network's input, [1, 3, S, S].

        Returns:
            The scores, [1, classes], and the watched layer's value.
        """
        patched = {
            self._geometry.nodes[node].name: patched_map
            for node, patched_map in self._patched.items()
        }
        watched: list[Tensor] = []

        def tap(name: str, value: Tensor) -> None:
            if name in patched:
                patched[name].set_clean(value)
            if name == self._geometry.nodes[self._watched].name:
                watched.append(value)

        return self._clean.run(frame, tap), watched[0]

    def run(self, fill: Tensor, observe: Observer) -> Tensor:
        """The scores with each window occluded, of the frame that `record_clean` saw last.

        Args:
            fill: what stands under the windows, [1, 3, S, S], as the network's input.
            observe: is shown the watched layer.

        Returns:
            [windows, classes].
        """
        under = PatchedMap(tuple(fill.shape), (2, 3), 0)
        under.set_clean(fill)
        scores: list[Tensor] = []
        order: list[Ints] = []
        for windows, value in self._joined(under, observe):
            scores.append(self._finish(value, windows, observe))
            order.append(windows)
        numbers = torch.from_numpy(np.concatenate(order))
        rows = torch.cat(scores)
        return torch.empty_like(rows).index_copy_(0, numbers.to(rows.device), rows)

    def _joined(self, under: PatchedMap, observe: Observer) -> Iterator[tuple[Ints, Tensor]]:
        """Values at the joint, of many windows together: wide linear layers are read once."""
        windows: list[Ints] = []
        values: list[Tensor] = []
        for batch, steps, index in self._batches:
            values.append(self._advance(batch, steps, under.gather(index), observe))
            windows.append(batch.windows)
            if sum(len(each) for each in windows) >= _JOINT_WINDOWS:
                yield np.concatenate(windows), torch.cat(values)
                windows, values = [], []
        if windows:
            yield np.concatenate(windows), torch.cat(values)

    def _advance(
        self, batch: Batch, steps: tuple[_Step, ...], patch: Tensor, observe: Observer
    ) -> Tensor:
        """One batch from the pixels to the joint."""
        values: dict[fx.Node, Any] = {self._input: patch}
        if self._input in self._patched:
            self._patched[self._input].set_changed(patch)
        for step in steps:
            inputs = {
                source: values[source] if index is None else self._patched[source].gather(index)
                for source, index in step.indices.items()
            }
            value = step.run(inputs)
            if step.keeps:
                self._patched[step.node.fx].set_changed(value)
            if step.node.fx is self._watched:
                observe(value, batch.areas[self._watched], batch.windows)
            values[step.node.fx] = value
            for done in step.frees:
                del values[done]
        result: Tensor = values[self._joint]
        return result

    def _finish(self, value: Tensor, windows: Ints, observe: Observer) -> Tensor:
        """From the joint to the scores; every map is whole there."""
        values: dict[fx.Node, Any] = {self._joint: value}
        for node in self._rest:
            inputs = {source: values[source] for source in self._geometry.data_inputs(node.fx)}
            values[node.fx] = value = run_node(self._geometry, node, inputs)
            if node.fx is self._watched:
                height, width = self._geometry.map_size(node.fx)
                none = np.zeros_like(windows)
                observe(value, Area(none, none, height, width), windows)
        return value

    def _under(self, batch: Batch) -> GatherIndex:
        area = batch.areas[self._input]
        return gather_index(area, None, self._geometry.map_size(self._input), ZERO)

    def _steps(self, batch: Batch, capacities: dict[fx.Node, int]) -> Iterator[_Step]:
        """The steps of a batch; notes how many positions each patched map must hold."""
        known: dict[tuple[object, ...], GatherIndex] = {}
        indices_of: dict[fx.Node, dict[fx.Node, GatherIndex | None]] = {}
        for node in self._body:
            indices_of[node.fx] = {
                source: self._gather_index(batch, node, source, known)
                for source in self._geometry.data_inputs(node.fx)
            }
        gathered = {
            source
            for indices in indices_of.values()
            for source, index in indices.items()
            if index is not None
        }
        for source in gathered:
            area = batch.areas[source]
            capacity = len(batch.windows) * area.height * area.width
            capacities[source] = max(capacities.get(source, 0), capacity)
        for node in self._body:
            yield _Step(
                node,
                indices_of[node.fx],
                operation_on_areas(self._geometry, node, batch),
                node.fx in gathered,
                tuple(self._frees[node.fx]),
            )

    def _gather_index(
        self,
        batch: Batch,
        node: Node,
        source: fx.Node,
        known: dict[tuple[object, ...], GatherIndex],
    ) -> GatherIndex | None:
        """How a node reads an input; None where it takes the value as it is.

        Nodes that read the same rectangles of maps of one size share an index.
        """
        wanted, own = read_area(self._geometry, node, source, batch), batch.areas[source]
        if source in self._geometry.tuples or wanted.same_as(own):
            return None
        size, outside = self._geometry.map_size(source), outside_of(node)
        rectangles = (wanted.top.tobytes(), wanted.left.tobytes(), *wanted.size)
        key = (*rectangles, id(own), size, outside)
        if key not in known:
            known[key] = gather_index(wanted, own, size, outside)
        return known[key]


def joint(geometry: Geometry, body: list[Node], plan: OcclusionPlan) -> fx.Node:
    """The input of the first linear layer that all that follows is computed from.

    It is whole for every window. Where there is no such layer it is the network's output.
    """
    linear = (node for node in body if node.kind == "linear")
    for found in (geometry.data_inputs(node.fx)[0] for node in linear):
        known = {found}
        after = body[body.index(geometry.nodes[found]) + 1 :]
        for node in after:
            if set(geometry.data_inputs(node.fx)) <= known:
                known.add(node.fx)
        if len(known) == 1 + len(after) and all(found in batch.whole for batch in plan.batches):
            return found
    return geometry.graph.node(geometry.graph.output).fx

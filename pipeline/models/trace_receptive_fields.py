"""Receptive fields of every node, computed from the traced graph.

A box is exact, or it is the whole frame and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from pipeline.models.graph import Graph, Node
from pipeline.models.operations import (
    ADAPTIVE_POOLS,
    CHANNEL_MIXERS,
    ELEMENTWISE,
    POINTWISE,
    POOLS,
    RESHAPES,
    arguments_of,
    conv_weight,
    mixed_dims,
    window_of,
)
from pipeline.models.receptive_field import Axis, Layout, coordinates, read_coordinates

_WINDOWED = POOLS | ADAPTIVE_POOLS | {"conv2d"}
Shape = tuple[int, ...]


def trace_receptive_fields(graph: Graph, frame_px: int) -> dict[str, Layout]:
    """The layout, with its receptive fields, of every tensor in the graph, by node name.

    Args:
        graph: the traced network.
        frame_px: side of the square input frame in pixels.

    Returns:
        One per node that holds a tensor; nodes that hold sizes or tuples have none.
    """
    return _Tracer(graph, frame_px).trace()


class _Tracer:
    """One pass over the graph with a real image of zeros, so that shapes need no rules."""

    def __init__(self, graph: Graph, frame_px: int) -> None:
        self.graph = graph
        self.frame = frame_px
        self.values: dict[fx.Node, Any] = {}
        self.layouts: dict[fx.Node, Any] = {}  # a Layout, a tuple of them, or None
        self.rules: dict[str, Callable[[Node, Shape, list[Layout]], Layout]] = {
            **dict.fromkeys(POINTWISE, self._pointwise),
            **dict.fromkeys(ELEMENTWISE, self._elementwise),
            **dict.fromkeys(_WINDOWED, self._windowed),
            **dict.fromkeys(CHANNEL_MIXERS, self._channel_mixed),
            "local_response_norm": self._response_normalised,
            "mean": self._averaged,
        }

    @torch.inference_mode()
    def trace(self) -> dict[str, Layout]:
        weight = next(self.graph.module.parameters(), torch.zeros(1))
        image = torch.zeros(1, 3, self.frame, self.frame, device=weight.device, dtype=weight.dtype)
        nodes = {node.fx: node for node in self.graph.nodes}

        def visit(traced: fx.Node, value: Any, _: dict[fx.Node, Any]) -> None:
            # Only weights are needed by value (a functional convolution's shape): drop the maps.
            drop = isinstance(value, Tensor) and traced.op != "get_attr"
            self.values[traced] = torch.empty(value.shape, device="meta") if drop else value
            self.layouts[traced] = self._layout(nodes[traced], value)

        self.graph.program().visit(image, visit)
        named = ((node.name, self.layouts.get(node.fx)) for node in self.graph.nodes)
        return {name: layout for name, layout in named if isinstance(layout, Layout)}

    def _layout(self, node: Node, value: Any) -> Layout | tuple[Layout | None, ...] | None:
        if node.kind == "placeholder":
            return self._input(value)
        sources = [
            layout for used in node.fx.all_input_nodes if (layout := self.layouts[used]) is not None
        ]
        if not sources or node.kind == "output":
            return None
        if isinstance(value, Tensor):
            layout = self._of_tensor(node, tuple(value.shape), sources)
            gated = any(source.gated for source in _flat(sources))
            return replace(layout, gated=True) if gated and not layout.whole_frame else layout
        if isinstance(value, tuple | list):
            return self._of_tuple(node, tuple(value), sources)
        return None

    def _input(self, value: Any) -> Layout | None:
        if not isinstance(value, Tensor):
            return None
        edge = np.zeros(value.shape[1], dtype=np.int64)
        down, across = Axis(2, 1, edge, edge + 1), Axis(3, 1, edge, edge + 1)
        return Layout(tuple(value.shape), (1,), down, across)

    def _of_tensor(self, node: Node, shape: Shape, sources: list[Any]) -> Layout:
        if node.kind in RESHAPES:
            return self._reshaped(node, shape, sources)
        layouts = _flat(sources)
        blurred = next((layout.whole_frame for layout in layouts if layout.whole_frame), None)
        rule = self.rules.get(node.kind)
        if blurred is not None or rule is None:
            reason = blurred or f"{node.kind} mixes positions"
            return self._whole(shape, self._layout_after(node.kind, shape, layouts), reason)
        return rule(node, shape, layouts)

    def _of_tuple(
        self, node: Node, values: tuple[Any, ...], sources: list[Any]
    ) -> tuple[Layout | None, ...]:
        if node.kind in RESHAPES and isinstance(sources[0], Layout):
            moved = self._move(node, [sources[0]])
            if isinstance(moved, tuple):
                return tuple(self._read(piece, [sources[0]], _flat(sources)) for piece in moved)
        reason = f"{node.kind} mixes positions"
        return tuple(
            self._whole(tuple(v.shape), _alike(tuple(v.shape), _flat(sources)), reason)
            if isinstance(v, Tensor)
            else None
            for v in values
        )

    # One rule per family of operations.

    def _pointwise(self, node: Node, shape: Shape, sources: list[Layout]) -> Layout:
        alike = _alike(shape, sources)
        return alike or self._whole(shape, None, f"{node.kind} changes the shape")

    def _elementwise(self, node: Node, shape: Shape, sources: list[Layout]) -> Layout:
        full = [source for source in sources if source.shape == shape]
        if len(sources) == 1 and full:
            return full[0]
        if len(sources) == len(full) == 2 and full[0].aligned_with(full[1]):
            down = full[0].down.hull(full[1].down)
            return replace(full[0], down=down, across=full[0].across.hull(full[1].across))
        if len(sources) == 2 and len(full) == 1 and node.kind in ("mul", "div", "truediv"):
            gate = next(source for source in sources if source is not full[0])
            if gate.map_size == (1, 1):
                return replace(full[0], gated=True)
        return self._whole(shape, _alike(shape, sources), f"{node.kind} joins unlike maps")

    def _windowed(self, node: Node, shape: Shape, sources: list[Layout]) -> Layout:
        source = sources[0]
        if not source.is_standard:
            reason = f"{node.kind} reads an unusual layout"
            return self._whole(shape, _standard(shape), reason)
        arguments = arguments_of(node.fx, node.kind, self.graph.module)
        windows = window_of(node.kind, arguments, (source.shape[2], source.shape[3]))
        if isinstance(windows, str):
            return self._whole(shape, _standard(shape), windows)
        if node.kind in ADAPTIVE_POOLS and shape[2:] == (1, 1) != source.shape[2:]:
            return self._frame_wide(replace(source, shape=shape))
        down = source.down.through(windows[0], shape[2])
        across = source.across.through(windows[1], shape[3])
        if node.kind == "conv2d":
            weight = conv_weight(node.fx, self.graph.module, self.values)
            groups = source.shape[1] // weight.shape[1]
            down, across = (axis.mixed(groups, weight.shape[0]) for axis in (down, across))
        return Layout(shape, (1,), down, across)

    def _channel_mixed(self, node: Node, shape: Shape, sources: list[Layout]) -> Layout:
        source = sources[0]
        arguments = arguments_of(node.fx, node.kind, self.graph.module)
        dims = mixed_dims(node.kind, arguments, len(shape))
        if len(dims) != 1 or source.channel_dims != dims:
            layout = self._layout_after(node.kind, shape, sources)
            return self._whole(shape, layout, f"{node.kind} mixes positions")
        down, across = (axis.mixed(1, shape[dims[0]]) for axis in (source.down, source.across))
        layout = Layout(shape, dims, down, across)
        return self._frame_wide(layout) if layout.map_size == (1, 1) else layout

    def _response_normalised(self, node: Node, _: Shape, sources: list[Layout]) -> Layout:
        size = int(arguments_of(node.fx, node.kind, self.graph.module)["size"])
        # torch averages channels c - size//2 .. c + (size-1)//2, as its padding shows.
        reach = (size // 2, (size - 1) // 2)
        source = sources[0]
        down, across = (axis.over_neighbours(*reach) for axis in (source.down, source.across))
        return replace(source, down=down, across=across)

    def _averaged(self, node: Node, shape: Shape, sources: list[Layout]) -> Layout:
        source = sources[0]
        dims = arguments_of(node.fx, node.kind, self.graph.module).get("dim", ())
        gone = {int(d) % len(source.shape) for d in np.atleast_1d(dims)}
        if source.map_size != (1, 1) and gone == {source.down.dim, source.across.dim}:
            kept = [d for d in range(len(source.shape)) if d not in gone]
            if len(shape) == len(source.shape):
                kept = list(range(len(shape)))
            channel_dims = tuple(kept.index(d) for d in source.channel_dims)
            return self._frame_wide(replace(source, shape=shape, channel_dims=channel_dims))
        return self._whole(shape, None, "mean over an unusual layout")

    # Reshapes: the operation itself runs on the coordinates.

    def _reshaped(self, node: Node, shape: Shape, sources: list[Any]) -> Layout:
        if isinstance(sources[0], tuple):
            index = node.fx.args[1] if len(node.fx.args) > 1 else None
            picked = sources[0][index] if isinstance(index, int) else None
            return picked or self._whole(shape, None, "an unusual tuple")
        moved = self._move(node, sources)
        layouts = _flat(sources)
        if isinstance(moved, Tensor):
            return self._read(moved, layouts, layouts)
        blurred = next((layout.whole_frame for layout in layouts if layout.whole_frame), None)
        reason = moved if isinstance(moved, str) else f"{node.kind} gives an unusual tuple"
        return self._whole(shape, _alike(shape, layouts), blurred or reason)

    def _read(self, moved: Tensor, layouts: list[Layout], sources: list[Layout]) -> Layout:
        layout = read_coordinates(moved, layouts)
        shape = tuple(moved.shape[1:])
        blurred = next((source.whole_frame for source in sources if source.whole_frame), None)
        if isinstance(layout, str):
            return self._whole(shape, _alike(shape, sources), blurred or layout)
        return self._whole(shape, layout, blurred) if blurred else layout

    def _move(self, node: Node, layouts: list[Any]) -> Tensor | tuple[Tensor, ...] | str:
        """The operation on [3, 1, ...] coordinates; a clause if it cannot run on them."""
        sources = _flat(layouts)
        if any(source.whole_frame and not source.channel_dims for source in sources):
            return f"{node.kind} moves values of unknown layout"
        given = iter(coordinates(sources))
        stand_in: dict[fx.Node, Any] = {}
        for used in node.fx.all_input_nodes:
            if isinstance(self.layouts[used], Layout):
                stand_in[used] = next(given)
            elif isinstance(self.values[used], Tensor):
                return f"{node.kind} joins a constant"
            else:
                stand_in[used] = self.values[used]
        results = [
            self.graph.call(
                node, {k: v[i : i + 1] if isinstance(v, Tensor) else v for k, v in stand_in.items()}
            )
            for i in range(3)
        ]
        if isinstance(results[0], Tensor):
            return torch.stack(results)
        return tuple(torch.stack(pieces) for pieces in zip(*results, strict=True))

    # Whole frames.

    def _layout_after(self, kind: str, shape: Shape, sources: list[Layout]) -> Layout | None:
        """Some operations fix the layout of their result, whatever went before."""
        if kind in _WINDOWED:
            return _standard(shape)
        if kind == "linear":
            edge = np.zeros(shape[-1], dtype=np.int64)
            dims = [dim if dim < len(shape) - 1 else None for dim in (1, 2)]
            down, across = (Axis(dim, 0, edge, edge) for dim in dims)
            return Layout(shape, (len(shape) - 1,), down, across)
        return _alike(shape, sources)

    def _whole(self, shape: Shape, layout: Layout | None, reason: str) -> Layout:
        if layout is None and len(shape) == 2:
            layout = _standard(shape)
        if layout is None:
            nothing = np.zeros(0, dtype=np.int64)
            axis = Axis(None, 0, nothing, nothing)
            return Layout(shape, (), axis, axis, whole_frame=reason)
        return replace(self._frame_wide(layout), whole_frame=layout.whole_frame or reason)

    def _frame_wide(self, layout: Layout) -> Layout:
        edge = np.zeros([layout.shape[dim] for dim in layout.channel_dims], dtype=np.int64)

        def wide(axis: Axis) -> Axis:
            dim = axis.dim
            gone = dim is None or dim >= len(layout.shape) or layout.shape[dim] == 1
            return Axis(None if gone else dim, 0, edge, edge + self.frame)

        return replace(layout, down=wide(layout.down), across=wide(layout.across))


def _flat(sources: list[Any]) -> list[Layout]:
    flat: list[Layout] = []
    for source in sources:
        flat += [f for f in source if f is not None] if isinstance(source, tuple) else [source]
    return flat


def _alike(shape: Shape, sources: list[Layout]) -> Layout | None:
    """A source of the same shape, whose layout the value then has."""
    return next((source for source in sources if source.shape == shape), None)


def _standard(shape: Shape) -> Layout:
    """The layout [N, C, H, W] or [N, C], torch's convention."""
    edge = np.zeros(shape[1], dtype=np.int64)
    dims = [dim if len(shape) > dim and shape[dim] > 1 else None for dim in (2, 3)]
    down, across = (Axis(dim, 0, edge, edge) for dim in dims)
    return Layout(shape, (1,), down, across)

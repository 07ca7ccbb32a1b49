"""A network as the jobs see it: named layers, their geometry, and a run that shows their values.

Traced into a graph where its forward allows, else seen through hooks on its activation modules; the
user's module is left as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.models.geometry import Geometry
from pipeline.models.graph import Graph, Node, Tap
from pipeline.models.layer import Layer
from pipeline.models.layer_globs import match_layers
from pipeline.models.operations import ACTIVATIONS
from pipeline.models.receptive_field import Axis, Layout
from pipeline.models.trace_receptive_fields import trace_receptive_fields
from schemas.errors import LayerError, ModelError, TraceError, UnitscopeError, nearest
from schemas.specs import LayerSelection


class Network(Protocol):
    """What the jobs need of a model, traced or not.

    Attributes:
        module: the user's module.
        layers: everything that can be scanned, in the order of execution.
        unreadable: nodes that cannot be scanned, by name, and why.
        note: what a user should know of a model that is not fully seen; None if nothing.
    """

    module: nn.Module
    layers: tuple[Layer, ...]
    unreadable: dict[str, str]
    note: str | None

    @property
    def geometry(self) -> Geometry | None:
        """Of the traced graph; None where the forward cannot be traced, `note` then says why."""

    def runner(self, taps: Iterable[str]) -> Callable[[Tensor, Tap], Tensor]:
        """An execution: ``run(images [N, 3, S, S], tap) -> scores [N, classes]``."""

    def layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            LayerError: there is none; the message lists near names.
        """
        known = {layer.name: layer for layer in self.layers}
        if name not in known:
            raise LayerError(f"layer: the model has no layer {name!r}; {nearest(name, known)}")
        return known[name]

    def select(self, selection: LayerSelection) -> tuple[Layer, ...]:
        """The layers that a selection names, in the order of execution.

        Raises:
            LayerError: a glob matches nothing, or nothing is left.
        """
        chosen = match_layers(
            [layer.name for layer in self.layers],
            selection,
            missing="matches no layer of the model",
            default=[layer.name for layer in self.layers if layer.default],
            refused=self.unreadable,
        )
        return tuple(layer for layer in self.layers if layer.name in chosen)


class TracedNetwork(Network):
    """A model whose forward could be traced: every node is a layer."""

    note: str | None = None

    def __init__(self, graph: Graph, frame_px: int) -> None:
        self.graph = graph
        self.module = graph.module
        self._layouts = layouts = trace_receptive_fields(graph, frame_px)
        traced = [(node, layouts[node.name]) for node in graph.nodes if node.name in layouts]
        readable = [(node, layout) for node, layout in traced if layout.readable]
        self.unreadable = {
            node.name: layout.whole_frame or "its dimensions are of unknown meaning"
            for node, layout in traced
            if not layout.readable
        }
        self.layers = tuple(
            Layer(node.name, position, node.kind, layout, self._is_default(node))
            for position, (node, layout) in enumerate(readable)
        )

    @cached_property
    def geometry(self) -> Geometry:
        """See `Network.geometry`."""
        return Geometry(self.graph, self._layouts)

    def _is_default(self, node: Node) -> bool:
        if node.name == self.graph.output:
            return True
        return node.kind in ACTIVATIONS and not self._is_gate(node)

    def _is_gate(self, node: Node) -> bool:
        """Only multiplies a larger map, as squeeze-excite's sigmoid does: it looks for nothing."""
        layouts = self._layouts
        shape = layouts[node.name].shape
        users = [other for other in self.graph.nodes if node.fx in other.fx.all_input_nodes]
        return bool(users) and all(
            user.kind == "mul" and user.name in layouts and layouts[user.name].shape != shape
            for user in users
        )

    def runner(self, taps: Iterable[str]) -> Callable[[Tensor, Tap], Tensor]:
        """See `Network.runner`."""
        return self.graph.program(taps).run


class HookedNetwork(Network):
    """A model that cannot be traced: activation modules are layers, seen by forward hooks.

    Functional activations and the inside of custom modules stay unseen; boxes are the whole
    frame. Hooks exist only while a run is under way.
    """

    geometry = None

    def __init__(self, module: nn.Module, frame_px: int, why: str) -> None:
        self.module = module
        self.unreadable = {}
        self.note: str | None = (
            f"{why}; its activation modules are scanned by hooks, boxes are the whole frame"
        )
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {}

        def record(name: str, value: Tensor) -> None:
            kind = self._kinds.get(name) or self._kinds.get(name.rpartition("_")[0], "output")
            shapes[name] = (kind, tuple(value.shape))

        weight = next(module.parameters(), torch.zeros(1))
        image = torch.zeros(1, 3, frame_px, frame_px, device=weight.device, dtype=weight.dtype)
        self._kinds = {
            name: kind
            for name, child in module.named_modules()
            if (kind := type(child).__name__.lower()) in ACTIVATIONS
        }
        with torch.inference_mode(), _fitting(module, frame_px):
            self._run(image, record, None)
        self.layers = tuple(
            Layer(name, position, kind, _whole_frame(shape, frame_px, why), default=True)
            for position, (name, (kind, shape)) in enumerate(shapes.items())
            if len(shape) in (2, 4)
        )

    def runner(self, taps: Iterable[str]) -> Callable[[Tensor, Tap], Tensor]:
        """See `Network.runner`."""
        wanted = frozenset(taps)
        return lambda images, tap: self._run(images, tap, wanted)

    def _run(self, images: Tensor, tap: Tap, wanted: frozenset[str] | None) -> Tensor:
        calls: dict[str, int] = {}

        def seen(name: str, value: Tensor) -> None:
            calls[name] = calls.get(name, 0) + 1
            # As torchvision names reused modules: relu, relu_1, relu_2.
            label = name if calls[name] == 1 else f"{name}_{calls[name] - 1}"
            if wanted is None or label in wanted:
                tap(label, value)

        with _hooks(self.module, self._kinds, seen):
            scores = self.module(images)
        if not isinstance(scores, Tensor):
            raise TraceError(
                f"{type(self.module).__name__} returns {type(scores).__name__}, not one tensor of "
                "class scores; wrap it in a module that does"
            )
        seen("output", scores)
        return scores


@contextmanager
def _hooks(
    module: nn.Module, names: Iterable[str], seen: Callable[[str, Tensor], None]
) -> Iterator[None]:
    handles = []
    try:
        for name in names:

            def hook(_: nn.Module, __: object, value: Tensor, name: str = name) -> None:
                seen(name, value)

            handles.append(module.get_submodule(name).register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _fitting(module: nn.Module, frame_px: int) -> Iterator[None]:
    """Say that a module which raises on its first frame may be made for another size."""
    try:
        yield
    except UnitscopeError:
        raise
    except Exception as error:  # a foreign forward may raise anything
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise ModelError(
            f"model: {type(module).__name__} fails on a frame of {frame_px} px ({first}); if it "
            "is made for another size, give that with --set preprocess.crop_px=224"
        ) from error


def _whole_frame(shape: tuple[int, ...], frame_px: int, why: str) -> Layout:
    edge = np.zeros(shape[1], dtype=np.int64)
    dims = [dim if len(shape) == 4 and shape[dim] > 1 else None for dim in (2, 3)]
    down, across = (Axis(dim, 0, edge, edge + frame_px) for dim in dims)
    return Layout(shape, (1,), down, across, whole_frame=why)


def open_network(module: nn.Module, frame_px: int) -> Network:
    """Trace a model, or hook it where it cannot be traced.

    Args:
        module: an image classifier in eval mode, [N, 3, S, S] to [N, classes]; left as it is.
        frame_px: S.

    Raises:
        ModelError: it takes no such frame, or does not return one tensor of scores.
    """
    try:
        graph = Graph(module)
        _hold_against_module(graph, frame_px)
    except TraceError as error:
        return HookedNetwork(module, frame_px, str(error))
    return TracedNetwork(graph, frame_px)


@torch.inference_mode()
def _hold_against_module(graph: Graph, frame_px: int) -> None:
    """Compare both on noise: a view changed in place, or an input of None, spoil a trace."""
    weight = next(graph.module.parameters(), torch.zeros(1))
    noise = torch.randn(1, 3, frame_px, frame_px, generator=torch.Generator().manual_seed(0))
    image = noise.to(device=weight.device, dtype=weight.dtype)
    with _fitting(graph.module, frame_px):
        wanted = torch.nan_to_num(graph.module(image.clone()))
    try:
        gap = (torch.nan_to_num(graph.program().run(image)) - wanted).abs().max()
    except Exception as error:  # a wrong trace may raise anything
        raise TraceError(f"its trace does not run: {error!r}") from error
    if not gap <= 1e-3 * wanted.abs().max():
        raise TraceError(f"its trace gives other scores than the model, by up to {gap:.3g}")

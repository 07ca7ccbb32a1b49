"""The traced graph of a network, and its execution with taps on any nodes.

A tap sees the raw value of its node, whatever an in-place operation later does in the user's model,
and the user's model is left as it was.
"""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from pipeline.models.operations import OUT_OF_PLACE, node_kind
from schemas.errors import TraceError

Tap = Callable[[str, Tensor], None]
"""Receives a layer's name and its raw value; must not keep or change the value."""
Visitor = Callable[[fx.Node, Any, dict[fx.Node, Any]], None]

# Their results are fresh tensors that nothing else refers to.
_FRESH = frozenset({"conv2d", "linear", "batch_norm2d", "batch_norm", "add", "cat"})
# Overwriting the input gives the same value as a fresh result.
_OVERWRITES = frozenset({"relu", "relu6", "leaky_relu", "hardswish", "silu", "elu"})


@dataclass(frozen=True)
class Node:
    """A node of the graph.

    Attributes:
        name: torchvision's name for it (``layer1.0.relu_1``).
        kind: the operation, see `operations.node_kind`.
        fx: the traced node.
    """

    name: str
    kind: str
    fx: fx.Node


class Graph:
    """A traced network.

    Attributes:
        module: the traced module, shared with the caller and never changed.
        nodes: every node in the order of execution.
        output: name of the node whose value the network returns.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        tracer = NodePathTracer()
        own = set(vars(module))
        try:
            graph = tracer.trace(module)
        except Exception as error:  # a foreign forward may raise anything
            first = (str(error).strip() or repr(error)).splitlines()[0]
            raise TraceError(f"{type(module).__name__} cannot be traced: {first}") from error
        finally:
            # The tracer hangs tensors that the forward makes itself on the module.
            self._constants = {name: vars(module).pop(name) for name in vars(module).keys() - own}
        names = {node: str(name) for node, name in tracer.node_to_qualname.items()}
        self.nodes = tuple(
            Node(names.get(node, node.name), node_kind(node, module), node) for node in graph.nodes
        )
        self._by_name = {node.name: node for node in self.nodes}
        self._calls: dict[fx.Node, Callable[..., Any]] = {}
        _run_out_of_place(graph, module)
        returned = next(node for node in graph.nodes if node.op == "output").args[0]
        if not isinstance(returned, fx.Node):
            raise TraceError(
                f"{type(module).__name__} returns {type(returned).__name__}, not one tensor of "
                "class scores; wrap it in a module that does"
            )
        self.output = names.get(returned, returned.name)

    def node(self, name: str) -> Node:
        """The node of that name; KeyError if there is none."""
        return self._by_name[name]

    def up_to(self, name: str) -> tuple[Node, ...]:
        """The nodes up to and with the named one."""
        return self.nodes[: self.nodes.index(self.node(name)) + 1]

    def call(self, node: Node, values: dict[fx.Node, Any]) -> Any:
        """Run one node's operation, out of place, on the given values of its inputs."""
        calls = self._calls
        function = calls.get(node.fx) or calls.setdefault(node.fx, _callable(self, node))
        return function(*_look_up(node.fx.args, values), **_look_up(node.fx.kwargs, values))

    def attribute(self, path: str) -> Any:
        """A parameter or buffer of the module, or a constant of its forward."""
        own = path in self._constants
        return self._constants[path] if own else operator.attrgetter(path)(self.module)

    def program(self, taps: Iterable[str] = (), until: str | None = None) -> Program:
        """Compile an execution that reports the values of the nodes in ``taps``.

        Args:
            taps: names of nodes; none of them is overwritten by a later in-place operation.
            until: the last node to run; None: the whole network.
        """
        return Program(self, frozenset(taps), until)


class Program:
    """An execution of a graph with a fixed set of taps."""

    def __init__(self, graph: Graph, taps: frozenset[str], until: str | None) -> None:
        self.taps = taps
        nodes = graph.nodes if until is None else graph.up_to(until)
        tapped = {graph.node(name).fx for name in taps}
        last_use = {used: node.fx for node in nodes for used in node.fx.all_input_nodes}
        frees: dict[fx.Node, list[fx.Node]] = {}
        for used, node in last_use.items():
            frees.setdefault(node, []).append(used)
        self._steps = [
            _Step(
                node.name if node.fx in tapped else None,
                node.fx,
                _callable(graph, node, overwrite=_may_overwrite(graph, node, tapped)),
                tuple(frees.get(node.fx, ())),
            )
            for node in nodes
        ]

    def run(self, images: Tensor, tap: Tap | None = None) -> Tensor:
        """Run the network.

        Args:
            images: the input, [N, 3, S, S] float.
            tap: called with each tapped node's name and value, in the order of execution, while
                the value is alive.

        Returns:
            What the network returns, [N, classes].
        """
        for step, value in self._walk(images):
            if step.tap is not None and tap is not None:
                tap(step.tap, value)
            if step.node.op == "output":
                return cast("Tensor", value)
        raise TraceError("the traced graph has no output")

    def visit(self, images: Tensor, visitor: Visitor) -> None:
        """Run the network and show every node to a visitor.

        Args:
            images: the input, [N, 3, S, S] float.
            visitor: called with the node, its value (a size or a tuple, too) and the values of
                its inputs by node; none may be changed. A ReLU may have overwritten its input.
        """
        for step, value in self._walk(images):
            visitor(step.node, value, self._alive)

    def _walk(self, images: Tensor) -> Iterator[tuple[_Step, Any]]:
        values: dict[fx.Node, Any] = {}
        self._alive = values
        for step in self._steps:
            node = step.node
            if node.op == "placeholder":
                value: Any = images if not values else _default(node)
            elif node.op == "output":
                value = _look_up(node.args[0], values)
            else:
                args = _look_up(node.args, values)
                value = step.call(*args, **_look_up(node.kwargs, values))
            if node.users:
                values[node] = value
            yield step, value
            del value
            for done in step.frees:
                del values[done]


@dataclass(frozen=True)
class _Step:
    tap: str | None
    node: fx.Node
    call: Callable[..., Any]
    frees: tuple[fx.Node, ...]


def _look_up(template: Any, values: dict[fx.Node, Any]) -> Any:
    if isinstance(template, fx.Node):
        return values[template]
    if isinstance(template, tuple | list):
        return type(template)(_look_up(item, values) for item in template)
    if isinstance(template, dict):
        return {key: _look_up(item, values) for key, item in template.items()}
    if isinstance(template, slice):
        return slice(*(_look_up(x, values) for x in (template.start, template.stop, template.step)))
    return template


def _default(node: fx.Node) -> Any:
    if not node.args:
        raise TraceError(f"the network takes a second input, {node.name}, that has no default")
    return node.args[0]


def _run_out_of_place(graph: fx.Graph, module: nn.Module) -> None:
    """Let every later reader of a value that was changed in place read the changing node."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if node.all_input_nodes and _changes_in_place(node, module):
            node.all_input_nodes[0].replace_all_uses_with(
                node, delete_user_cb=lambda user, node=node: order[user] > order[node]
            )


def _changes_in_place(node: fx.Node, module: nn.Module) -> bool:
    if node.op == "call_module":
        return getattr(module.get_submodule(str(node.target)), "inplace", False) is True
    if node.op == "call_method":
        return _ends_in_place(str(node.target))
    return node.op == "call_function" and (
        node.target in OUT_OF_PLACE
        or _ends_in_place(str(getattr(node.target, "__name__", "")))
        or _bound(node).get("inplace") is True
    )


def _ends_in_place(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_")


def _bound(node: fx.Node) -> dict[str, Any]:
    """The arguments of a call by name, if the function has an ``inplace`` flag; else empty."""
    if not callable(node.target) or not _has_inplace_flag(node.target):
        return {}
    return dict(inspect.signature(node.target).bind(*node.args, **node.kwargs).arguments)


def _has_inplace_flag(function: Callable[..., Any]) -> bool:
    try:
        return "inplace" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # builtins without a signature take no such flag
        return False


def _may_overwrite(graph: Graph, node: Node, tapped: set[fx.Node]) -> bool:
    """Whether the node's input dies with it, so that its memory can hold the result.

    A fresh 200 MB map costs more in page faults than a ReLU costs in arithmetic (measured).
    """
    if node.kind not in _OVERWRITES or not node.fx.all_input_nodes:
        return False
    source = node.fx.all_input_nodes[0]
    fresh = node_kind(source, graph.module) in _FRESH
    return fresh and source not in tapped and list(source.users) == [node.fx]


def _callable(graph: Graph, node: Node, *, overwrite: bool = False) -> Callable[..., Any]:
    """What to call for a node; in-place operations become plain ones unless ``overwrite``."""
    target = node.fx.target
    if node.fx.op == "get_attr":
        return lambda: graph.attribute(str(target))
    if node.fx.op == "call_module":
        module = graph.module.get_submodule(str(target))
        if getattr(module, "inplace", overwrite) != overwrite:
            module = copy.copy(module)  # shares the parameters; the user's module keeps its flag
            module.__dict__["inplace"] = overwrite
        return module
    if node.fx.op == "call_method":
        plain = name.rstrip("_") if _ends_in_place(name := str(target)) else name
        return lambda first, *args, **kwargs: getattr(first, plain)(*args, **kwargs)
    if node.fx.op == "call_function" and callable(target):
        return _plain_function(target, overwrite=overwrite)
    return lambda: None


def _plain_function(function: Callable[..., Any], *, overwrite: bool) -> Callable[..., Any]:
    if function in OUT_OF_PLACE:
        return OUT_OF_PLACE[function]
    name = str(getattr(function, "__name__", ""))
    if _ends_in_place(name):
        return cast("Callable[..., Any]", getattr(torch, name.rstrip("_")))
    if not _has_inplace_flag(function):
        return function
    signature = inspect.signature(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.arguments["inplace"] = overwrite
        return function(*bound.args, **bound.kwargs)

    return call

"""What each node of a traced graph computes: the tables of operations that every walk reads.

An operation that stands in no table is treated as mixing every position, so that an unknown network
loses exact boxes, never exactness.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from schemas.arrays import Ints

RECTIFIERS = frozenset({"relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "hardswish"})
ACTIVATIONS = RECTIFIERS | {
    "gelu", "silu", "mish", "softplus", "tanh", "sigmoid", "hardtanh", "hardsigmoid", "rrelu",
    "softsign", "logsigmoid", "hardshrink", "softshrink", "tanhshrink", "threshold",
}  # fmt: skip
POINTWISE = ACTIVATIONS | {
    "identity", "dropout", "dropout2d", "alpha_dropout", "feature_dropout", "batch_norm2d",
    "batch_norm1d", "batch_norm", "frozen_batch_norm2d", "stochastic_depth", "contiguous", "clone",
    "detach", "float", "clamp", "neg", "abs", "exp", "sqrt", "pow", "square",
}  # fmt: skip
"""One tensor in, one out, element by element (batch norm in eval is a scale and a shift)."""
ELEMENTWISE = frozenset({"add", "sub", "mul", "truediv", "div", "maximum", "minimum"})
"""Two operands, element by element, with broadcasting."""
POOLS = frozenset({"max_pool2d", "avg_pool2d", "lppool2d"})
ADAPTIVE_POOLS = frozenset({"adaptive_avg_pool2d", "adaptive_max_pool2d"})
MAX_POOLS = frozenset({"max_pool2d", "adaptive_max_pool2d"})
AVERAGE_POOLS = frozenset({"avg_pool2d", "adaptive_avg_pool2d"})
CHANNEL_MIXERS = frozenset({"layer_norm", "layer_norm2d", "softmax", "log_softmax", "linear"})
"""Mix the values of one axis at each position: exact boxes where that axis holds channels."""
RESHAPES = frozenset({
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "swapaxes", "squeeze",
    "unsqueeze", "chunk", "split", "getitem", "cat", "concat", "stack", "tuple", "channel_shuffle",
    "movedim",
})  # fmt: skip
"""Move elements without mixing them."""

_MODULE_KINDS = {
    "BatchNorm2d": "batch_norm2d",
    "BatchNorm1d": "batch_norm1d",
    "FrozenBatchNorm2d": "frozen_batch_norm2d",
    "LayerNorm": "layer_norm",
    "LayerNorm2d": "layer_norm2d",
    "LocalResponseNorm": "local_response_norm",
    "LeakyReLU": "leaky_relu",
    "LogSoftmax": "log_softmax",
    "AdaptiveAvgPool2d": "adaptive_avg_pool2d",
    "AdaptiveMaxPool2d": "adaptive_max_pool2d",
    "AvgPool2d": "avg_pool2d",
    "MaxPool2d": "max_pool2d",
    "StochasticDepth": "stochastic_depth",
    "AlphaDropout": "alpha_dropout",
    "Dropout2d": "dropout2d",
    "ChannelShuffle": "channel_shuffle",
}

# F.max_pool2d and its kin are closures that are all called "fn".
_FUNCTION_KINDS: dict[Any, str] = {
    F.max_pool2d: "max_pool2d",
    F.adaptive_max_pool2d: "adaptive_max_pool2d",
    F.relu_: "relu",
    operator.iadd: "add",
    operator.imul: "mul",
    operator.isub: "sub",
    operator.itruediv: "truediv",
}

OUT_OF_PLACE: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.iand: operator.and_,
    operator.ior: operator.or_,
    operator.ipow: operator.pow,
}
"""Python's in-place operators and what they are run as."""


def node_kind(node: fx.Node, root: nn.Module) -> str:
    """The operation of a node in lower case: ``conv2d``, ``relu``, ``add``, ``cat`` ...

    An in-place variant has the kind of its plain form. Batch norm is ``batch_statistics`` where
    it normalises by the batch at hand, in eval mode too, and so sees every position.
    """
    if _uses_batch_statistics(node, root):
        return "batch_statistics"
    if node.op == "call_module":
        name = type(root.get_submodule(str(node.target))).__name__
        return _MODULE_KINDS.get(name, name.lower())
    if node.op == "call_function":
        known = _FUNCTION_KINDS.get(node.target)
        name = known or str(getattr(node.target, "__name__", node.target))
    elif node.op == "call_method":
        name = str(node.target)
    else:
        return node.op
    return name if name.startswith("_") else name.rstrip("_")


def _uses_batch_statistics(node: fx.Node, root: nn.Module) -> bool:
    if node.op == "call_module":
        module = root.get_submodule(str(node.target))
        return isinstance(module, _BatchNorm) and module.running_mean is None
    if node.target is F.batch_norm:
        return arguments_of(node, "batch_norm", root).get("training") is True
    return False


Positions = TypeVar("Positions", int, Ints, Tensor)
"""One position along an axis, or many."""


@dataclass(frozen=True)
class Window:
    """A sliding window along one axis.

    Position o reads input positions ``o * stride - padding + j * dilation`` for j in 0..size-1.
    """

    size: int
    stride: int
    padding: int
    dilation: int

    @property
    def extent(self) -> int:
        """The dilated kernel size: positions from the first to the last that a window reads."""
        return (self.size - 1) * self.dilation + 1

    def input_start(self, output: Positions) -> Positions:
        """The first input position that an output position reads; before the map where negative."""
        return output * self.stride - self.padding

    def input_size(self, outputs: int) -> int:
        """How many input positions, padding included, so many neighbouring outputs read."""
        return (outputs - 1) * self.stride + self.extent


Windows = tuple[Window, Window]
"""Down (along y) and across (along x)."""


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, tuple | list):
        return (int(value[0]), int(value[-1]))
    return (int(value), int(value))


def window_of(kind: str, arguments: dict[str, Any], map_size: tuple[int, int]) -> Windows | str:
    """The windows down and across of a convolution or pool.

    Args:
        kind: the node's kind.
        arguments: the operation's parameters by torch's names (see `arguments_of`).
        map_size: height and width of the input map; adaptive pools depend on it.

    Returns:
        The two windows, or a sentence that says why there are none.
    """
    if any(_is_computed(arguments.get(name, 0)) for name in _WINDOW_ARGUMENTS):
        return f"{kind} has a window that the network computes"
    if kind in ADAPTIVE_POOLS:
        return _adaptive_windows(arguments["output_size"], map_size)
    if arguments.get("padding_mode", "zeros") != "zeros":
        return f"padding mode {arguments['padding_mode']} reads pixels from elsewhere"
    size = _pair(arguments["kernel_size"])
    stride = _pair(arguments["stride"] if arguments.get("stride") not in (None, []) else size)
    dilation = _pair(arguments.get("dilation", 1))
    padding = arguments.get("padding", 0)
    if padding == "same":
        padding = tuple((d * (k - 1)) // 2 for k, d in zip(size, dilation, strict=True))
    elif padding == "valid":
        padding = 0
    down, across = zip(size, stride, _pair(padding), dilation, strict=True)
    return Window(*down), Window(*across)


def _is_computed(value: Any) -> bool:
    """Whether a node of the graph stands in an argument, or in a part of it."""
    if isinstance(value, tuple | list):
        return any(_is_computed(item) for item in value)
    return isinstance(value, fx.Node)


def _adaptive_windows(output: Any, map_size: tuple[int, int]) -> Windows | str:
    sizes = output if isinstance(output, tuple | list) else (output, output)
    windows = []
    for wanted, have in zip(sizes, map_size, strict=True):
        count = have if wanted is None else int(wanted)
        if have % count:
            return f"adaptive pooling from {have} to {count} positions has uneven windows"
        windows.append(Window(have // count, have // count, 0, 1))
    return windows[0], windows[1]


_SIGNATURES: dict[str, tuple[str, ...]] = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "max_pool2d": (
        "input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices",
    ),
    "avg_pool2d": (
        "input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
    ),
    "adaptive_avg_pool2d": ("input", "output_size"),
    "adaptive_max_pool2d": ("input", "output_size", "return_indices"),
    "local_response_norm": ("input", "size", "alpha", "beta", "k"),
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "batch_norm": (
        "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps",
    ),
    "softmax": ("input", "dim"),
    "log_softmax": ("input", "dim"),
    "mean": ("input", "dim", "keepdim"),
}  # fmt: skip
_WINDOW_ARGUMENTS = ("kernel_size", "stride", "padding", "dilation", "output_size")
_DEFAULTS: dict[str, dict[str, Any]] = {
    "conv2d": {"stride": 1, "padding": 0, "dilation": 1, "groups": 1},
}


def arguments_of(node: fx.Node, kind: str, root: nn.Module) -> dict[str, Any]:
    """A node's parameters by torch's names, whether a module or a function holds them.

    Args:
        node: the node; arguments that are nodes stay nodes.
        kind: its `node_kind`.
        root: the module that was traced.

    Returns:
        The parameters; of a convolution also ``kernel_size``, which a function's weight has.
    """
    if node.op == "call_module":
        return dict(vars(root.get_submodule(str(node.target))))
    names = _SIGNATURES.get(kind, ())
    given = dict(zip(names, node.args, strict=False))
    arguments = _DEFAULTS.get(kind, {}) | given | dict(node.kwargs)
    if kind == "conv2d":
        weight = arguments["weight"]
        # One that is no parameter or buffer is computed, and stays a node.
        named = (root.named_parameters, root.named_buffers)
        stored = dict(pair for each in named for pair in each(remove_duplicate=False))
        value = stored.get(str(weight.target)) if isinstance(weight, fx.Node) else weight
        arguments["kernel_size"] = weight if value is None else tuple(value.shape[2:])
    return arguments


def mixed_dims(kind: str, arguments: dict[str, Any], rank: int) -> tuple[int, ...]:
    """The dimensions along which one of `CHANNEL_MIXERS` mixes values.

    Args:
        kind: the node's kind.
        arguments: the operation's parameters, see `arguments_of`.
        rank: how many dimensions its value has.

    Returns:
        Dimensions from 0; empty where the network computes them.
    """
    if kind == "layer_norm":
        shape = arguments["normalized_shape"]
        return tuple(range(rank - len(shape), rank)) if isinstance(shape, tuple | list) else ()
    if kind in ("softmax", "log_softmax"):
        dim = arguments.get("dim")
        return (dim % rank,) if isinstance(dim, int) else ()
    return (1,) if kind == "layer_norm2d" else (rank - 1,)


def conv_weight(node: fx.Node, root: nn.Module, known: dict[fx.Node, Any]) -> Tensor:
    """The [out, in/groups, kh, kw] weight of a convolution, of a module or of a function."""
    if node.op == "call_module":
        return root.get_submodule(str(node.target)).get_parameter("weight")
    weight = node.args[1] if len(node.args) > 1 else node.kwargs["weight"]
    value = known[weight] if isinstance(weight, fx.Node) else weight
    if not isinstance(value, Tensor):
        raise TypeError(f"{node.name}: the weight of a convolution is {type(value).__name__}")
    return value

"""Guided backpropagation (Springenberg et al. 2014) and the deconvnet (ZF 2.1) from a class score.

Both are backpropagation with another rule at each ReLU; so is a way past rectifiers that are off.
The rule is set for the calls within a context, so that the network itself is not changed.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pipeline.analysis.deconvnet.forward import RELU_KIN
from pipeline.analysis.deconvnet.transposes import rectify
from pipeline.models.network import Network
from pipeline.models.operations import ACTIVATIONS
from schemas.errors import LayerError

RectifierRule = Literal["guided", "deconvnet", "open"]

_RELU = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
# nn.ReLU6 calls hardtanh; a network with a hardtanh of its own is refused.
_RELU6 = {F.relu6, F.hardtanh, F.hardtanh_}


class RectifiedBackprop(TorchFunctionMode):
    """Within it the gradient passes ReLUs by another rule; forward values stay as they are.

    At a ReLU the backward signal itself is rectified (deconvnet), and multiplied by the forward's
    gate, too (guided), or passes as it is (open). Response normalisation passes it through. Max
    pooling is no exception: its gradient is the deconvnet's unpooling by switches.

    Args:
        rule: which.
    """

    def __init__(self, rule: RectifierRule) -> None:
        super().__init__()
        self.rule = rule

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation of torch, another one in place of a ReLU."""
        own, given = kwargs or {}, args or tuple((kwargs or {}).values())
        if func in _RELU:
            return _Rectified.apply(given[0], self.rule, torch.inf)
        if func in _RELU6:
            return _Rectified.apply(given[0], self.rule, 6.0)
        if func is F.local_response_norm:
            with torch.no_grad():
                value = func(*args, **own)
            return _PassedThrough.apply(given[0], value)
        return func(*args, **own)


def require_rectifiers(network: Network, rule: RectifierRule) -> None:
    """Refuse a network that the rules are not defined for.

    Raises:
        LayerError: it has another activation function than ReLU and ReLU6, or is not seen into.
    """
    way_out = "take the other methods for this network"
    if network.geometry is None:
        raise LayerError(f"method {rule!r} needs a network that can be traced; {way_out}")
    for node in network.geometry.graph.nodes:
        if node.kind in ACTIVATIONS and node.kind not in RELU_KIN:
            raise LayerError(
                f"method {rule!r} is defined for networks of rectifiers, and {node.name} is "
                f"{node.kind}; {way_out}"
            )


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, rule: RectifierRule, ceiling: float) -> Tensor:
        ctx.rule = rule
        if rule == "guided":
            ctx.save_for_backward((value > 0) & (value < ceiling))
        return value.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None, None]:
        if ctx.rule == "open":
            return signals[0], None, None
        slope = ctx.saved_tensors[0] if ctx.rule == "guided" else None
        return rectify(signals[0].clone(), ctx.rule, slope), None, None


class _PassedThrough(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, value: Tensor, result: Tensor) -> Tensor:  # noqa: ARG004 (backward's)
        return result.clone()

    @staticmethod
    def backward(_: Any, *signals: Tensor) -> tuple[Tensor, None]:
        return signals[0], None

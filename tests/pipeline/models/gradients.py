"""Who reads whom in a network, by autograd alone: what boxes are held against.

Invariant: nothing cancels, saturates or underflows. Weights are positive, every value is replaced
by random positive numbers, every gradient by random positive numbers where it is not zero.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from schemas.arrays import Ints


@lru_cache(maxsize=1)
def _numbers() -> Tensor:
    return torch.rand(1 << 22, generator=torch.Generator().manual_seed(0)) + 0.5


def positive(like: Tensor) -> Tensor:
    """Random numbers in 0.5..1.5 of a value's shape."""
    return _numbers()[: like.numel()].view(like.shape).clone()


class Alive(torch.autograd.Function):
    """Passes on who reads whom, and no magnitudes."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        return positive(value)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return (gradient != 0) * positive(gradient)


def average(
    value: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *,
    ceil_mode: bool = False,
    **others: bool,
) -> Tensor:
    """An average over the windows of a maximum."""
    assert dilation == 1
    assert not any(others.values())
    return F.avg_pool2d(value, kernel_size, stride, padding, ceil_mode)


class Reads(fx.Interpreter):
    """torchvision's own trace of a network, run so that a gradient shows all that is read.

    A maximum reads its whole window, so pools average; a squeeze-excite gate, which boxes leave
    out, is cut.
    """

    def __init__(self, module: nn.Module, shape: tuple[int, int], batch: int) -> None:
        tracer = NodePathTracer()
        super().__init__(fx.GraphModule(module, tracer.trace(module)))
        self.names = tracer.node_to_qualname
        self.values: dict[str, Tensor] = {}
        self.images = positive(torch.empty(batch, 3, *shape)).requires_grad_()
        self.run(self.images)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if not isinstance(value, Tensor) or n.op in ("placeholder", "get_attr"):
            return value
        name = self.names.get(n, n.name)
        if name.endswith("scale_activation"):
            return value.detach()
        self.values[name] = Alive.apply(value)
        return self.values[name]

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.fetch_attr(target)
        if not isinstance(module, nn.MaxPool2d):
            return super().call_module(target, args, kwargs)
        window = (module.kernel_size, module.stride, module.padding, module.dilation)
        return average(args[0], *window, ceil_mode=module.ceil_mode)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return super().call_function(average if target is F.max_pool2d else target, args, kwargs)

    def support(self, value: Tensor, seeds: Tensor) -> Ints:
        """Hull of the pixels that each row's seed reads: y0, x0, y1, x1, [rows, 4]."""
        (gradient,) = torch.autograd.grad(value, self.images, seeds, retain_graph=True)
        alive = (gradient != 0).any(1)
        assert alive.flatten(1).any(1).all()
        edges = []
        for line in (alive.any(2), alive.any(1)):
            length = line.shape[1]
            edges.append((line.int().argmax(1), length - line.flip(1).int().argmax(1)))
        (y0, y1), (x0, x1) = edges
        return torch.stack([y0, x0, y1, x1], 1).numpy()

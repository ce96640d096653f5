"""Learned temperatures of pairs, bounded without touching a parameter after a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

SIGMOID_BIAS = -10.0  # start of the sigmoid loss's bias (Zhai et al. 2023, SigLIP)


class LogScale(nn.Module):
    """Inverse temperature (as a logarithm) and sigmoid bias of each pair: two vectors, never scalars.

    forward -> log_scale (pairs,) inside [min, max], bias (pairs,), both float32. InfoNCE has no bias: zeros.
    Exponentials of the logarithms are what `contrast` takes as `scale`. No weight decay belongs on either.
    """

    log_scale: Tensor
    bias: Tensor | None

    def __init__(
        self, init: Sequence[float], max: float, learn: bool = True, sigmoid: bool = False, min: float = 0.0
    ) -> None:
        super().__init__()
        for start in init:
            if not min <= start <= max:
                raise ValueError(f"the logarithm of the inverse temperature starts at {start}, outside [{min}, {max}]")
        self.min, self.max = min, max
        self.bias = None
        if not init:  # without pairs: an empty parameter would get no gradient, and ZeRO-3 fails on one
            self.register_buffer("log_scale", torch.zeros(0), persistent=False)
            return
        self.log_scale = nn.Parameter(torch.tensor(init, dtype=torch.float32), requires_grad=learn)
        if sigmoid:
            self.bias = nn.Parameter(torch.full((len(init),), SIGMOID_BIAS, dtype=torch.float32))

    def forward(self) -> tuple[Tensor, Tensor]:
        bias = torch.zeros_like(self.log_scale, requires_grad=False) if self.bias is None else self.bias
        return bounded(self.log_scale, self.min, self.max), bias


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """x inside [low, high]. At or beyond a bound only the gradient that would push x further out is dropped.

    A plain clamp drops the gradient back inside too, and a clamp of the parameter after the step is overwritten by an
    optimiser that keeps its own copy of the parameters (ZeRO).
    """
    return _Bounded.apply(x, low, high)  # pyright: ignore[reportReturnType]


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,), (grad,) = ctx.saved_tensors, grads
        # A step goes against the gradient: a negative one raises x.
        outwards = ((x >= ctx.high) & (grad < 0)) | ((x <= ctx.low) & (grad > 0))
        return torch.where(outwards, 0.0, grad), None, None

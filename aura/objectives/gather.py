"""Tensors of all ranks, with or without gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """Rank and number of ranks; (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather(x: Tensor) -> Tensor:
    """x (b, ...) of every rank, in the order of ranks: (R * b, ...). Equal shapes on all ranks.

    A gradient of the result reaches the rank that a row came from, summed over all ranks that used it: the gradient of
    the sum of all ranks' losses. No factor is applied. Tensors of integers and bools are gathered as they are. Every
    rank must call it, and run its backward pass, in the same order.
    """
    if world()[1] == 1:
        return x
    if x.is_floating_point() and x.requires_grad and torch.is_grad_enabled():
        return _Gather.apply(x)  # pyright: ignore[reportReturnType]
    return _gather(x.detach())


def once() -> Callable[[Tensor], Tensor]:
    """`gather` that gathers a tensor once, however often it is asked for: an embedding stands in several pairs."""
    known: dict[int, tuple[Tensor, Tensor]] = {}  # holds the tensor too, so that no other one gets its id

    def gather_once(x: Tensor) -> Tensor:
        if id(x) not in known:
            known[id(x)] = x, gather(x)
        return known[id(x)][1]

    return gather_once


def total_over_ranks(x: Tensor) -> Tensor:
    """The sum of all ranks' x, without gradient; every rank must call it."""
    total = x.detach().clone()
    if world()[1] > 1:
        dist.all_reduce(total)
    return total


def logsumexp_over_ranks(x: Tensor) -> Tensor:
    """The log of the sum over ranks of exp(x), without gradient; every rank must call it. No rank holds all ranks' x."""
    if world()[1] == 1:
        return x
    top = x.clone()
    dist.all_reduce(top, op=dist.ReduceOp.MAX)
    total = (x - top).exp_()
    dist.all_reduce(total)
    return total.log_().add_(top)


def _gather(x: Tensor) -> Tensor:
    # Bools travel as bytes: not every backend knows them.
    sent = x.contiguous().view(torch.uint8) if x.dtype == torch.bool else x.contiguous()
    out = sent.new_empty(world()[1] * sent.shape[0], *sent.shape[1:])
    dist.all_gather_into_tensor(out, sent)
    return out.view(torch.bool) if x.dtype == torch.bool else out


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = x.shape[0]
        return _gather(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous()
        if dist.get_backend() == "gloo":  # whose reduce-scatter is an all-reduce too, and not in every version of torch
            total = grad.clone()
            dist.all_reduce(total)
            start = world()[0] * ctx.rows
            return total[start : start + ctx.rows]
        own = grad.new_empty(ctx.rows, *grad.shape[1:])
        dist.reduce_scatter_tensor(own, grad)
        return own

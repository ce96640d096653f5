"""Forward and backward of one batch, whole or in chunks (GradCache), with equal results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from aura.data.batch import Batch
from aura.model import FIXED, LEARNED, Embeddings

LossOf = Callable[[Embeddings], tuple[Tensor, dict[str, float]]]


def forward_backward(
    accelerator: Any, model: torch.nn.Module, batch: Batch, loss_of: LossOf, chunk: int | None, share: float, last: bool
) -> dict[str, float]:
    """Adds this rank's gradient of the batch's loss to the model; returns the statistics of the whole batch.

    `loss_of` gives this rank's part of a loss that is a sum over ranks. `share` is 1 / train.accumulate; `last` says
    that the update follows. Under DeepSpeed the update happens in here, when `last` is true.
    """
    # The one factor of the data-parallel mean: gradients are averaged over ranks, the loss is a sum over them.
    factor = share * accelerator.num_processes
    parts = split(batch, chunk)
    if len(parts) == 1:
        with gradient_sync(accelerator, model, last):
            loss, stats = loss_of(model(batch))
            accelerator.backward(loss * factor)
        return stats

    states, outputs = [], []
    for part in parts:
        states.append(random_state())
        with torch.no_grad():
            outputs.append(model(part))
    leaves, cached = concat_leaves(outputs)
    loss, stats = loss_of(cached)
    gradients = torch.autograd.grad(loss * factor, list(leaves.values()), allow_unused=True)
    of = {key: torch.zeros_like(leaves[key]) if g is None else g for key, g in zip(leaves, gradients)}

    start = 0
    for i, part in enumerate(parts):
        final = i == len(parts) - 1
        with restored(states[i]), gradient_sync(accelerator, model, last and final):
            out = model(part)
            rows = slice(start, start + len(part))
            surrogate = sum(
                (value * of[field, name][rows]).sum()
                for field in LEARNED
                for name, value in getattr(out, field).items()
            )
            # Each temperature counts once for the whole batch, though every chunk's graph holds it.
            for name in ("log_scale", "bias"):
                surrogate = surrogate + (getattr(out, name) * (of["", name] * float(final))).sum()
            accelerator.backward(surrogate)
        start += len(part)
    return stats


def split(batch: Batch, chunk: int | None) -> list[Batch]:
    """The batch in parts of at most `chunk` rows."""
    if chunk is None or chunk >= len(batch):
        return [batch]
    return [batch.rows(range(i, min(i + chunk, len(batch)))) for i in range(0, len(batch), chunk)]


def concat_leaves(outputs: list[Embeddings]) -> tuple[dict[tuple[str, str], Tensor], Embeddings]:
    """The outputs of all chunks as one, of tensors that take gradients; keyed by field and stream."""
    leaves: dict[tuple[str, str], Tensor] = {}
    for field in LEARNED:
        for name in getattr(outputs[0], field):
            leaves[field, name] = torch.cat([getattr(out, field)[name] for out in outputs]).requires_grad_()
    for field in ("log_scale", "bias"):
        leaves["", field] = getattr(outputs[0], field).clone().requires_grad_()
    whole = Embeddings(
        **{field: {name: leaves[field, name] for name in getattr(outputs[0], field)} for field in LEARNED},
        **{
            field: {
                name: torch.cat([getattr(out, field)[name] for out in outputs]) for name in getattr(outputs[0], field)
            }
            for field in FIXED
        },
        log_scale=leaves["", "log_scale"],
        bias=leaves["", "bias"],
    )
    return leaves, whole


@contextmanager
def gradient_sync(accelerator: Any, model: torch.nn.Module, sync: bool) -> Iterator[None]:
    """Gradients are exchanged over ranks (and, under DeepSpeed, the update is made) in here only when `sync`."""
    accelerator.gradient_state._set_sync_gradients(sync)
    # DDP alone has a switch of its own; DeepSpeed reads the flag, and its no_sync refuses ZeRO-2 and 3.
    is_ddp = isinstance(model, torch.nn.parallel.DistributedDataParallel)
    with model.no_sync() if is_ddp and not sync else nullcontext():
        yield


def random_state() -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None


@contextmanager
def restored(state: tuple[Tensor, Tensor | None]) -> Iterator[None]:
    """Runs with an earlier random state, so that a chunk's second forward draws what its first one drew."""
    before = random_state()
    _set_random_state(state)
    try:
        yield
    finally:
        _set_random_state(before)


def _set_random_state(state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])

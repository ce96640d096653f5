"""What a run would be, before it is: its model, the memory of a rank, and what it would read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aura.data.augment import augment
from aura.data.batch import Batch
from aura.data.order import check_ranks
from aura.data.reader import EvalReader, TrainReader, plan
from aura.model import AuraModel
from aura.train.build import build
from aura.train.checks import check_data
from aura.train.cost import FLOAT, gathered_bytes, state_bytes
from aura.train.loss import compute_loss
from aura.train.recipe import Recipe
from aura.weights import find_checkpoint, stream_modules

ROWS = 4  # of the step that is tried
GIB = 1 << 30


def dry_run(recipe: Recipe, ranks: int) -> list[str]:
    """Lines for people: towers with their parameters, memory of a rank, passes over the data. One step of `ROWS` rows is made
    on the CPU, nothing is written. Raises what the run itself would before its first step."""
    check_ranks(recipe.train.batch, recipe.data.streams, ranks)
    started = find_checkpoint_of(recipe)
    model, tokenize, precomputed, prompts = build(recipe, recipe.train.precision, started)
    reader = TrainReader(
        recipe.data,
        recipe.inputs,
        batch=recipe.train.batch,
        seed=recipe.seed,
        ranks=ranks,
        tokenize=tokenize,
        precomputed=precomputed,
    )
    held_out = []
    if recipe.data.eval:
        texts = {"tokenize": tokenize, "precomputed": precomputed}
        held_out = EvalReader(
            recipe.data, recipe.inputs, batch=recipe.eval.batch, limit=recipe.eval.pool, **texts
        ).sources
    check_data(recipe, reader.sources, held_out, prompts)
    lines = [f"{recipe.name}: recipe, shards and model fit together; nothing is trained"]
    if started is not None:
        lines.append(f"the run would go on from {started}")
    lines += towers(model)
    lines += memory(recipe, model, next(iter(reader))[0].rows(range(min(2 * ROWS, recipe.train.batch // ranks))), ranks)
    return lines + plan(recipe.data, recipe.train.batch * recipe.train.accumulate, recipe.train.steps, reader)


def find_checkpoint_of(recipe: Recipe) -> Path | None:
    """The checkpoint that a run would go on from, None where it begins."""
    folder = Path(recipe.run_dir)
    return find_checkpoint(folder) if (folder / "checkpoints" / "latest").is_file() else None


def towers(model: AuraModel) -> list[str]:
    """A table of what each stream's tower, projection and head of fine pairs hold."""
    lines = [f"{'tower':12} {'trained':>14} {'frozen':>14}   of kind"]
    for stream in model.towers:
        parts = stream_modules(model, stream).values()
        trained, frozen = (count(parts, learned) for learned in (True, False))
        lines.append(f"{stream:12} {trained:14,} {frozen:14,}   {type(model.towers[stream]).__name__}")
    trained, frozen = (count([model], learned) for learned in (True, False))
    return [*lines, f"{'in all':12} {trained:14,} {frozen:14,}"]


def count(modules: Any, learned: bool) -> int:
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad is learned)


def memory(recipe: Recipe, model: AuraModel, batch: Batch, ranks: int) -> list[str]:
    """What a rank holds: weights, gradients and moments (in DDP, and shared out by ZeRO), and what the forward pass of a chunk
    keeps for the backward pass, measured on some rows. Temporary buffers and the allocator's own come on top."""
    local = recipe.train.batch // ranks
    rows = min(recipe.train.chunk or local, local)
    kept, row = activations(recipe, model, batch)
    average = FLOAT * count([model], True) if recipe.train.ema is not None else 0
    states = {
        name: size + average for name, size in state_bytes(count([model], True), count([model], False), ranks).items()
    }
    whole = gathered_bytes(recipe.objective, recipe.embedding, recipe.train.batch, ranks)
    told = ", ".join(f"{name} {size / GIB:.2f}" for name, size in states.items())
    return [
        f"memory of each of {ranks} ranks, GiB: weights, gradients, moments {told};"
        f" activations of {rows} rows {(kept + rows * row) / GIB:.2f} (of {local} rows; train.chunk sets it);"
        f" the whole batch in the loss {whole / GIB:.2f}"
    ]


def activations(recipe: Recipe, model: AuraModel, batch: Batch) -> tuple[float, float]:
    """Bytes that a forward pass keeps for the backward pass whatever its rows, such as weights in bf16, and those of a row."""
    few = min(ROWS, len(batch) // 2) or 1
    some, more = (saved_bytes(recipe, model, batch.rows(range(n))) for n in (few, len(batch)))
    row = (more - some) / max(1, len(batch) - few)
    return more - row * len(batch), row


def saved_bytes(recipe: Recipe, model: AuraModel, batch: Batch) -> int:
    """Bytes that the forward pass and the loss keep for the backward pass, without the parameters."""
    held = {p.untyped_storage().data_ptr() for p in model.parameters()}
    with counted(held) as sizes:
        compute_loss(model.train()(augment(batch, recipe.inputs)), batch, recipe.objective)
    return sum(sizes.values())


@contextmanager
def counted(held: set[int]) -> Iterator[dict[int, int]]:
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield sizes

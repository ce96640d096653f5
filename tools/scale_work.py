"""What a recipe asks for, counted on its own model and shards: for `tools/scale.py`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from simulate_reader import Folder, Run, counters_at, simulate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from aura.data.augment import augment
from aura.data.handover import flatten
from aura.data.order import Order
from aura.data.reader import TrainReader
from aura.model import LEARNED
from aura.train.build import build
from aura.train.cost import Work
from aura.train.dry_run import activations, count
from aura.train.loss import compute_loss
from aura.train.recipe import Recipe

ROWS = 8


NOTHING = ("aten::_unsafe_view", "aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty")


class Operations(TorchDispatchMode):
    """Counts operations that do something: views and bare memory launch nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not (func.is_view or func.name().partition(".")[0] in NOTHING)
        return func(*args, **(kwargs or {}))


@contextmanager
def flops() -> Iterator[FlopCounterMode]:
    """Counts FLOPs; also of the attention of CPUs, which torch's counter passes over."""
    aten = torch.ops.aten
    attention = {
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, out_shape=None, **__: sdpa_flop_count(
            q, k, v
        ),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: (
            lambda grad, q, k, v, *_, out_shape=None, **__: sdpa_backward_flop_count(grad, q, k, v)
        ),
    }
    with FlopCounterMode(display=False, custom_mapping=attention) as counter:
        yield counter


@dataclass
class Counted:
    """The work of a recipe, and of its towers: stream -> (forward, backward) FLOPs of a row."""

    work: Work
    towers: dict[str, tuple[float, float]]


def count_work(recipe: Recipe) -> Counted:
    """Counts a step of a few rows on the CPU, and what a few batches read. Raises what the run itself would."""
    model, tokenize, precomputed, _ = build(recipe, recipe.train.precision, None)
    data = recipe.data.model_copy(update={"workers": 0, "streams": ROWS})
    reader = TrainReader(data, recipe.inputs, batch=ROWS, seed=recipe.seed, tokenize=tokenize, precomputed=precomputed)
    batches = iter(reader)
    batch = next(batches)[0]
    rows = len(batch)
    with flops() as counter:
        output = model.train()(augment(batch, recipe.inputs))
        forward, by_module = counter.get_total_flops(), counter.get_flop_counts()
    towers = {}
    for name in model.towers:
        mine = [getattr(output, field)[name].float().sum() for field in LEARNED if name in getattr(output, field)]
        with flops() as counter:
            sum(mine).backward(retain_graph=True)  # pyright: ignore[reportAttributeAccessIssue]
        before = sum(by_module.get(f"AuraModel.towers.{name}", {}).values())
        towers[name] = before / rows, counter.get_total_flops() / rows
    with Operations() as operations:
        output = model(augment(batch, recipe.inputs))
        again = operations.count
        compute_loss(output, batch, recipe.objective)[0].backward()
    kept, saved = activations(recipe, model, batch)
    read_bytes, openings = read(recipe, reader)
    return Counted(
        Work(
            trained=count([model], True),
            frozen=count([model], False),
            forward=forward / rows,
            backward=sum(back for _, back in towers.values()),
            operations=operations.count,
            again=again,
            saved=saved,
            kept=kept,
            objective=recipe.objective,
            width=recipe.embedding,
            row_bytes=sum(tensor.nbytes for tensor in flatten(batch)[0].values()) / rows,
            read_bytes=read_bytes,
            read_s=seconds_a_row(batches),
            openings=openings,
        ),
        towers,
    )


def seconds_a_row(batches: Iterator, repeats: int = 9) -> float:
    """CPU seconds of reading a row: the median batch, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        started = time.process_time()
        rows = len(next(batches)[0])
        times.append((time.process_time() - started) / rows)
    return sorted(times[1:])[repeats // 2]


def read(recipe: Recipe, reader: TrainReader) -> tuple[float, float]:
    """Bytes that a row reads, and files that are opened for it once all its streams have one open: by the simulation."""
    sources = [Folder(split, i, recipe.seed, reader.cutter) for i, split in enumerate(reader.sources)]
    order = Order(
        recipe.seed, reader.order.sizes, reader.order.weights, ROWS, recipe.data.shuffle_block, recipe.data.windows
    )
    (found,) = simulate(order, sources, Run(ROWS, 1, 0, 16, 0, counters_at(order, ROWS, 0)))
    return found.bytes / found.samples, 1 / (recipe.data.shuffle_block * recipe.data.windows)

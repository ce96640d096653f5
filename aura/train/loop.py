"""Pretraining: one loop for one process, DDP and DeepSpeed."""

from __future__ import annotations

import math
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import broadcast_object_list
from tqdm import tqdm

from aura.data.augment import augment
from aura.data.batch import Batch
from aura.data.order import check_ranks, hash64
from aura.data.reader import EvalReader, ReadError, TrainReader, merge_positions, plan, too_many
from aura.model import Embeddings
from aura.objectives.config import Objective
from aura.objectives.gather import total_over_ranks
from aura.tasks.evaluate import evaluate
from aura.train import checkpoint
from aura.train.average import Average
from aura.train.build import build, keep_facts
from aura.train.checks import check_data
from aura.train.health import EVERY, Watch, gradient_norms, health
from aura.train.launch import make_accelerator
from aura.train.loss import compute_loss
from aura.train.optim import make_optimizer, set_lr
from aura.train.push import Pusher
from aura.train.recipe import Recipe
from aura.train.report import Trackers, print_results, results_table
from aura.train.rundir import RunDir, RunError, environment
from aura.train.schedule import lr_factor
from aura.train.signals import PREEMPTED, Signals
from aura.train.step import forward_backward

T = TypeVar("T")
REMEDY = (
    "The last checkpoint stands. Look at the data of this step (its rows: log.row_ids=true), lower train.optimizer.lr or "
    "train.clip, or train with precision `no`."
)


def pretrain(recipe: Recipe) -> int:
    """Runs, or goes on with, the run of a recipe. Returns the exit code: 0 finished, 75 preempted (start again)."""
    accelerator, precision = make_accelerator(recipe)
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"precision": precision})})
    with ExitStack() as ends:  # the last is called first
        signals = Signals()
        ends.callback(signals.end)
        run_dir = RunDir(recipe.run_dir)
        ends.callback(run_dir.close)
        on_main(accelerator, lambda: run_dir.open(recipe))
        pusher = Pusher(recipe.hub if accelerator.is_main_process else None, run_dir.path)
        ends.callback(pusher.end)
        try:
            check_ranks(recipe.train.batch, recipe.data.streams, accelerator.num_processes)
            return _pretrain(recipe, accelerator, precision, run_dir, signals, pusher)
        except BaseException as error:
            if accelerator.is_main_process:
                with suppress(OSError):  # a full disk has no room for this either
                    run_dir.status("failed", run_dir.step, f"{type(error).__name__}: {error}")
            raise


def _pretrain(
    recipe: Recipe, accelerator: Any, precision: str, run_dir: RunDir, signals: Signals, pusher: Pusher
) -> int:
    main = accelerator.is_main_process
    folder = run_dir.path / "checkpoints"
    if on_main(accelerator, lambda: run_dir.read_status().get("state") == "finished"):
        accelerator.print(f"{run_dir.path} is finished.")
        if main:
            print_results(run_dir)
        return 0
    check_shared(accelerator, run_dir)

    # Everything that can be refused is refused here, before step 0.
    found, passed_over = on_main(accelerator, lambda: checkpoint.checkpoint_to_resume(folder))
    for message in passed_over:
        accelerator.print(message)
    model, tokenize, precomputed, prompts = build(recipe, precision, found)
    if recipe.train.compile:
        for tower in model.towers.values():
            tower.compile()
    average = Average(model, recipe.train.ema)
    if found is not None:
        checkpoint.load_last(found, model)
    optimizer = make_optimizer(model, recipe.train.optimizer)
    parameters = {kind: sum(p.numel() for p in model.parameters() if p.requires_grad is kind) for kind in (True, False)}
    model, optimizer = accelerator.prepare(model, optimizer)
    torch.manual_seed(recipe.seed + accelerator.process_index)
    state = checkpoint.State(0, {}, {})
    if found is not None:
        state = checkpoint.load_training(found, accelerator, model, optimizer)

    common = {
        "rank": accelerator.process_index,
        "ranks": accelerator.num_processes,
        "tokenize": tokenize,
        "precomputed": precomputed,
    }

    def open_data() -> tuple[TrainReader, EvalReader | None]:
        asked = {"batch": recipe.train.batch, "seed": recipe.seed, "position": state.position or None}
        training = TrainReader(recipe.data, recipe.inputs, **asked, **common)
        if not recipe.data.eval:
            return training, None
        asked = {"batch": recipe.eval.batch, "limit": recipe.eval.pool}
        return training, EvalReader(recipe.data, recipe.inputs, **asked, **common)

    reader, held_out = on_all(accelerator, open_data)
    check_data(recipe, reader.sources, held_out.sources if held_out is not None else [], prompts)

    on_main(accelerator, lambda: keep_facts(run_dir, recipe, reader.sources, prompts))

    def begin() -> None:
        nonlocal trackers
        run_dir.cut_metrics(state.step, evaluated=bool(state.metrics))
        run_dir.status("running", state.step)
        run_dir.write_environment(environment(reader.shards()) | {"precision": precision})
        trackers = Trackers(recipe, run_dir.path, state.step)
        pusher.start(state.step)

    trackers: Trackers | None = None  # on rank 0 alone, which alone writes
    on_main(accelerator, begin)
    accelerator.print(
        f"{recipe.name}: {accelerator.num_processes} rank(s) on {accelerator.device.type}, precision {precision}, "
        f"{parameters[True]:,} trained and {parameters[False]:,} frozen parameters\n"
        + "\n".join(plan(recipe.data, recipe.train.batch * recipe.train.accumulate, recipe.train.steps, reader))
        + (f"\ngoing on from {found.name}" if found is not None else "")
    )

    batches = together(reader, accelerator)
    bar = tqdm(total=recipe.train.steps, initial=state.step, desc=recipe.name, disable=not main, mininterval=1.0)
    unsaved, stop, watch = False, "", Watch(recipe.objective)
    while True:
        # What is due after a step comes first: a run that was stopped before its evaluation makes up for it.
        done = state.step == recipe.train.steps
        due = done or (state.step > 0 and recipe.eval.every and state.step % recipe.eval.every == 0)
        if held_out is not None and due and not state.metrics and not stop:
            with average.in_place():
                metrics, stop = evaluate(
                    (batch for batch, _ in together(held_out, accelerator)),
                    model,
                    accelerator,
                    recipe.objective,
                    prompts,
                    tokenize,
                    signals.stop,
                )
            if not stop:
                state.metrics = metrics | {"score": score(metrics, recipe.checkpoint.best)}
                unsaved = True
                if trackers is not None:
                    values = {"kind": "eval", "step": state.step, **metrics}
                    run_dir.log(values)
                    trackers.log(values)
                    if not done:  # the last one is printed at the end
                        tqdm.write(f"step {state.step}\n{results_table(metrics)}", file=sys.stderr)
        if unsaved and (stop or done or state.metrics or state.step % recipe.checkpoint.every == 0):
            state.position = merge_positions(gather_objects(state.position, accelerator))
            run_dir.sync()
            found = checkpoint.save(folder, state, recipe, accelerator, model, optimizer, average)
            unsaved = False
            pusher.offer(found, state.step)
        pusher.report(run_dir, state.step)
        if stop or done:
            break

        started = time.perf_counter()
        factor = lr_factor(state.step, recipe.train)
        set_lr(optimizer, recipe.train.optimizer, factor)
        model.train()
        waited, measured, own, position, bad = 0.0, {}, [], state.position, 0
        for i in range(recipe.train.accumulate):
            asked = time.perf_counter()
            (batch, position), bad = next(batches)
            waited += time.perf_counter() - asked
            batch = augment(batch.to(accelerator.device), recipe.inputs)
            found_stats = forward_backward(
                accelerator,
                model,
                batch,
                partial(guarded_loss, batch=batch, objective=recipe.objective, step=state.step + 1),
                recipe.train.chunk,
                share=1 / recipe.train.accumulate,
                last=i == recipe.train.accumulate - 1,
            )
            for key, value in found_stats.items():
                measured.setdefault(key, []).append(value)
            own += zip(batch.row.tolist(), batch.ids)
        stats = {key: sum(values) / len(values) for key, values in measured.items()}
        if state.step % EVERY == 0 and accelerator.deepspeed_plugin is None:
            stats |= gradient_norms(checkpoint.unwrapped(model))
        grad_norm = update(accelerator, model, optimizer, recipe.train.clip, state.step + 1)
        count = recipe.train.batch * recipe.train.accumulate
        ids = hash_of_rows(own, state.step * count, accelerator.device)
        names = gather_names(own, accelerator) if recipe.log.row_ids else []
        state, unsaved = checkpoint.State(state.step + 1, position, {}), True
        average.update(state.step)

        if trackers is not None:
            taken = time.perf_counter() - started
            values = {
                "kind": "train",
                "step": state.step,
                **stats,
                "lr": recipe.train.optimizer.lr * factor,
                "grad_norm": grad_norm,
                "samples_per_s": count / taken,
                "data_wait": waited / taken,
                "bad_samples": bad,
                "ids": ids,
            }
            run_dir.log(values | ({"row_ids": names} if recipe.log.row_ids else {}))
            trackers.log(values)
            for warning in watch(values):
                run_dir.log({"kind": "warning", "step": state.step, "message": warning})
                tqdm.write(f"warning {warning}", file=sys.stderr)
            bar.update()
            bar.set_postfix(loss=f"{stats['loss']:.3f}", data=f"{waited / taken:.0%}", refresh=False)

        stop = signals.stop(accelerator)

    bar.close()
    if trackers is not None:
        trackers.close()
    if stop:
        accelerator.print(f"{stop}: saved {found}; the same command goes on from there")
    elif main:
        print_results(run_dir)
    accelerator.wait_for_everyone()
    pusher.finish(found, state.step, stop, lambda: signals.received)  # while signals are minded
    pusher.report(run_dir, state.step)
    signals.end()
    if main:  # last of all: who reads this may start the next run at once
        run_dir.status("preempted" if stop else "finished", state.step, stop)
    return PREEMPTED if stop else 0


def together(reader: TrainReader | EvalReader, accelerator: Any) -> Iterator[tuple[Any, int]]:
    """What a reader gives, and the number of bad samples that it passed over so far, on all ranks together.

    A fault on one rank, or too many bad samples on all, is raised on all ranks: none waits for the others.
    """
    items = iter(reader)
    while True:
        item, fault = None, None
        try:
            item = next(items)
        except StopIteration:  # after equally many batches on all ranks
            return
        except Exception as error:
            fault = error
        counts = torch.tensor([float(fault is not None), float(len(reader.bad))], device=accelerator.device)
        faults, bad = accelerator.reduce(counts, "sum").tolist()
        if faults:
            raise fault or RunError("reading failed on another rank; its message says where")
        if bad > reader.config.max_bad:  # ranks may have met the same ones
            everywhere = {
                key: message for part in gather_objects(reader.bad, accelerator) for key, message in part.items()
            }
            if len(everywhere) > reader.config.max_bad:
                raise ReadError(too_many(reader.config.max_bad, list(everywhere.values())))
        yield item, int(bad)


def guarded_loss(
    output: Embeddings, batch: Batch, objective: Objective, step: int
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss; RunError on all ranks, before any gradient is used, where that of the whole batch is not finite."""
    loss, stats = compute_loss(output, batch, objective)
    losses = {key: value for key, value in stats.items() if key.startswith("loss")}
    if not all(map(math.isfinite, losses.values())):
        raise RunError(f"the loss is not finite at step {step}: {losses}. {REMEDY}")
    if step % EVERY == 1:
        stats |= health(output, objective)
    return loss, stats


def update(accelerator: Any, model: Any, optimizer: Any, clip: float | None, step: int) -> float | None:
    """Clips, updates, clears the gradients; returns the norm before clipping. DeepSpeed did all this in backward.

    Raises RunError on all ranks where the norm is not finite: no checkpoint may hold what follows.
    """
    if accelerator.deepspeed_plugin is not None:
        norm = model.get_global_grad_norm()
        if norm is None:
            return None
        finite = math.isfinite(norm) and norm >= 0  # DeepSpeed writes -1 for a norm that is not finite
    else:
        norm = accelerator.clip_grad_norm_(model.parameters(), float("inf") if clip is None else clip)
        finite = math.isfinite(norm)
        if finite:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if not finite:
        raise RunError(f"the gradient is not finite at step {step}, though the loss is. {REMEDY}")
    return float(norm)


def hash_of_rows(own: list[tuple[int, str]], first: int, device: torch.device) -> str:
    """Hash, in hex, of the sample ids of an update's rows and their order; `own`: number and id of this rank's rows.

    A sum over rows, so that ranks send one number and not their names: at a thousand ranks these would cost more than the step.
    """
    total = sum(hash64(row - first, name) for row, name in own)
    signed = (total + 2**63) % 2**64 - 2**63
    return f"{int(total_over_ranks(torch.tensor([signed], device=device)).item()) % 2**64:016x}"


def gather_names(own: list[tuple[int, str]], accelerator: Any) -> list[str]:
    """Sample ids of the whole batch in the order of its rows, on every rank."""
    return [name for _, name in sorted(pair for part in gather_objects(own, accelerator) for pair in part)]


def gather_objects(value: T, accelerator: Any) -> list[T]:
    """The value of every rank, in the order of ranks, on every rank."""
    everyone: list[Any] = [value] * accelerator.num_processes
    if accelerator.num_processes > 1:
        torch.distributed.all_gather_object(everyone, value)
    return everyone


def score(metrics: dict[str, float], best: str | None) -> float:
    """What decides the best checkpoint: one metric, or the mean R@1 of all pairs, without pairs the classifiers' accuracy."""
    if best is not None:
        if best not in metrics:
            raise RunError(f"checkpoint.best={best!r}: the evaluation lacks it, no held-out window has these streams")
        return metrics[best]
    found = [v for k, v in metrics.items() if k.endswith("/R@1") and "chance" not in k]
    found = found or [v for k, v in metrics.items() if k.startswith("classify/") and k.endswith("/accuracy")]
    return sum(found) / max(1, len(found))


def words(error: Exception) -> str:
    """What it says, or at least of which kind it is."""
    return str(error) or type(error).__name__


def on_all(accelerator: Any, action: Callable[[], T]) -> T:
    """Does something on every rank; a fault of one is raised on all: none waits for the others."""
    done: list[T] = []
    fault = None
    try:
        done.append(action())
    except Exception as error:
        fault = error
    told = gather_objects("" if fault is None else words(fault), accelerator)
    if fault is not None:
        raise fault
    for rank, message in enumerate(told):
        if message:
            raise RunError(f"rank {rank}: {message}")
    return done[0]


def on_main(accelerator: Any, action: Callable[[], T]) -> T:
    """Does something on rank 0 alone; all ranks get its result, or raise its fault."""
    out: list[Any] = [None, None]
    fault = None
    if accelerator.is_main_process:
        try:
            out[0] = action()
        except Exception as error:
            fault = error
            out[1] = words(error)
    if accelerator.num_processes > 1:
        broadcast_object_list(out)
    if fault is not None:
        raise fault
    if out[1] is not None:
        raise RunError(out[1])
    return out[0]


def check_shared(accelerator: Any, run_dir: RunDir) -> None:
    """Raises RunError where a rank does not see the folder that rank 0 writes to."""
    file = run_dir.path / ".shared"
    token = on_main(accelerator, lambda: _write_token(file))
    mine = file.read_text() if file.exists() else ""
    blind = torch.tensor([float(mine != token)], device=accelerator.device)
    if accelerator.reduce(blind, "sum").item() > 0:
        raise RunError(
            f"not every rank sees {file.resolve()}: on several nodes run_dir must be on a shared file system"
        )


def _write_token(file: Path) -> str:
    token = uuid.uuid4().hex
    file.write_text(token)
    return token

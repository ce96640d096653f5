"""Trains a tiny model a few steps, from a checkpoint or from the start, and saves: in one process, DDP or any ZeRO stage.

resume_worker.py FROM TO CASE STEPS [FROM TO CASE STEPS ...]     FROM: a folder of checkpoints, or `none`
"""

import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, DeepSpeedPlugin, InitProcessGroupKwargs
from accelerate.state import AcceleratorState, GradientState

from aura.train import checkpoint
from aura.train.average import Average
from aura.train.loss import compute_loss
from aura.train.optim import make_optimizer, set_lr
from aura.train.step import forward_backward
from aura.weights import load_weights
from tests.train.batches import random_batch, tiny_model, tiny_recipe


def make(case: str) -> Accelerator:
    os.environ["ACCELERATE_USE_DEEPSPEED"] = str(case.startswith("zero")).lower()
    if not case.startswith("zero"):
        return Accelerator(cpu=True)
    plugin = DeepSpeedPlugin(zero_stage=int(case[-1]), gradient_accumulation_steps=1)
    plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1
    plugin.deepspeed_config["gradient_clipping"] = 1.0
    return Accelerator(deepspeed_plugin=plugin, kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")])


def train(start: Path | None, out: Path, case: str, steps: int) -> list[float]:
    recipe = tiny_recipe(optimizer={"towers": {"imu": {"lr": 3e-4, "layer_decay": 0.5}, "text": {"weight_decay": 0.0}}})
    accelerator = make(case)
    model = tiny_model(recipe, seed=0)
    path = None if start is None else checkpoint.latest_checkpoint(start)
    if path is not None:
        load_weights(path, model)
    model, optimizer = accelerator.prepare(model, make_optimizer(model, recipe.train.optimizer))
    state = checkpoint.State(0, {}, {})
    if path is not None:
        state = checkpoint.load_training(path, accelerator, model, optimizer)
    losses = []
    for _ in range(steps):
        set_lr(optimizer, recipe.train.optimizer, 1.0)
        batch = random_batch(seed=state.step)
        batch = batch.rows(range(accelerator.process_index, len(batch), accelerator.num_processes))
        stats = forward_backward(
            accelerator,
            model,
            batch,
            lambda output, batch=batch: compute_loss(output, batch, recipe.objective),
            None,
            share=1.0,
            last=True,
        )
        if not case.startswith("zero"):
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(stats["loss"])
        state = checkpoint.State(state.step + 1, {"step": state.step + 1}, {})
    if accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
    accelerator.wait_for_everyone()
    checkpoint.save(out, state, recipe, accelerator, model, optimizer, Average(model, None))
    if case.startswith("zero"):
        model.destroy()
    AcceleratorState._reset_state()
    GradientState._reset_state()
    return losses


if __name__ == "__main__":
    torch.set_num_threads(1)
    jobs = sys.argv[1:]
    for i in range(0, len(jobs), 4):
        start, out, case, steps = jobs[i : i + 4]
        losses = train(None if start == "none" else Path(start), Path(out), case, int(steps))
        if int(os.environ.get("RANK", "0")) == 0:
            print("losses", case, *losses, flush=True)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

"""The accelerator of a run: one process, DDP or DeepSpeed, on GPUs or on CPUs."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs

from aura.train.recipe import Recipe
from aura.train.rundir import RunError

BUILD_S = 600  # what the compilation of an extension never takes


def make_accelerator(recipe: Recipe) -> tuple[Accelerator, str]:
    """The accelerator, and the precision of the towers: the recipe's, or bf16 if the launcher's configuration says so.

    accelerate and DeepSpeed themselves are given full precision: parameters, temperatures and losses stay float32.
    """
    asked = os.environ.pop("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", "bf16"):
        raise RunError(f"mixed_precision {asked!r} of the accelerate configuration: use `bf16` or `no`")
    precision = "bf16" if "bf16" in (asked, recipe.train.precision) else "no"
    on_cpu = not torch.cuda.is_available()
    under_deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() in ("1", "true")
    if under_deepspeed:
        refuse_stale_builds()
    # A backend named for a single process makes accelerate look for a group that nobody started.
    launched = under_deepspeed or int(os.environ.get("WORLD_SIZE", "1")) > 1
    backend = "gloo" if on_cpu and launched else None
    accelerator = Accelerator(
        mixed_precision="no",
        # accelerate skips its DeepSpeed branch when told to use the CPU; without the gloo backend it sees one process.
        cpu=on_cpu and not under_deepspeed,
        kwargs_handlers=[InitProcessGroupKwargs(backend=backend, timeout=timedelta(minutes=30))],
    )
    if under_deepspeed:
        _configure_deepspeed(accelerator, recipe)
    return accelerator, precision


def refuse_stale_builds() -> None:
    """Raises RunError where a process that was killed while it compiled an extension left its lock: torch would wait for
    it without end and without a word."""
    folder = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache" / "torch_extensions")
    for lock in sorted([*folder.glob("deepspeed*/lock"), *folder.glob("*/deepspeed*/lock")]):
        with suppress(FileNotFoundError):  # the other process is done
            if time.time() - lock.stat().st_mtime > BUILD_S:
                raise RunError(f"{lock} is left of a process that was killed while it compiled: delete it, start again")


def _configure_deepspeed(accelerator: Any, recipe: Recipe) -> None:
    """Writes the recipe's clipping and batch into DeepSpeed's configuration; refuses one that says otherwise."""
    config = accelerator.deepspeed_plugin.deepspeed_config
    rows = recipe.train.batch // accelerator.num_processes
    wanted = {
        "gradient_clipping": recipe.train.clip or 0.0,
        "train_micro_batch_size_per_gpu": min(recipe.train.chunk or rows, rows),
        "gradient_accumulation_steps": 1,  # chunks and accumulated batches are ours
    }
    if recipe.train.ema is not None and int(config.get("zero_optimization", {}).get("stage", 0)) == 3:
        raise RunError(
            "train.ema: ZeRO-3 holds parts of the parameters, of which no average is kept; take stage 2, or null"
        )
    for key in ("bf16", "fp16", "amp"):
        if config.get(key, {}).get("enabled") is True:
            raise RunError(
                f"the DeepSpeed configuration enables {key}, which would cast the parameters: remove it there and set"
                " train.precision=bf16, which keeps them in float32"
            )
    for key, value in wanted.items():
        there = config.get(key, "auto")
        if there not in ("auto", None, value):
            raise RunError(
                f"the accelerate configuration sets {key} to {there}, the recipe means {value}: remove it there "
                "(train.clip, train.batch and train.chunk of the recipe decide)"
            )
        config[key] = value

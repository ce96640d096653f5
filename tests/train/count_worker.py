"""Run by a launcher: rank 0 prints the number of processes, the kind of training, the backend and the precision."""

import sys

import torch

from aura.data.order import OrderError, check_ranks
from aura.train.launch import make_accelerator
from aura.train.rundir import RunError
from tests.train.batches import tiny_recipe

try:
    accelerator, precision = make_accelerator(tiny_recipe())
    recipe = tiny_recipe()
    check_ranks(recipe.train.batch, recipe.data.streams, accelerator.num_processes)
except (RunError, OrderError) as error:
    print(f"refused: {error}")
    sys.exit(1)
if accelerator.is_main_process:
    backend = torch.distributed.get_backend() if accelerator.num_processes > 1 else "none"
    print(
        "seen",
        accelerator.num_processes,
        accelerator.distributed_type.value,
        backend,
        precision,
        accelerator.mixed_precision,
    )
accelerator.end_training()

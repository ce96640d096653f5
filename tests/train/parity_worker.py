"""Run by a launcher: the gradient of every parameter for one batch split over ranks, in one kind of training after another.

parity_worker.py OUT CASE [CASE ...]     CASE: ddp, zero0 ... zero3
"""

import os
import sys

import torch
from accelerate import Accelerator, DeepSpeedPlugin, InitProcessGroupKwargs
from accelerate.state import AcceleratorState, GradientState

from aura.train.loss import compute_loss
from aura.train.optim import make_optimizer
from aura.train.recipe import Recipe
from aura.train.step import forward_backward
from tests.train.batches import OTHER, classify_recipe, random_batch, series_recipe, tiny_model, tiny_recipe


def gradients(case: str, missing: bool, chunk: int | None, recipe: Recipe) -> dict[str, torch.Tensor]:
    gloo = InitProcessGroupKwargs(backend="gloo")
    os.environ["ACCELERATE_USE_DEEPSPEED"] = str(case != "ddp").lower()
    if case == "ddp":
        accelerator = Accelerator(cpu=True, kwargs_handlers=[gloo])
    else:
        plugin = DeepSpeedPlugin(zero_stage=int(case[-1]), gradient_clipping=0.0, gradient_accumulation_steps=1)
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1
        plugin.deepspeed_config["gradient_clipping"] = 0.0
        accelerator = Accelerator(deepspeed_plugin=plugin, kwargs_handlers=[gloo])
    model = tiny_model(recipe)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    model, _ = accelerator.prepare(model, make_optimizer(model, recipe.train.optimizer))
    assert accelerator.num_processes > 1, "the launcher started one process"
    batch = random_batch(missing=missing)
    rank, ranks = accelerator.process_index, accelerator.num_processes
    batch = batch.rows(range(rank, len(batch), ranks))
    if case != "ddp":
        model.step = lambda *a, **k: None  # keep the gradients: DeepSpeed updates inside of backward
    forward_backward(
        accelerator, model, batch, lambda out: compute_loss(out, batch, recipe.objective), chunk, share=1.0, last=True
    )
    parameters = dict(accelerator.unwrap_model(model).named_parameters())
    if case == "ddp":
        found = {name: parameters[name].grad.clone() for name in names}
    else:
        from deepspeed.utils import safe_get_full_grad

        found = {name: safe_get_full_grad(parameters[name]).clone() for name in names}
    accelerator.wait_for_everyone()
    if case != "ddp":
        model.destroy()
    AcceleratorState._reset_state()
    GradientState._reset_state()
    return found


def main() -> None:
    torch.set_num_threads(1)
    out, *cases = sys.argv[1:]
    results = {}
    for case in cases:
        for missing in (True, False):
            results[f"{case} missing={missing}"] = gradients(case, missing, None, tiny_recipe())
        results[f"{case} chunks"] = gradients(case, True, 3, tiny_recipe(**OTHER))
        results[f"{case} classifiers"] = gradients(case, True, 3, classify_recipe())
        results[f"{case} series"] = gradients(case, True, 3, series_recipe())
    if torch.distributed.get_rank() == 0:
        torch.save(results, out)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()

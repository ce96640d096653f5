"""Checkpoints: whole folders or none, readable by any number of ranks and any ZeRO stage.

checkpoints/step_00000500/
    towers/<stream>.safetensors    the tower, its projection, its head of fine pairs
    shared.safetensors             temperatures and biases
    classifiers.safetensors        <side>.weight, <side>.bias, where the objective has classifiers
    optimizer.safetensors          <state>/<parameter name>
    last.safetensors               with train.ema: the trained parameters, where the files of the towers hold their average
    random-00000.safetensors       random state of each rank
    recipe.yaml
    state.json                     step, position of the reader, ranks, metrics; size and SHA-256 of all files, and its own
checkpoints/latest                 name of the newest one
checkpoints/best                   name of the best one
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from aura.data.files import sync_folder
from aura.inference.config import CONFIG, read_config
from aura.inference.release import check_frozen
from aura.model import AuraModel
from aura.towers.tower import Tower
from aura.train.average import Average
from aura.train.optim import load_optimizer_state, optimizer_state
from aura.train.recipe import Recipe, to_yaml
from aura.train.rundir import RunError, write_atomic
from aura.weights import (
    FORMAT,
    best_checkpoint,
    damage,
    fit,
    latest_checkpoint,
    newest_first,
    read_state,
    read_tensors,
    state_digest,
    stream_modules,
    whole_checkpoints,
)


@dataclass
class State:
    """Where a run stands: steps (updates) done, position of the reader, metrics of the evaluation at this step."""

    step: int
    position: dict[str, Any]
    metrics: dict[str, float]


def save(
    folder: Path, state: State, recipe: Recipe, accelerator: Any, model: nn.Module, optimizer: Any, average: Average
) -> Path:
    """Writes `folder`/step_N, with the average of the weights where there is one, and points `latest` to it. Every rank calls it. Raises RunError on all ranks if one failed."""
    module = unwrapped(model)
    name = f"step_{state.step:08d}"
    temporary = folder / f".writing-{name}"
    main = accelerator.is_main_process
    fault = ""
    if main:
        fault = _attempt(lambda: _empty_folder(temporary))
    _agree(accelerator, fault, folder)

    weights, moments = {}, {}
    if main or accelerator.deepspeed_plugin is not None:  # whose parts are gathered by all ranks together
        if average.decay is not None:
            weights["last"] = _whole({name: p for name, p in module.named_parameters() if p.requires_grad})
        with average.in_place():
            weights |= {f"towers/{stream}": _tower_state(module, stream) for stream in module.towers}
            weights["shared"] = _whole(dict(module.temperature.named_parameters()))
            if module.classifiers:
                weights["classifiers"] = _whole(dict(module.classifiers.named_parameters()))
        moments = optimizer_state(module, optimizer)
    rank = accelerator.process_index
    fault = _attempt(lambda: save_file(_random_state(), temporary / f"random-{rank:05d}.safetensors"))
    if main and not fault:

        def write() -> None:
            for part, tensors in weights.items():
                save_file(tensors, temporary / f"{part}.safetensors")
            save_file(moments, temporary / "optimizer.safetensors")
            (temporary / "recipe.yaml").write_text(to_yaml(recipe))

        fault = _attempt(write)
    _agree(accelerator, fault, folder, temporary)
    if main:
        fault = _attempt(lambda: _finish(folder, temporary, name, state, accelerator.num_processes))
    _agree(accelerator, fault, folder, temporary)
    if main:
        _prune(folder, name, recipe.checkpoint.keep)
    accelerator.wait_for_everyone()
    return folder / name


def write_weights(folder: Path, recipe: Recipe, weights: dict[str, dict[str, Tensor]]) -> Path:
    """Writes `folder`/step_00000000 of weights that no run here has trained: evaluation and `init` read it, no run goes on
    from it. weights: `shared` and `towers/<stream>` -> tensors, as `save` writes them. OSError, SafetensorError."""
    temporary = folder / ".writing-weights"
    _empty_folder(temporary)
    for part, tensors in weights.items():
        save_file(tensors, temporary / f"{part}.safetensors")
    (temporary / "recipe.yaml").write_text(to_yaml(recipe))
    name = "step_00000000"
    _finish(folder, temporary, name, State(0, {}, {}), ranks=1)
    return folder / name


def unwrapped(model: Any) -> AuraModel:
    """The model inside DDP's or DeepSpeed's wrapper. (accelerate's own function imports DeepSpeed to ask.)"""
    return getattr(model, "module", model)


def _attempt(action: Any) -> str:
    try:
        action()
    except (OSError, SafetensorError) as error:
        return str(error) or type(error).__name__
    return ""


def _agree(accelerator: Any, fault: str, folder: Path, temporary: Path | None = None) -> None:
    """All ranks raise if one of them failed, so that none waits for the others."""
    failed = torch.tensor([1.0 if fault else 0.0], device=accelerator.device)
    if accelerator.reduce(failed, "sum").item() == 0:
        return
    if temporary is not None and accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
    why = fault or "another rank could not write; see its message"
    raise RunError(
        f"no checkpoint written in {folder}: {why}. The last whole checkpoint stands; make room and start again."
    )


def _empty_folder(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
    (path / "towers").mkdir(parents=True)


def _finish(folder: Path, temporary: Path, name: str, state: State, ranks: int) -> None:
    mode = (temporary / "recipe.yaml").stat().st_mode  # safetensors gives its files to their owner alone
    files = {}
    for path in sorted(p for p in temporary.rglob("*") if p.is_file()):
        path.chmod(mode)
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        files[str(path.relative_to(temporary))] = {"size": path.stat().st_size, "sha256": sha256}
    value = {"format": FORMAT, "ranks": ranks, "files": files} | vars(state)
    value["sha256"] = state_digest(json.loads(json.dumps(value)))
    write_atomic(temporary / "state.json", json.dumps(value, indent=1) + "\n")
    for inner in (temporary / "towers", temporary):
        sync_folder(inner)
    final = folder / name
    replaced = folder / f"{name}.replaced"  # found like any other, should we die between the two renames
    if final.exists():  # of a run that went on from an earlier checkpoint
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(final, replaced)
    os.rename(temporary, final)
    sync_folder(folder)
    shutil.rmtree(replaced, ignore_errors=True)
    write_atomic(folder / "latest", name + "\n")
    best = best_checkpoint(folder)
    if best is not None:
        write_atomic(folder / "best", best.name + "\n")


def _prune(folder: Path, newest: str, keep: int) -> None:
    """Deletes all but the last `keep` checkpoints and the best one, and what an interrupted save left.

    Later ones than `newest`, of a run that went on from an earlier checkpoint, stay until they are replaced.
    """
    for path in (*folder.glob(".writing-*"), *folder.glob("*.replaced")):
        shutil.rmtree(path, ignore_errors=True)
    whole = [path for path in whole_checkpoints(folder) if path.name <= newest]
    best = best_checkpoint(folder)
    for path in whole[:-keep]:
        if path != best:
            shutil.rmtree(path, ignore_errors=True)


def checkpoint_to_resume(folder: Path) -> tuple[Path | None, list[str]]:
    """As `latest_checkpoint`, with the content of all files compared too; also says what is passed over, and why.

    Raises RunError where there are checkpoints and none is whole.
    """
    passed = []
    for path in newest_first(folder):
        fault = damage(path)
        if not fault:
            return path, passed
        passed.append(f"{path} is passed over: {fault}")
    if passed:
        raise RunError(
            "no checkpoint is whole:\n  "
            + "\n  ".join(passed)
            + f"\nBring the files back, or delete {folder} to start anew."
        )
    return None, []


def load_towers(path: Path, module: AuraModel) -> list[str]:
    """Fills the towers that a run, a checkpoint or a released model has too; gives their names. RunError where there is none, or one
    does not fit.

    Projections, heads of fine pairs, classifiers and temperatures start anew: they belong to the objective. A branch of
    moments that the tower here lacks is left behind.
    """
    released = (path / CONFIG).is_file()
    elsewhere = read_config(path).referenced if released else {}
    found = latest_checkpoint(path / "checkpoints") if (path / "checkpoints").is_dir() else path
    if found is None or (not released and read_state(found) is None):
        raise RunError(
            f"init: {path} is neither a checkpoint, nor the folder of a run that has one, nor a released model"
        )
    fault = "" if released else damage(found, ("towers/",))
    if fault:
        raise RunError(f"init: {found} is damaged: {fault}; bring the file back, or name another checkpoint")
    shared = [stream for stream in module.towers if (found / "towers" / f"{stream}.safetensors").exists()]
    if not shared:
        raise RunError(f"init: {found} has no tower of {', '.join(module.towers)}")
    for stream in shared:
        file = found / "towers" / f"{stream}.safetensors"
        mine = {k.removeprefix("tower."): v for k, v in read_tensors(file).items() if k.startswith("tower.")}
        if cast(Tower, module.towers[stream]).moments_shape is None:
            mine = {k: v for k, v in mine.items() if not k.startswith("branch.")}
        own = module.towers[stream].state_dict()
        if stream in elsewhere:  # frozen weights that the tower here has already
            rest = {name: tensor for name, tensor in own.items() if name not in mine}
            if not any("lora_" in name for name in mine):  # adapters and a branch are of the training here
                plain = {name: name.replace(".base_layer.", ".") for name in rest if "lora_" not in name}
                frozen = {name: rest[k] for k, name in plain.items() if not name.startswith("branch.")}
            else:
                frozen = rest
            check_frozen(stream, {f"tower.{name}": tensor for name, tensor in frozen.items()}, elsewhere[stream])
            mine |= rest
        fit(module.towers[stream], mine, file, "tower.")
    return shared


def load_last(path: Path, module: AuraModel) -> None:
    """The parameters that training goes on from, where a checkpoint keeps them beside their average. RunError."""
    file = path / "last.safetensors"
    if not file.exists():
        return
    tensors = read_tensors(file)
    wanted = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if wanted.keys() != tensors.keys() or any(p.shape != tensors[name].shape for name, p in wanted.items()):
        raise RunError(f"{file} has other parameters than this recipe trains")
    module.load_state_dict(tensors, strict=False)


def load_training(path: Path, accelerator: Any, model: nn.Module, optimizer: Any) -> State:
    """Optimiser and random state of a checkpoint, into a prepared model. Every rank calls it."""
    value = read_state(path)
    if value is None:
        raise RunError(f"{path} is not a whole checkpoint")
    if not (path / "optimizer.safetensors").exists():
        raise RunError(f"{path} holds weights alone: set another run_dir, and init={path} to start with these towers")
    module = unwrapped(model)
    try:
        load_optimizer_state(module, optimizer, read_tensors(path / "optimizer.safetensors"), value["step"])
    except ValueError as error:
        raise RunError(f"{path}: {error}") from error
    rank = accelerator.process_index
    if value["ranks"] == accelerator.num_processes:
        _set_random_state(read_tensors(path / f"random-{rank:05d}.safetensors"))
    else:
        accelerator.print(
            f"checkpoint of {value['ranks']} ranks goes on with {accelerator.num_processes}: "
            "order and learning rate are unchanged, random states are seeded anew"
        )
        torch.manual_seed(hash((value["step"], rank)))
    return State(value["step"], value["position"], value["metrics"])


def _tower_state(module: AuraModel, stream: str) -> dict[str, Tensor]:
    parts = stream_modules(module, stream)
    named = {f"{part}.{n}": t for part, m in parts.items() for n, t in m.state_dict(keep_vars=True).items()}
    return _whole(named)


def _whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the host; ZeRO-3's parameters are gathered first, on all ranks together."""
    sharded = [t for t in tensors.values() if hasattr(t, "ds_id")]
    if sharded:
        import deepspeed

        gathered = deepspeed.zero.GatheredParameters(sharded)
    else:
        gathered = nullcontext()
    with gathered:
        return {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])

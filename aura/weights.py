"""Weights of towers on disk: where they are, whether they are whole, and into which modules they go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from aura.model import AuraModel
from aura.objectives.config import streams_of

FORMAT = "aura-checkpoint/1"


class RunError(RuntimeError):
    """A run that cannot start or go on, or weights that cannot be used; the message says why, where, and what to do."""


def read_state(path: Path) -> dict[str, Any] | None:
    """state.json of a checkpoint whose files are all there at full size, else None."""
    try:
        value = json.loads((path / "state.json").read_text())
        complete = all((path / f).stat().st_size == about["size"] for f, about in value["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return value if complete and value.get("format") == FORMAT else None


def whole_checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints in order of step."""
    return [p for p in sorted(folder.glob("step_*")) if read_state(p) is not None]


def best_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the highest score (`metrics.score`, as the loop wrote it); None where none was evaluated."""
    scored = [
        (score, path)
        for path in whole_checkpoints(folder)
        if (score := (read_state(path) or {}).get("metrics", {}).get("score")) is not None
    ]
    return max(scored)[1] if scored else None


def latest_checkpoint(folder: Path) -> Path | None:
    """What `latest` names, if it is whole; else the newest whole one; None where there is none."""
    return next((path for path in newest_first(folder) if read_state(path) is not None), None)


def find_checkpoint(path: Path) -> Path:
    """A checkpoint itself, or the latest one of a run. RunError where there is none."""
    if (path / "state.json").is_file():
        return path
    if path.name in ("latest", "best") and path.is_file():  # which name the checkpoint beside them
        return find_checkpoint(path.parent / path.read_text().strip())
    if path.is_file():
        raise RunError(f"{path} is a file: name the run directory, or one of its checkpoints (checkpoints/step_N)")
    if not path.is_dir():
        raise RunError(f"{path} does not exist: name a run directory, or one of its checkpoints")
    found = latest_checkpoint(path / "checkpoints") if (path / "checkpoints").is_dir() else None
    if found is None:
        raise RunError(
            f"{path} holds no whole checkpoint: name a run directory (with checkpoints/), or a checkpoint in it"
        )
    return found


def newest_first(folder: Path) -> list[Path]:
    """All checkpoints, whole or not: what `latest` names, then the newest, and so on."""
    latest = folder / "latest"
    named = latest.read_text().strip() if latest.exists() else ""
    found = set(folder.glob("step_*")) | ({folder / named} if named else set())
    return sorted(found, key=lambda path: (path.name == named, path.name), reverse=True)


def load_weights(path: Path, module: AuraModel) -> None:
    """Fills a model (before it is prepared for training) from a checkpoint: the towers that the model has.

    Raises RunError naming the file for one that is missing, damaged, or does not fit.
    """
    if read_state(path) is None:
        raise RunError(f"{path} is not a whole checkpoint: its state.json is missing or names files that are not there")
    fill(path, module, {})


def fill(folder: Path, module: AuraModel, more: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Fills a model from the files of its towers, temperatures and classifiers; more: stream -> tensors that its file lacks.
    RunError as `load_weights`."""
    for stream in module.towers:
        file = folder / "towers" / f"{stream}.safetensors"
        tensors = {**read_tensors(file), **more.get(stream, {})}
        for part, target in stream_modules(module, stream).items():
            mine = {k.removeprefix(part + "."): v for k, v in tensors.items() if k.startswith(part + ".")}
            fit(target, mine, file)
    fit(module.temperature, read_tensors(folder / "shared.safetensors"), folder / "shared.safetensors")
    if module.classifiers:
        file, there = folder / "classifiers.safetensors", set(module.towers)
        tensors = read_tensors(file)
        mine = {k: v for k, v in tensors.items() if set(streams_of(k.rpartition(".")[0])) <= there}
        fit(module.classifiers, mine, file)


def read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read as safetensors: {error}") from error


def fit(module: nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    own = module.state_dict()
    for name in sorted(own.keys() ^ tensors.keys()):
        raise RunError(f"{file}: tensor {name!r} is {'missing' if name in own else 'unknown to this recipe'}")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise RunError(
                f"{file}: {name} has shape {tuple(tensors[name].shape)}, the recipe needs {tuple(tensor.shape)}"
            )
    module.load_state_dict(tensors)


def stream_modules(module: AuraModel, stream: str) -> dict[str, nn.Module]:
    """What a stream's file holds: its tower, its projection, and its head of fine pairs where it has one."""
    found = {"tower": module.towers[stream], "head": module.heads[stream]}
    return found | ({"fine": module.fine[stream]} if stream in module.fine else {})

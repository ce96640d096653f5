"""Weights of towers on disk: where they are, whether they are whole, and into which modules they go."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from aura.data.files import sha256_of
from aura.model import AuraModel
from aura.objectives.config import streams_of

FORMAT = "aura-checkpoint/1"
TOLD = 12  # checkpoints or models that a message names
T = TypeVar("T")


class RunError(RuntimeError):
    """A run that cannot start or go on, or weights that cannot be used; the message says why, where, and what to do."""


def read_state(path: Path) -> dict[str, Any] | None:
    """state.json of a checkpoint whose files are all there at full size, else None."""
    return None if damage(path, hashed=()) else json.loads((path / "state.json").read_text())


def state_digest(value: Mapping[str, Any]) -> str:
    """SHA-256 of what state.json says, without itself."""
    rest = {key: inner for key, inner in value.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def damage(path: Path, hashed: Collection[str] | None = None) -> str:
    """What is wrong with a checkpoint's files; "" where they are what was written. All have their size; `hashed`: starts of
    the names of those whose content is compared too, by default all."""
    try:
        value = json.loads((path / "state.json").read_text())
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            return f"state.json is not of the format {FORMAT}"
        if "sha256" in value and value["sha256"] != state_digest(value):
            return "state.json is not what was written (its SHA-256 differs)"
        for name, about in value["files"].items():
            file = path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != about["size"]:
                return f"{name} has {file.stat().st_size} bytes, {about['size']} were written"
            if (hashed is None or name.startswith(tuple(hashed))) and sha256_of(file) != about["sha256"]:
                return f"{name} is not what was written (its SHA-256 differs)"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"state.json: {type(error).__name__}: {error}"
    return ""


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
        named = path.read_text(errors="replace").strip()
        if not named.startswith("step_"):
            raise RunError(f"{path} is damaged: it names {named!r}, no checkpoint; name one yourself (step_N)")
        return find_checkpoint(path.parent / named)
    if path.is_file():
        raise RunError(f"{path} is a file: name the run directory, or one of its checkpoints (checkpoints/step_N)")
    if not path.is_dir():
        raise RunError(f"{path} does not exist{meant(path)}: name a run directory, or one of its checkpoints")
    found = latest_checkpoint(path / "checkpoints") if (path / "checkpoints").is_dir() else None
    if found is None:
        raise RunError(
            f"{path} holds no whole checkpoint: name a run directory (with checkpoints/), or a checkpoint in it"
        )
    return found


def meant(path: Path) -> str:
    """In brackets, what may be meant by a path where nothing is: the checkpoints of the run that it names, or models with such
    a name; "": nothing is found."""
    above = next((p for p in path.parents if os.path.isdir(p)), Path())
    run = above.parent if above.name == "checkpoints" else above
    steps = [found.name for found in whole_checkpoints(run / "checkpoints")]
    if steps:
        more = f"{len(steps) - TOLD} others and " if len(steps) > TOLD else ""
        return f" ({run / 'checkpoints'} holds {more}{', '.join(steps[-TOLD:])})"
    there = models_in(above)
    near = difflib.get_close_matches(path.relative_to(above).parts[0], there, n=3, cutoff=0.6)
    if near:
        return f" (did you mean {' or '.join(str(above / name) for name in near)}?)"
    more = f" and {len(there) - TOLD} others" if len(there) > TOLD else ""
    return f" ({above} holds the models {', '.join(there[:TOLD])}{more})" if there else ""


def models_in(folder: Path) -> list[str]:
    """Names of the runs and released models in a folder; [] where it cannot be read."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    inner = ((name, os.path.join(folder, name)) for name in names)
    return [name for name, p in inner if os.path.isdir(f"{p}/checkpoints") or os.path.isfile(f"{p}/config.json")]


def newest_first(folder: Path) -> list[Path]:
    """All checkpoints, whole or not: what `latest` names, then the newest, and so on."""
    latest = folder / "latest"
    named = latest.read_text(errors="replace").strip() if latest.exists() else ""
    named = named if named.startswith("step_") else ""
    found = set(folder.glob("step_*")) | ({folder / named} if named else set())
    return sorted(found, key=lambda path: (path.name == named, path.name), reverse=True)


def load_weights(path: Path, module: AuraModel) -> None:
    """Fills a model (before it is prepared for training) from a checkpoint: the towers that the model has.

    Raises RunError naming the file for one that is missing, damaged, or does not fit.
    """
    fault = damage(path, ("towers/", "shared.", "classifiers."))
    if fault:
        raise RunError(f"{path} is not a whole checkpoint: {fault}")
    fill(path, module, {})


def fill(folder: Path, module: AuraModel, more: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Fills a model from the files of its towers, temperatures and classifiers; more: stream -> tensors that its file lacks.
    RunError as `load_weights`."""
    for _, part, target, file, tensors in _parts(folder, module, read_tensors, more):
        fit(target, tensors, file, part)


def check_shapes(folder: Path, module: AuraModel, elsewhere: Collection[str]) -> None:
    """Compares a model, which may be on torch's meta device, with what its files say that they hold: no weight is read.

    elsewhere    streams some of whose weights need not be in their files
    RunError as `load_weights`.
    """
    for stream, part, target, file, shapes in _parts(folder, module, read_shapes, {}):
        own = {name: tuple(tensor.shape) for name, tensor in target.state_dict().items()}
        if stream in elsewhere and target is module.towers[stream]:
            own = {name: shape for name, shape in own.items() if name in shapes}
        compare(own, shapes, file, part)


def _parts(
    folder: Path, module: AuraModel, read: Callable[[Path], Mapping[str, T]], more: Mapping[str, Mapping[str, T]]
) -> Iterator[tuple[str, str, nn.Module, Path, dict[str, T]]]:
    """Stream ("" of what is shared), what the file puts before the module's names (`head.`), module, file, and what `read` finds
    of the module there, by its own names; more: stream -> what its file lacks."""
    for stream in module.towers:
        file = folder / "towers" / f"{stream}.safetensors"
        found = {**read(file), **more.get(stream, {})}
        for name, target in stream_modules(module, stream).items():
            part = f"{name}."
            mine = {k.removeprefix(part): v for k, v in found.items() if k.startswith(part)}
            yield stream, part, target, file, mine
    file = folder / "shared.safetensors"
    yield "", "", module.temperature, file, dict(read(file))
    if module.classifiers:
        file, there = folder / "classifiers.safetensors", set(module.towers)
        mine = {k: v for k, v in read(file).items() if set(streams_of(k.rpartition(".")[0])) <= there}
        yield "", "", module.classifiers, file, mine


def read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read as safetensors: {error}") from error


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a file, by its header alone. RunError."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read as safetensors: {error}") from error


def fit(module: nn.Module, tensors: dict[str, Tensor], file: Path, part: str = "") -> None:
    """Fills a module, whose names the file has after `part` (`head.`). RunError as `compare`."""
    own, found = ({k: tuple(t.shape) for k, t in state.items()} for state in (module.state_dict(), tensors))
    compare(own, found, file, part)
    module.load_state_dict(tensors)


def compare(
    own: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], file: Path, part: str = ""
) -> None:
    """RunError for the first tensor of a module that its file lacks, has in another shape, or has too many; part: what the
    file puts before the module's names."""
    for name in sorted(own.keys() ^ found.keys()):
        raise RunError(f"{file}: tensor {part + name!r} is {'missing' if name in own else 'unknown to this recipe'}")
    for name, shape in own.items():
        if shape != found[name]:
            raise RunError(f"{file}: tensor {part + name!r} has shape {found[name]}, the recipe needs {shape}")


def stream_modules(module: AuraModel, stream: str) -> dict[str, nn.Module]:
    """What a stream's file holds: its tower, its projection, and its head of fine pairs where it has one."""
    found = {"tower": module.towers[stream], "head": module.heads[stream]}
    return found | ({"fine": module.fine[stream]} if stream in module.fine else {})

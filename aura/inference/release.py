"""The folder of a released model: config.json, a safetensors file for each tower, the card. Nothing in it is unpickled.

config.json                    see `aura.inference.config`
README.md                      the model card
towers/<stream>.safetensors    the tower, its projection, its head of fine pairs; without frozen weights from elsewhere
shared.safetensors             temperatures
classifiers.safetensors        where the objective has classifiers
phrases.safetensors            `embeddings` (n, D) of the configuration's phrases
tokenizer/                     where the text tower was copied, and has one of its own
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from aura import hub
from aura.data.files import sync_folder
from aura.inference.config import CONFIG, ModelConfig, Referenced, check_config, read_config
from aura.model import AuraModel
from aura.tasks.leaks import LeakError, publish
from aura.towers import TowerConfig, build_tower
from aura.towers.released import TOKENIZER, unsafe
from aura.towers.text import HfTextConfig, tokenizer
from aura.towers.video import HfVideoConfig
from aura.weights import RunError, fill, read_tensors, stream_modules

PHRASES = "phrases.safetensors"
WRITING, REPLACED = "writing", "replaced"  # folders beside one that is being written
SETTLED_S = 600.0  # after which nobody is thought to be at such a folder


def write_release(
    folder: Path,
    config: ModelConfig,
    module: AuraModel,
    phrases: Tensor | None,
    card: Callable[[dict[str, Any]], str],
    copy_frozen: bool = False,
    half: bool = False,
    origin: Path | None = None,
) -> None:
    """Writes the folder of a model anew, whole or not at all. RunError where there is something else, or no room.

    card      from the content of config.json to README.md
    half      weights of towers in float16: half the size, 3 digits
    origin    the run, checkpoint or folder that the model is of: what it says of the training's people goes along
    """
    mend(folder)
    refuse_others(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(folder, WRITING)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        (temporary / "towers").mkdir(parents=True)
        values = config.model_dump(mode="json") | {"referenced": {}}
        began = {stream: found for stream, tower in config.towers.items() if (found := reference(tower)) is not None}
        values["training"]["began_with"] = values["training"].get("began_with", {}) | began
        for stream in module.towers:
            tensors, referenced = tower_tensors(config, module, stream, copy_frozen)
            if half:
                tensors = {k: t.half() if t.is_floating_point() else t for k, t in tensors.items()}
            save_file(tensors, temporary / "towers" / f"{stream}.safetensors")
            if referenced is None:
                values["towers"][stream] |= _copied(module.towers[stream], config.towers[stream], temporary)
                continue
            values["referenced"][stream] = referenced.model_dump()
            if referenced.revision:
                values["towers"][stream]["revision"] = referenced.revision
        save_file(_held(module.temperature), temporary / "shared.safetensors")
        if module.classifiers:
            save_file(_held(module.classifiers), temporary / "classifiers.safetensors")
        if phrases is not None:
            save_file({"embeddings": (phrases.half() if half else phrases).contiguous()}, temporary / PHRASES)
        if origin is not None:
            publish(origin, temporary)
        for stream, tower in check_config(values, str(folder / CONFIG)).towers.items():
            if what := unsafe(tower):
                raise RunError(f"towers.{stream}.{what}: such a model can be given away with copy_frozen alone")
        (temporary / CONFIG).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card(values), encoding="utf-8")
        for path in sorted(p for p in temporary.rglob("*") if p.is_file()):
            path.chmod(0o644)  # safetensors gives its files to their owner alone
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        _replace(temporary, folder)
    except (OSError, SafetensorError, LeakError) as error:
        raise RunError(f"{folder} was not written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_others(folder: Path) -> None:
    """RunError where a folder holds anything but a model of aura, which is replaced as a whole."""
    if not folder.exists():
        return
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else ["it"]
    others = [name for name in names if not hub.of_release(name)]
    if names and not others:
        try:
            read_config(folder)
        except RunError:
            others = [CONFIG]
    if others:
        raise RunError(f"{folder} holds what is of no model of aura ({', '.join(others[:3])}): name another folder")


def mend(folder: Path) -> None:
    """What a save that was killed left beside a folder: the model that it was about to replace gets its name back, half a new
    one is deleted. What another process is still writing is left alone."""
    pattern = re.compile(re.escape(f".{folder.name}") + rf"\.({WRITING}|{REPLACED})-(.+)-(\d+)")
    found = ((path, pattern.fullmatch(path.name)) for path in folder.parent.glob(f".{glob.escape(folder.name)}.*"))
    for path, left in sorted((path, match) for path, match in found if match):
        if _at_work(path, left[2], int(left[3])):
            continue
        if left[1] == REPLACED and not folder.exists():
            os.rename(path, folder)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}-{platform.node()}-{os.getpid()}")


def _at_work(path: Path, node: str, process: int) -> bool:
    """Whether a process may still be at a folder: one that runs here, or, of another machine (or container), one that touched it
    of late."""
    if node == platform.node() and process != os.getpid():
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True
    try:
        touched = max(inner.stat().st_ctime for inner in (path, *path.rglob("*")))
    except FileNotFoundError:  # changed at this very moment
        return True
    return time.time() - touched < SETTLED_S


def _replace(temporary: Path, folder: Path) -> None:
    old = _beside(folder, REPLACED)
    if folder.exists():
        os.rename(folder, old)
    try:
        os.rename(temporary, folder)
    except OSError:
        if old.exists():
            os.rename(old, folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def tower_tensors(
    config: ModelConfig, module: AuraModel, stream: str, copy_frozen: bool
) -> tuple[dict[str, Tensor], Referenced | None]:
    """What the file of a tower holds, and what it leaves out: weights from elsewhere, where they still are what they were."""
    tower, parts = config.towers[stream], stream_modules(module, stream)
    states = ((part, name, t) for part, m in parts.items() for name, t in m.state_dict().items())
    tensors = {f"{part}.{name}": t.detach().cpu().clone().contiguous() for part, name, t in states}
    source = None if copy_frozen else reference(tower)
    if source is None:
        return tensors, None
    fresh = build_tower(tower, config.inputs[stream], config.window.seconds)
    left = {f"tower.{name}": t for name, t in fresh.state_dict().items() if name in _untrained(fresh)}
    if not left or any(not torch.equal(t, tensors[name]) for name, t in left.items()):
        return tensors, None
    kept = {name: t for name, t in tensors.items() if name not in left}
    return kept, Referenced(source=source, revision=_revision(fresh), sha256=digest(left))


def reference(config: TowerConfig) -> str | None:
    """Where the weights that a tower began with can be had by everyone; None: nowhere."""
    if isinstance(config, HfTextConfig | HfVideoConfig):
        model = config.model
        known = (
            config.pretrained and isinstance(model, str) and (model.startswith("package:") or not Path(model).exists())
        )
        return str(model) if known else None
    tag = getattr(config, "pretrained", None)
    if not isinstance(tag, str) or Path(tag).exists():
        return None
    return f"open_clip {getattr(config, 'model', '')} {tag}"


def _untrained(tower: nn.Module) -> set[str]:
    return {name for name, parameter in tower.named_parameters() if not parameter.requires_grad}


def _revision(tower: nn.Module) -> str:
    settings = getattr(getattr(tower, "trunk", None), "config", None)
    return str(getattr(settings, "_commit_hash", None) or "")


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _copied(tower: Any, config: TowerConfig, folder: Path) -> dict[str, Any]:
    """What the configuration of a tower says once all its weights are in the folder: nothing is fetched for it."""
    if isinstance(config, HfTextConfig | HfVideoConfig):
        changed: dict[str, Any] = {"model": _plain(tower.trunk.config), "pretrained": False, "revision": None}
        if isinstance(config, HfTextConfig):
            made: Any = tokenizer(config)
            made.tokenizer.save_pretrained(folder / TOKENIZER)
            changed["tokenizer"] = TOKENIZER
        return changed
    return {"pretrained": None} if hasattr(config, "pretrained") else {}


def _plain(settings: Any) -> dict[str, Any]:
    """The configuration of a transformers model, what differs from its defaults."""
    values = settings.to_diff_dict()
    for name in ("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"):
        values.pop(name, None)
    return {"model_type": settings.model_type, **json.loads(json.dumps(values, default=str))}


def _held(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}


def build_module(config: ModelConfig, streams: list[str]) -> AuraModel:
    """The towers `streams` of a model, with random weights or those they begin with. RunError where it cannot be built."""
    try:
        return AuraModel(
            config.inputs,
            config.towers,
            config.objective,
            config.embedding,
            config.window.seconds,
            config.precision,
            streams=streams,
        )
    except RunError:
        raise
    except Exception as error:  # a stranger's settings go to libraries whose errors are of any kind
        raise RunError(f"the model {config.name} cannot be built from its {CONFIG}: {error}") from error


def load_release(folder: Path, config: ModelConfig, module: AuraModel) -> Tensor | None:
    """Fills the towers of a module, and gives the embeddings of the phrases, where the folder has them. RunError naming the file
    that is missing, damaged, or does not fit."""
    known = {stream: about for stream, about in config.referenced.items() if stream in module.towers}
    more = {
        stream: frozen_weights(module, stream, _untrained(module.towers[stream]), known[stream]) for stream in known
    }
    fill(folder, module, more)
    file = folder / PHRASES
    if not config.phrases or not file.is_file():
        return None
    phrases = read_tensors(file).get("embeddings")
    wanted = (len(config.phrases), config.embedding)
    if phrases is None or phrases.shape != wanted:
        raise RunError(f"{file} has no `embeddings` of shape {wanted}, which {CONFIG} names")
    return torch.nn.functional.normalize(phrases.float(), dim=-1) if phrases.dtype == torch.float16 else phrases


def frozen_weights(module: AuraModel, stream: str, names: Collection[str], referenced: Referenced) -> dict[str, Tensor]:
    """The weights of these names that a tower has from elsewhere, as a file of the tower names them. RunError where they are not
    those that the released one was trained with."""
    tensors = {f"tower.{name}": t for name, t in module.towers[stream].state_dict().items() if name in names}
    check_frozen(stream, tensors, referenced)
    return tensors


def check_frozen(stream: str, tensors: Mapping[str, Tensor], referenced: Referenced) -> None:
    """RunError where these are not the weights that the released tower was trained with."""
    if digest(tensors) != referenced.sha256:
        wanted = referenced.source + (f" at revision {referenced.revision}" if referenced.revision else "")
        raise RunError(
            f"the frozen weights of the tower of {stream} are not those it was trained with: {wanted}. Another version of"
            " them is installed or was fetched; results would differ"
        )

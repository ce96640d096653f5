"""What a stranger's configuration asks for, before any of it is allocated: it must be what the files of weights hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from aura.body.skeletons import skeleton
from aura.data.config import ImuInput, Input, MocapInput, Pose2dInput, VideoInput
from aura.inference.config import CONFIG, ModelConfig
from aura.inference.pieces import LEAST_S
from aura.inference.release import build_module
from aura.model import AuraModel
from aura.towers import TowerConfig
from aura.towers.hf import hf_settings
from aura.towers.text import ClipTextConfig, HfTextConfig
from aura.towers.video import ClipVideoConfig, HfVideoConfig
from aura.weights import RunError, check_shapes, read_shapes

WINDOW = 2**26  # numbers of a stream in a window: 20 minutes of ten sensors at 100 Hz are a tenth
TABLE = 2**24  # numbers of a table of positions: of VideoMAE's largest a sixth
# Tensors that come and go while a model is built. Six in all were counted for each that stays; one that is from elsewhere, and
# has next to none in its file, makes some hundreds.
STEPS, STEPS_EACH = 10_000, 12
# Numbers in them. Five in all were counted for each that stays, and open_clip builds its other tower, which is dropped.
NUMBERS, NUMBERS_EACH = 2**28, 8


def check_sizes(folder: Path, config: ModelConfig, streams: Sequence[str]) -> None:
    """RunError where the towers `streams` of a released model would not be those whose weights are in its folder: they are built
    on torch's meta device, which allocates nothing, and compared with the headers of the files.

    Towers that open_clip has by name are as large as it says, and are left out.
    """
    where, shapes = folder / CONFIG, {}
    for stream in streams:
        file = folder / "towers" / f"{stream}.safetensors"
        if not file.is_file():
            raise RunError(f"{file} is missing: load the model without it, modalities=[...], or bring the file")
        shapes[stream] = read_shapes(file)
        _check_window(where, config, stream)
    named = [s for s in streams if isinstance(t := config.towers[s], ClipTextConfig | ClipVideoConfig) and _named(t)]
    for stream in named:
        wide = shapes[stream].get("head.weight", (0,))[0]
        if (
            config.towers[stream].projection == "linear"
            and stream in config.objective.compared
            and wide != config.embedding
        ):
            raise RunError(f"{where}: embedding is {config.embedding}, the weights of {stream} project to {wide}")
    blank = {stream: _without_weights(tower) for stream, tower in config.towers.items()}
    module, numbers = _built(
        where, config.model_copy(update={"towers": blank}), [s for s in streams if s not in named], shapes
    )
    elsewhere = [stream for stream in config.referenced if stream in streams and _named(config.towers[stream])]
    check_shapes(folder, module, elsewhere)
    kept = sum(tensor.numel() for tensor in module.state_dict().values())
    if numbers > NUMBERS + NUMBERS_EACH * kept:
        raise RunError(f"{where} asks for {numbers:.3g} numbers on the way to a model of {kept:.3g}: it is not loaded")


class _Count(TorchFunctionMode):
    """Counts the tensors that are made, and their numbers. RunError beyond `steps`."""

    def __init__(self, steps: int, fault: str) -> None:
        super().__init__()
        self.steps, self.fault, self.numbers = steps, fault, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.steps -= 1
            if self.steps < 0:
                raise RunError(self.fault)
            self.numbers += 0 if args and out is args[0] else out.numel()
        return out


def _built(
    where: Path, config: ModelConfig, streams: list[str], shapes: dict[str, dict[str, Any]]
) -> tuple[AuraModel, int]:
    """The model on the meta device, and the numbers of all tensors that were made on the way."""
    for stream in streams:
        _check_table(where, stream, config.towers[stream], {n for shape in shapes[stream].values() for n in shape})
    there = sum(map(len, shapes.values()))
    fault = f"{where} asks for a model of far more tensors than the {there} that its files hold: it is not loaded"
    with _Count(STEPS + STEPS_EACH * there, fault) as count, torch.device("meta"):
        module = build_module(config, streams)
    return module, count.numbers


def _check_window(where: Path, config: ModelConfig, stream: str) -> None:
    """RunError where a window is larger than any that is read, or windows are too close."""
    window, numbers = config.window, _numbers(config.inputs[stream], config.window.seconds)
    if not numbers <= WINDOW:
        raise RunError(
            f"{where}: a window of {window.seconds:g} s of {stream}, as inputs.{stream} says, has {numbers:.3g} numbers; at most"
            f" {WINDOW:.3g} are read"
        )
    if window.stride_s is not None and not LEAST_S <= window.stride_s < float("inf"):
        raise RunError(f"{where}: window.stride_s is {window.stride_s:g}: seconds, at least {LEAST_S:g}")


def _numbers(settings: Input, seconds: float) -> float:
    if isinstance(settings, ImuInput):
        return 6.0 * settings.sensors * seconds * settings.rate_hz
    if isinstance(settings, MocapInput | Pose2dInput):
        return 3.0 * len(skeleton(settings.skeleton).joints) * seconds * settings.rate_hz
    return 3.0 * settings.frames * settings.size**2 if isinstance(settings, VideoInput) else 0.0


def _check_table(where: Path, stream: str, tower: TowerConfig, sizes: set[int]) -> None:
    """RunError for a model of transformers whose table of positions would take minutes: it is made number by number. sizes:
    of the tensors of the tower's file."""
    if not isinstance(tower, HfTextConfig | HfVideoConfig):
        return
    try:
        settings, places = hf_settings(tower.model, tower.revision), 0
        if settings.model_type == "videomae":
            frames = settings.num_frames // settings.tubelet_size
            places = (settings.image_size // settings.patch_size) ** 2 * frames
        elif getattr(settings, "sinusoidal_pos_embds", False):
            places = settings.max_position_embeddings
        width = settings.hidden_size
    except Exception:  # of as many kinds as there are settings; what is wrong is told where the tower is built
        return
    if width not in sizes and not _named(tower):
        raise RunError(f"{where}: towers.{stream}.model is {width} wide, no tensor of towers/{stream}.safetensors is")
    if width * places > TABLE:
        raise RunError(f"{where}: towers.{stream}.model has a table of {places} positions of {width}: it is not loaded")


def _named(tower: TowerConfig) -> bool:
    """Whether it is a model that others have published."""
    return isinstance(getattr(tower, "model", None), str)


def _without_weights(tower: TowerConfig) -> TowerConfig:
    """The same tower with random weights."""
    if isinstance(tower, HfTextConfig | HfVideoConfig):
        return tower.model_copy(update={"pretrained": False})
    return tower.model_copy(update={"pretrained": None}) if hasattr(tower, "pretrained") else tower

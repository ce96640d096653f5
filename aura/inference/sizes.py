"""What a stranger's configuration asks for, before any of it is allocated: it must be what the files of weights hold."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from aura.body.skeletons import skeleton
from aura.data.config import ImuInput, Input, MocapInput, Pose2dInput, SeriesInput, VideoInput
from aura.inference.config import CONFIG, ModelConfig
from aura.inference.pieces import LEAST_S
from aura.inference.release import build_module
from aura.towers import TowerConfig
from aura.towers.clip import clip_settings, load_clip
from aura.towers.hf import hf_settings
from aura.towers.text import ClipTextConfig, HfTextConfig
from aura.towers.video import ClipVideoConfig, HfVideoConfig
from aura.weights import RunError, check_shapes, read_shapes

CLIP = ClipTextConfig | ClipVideoConfig
WINDOW = 2**26  # numbers of a stream in a window: 20 minutes of ten sensors at 100 Hz are a tenth
TABLE = 2**24  # numbers of a table of positions: of VideoMAE's largest a sixth
HIDDEN = 2**26  # numbers of the tables that a model makes itself: a mask of 1,000 tokens is a sixtieth
# Tensors that come and go while a model is built. Six in all were counted for each that stays; a tower from elsewhere has next to
# none in its file, and open_clip's deepest makes 4,400.
STEPS, STEPS_EACH = 10_000, 12
# Numbers of an open_clip model in place, of which one tower stays, beside those of its file.
WHOLE, WHOLE_EACH = 2**28, 8


def check_sizes(folder: Path, config: ModelConfig, streams: list[str]) -> None:
    """RunError where the towers `streams` of a released model would not be those whose weights are in its folder: they are built
    on torch's meta device, which allocates nothing, and compared with the headers of the files."""
    where, shapes = folder / CONFIG, {}
    for stream in streams:
        file = folder / "towers" / f"{stream}.safetensors"
        if not file.is_file():
            raise RunError(f"{file} is missing: load the model without it, modalities=[...], or bring the file")
        shapes[stream] = read_shapes(file)
        _check_window(where, config, stream)
        _check_table(where, stream, config.towers[stream], {n for shape in shapes[stream].values() for n in shape})
    there = sum(map(len, shapes.values()))
    blank = {stream: _without_weights(tower) for stream, tower in config.towers.items()}
    fault = f"{where} asks for a model of far more tensors than the {there} that its files hold: it is not loaded"
    with _Count(STEPS + STEPS_EACH * there, fault), torch.device("meta"):
        module = build_module(config.model_copy(update={"towers": blank}), streams)
        in_place = {stream: t.model for stream in streams if isinstance(t := config.towers[stream], CLIP)}
        both = {stream: load_clip(model, None) for stream, model in in_place.items() if isinstance(model, dict)}
    elsewhere = [stream for stream in config.referenced if stream in streams and _named(config.towers[stream])]
    check_shapes(folder, module, elsewhere)
    state = module.state_dict()
    hidden = sum(buffer.numel() for name, buffer in module.named_buffers() if name not in state)
    if hidden > HIDDEN:
        raise RunError(f"{where} asks for tables of {hidden:.3g} numbers: it is not loaded")
    for stream, clip in both.items():
        held = sum(map(prod, shapes[stream].values()))
        whole = sum(tensor.numel() for tensor in (*clip.parameters(), *clip.buffers()))
        if whole > WHOLE + WHOLE_EACH * held:
            raise RunError(
                f"{where}: towers.{stream}.model has {whole:.3g} numbers, its file {held:.3g}: it is not loaded"
            )


class _Count(TorchFunctionMode):
    """RunError where more tensors are made than `most`."""

    def __init__(self, most: int, fault: str) -> None:
        super().__init__()
        self.left, self.fault = most, fault

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.left -= 1
            if self.left < 0:
                raise RunError(self.fault)
        return out


def _check_window(where: Path, config: ModelConfig, stream: str) -> None:
    """RunError where a window is larger than any that is read, or windows are too close."""
    window, numbers = config.window, window_numbers(config.inputs[stream], config.window.seconds)
    if not numbers <= WINDOW:
        raise RunError(
            f"{where}: a window of {window.seconds:g} s of {stream}, as inputs.{stream} says, has {numbers:.3g} numbers; at most"
            f" {WINDOW:.3g} are read"
        )
    if window.stride_s is not None and not LEAST_S <= window.stride_s < float("inf"):
        raise RunError(f"{where}: window.stride_s is {window.stride_s:g}: seconds, at least {LEAST_S:g}")


def window_numbers(settings: Input, seconds: float) -> float:
    """Numbers of a stream in a window."""
    if isinstance(settings, ImuInput):
        return 6.0 * settings.sensors * seconds * settings.rate_hz
    if isinstance(settings, MocapInput | Pose2dInput):
        return 3.0 * len(skeleton(settings.skeleton).joints) * seconds * settings.rate_hz
    if isinstance(settings, SeriesInput):
        return len(settings.channels) * seconds * settings.rate_hz
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
    """The same tower with random weights, for which nothing is fetched."""
    if isinstance(tower, HfTextConfig | HfVideoConfig):
        return tower.model_copy(update={"pretrained": False})
    if not isinstance(tower, CLIP):
        return tower
    model = clip_settings(tower.model) if isinstance(tower.model, str) else tower.model
    return tower.model_copy(update={"model": model, "pretrained": None})

"""Stored embeddings of frozen towers: which tower made them, and when a recipe may read them in place of a stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from aura.data.config import Input, Window
from aura.towers.text import ClipText, HfText
from aura.towers.video import ClipVideo, HfVideo

Storable = ClipVideo | HfVideo | ClipText | HfText
Tokenize = Callable[[list[str]], Tensor]

# Texts whose tokens tell tokenizers apart: words, case and signs, other scripts, a text that is cut.
PROBES = ["a person walks", "Jogging, 3rd try: left & right!", "naïve 走る", "one two three four five " * 40]


def stored_towers(
    inputs: Mapping[str, Input], towers: nn.ModuleDict, window: Window, tokenize: Tokenize | None
) -> dict[str, str]:
    """Stream -> hash of its tower, of all inputs with `stored: true`: what the readers take as `precomputed`.

    Call it before the model is prepared for training, while the weights are whole. ValueError as `check_storable`.
    """
    wanted = [name for name, settings in inputs.items() if getattr(settings, "stored", False)]
    return {
        name: tower_hash(check_storable(name, towers[name], window), inputs[name], window, tokenize) for name in wanted
    }


def check_storable(name: str, tower: nn.Module, window: Window) -> Storable:
    """The tower, if embeddings of it can stand for the stream in every step; else ValueError with the reason."""
    if not isinstance(tower, Storable):
        raise ValueError(f"towers.{name}: embeddings are stored of video and text towers only, this is {_kind(tower)}")
    if not tower.frozen:
        raise ValueError(
            f"towers.{name} is trained, so that its embeddings change with every step: set towers.{name}.tuning=frozen,"
            f" or do without stored embeddings of {name}"
        )
    if isinstance(tower, ClipText | HfText) and name != "text":
        raise ValueError(f"towers.{name}: embeddings are stored of the texts of the stream `text` only")
    if isinstance(tower, HfVideo) and (window.warp or (window.whole and window.crop < 1)):
        raise ValueError(
            f"towers.{name} reads clips, stored at fixed starts: data.window.warp and data.window.crop would change"
            " them; set warp=0 and crop=1, or train from the video"
        )
    return tower


def tower_hash(tower: Storable, settings: Input, window: Window, tokenize: Tokenize | None) -> str:
    """16 hex digits that change with the trunk's weights and with all that decides what it is given.

    That is for frames their size, grid and normalisation, for clips also the window and its frames, for texts their
    tokens. It does not depend on paths, nor on what follows the trunk.
    """
    facts: dict = {"tower": _kind(tower)}
    if isinstance(tower, ClipVideo | HfVideo):
        facts["input"] = settings.model_dump(include={"size", "grid_hz"})
        facts["mean"], facts["std"] = tower.normalize.mean.flatten().tolist(), tower.normalize.std.flatten().tolist()
    if isinstance(tower, HfVideo):
        facts["clip"] = settings.model_dump(include={"frames"}) | window.model_dump(include={"seconds", "whole"})
    if isinstance(tower, ClipText | HfText):
        if tokenize is None:
            raise ValueError("a hash of a text tower needs its tokenizer")
        facts["tokens"] = tokenize(PROBES).tolist()
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tower.trunk.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _kind(tower: nn.Module) -> str:
    return type(tower).__name__

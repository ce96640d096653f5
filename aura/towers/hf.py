"""Models of transformers: from a folder, the hub, an installed package, or a configuration."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import transformers


def resolve(model: str) -> str:
    """`package:NAME/FOLDER` is a folder inside an installed package; everything else stays as it is."""
    if not model.startswith("package:"):
        return model
    package, _, folder = model.removeprefix("package:").partition("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise RuntimeError(f"towers: {model!r} needs the package {package!r}, which is not installed")
    path = Path(found.submodule_search_locations[0]) / folder
    if not path.is_dir():
        raise RuntimeError(f"towers: {model!r}: the package has no folder {folder!r}")
    return str(path)


def hf_settings(model: str | dict[str, Any], revision: str | None = None) -> Any:
    """The configuration of a model of transformers, as `load_hf` takes it. OSError, KeyError where there is none."""
    if isinstance(model, dict):
        values = dict(model)
        return transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    at = {} if revision is None else {"revision": revision}
    return transformers.AutoConfig.from_pretrained(resolve(model), trust_remote_code=False, **at)


def load_hf(model: str | dict[str, Any], pretrained: bool, revision: str | None = None) -> Any:
    """The encoder, without any dropout, so that a batch in parts gives what the whole batch gives.

    model: local folder, hub name, `package:NAME/FOLDER`, or a configuration in place (`model_type` and what differs
    from its defaults: random weights). revision: of the hub. RuntimeError where it cannot be had.
    """
    at = {} if revision is None else {"revision": revision}
    try:
        config = hf_settings(model, revision)
        for name in list(vars(config)):
            if "dropout" in name or name.endswith("drop_path_rate"):
                setattr(config, name, 0.0)
        if isinstance(model, dict) or not pretrained:
            return transformers.AutoModel.from_config(config, attn_implementation="sdpa", trust_remote_code=False)
        transformers.utils.logging.disable_progress_bar()  # of a second's work
        # Weights in other files than safetensors would be unpickled.
        return transformers.AutoModel.from_pretrained(
            resolve(model),
            config=config,
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
            **at,
        )
    except KeyError as error:
        raise ValueError(f"towers: a configuration of transformers in place needs `model_type`: {model}") from error
    except OSError as error:
        raise RuntimeError(
            f"towers: the transformers model {model!r} could not be loaded ({error}). Without a network, copy its folder"
            " here and give the path as `model`"
        ) from error


def set_hf_checkpointing(trunk: Any, on: bool) -> None:
    # The newer of two names; the older one, still there, warns.
    name = "activation_checkpointing" if hasattr(trunk, "activation_checkpointing_enable") else "gradient_checkpointing"
    if on:
        getattr(trunk, f"{name}_enable")({"use_reentrant": False})
    elif getattr(trunk, f"is_{name}"):
        getattr(trunk, f"{name}_disable")()

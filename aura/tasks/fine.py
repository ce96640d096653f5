"""How alike windows are by their body parts: at the same moments, and as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aura.data.batch import Batch, Stream
from aura.objectives.config import Fine
from aura.objectives.fine import Tokens, on_parts
from aura.objectives.heads import noise


@dataclass
class Parts:
    """Vectors of n windows on K places (body parts, or body parts at moments), to be compared place by place.

    values   (n, K, M): sum of the unit vectors on the place, zero where there is none
    count    (n, K): how many they are
    """

    values: Tensor
    count: Tensor

    def __getitem__(self, index: Tensor | slice) -> Parts:
        return Parts(self.values[index], self.count[index])

    def double(self) -> Parts:
        return Parts(self.values.double(), self.count.double())


def terms_of(fine: Fine) -> tuple[str, ...]:
    """What a fine pair was trained to compare windows by: `late`, `local`, and the sum of both."""
    terms = (("late",) if fine.late or fine.token else ()) + (("local",) if fine.local else ())
    return (*terms, "late+local") if len(terms) == 2 else terms


def parts_by(tokens: Tokens, term: str) -> Parts:
    """What windows are compared by: `late`, the tokens of each part at each moment; `local`, a vector of each part."""
    if term == "local":
        tokens = replace(tokens, values=tokens.local[:, :, None], mask=tokens.there[..., None])
    values, count = on_parts(tokens)
    return Parts(values.flatten(1, 2), count.flatten(1))


def similarity(a: Parts, b: Parts) -> Tensor:
    """(n, m): mean cosine over what both windows have; -1 where they have nothing in common.

    Sensors that are missing are left out of the mean: any subset of them can be compared.
    """
    shared = a.count @ b.count.T
    cosine = a.values.flatten(1) @ b.values.flatten(1).T / shared.clamp(min=1)
    return torch.where(shared > 0, cosine, -1.0)


def spreads(a: list[Parts], b: list[Parts], block: int = 1024) -> list[float]:
    """What to divide each term's similarities by, so that their sum weighs them equally: their standard deviation over
    all pairs of windows (a term that is the same for all pairs: 1)."""
    found = []
    for x, y in zip(a, b):
        count, total, square = 0, 0.0, 0.0
        for i in range(0, len(x.count), block):
            scores = similarity(x[i : i + block], y).double()
            count, total, square = (
                count + scores.numel(),
                total + float(scores.sum()),
                square + float(scores.square().sum()),
            )
        variance = square / count - (total / count) ** 2
        found.append(variance**0.5 if variance > 1e-12 else 1.0)
    return found


def with_sensors(batch: Batch, count: int) -> Batch:
    """The batch with `count` of each row's sensors, drawn by the row's number, and the others missing."""
    streams = {name: _with_sensors(stream, batch.row, count) for name, stream in batch.streams.items()}
    return replace(batch, streams=streams)


def _with_sensors(stream: Stream, row: Tensor, count: int) -> Stream:
    if stream.sensor_mask is None:
        return stream
    there = stream.sensor_mask & stream.valid.any(-1)
    order = noise(row.to(there.device), there.shape[1]).masked_fill(~there, torch.inf).argsort(1).argsort(1)
    kept = there & (order < count)
    return replace(stream, sensor_mask=kept, valid=stream.valid & kept[..., None])

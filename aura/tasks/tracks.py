"""Recordings as tracks: tokens over their whole length, of windows as long as those that the model was trained on.

A track is a `Tokens` of n recordings. Streams whose tower has no tokens of body parts, such as video, give the embeddings of
windows at a stride instead, as the one sensor of part 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from aura.data.batch import Stream
from aura.data.config import Input, Window
from aura.data.cut import Cut
from aura.data.index import BadSample, Record
from aura.data.windows import Cutter, Rooms, RowData
from aura.model import AuraModel
from aura.objectives.fine import Tokens
from aura.objectives.heads import FineHead
from aura.towers.tower import Tower

ROWS = 32  # windows of one forward
WHOLE = 2.0  # windows' lengths up to which a recording is encoded in one piece
ANY_COVER = 1e-6  # of a window; what it lacks is masked
ROUNDING = 1e-6


@dataclass(frozen=True)
class Encoder:
    """A model, and how its streams are read.

    inputs     of the recipe; seconds: of its windows
    stride_s   between windows of streams without tokens
    """

    model: AuraModel
    inputs: Mapping[str, Input]
    seconds: float
    stride_s: float = 0.2

    def step_s(self, a: str, b: str) -> float:
        """Seconds of a token of the tracks of two streams."""
        return self.model.token_s[a] if self.by_tokens(a, b) else self.stride_s

    def by_tokens(self, a: str, b: str) -> bool:
        """Whether two streams are compared by tokens."""
        heads = self.model.fine
        if a not in heads or b not in heads or self.model.token_s[a] != self.model.token_s[b]:
            return False
        # A pair that was trained on parts alone has no tokens that are compared.
        return all(cast(FineHead, heads[stream]).compares for stream in (a, b))


@dataclass(frozen=True)
class Span:
    """Part of a stream of a record, from a second of the sample on. stream: its name there."""

    record: Record
    stream: str
    begin_s: float


def extent(record: Record, stream: str) -> tuple[float, float]:
    """First and last second of a stream in its sample. BadSample where there is none."""
    about = record.head["streams"].get(stream)
    if about is None:
        raise BadSample(f"{record.where}: has no stream {stream}; it has {', '.join(record.head['streams'])}")
    return float(about["start_s"]), float(about["start_s"] + about["length"] / about["rate_hz"])


def read_streams(settings: Input, spans: Sequence[Span], seconds: float) -> Stream:
    """Some seconds of each span, all of one stream, read by a recipe's settings; what has nothing there is not present."""
    stream = spans[0].stream
    cutter = Cutter({stream: settings}, Window(seconds=seconds, min_cover=ANY_COVER))

    def row(span: Span, out: Rooms) -> RowData:
        return cutter.cut_row(span.record, Cut(span.begin_s, seconds, seconds), out)

    return cutter.fill(len(spans), [partial(row, span) for span in spans]).streams[stream]


def tracks(encoder: Encoder, name: str, spans: Sequence[Span], seconds: float, *, by_tokens: bool = True) -> Tokens:
    """Tracks of equal length, as many whole tokens as there are in `seconds`; `name`: the model's stream.

    ValueError for less than a token, or than a window of a tower that reads no other length.
    """
    if not by_tokens:
        return _pooled(encoder, name, spans, seconds)
    token_s = encoder.model.token_s[name]
    count, window = _whole(seconds / token_s), _whole(encoder.seconds / token_s)
    if count < 1:
        raise ValueError(f"{seconds:g} s hold no token of {token_s:g} s")
    any_length = cast(Tower, encoder.model.towers[name]).any_length
    if not any_length and count < window:
        raise ValueError(
            f"the tower of {name} reads windows of {encoder.seconds:g} s alone: pieces must be a token longer, not {seconds:g} s"
        )
    if count <= (WHOLE if any_length else 1) * window:
        return _encoded(encoder, name, spans, count * token_s)
    # Windows that overlap by half: each token is taken where it is the farthest from the ends.
    starts = [*range(0, count - window, max(1, window // 2)), count - window]
    every = [replace(span, begin_s=span.begin_s + start * token_s) for span in spans for start in starts]
    parts = _encoded(encoder, name, every, window * token_s)
    t = torch.arange(count)
    first = torch.tensor(starts)
    best = (t[:, None] - first - (window - 1) / 2).abs().argmin(1)  # (N,): which window
    values, mask = (x.unflatten(0, (len(spans), len(starts))) for x in (parts.values, parts.mask))
    values = values[:, best, :, t - first[best]].movedim(0, 2)  # (n, S, N, M); the index puts time first
    mask = mask[:, best, :, t - first[best]].movedim(0, 2)
    there = parts.mask.flatten(1).any(1).view(len(spans), -1).to(torch.uint8).argmax(1)
    part = parts.part.unflatten(0, (len(spans), len(starts)))[torch.arange(len(spans)), there]
    return Tokens(values, mask, parts.local[:: len(starts)], part, parts.start[:: len(starts)])


def phases(
    encoder: Encoder, name: str, spans: Sequence[Span], seconds: float, count: int = 5, *, by_tokens: bool = True
) -> list[Tokens]:
    """Tracks of the same seconds, `count` times: phase j begins j / count of a token later, and has one token less."""
    token_s = encoder.model.token_s[name] if by_tokens else encoder.stride_s
    found = [tracks(encoder, name, spans, seconds, by_tokens=by_tokens)]
    for j in range(1, count):
        later = [replace(span, begin_s=span.begin_s + j * token_s / count) for span in spans]
        found.append(_padded(tracks(encoder, name, later, seconds - token_s, by_tokens=by_tokens)))
    return found


def _padded(tokens: Tokens) -> Tokens:
    """One masked token more, at the end."""
    pad = torch.nn.functional.pad
    return replace(tokens, values=pad(tokens.values, (0, 0, 0, 1)), mask=pad(tokens.mask, (0, 1)))


def _pooled(encoder: Encoder, name: str, spans: Sequence[Span], seconds: float) -> Tokens:
    """Embeddings of the windows that lie in `seconds`, at the stride."""
    count = _whole((seconds - encoder.seconds) / encoder.stride_s) + 1
    if count < 1:
        raise ValueError(f"{seconds:g} s hold no window of {encoder.seconds:g} s")
    every = [replace(span, begin_s=span.begin_s + i * encoder.stride_s) for span in spans for i in range(count)]
    parts = _in_batches(encoder, name, every, encoder.seconds, lambda stream: _one_sensor(encoder, name, stream))
    values, mask = (x.squeeze(1).unflatten(0, (len(spans), count)).transpose(1, 2) for x in (parts.values, parts.mask))
    return Tokens(values, mask, parts.local[::count], parts.part[::count], parts.start[::count])


def _one_sensor(encoder: Encoder, name: str, stream: Stream) -> Tokens:
    """Embeddings of n windows as one token each of one sensor."""
    values = encoder.model.embed_stream(name, stream)[:, None, None]
    zeros = torch.zeros(len(values), dtype=torch.int64, device=values.device)
    return Tokens(values, stream.present[:, None, None], values.new_zeros(len(values), 1, 0), zeros[:, None], zeros)


def _encoded(encoder: Encoder, name: str, spans: Sequence[Span], seconds: float) -> Tokens:
    return _in_batches(encoder, name, spans, seconds, lambda stream: encoder.model.tokens_stream(name, stream))


def _in_batches(
    encoder: Encoder, name: str, spans: Sequence[Span], seconds: float, encode: Callable[[Stream], Tokens]
) -> Tokens:
    found, device = [], next(encoder.model.parameters()).device
    with torch.no_grad():
        for i in range(0, len(spans), ROWS):
            stream = read_streams(encoder.inputs[name], spans[i : i + ROWS], seconds)
            found.append(encode(stream.map(lambda t: t.to(device))))

    def joined(field: str) -> Tensor:
        return torch.cat([getattr(tokens, field).cpu() for tokens in found])

    return Tokens(*(joined(field) for field in ("values", "mask", "local", "part", "start")))


def _whole(value: float) -> int:
    return math.floor(value + ROUNDING)

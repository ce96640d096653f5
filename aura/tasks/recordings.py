"""Two recordings of any length: their offset, its drift, and a picture of both."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from aura.data.index import Record, Split
from aura.objectives.fine import Tokens
from aura.tasks.drift import Drift, find_drift
from aura.tasks.sync import MARGIN, Curve, Offset, find_offset, token_curve
from aura.tasks.tracks import ROUNDING, Encoder, Span, extent, tracks

DRIFT_S = 120.0  # recordings that share less are too short to tell rates of clocks apart
DRIFT_TOKENS = 150  # of a chunk
PHASES = 5
PIXELS = 500  # of a side of the matrix in the picture


@dataclass(frozen=True)
class Alignment:
    """What was found of recordings a and b, in seconds of their clocks.

    offset      to be added to times of b; drift: None where the recordings are too short for it
    curve       (K,) scores of the offsets
    similarity  (rows, columns): how alike the moments of a and b are, as a picture; extent_s: its columns' and rows' seconds
    shared      sensors or body parts that were compared
    """

    offset: Offset
    drift: Drift | None
    curve: Curve
    similarity: np.ndarray
    extent_s: tuple[float, float, float, float]
    shared: int


@dataclass(frozen=True)
class Recording:
    """A stream of one sample, or of the samples of a recording in the order of time.

    name      the model's stream that reads it; stream: its name in the samples
    starts_s  second of each sample on the clock of which offsets are told
    """

    name: str
    stream: str
    records: tuple[Record, ...]
    starts_s: tuple[float, ...]

    @property
    def extents(self) -> list[tuple[float, float]]:
        """First and last second of the stream in each sample, on that clock."""
        ends = [extent(record, self.stream) for record in self.records]
        return [(start + first, start + last) for start, (first, last) in zip(self.starts_s, ends)]


def find_recording(splits: Iterable[Split], key: str, name: str, stream: str) -> Recording | None:
    """The sample of a key, on its own clock; or all samples of the recording of this name, on the recording's."""
    records: list[Record] = []
    for split in splits:
        for i, entry in enumerate(split.entries()):
            if entry["key"] == key:
                return Recording(name, stream, (split.record(i),), (0.0,))
            if entry["recording"] == key and stream in entry["streams"]:
                records.append(split.record(i))
    records.sort(key=lambda record: record.entry["start_s"])
    starts = tuple(float(record.entry["start_s"]) for record in records)
    return Recording(name, stream, tuple(records), starts) if records else None


def align(
    encoder: Encoder,
    a: Recording,
    b: Recording,
    *,
    shift_s: float = 0.0,
    max_offset_s: float = float("inf"),
    min_margin: float = MARGIN,
) -> Alignment:
    """The offset of two recordings.

    shift_s    is put in by hand: so much of the beginning of b is left out (negative: of a), and the clock of what is left
               is late by that: the true offset grows by it
    ValueError where a recording is too short, or they have no body part in common.
    """
    by_tokens, step_s = encoder.by_tokens(a.name, b.name), encoder.step_s(a.name, b.name)
    (begin_a, end_a), (begin_b, end_b) = ((side.extents[0][0], side.extents[-1][1]) for side in (a, b))
    cut_a, cut_b = begin_a + max(0.0, -shift_s), begin_b + max(0.0, shift_s)
    x = _track(encoder, a, cut_a, end_a, by_tokens)
    y = [_track(encoder, b, cut_b + j * step_s / PHASES, end_b, by_tokens) for j in range(PHASES)]
    y = [_of_length(phase, y[0].values.shape[2]) for phase in y]
    shared = int((x.there & y[0].of_parts(x.part).there).sum())
    if not shared:
        raise ValueError(f"{a.stream} and {b.stream} have no body part in common")
    curve = token_curve(x, y, step_s)[0]
    begins = begin_a - begin_b  # tokens count from where each recording begins
    curve = replace(curve, lag_s=curve.lag_s + begins)
    found = find_offset(curve, max_offset_s=max_offset_s, min_margin=min_margin)
    drift = None
    if by_tokens and min(end_a - cut_a, end_b - cut_b) >= DRIFT_S and found.decided:
        matched = [phase.of_parts(x.part) for phase in y]
        drift = find_drift(
            x.values[0],
            [m.values[0] for m in matched],
            x.mask[0],
            [m.mask[0] for m in matched],
            step_s,
            found.offset_s - begins,
            chunk_s=DRIFT_TOKENS * step_s,
        )
        drift = replace(drift, start_s=drift.start_s + begins, offset_s=drift.offset_s + begins)
    lengths = x.values.shape[2] * step_s, y[0].values.shape[2] * step_s
    return Alignment(
        offset=found,
        drift=drift,
        curve=curve,
        similarity=_similarity(x, y[0]),
        extent_s=(begin_b, begin_b + lengths[1], begin_a, begin_a + lengths[0]),
        shared=shared,
    )


def _track(encoder: Encoder, recording: Recording, begin_s: float, end_s: float, by_tokens: bool) -> Tokens:
    """The track of a recording from one second to another, on one grid over all its samples; what they lack is masked."""
    step_s = encoder.model.token_s[recording.name] if by_tokens else encoder.stride_s
    least = step_s if by_tokens else encoder.seconds  # seconds of the shortest track
    found: list[tuple[int, Tokens]] = []
    for record, start, (first, last) in zip(recording.records, recording.starts_s, recording.extents):
        at = max(0, math.ceil((first - begin_s) / step_s - ROUNDING))
        seconds = min(last, end_s) - begin_s - at * step_s
        if seconds >= least - ROUNDING:
            span = Span(record, recording.stream, begin_s + at * step_s - start)
            found.append((at, tracks(encoder, recording.name, [span], seconds, by_tokens=by_tokens)))
    if not found:
        raise ValueError(f"{recording.stream} of {recording.records[0].entry['key']} lasts under {least:g} s")
    whole = _of_length(found[0][1], max(at + tokens.values.shape[2] for at, tokens in found))
    whole = replace(whole, values=torch.zeros_like(whole.values), mask=torch.zeros_like(whole.mask))
    for at, tokens in found:
        matched, places = tokens.of_parts(whole.part), slice(at, at + tokens.values.shape[2])
        whole.values[:, :, places], whole.mask[:, :, places] = matched.values, matched.mask
    return whole


def _of_length(tokens: Tokens, count: int) -> Tokens:
    """Cut, or filled up with masked tokens, at the end."""
    more = count - tokens.values.shape[2]
    pad = torch.nn.functional.pad
    return replace(tokens, values=pad(tokens.values, (0, 0, 0, more)), mask=pad(tokens.mask, (0, more)))


def _similarity(a: Tokens, b: Tokens) -> np.ndarray:
    """Mean cosine of the moments (N, L) of two recordings over their sensors; of long ones the highest in each pixel."""
    b = b.of_parts(a.part)
    x, y = (torch.where(t.mask[0, ..., None], t.values[0], 0.0) for t in (a, b))
    step = -(-max(x.shape[1], y.shape[1]) // PIXELS)
    rows = []
    for i in range(0, x.shape[1], step):
        both = torch.einsum("st,sl->tl", a.mask[0, :, i : i + step].float(), b.mask[0].float())
        score = torch.einsum("stm,slm->tl", x[:, i : i + step], y) / both.clamp(min=1)
        rows.append(_pooled(torch.where(both > 0, score, -torch.inf), step))
    return torch.stack(rows).numpy()


def _pooled(score: Tensor, step: int) -> Tensor:
    """The highest of each `step` columns (rows, L)."""
    padded = torch.nn.functional.pad(score.amax(0), (0, -score.shape[1] % step), value=-torch.inf)
    found = padded.view(-1, step).amax(1)
    return torch.where(found.isfinite(), found, torch.nan)


def picture(found: Alignment, a: str, b: str) -> Figure:
    """The matrix of similarities with the diagonal that was found, and the curve of the offsets with its peak."""
    figure = Figure(figsize=(13, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    begin_b, end_b, begin_a, end_a = found.extent_s
    image = left.imshow(
        found.similarity, origin="lower", extent=(begin_b, end_b, begin_a, end_a), aspect="auto", cmap="viridis"
    )
    figure.colorbar(image, ax=left, label="cosine, mean over sensors")
    left.set(xlabel=f"b: {b}, seconds", ylabel=f"a: {a}, seconds", title="how alike the moments are")
    offset = found.offset.offset_s
    right.plot(found.curve.lag_s, found.curve.score, lw=1, color="tab:blue")
    right.set(xlabel="offset: seconds to add to times of b", ylabel="correlation, mean over sensors")
    if np.isfinite(offset):
        times = np.array([begin_b, end_b])
        left.plot(times, times + offset, color="tab:red", lw=1, ls="--")
        left.set(xlim=(begin_b, end_b), ylim=(begin_a, end_a))
        right.axvline(offset, color="tab:red", lw=1, ls="--")
    word = "" if found.offset.decided else "undecided: "
    right.set_title(f"{word}{offset:+.3f} s, {found.offset.confidence:.3f} above the second peak")
    return figure

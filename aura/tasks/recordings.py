"""Two recordings of any length: their offset, its drift, and a picture of both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from aura.objectives.fine import Tokens
from aura.tasks.drift import Drift, find_drift
from aura.tasks.sync import MARGIN, Curve, Offset, find_offset, token_curve
from aura.tasks.tracks import Encoder, Span, extent, phases, tracks

DRIFT_S = 120.0  # recordings that share less are too short to tell rates of clocks apart
DRIFT_TOKENS = 150  # of a chunk
PHASES = 5
PIXELS = 500  # of a side of the matrix in the picture


@dataclass(frozen=True)
class Alignment:
    """What was found of recordings a and b. All seconds are of their samples, as they are cut.

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


def align(
    encoder: Encoder,
    a: tuple[str, Span],
    b: tuple[str, Span],
    *,
    shift_s: float = 0.0,
    max_offset_s: float = float("inf"),
    min_margin: float = MARGIN,
) -> Alignment:
    """The offset of two streams, each with the model's stream that reads it.

    shift_s    is put in by hand: so much of the beginning of b is left out (negative: of a), and the clock of what is left
               begins there: the true offset grows by it. Spans begin where their stream does.
    ValueError where a recording is too short, or they have no body part in common.
    """
    (name_a, span_a), (name_b, span_b) = a, b
    by_tokens, step_s = encoder.by_tokens(name_a, name_b), encoder.step_s(name_a, name_b)
    end_a, end_b = (extent(span.record, span.stream)[1] for span in (span_a, span_b))
    cut_a = replace(span_a, begin_s=span_a.begin_s + max(0.0, -shift_s))
    cut_b = replace(span_b, begin_s=span_b.begin_s + max(0.0, shift_s))
    x = tracks(encoder, name_a, [cut_a], end_a - cut_a.begin_s, by_tokens=by_tokens)
    y = phases(encoder, name_b, [cut_b], end_b - cut_b.begin_s, PHASES, by_tokens=by_tokens)
    shared = int((x.there & y[0].of_parts(x.part).there).sum())
    if not shared:
        raise ValueError(f"{span_a.stream} and {span_b.stream} have no body part in common")
    curve = token_curve(x, y, step_s)[0]
    # Tokens count from where each stream begins; times are of the samples.
    begins = span_a.begin_s - span_b.begin_s
    curve = replace(curve, lag_s=curve.lag_s + begins)
    found = find_offset(curve, max_offset_s=max_offset_s, min_margin=min_margin)
    drift = None
    if by_tokens and min(end_a - cut_a.begin_s, end_b - cut_b.begin_s) >= DRIFT_S and found.decided:
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
        extent_s=(span_b.begin_s, span_b.begin_s + lengths[1], span_a.begin_s, span_a.begin_s + lengths[0]),
        shared=shared,
    )


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

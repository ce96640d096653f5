"""Clocks that run at different rates: how the offset of two long recordings changes over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from aura.tasks.sync import Curve, interleaved, lag_curve, vertex

ROUNDS = 8  # of fitting the line to the chunks that lie near it


@dataclass(frozen=True)
class Drift:
    """offset(t) = start_s + ppm * 1e-6 * t at second t of recording a (from its first token).

    ppm         parts per million; nan where under three chunks tell anything
    time_s      (C,) seconds of the chunks' middles in a; offset_s (C,) what each says alone, nan where it says nothing
    used        share of the chunks that lie on the line
    """

    start_s: float
    ppm: float
    time_s: np.ndarray
    offset_s: np.ndarray
    used: float


def find_drift(
    x: Tensor,
    y: Sequence[Tensor],
    seen_x: Tensor,
    seen_y: Sequence[Tensor],
    token_s: float,
    about_s: float,
    *,
    chunk_s: float = 30.0,
    max_ppm: float = 500.0,
    centre: bool = True,
) -> Drift:
    """The line of offsets over time that the chunks of a, each compared with b around `about_s`, agree on.

    x (S, N, M), seen_x (S, N); y and seen_y: F phases of b, as `interleaved`. about_s is the offset of the whole recordings.
    First the line whose scores, summed over the chunks, are the highest, among those within `max_ppm`: a chunk without
    any peak, or with a wrong one, moves it little. Then least squares through the peaks of the chunks near that line.
    """
    count, size = x.shape[-2], max(2, round(chunk_s / token_s))
    edges = np.linspace(0, count, max(2, round(count / size) + 1)).round().astype(int)
    middle = (edges[:-1] + edges[1:] - 1) / 2 * token_s
    reach = int(np.ceil(max_ppm * 1e-6 * count)) + 2
    about = round(about_s / token_s)
    step = token_s / len(y)
    lag = (np.arange(-reach * len(y), reach * len(y) + 1) + about * len(y)) * step
    scores = np.stack(
        [
            _on_grid(chunk_curve(x, y, seen_x, seen_y, token_s, (first, last), about, reach, centre), lag)
            for first, last in pairwise(edges.tolist())
        ]
    )
    centre_s = middle.mean()
    slopes = _slopes(max_ppm, float(np.ptp(middle)), step)
    sums = np.stack(
        [
            sum(np.interp(lag + slope * (t - centre_s), lag, row, left=0, right=0) for t, row in zip(middle, scores))
            for slope in slopes
        ]
    )
    s, k = np.unravel_index(sums.argmax(), sums.shape)
    line = np.array([slopes[s], lag[k]])  # slope, offset at centre_s
    peaks = np.full(len(middle), np.nan)
    alone = np.array([_peak(lag, row, None, step) for row in scores])
    for _ in range(ROUNDS):
        predicted = line[1] + line[0] * (middle - centre_s)
        peaks = np.array([_peak(lag, row, at, 2 * step) for row, at in zip(scores, predicted)])
        near = np.isfinite(peaks)
        if near.sum() < 3 or np.ptp(middle[near]) == 0:
            return Drift(about_s, float("nan"), middle, alone, float(near.mean()))
        line = np.polyfit(middle[near] - centre_s, peaks[near], 1)
    return Drift(
        float(line[1] - line[0] * centre_s), float(line[0] * 1e6), middle, alone, float(np.isfinite(peaks).mean())
    )


def chunk_curve(
    x: Tensor,
    y: Sequence[Tensor],
    seen_x: Tensor,
    seen_y: Sequence[Tensor],
    token_s: float,
    chunk: tuple[int, int],
    about: int,
    reach: int,
    centre: bool,
) -> Curve:
    """Scores of the tokens `chunk` (first, last) of a against b, at the lags within `reach` tokens of `about`."""
    first, last = chunk
    begin = max(0, first - about - reach)
    end = min(y[0].shape[-2], last - about + reach + 1)
    if end - begin < 2:
        nothing = torch.zeros(1, dtype=x.dtype)
        return Curve(nothing, nothing, nothing)
    phases = [
        lag_curve(
            x[..., first:last, :], b[..., begin:end, :], seen_x[..., first:last], seen[..., begin:end], token_s, centre
        )
        for b, seen in zip(y, seen_y)
    ]
    curve = interleaved(phases, token_s)
    return Curve(curve.lag_s + (first - begin) * token_s, curve.score, curve.overlap_s)


def _on_grid(curve: Curve, lag: np.ndarray) -> np.ndarray:
    """Scores at the lags of a grid of the same step; 0 where half of the chunk has no partner."""
    score = np.where(curve.overlap_s >= 0.5 * curve.overlap_s.max(), curve.score, 0.0)
    return np.interp(lag, curve.lag_s.numpy(), score, left=0.0, right=0.0)


def _slopes(max_ppm: float, span_s: float, step: float) -> np.ndarray:
    """Slopes of which neighbours differ by half a step of the lags between the first chunk and the last."""
    each = max(1, int(np.ceil(max_ppm * 1e-6 * span_s / (step / 2))))
    return np.linspace(-max_ppm, max_ppm, 2 * each + 1) * 1e-6


def _peak(lag: np.ndarray, score: np.ndarray, at: float | None, within: float) -> float:
    """The highest local maximum of a chunk's scores, at most `within` from `at`, by a parabola; nan where there is none."""
    inner = np.arange(1, len(lag) - 1)
    top = (score[inner] >= score[inner - 1]) & (score[inner] > score[inner + 1]) & (score[inner] > 0)
    if at is not None:
        top &= np.abs(lag[inner] - at) <= within + 1e-9
    if not top.any():
        return float("nan")
    best = inner[top][score[inner[top]].argmax()]
    return float(lag[best] + (lag[1] - lag[0]) * vertex(*score[best - 1 : best + 2]))

"""Synchronisation: how far two recordings are apart in time, by what their tokens have in common.

An offset is the seconds to add to times of b to get times of a. Token p of a and token q of b lie on one diagonal with all
pairs of equal p - q, the lag: the lag whose diagonal is the most alike is the offset. A curve has a score for every lag; all
diagonals together cost a few FFTs over time, so that neither time nor memory grows with the square of the length.

Shapes: S sensors or body parts, N and L tokens of a and of b, M channels, F phases, K lags. Leading dimensions (...) are
recordings, and broadcast. MoBind (arXiv 2602.19004) votes over the diagonals of window embeddings: `vote`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.fft import next_fast_len
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from aura.objectives.fine import Tokens
from aura.tasks.scores import Interval, mean_intervals, median_intervals

BLOCK = 1 << 17  # numbers that are transformed at a time
LIMITS_S = (0.05, 0.1, 0.2, 0.5, 0.75)
FLAT = 1e-6  # scores that differ by less are equal
# Peaks that stand less above the second one decide nothing: of correlations, of fused curves. About a fifth of 5 s pieces of
# mocap does not reach them, among which are two thirds of the wrong answers or more.
MARGIN, FUSED_MARGIN = 0.02, 0.1


@dataclass
class Curve:
    """A score for each lag.

    lag_s      (K,) seconds, ascending, evenly spaced
    score      (..., K)
    overlap_s  (..., K) seconds that the recordings share at this lag
    """

    lag_s: Tensor
    score: Tensor
    overlap_s: Tensor

    def __getitem__(self, index: int | tuple[int, ...]) -> Curve:
        return Curve(self.lag_s, self.score[index], self.overlap_s[index])


@dataclass(frozen=True)
class Offset:
    """offset_s: nan where the curve says nothing. confidence: how far the peak stands above the second one. decided: the
    confidence suffices."""

    offset_s: float
    confidence: float
    decided: bool


def lag_curve(x: Tensor, y: Tensor, seen_x: Tensor, seen_y: Tensor, token_s: float, centre: bool = True) -> Curve:
    """How alike x (..., S, N, M) and y (..., S, L, M) are at each of the N + L - 1 lags, by FFT over time: O(S M n log n).

    seen_x (..., S, N), seen_y (..., S, L) bool; what is not seen is not read. The score is the mean inner product over what
    both show; with `centre` the correlation over times and channels of each sensor, both sides centred anew on every
    overlap, mean over the sensors that vary there.
    """
    n, length = x.shape[-2], y.shape[-2]
    lead = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])  # (..., S)
    x, y = (
        _cleaned(v, seen, centre).expand(*lead, *v.shape[-2:]).flatten(0, -3) for v, seen in ((x, seen_x), (y, seen_y))
    )
    mask_x, mask_y = (m.to(x.dtype).expand(*lead, m.shape[-1]).flatten(0, -2) for m in (seen_x, seen_y))
    size = int(next_fast_len(n + length - 1, True) or 0)

    def forth(values: Tensor) -> Tensor:
        return torch.fft.rfft(values, n=size)

    def back(spectrum: Tensor) -> Tensor:
        values = torch.fft.irfft(spectrum, n=size)
        return torch.cat([values[..., size - length + 1 :], values[..., :n]], dim=-1)

    there_x, there_y = forth(mask_x), forth(mask_y).conj()
    count = back(there_x * there_y).round()
    block = max(1, BLOCK // (len(x) * size))
    cross: Tensor | float = 0.0
    means = [torch.zeros_like(count) for _ in range(3)]  # sums over channels of products of the sums over the overlap
    for i in range(0, x.shape[-1], block):
        fx, fy = (forth(v[..., i : i + block].transpose(-1, -2)) for v in (x, y))  # (rows, block, frequencies)
        cross = cross + torch.linalg.vecdot(fy, fx, dim=1)
        if centre:
            sum_x, sum_y = back(fx * there_y[:, None]), back(there_x[:, None] * fy.conj())
            for total, (u, v) in zip(means, ((sum_x, sum_y), (sum_x, sum_x), (sum_y, sum_y))):
                total += torch.linalg.vecdot(u, v, dim=1)
    score, rows = back(torch.as_tensor(cross)), (*lead, -1)
    if not centre:
        both, score = (v.view(rows).sum(-2) for v in (count, score))
        score = score / both.clamp(min=1)
    else:
        power_x, power_y = x.square().sum(-1), y.square().sum(-1)
        shared = count.clamp(min=1)
        spread_x = back(forth(power_x) * there_y) - means[1] / shared
        spread_y = back(there_x * forth(power_y).conj()) - means[2] / shared
        # What is below the rounding of an FFT is no variation.
        floor = 64 * torch.finfo(x.dtype).eps
        varied = (spread_x > floor * power_x.sum(-1, keepdim=True)) & (spread_y > floor * power_y.sum(-1, keepdim=True))
        varied &= count > 1
        correlation = (score - means[0] / shared) * (
            torch.where(varied, spread_x, 1.0) * torch.where(varied, spread_y, 1.0)
        ).rsqrt()
        correlation, varied = torch.where(varied, correlation, 0.0).view(rows), varied.view(rows)
        score = correlation.sum(-2) / varied.sum(-2).clamp(min=1)
    lag = torch.arange(1 - length, n, device=x.device, dtype=torch.float64)
    return Curve(lag * token_s, score, count.view(rows).amax(-2) * token_s)


def _cleaned(values: Tensor, seen: Tensor, centre: bool) -> Tensor:
    """Zeros where nothing is seen; centred over the recording, so that little is lost where overlaps are centred."""
    values = torch.where(seen[..., None], values, 0.0)
    if centre:
        mean = values.sum(-2, keepdim=True) / seen.sum(-1)[..., None, None].clamp(min=1)
        values = torch.where(seen[..., None], values - mean, 0.0)
    return values


def token_curve(a: Tokens, b: Sequence[Tokens], token_s: float, centre: bool = True) -> Curve:
    """Scores (n, K) of n recordings of a against those of b, by the body parts that both have.

    b    F phases of the same recordings: token 0 of phase j begins j / F of a token later. Lags are then F times as fine.
    """
    matched = [phase.of_parts(a.part) for phase in b]
    curves = [lag_curve(a.values, y.values, a.mask, y.mask, token_s, centre) for y in matched]
    return interleaved(curves, token_s)


def interleaved(phases: Sequence[Curve], token_s: float) -> Curve:
    """One curve of those of F phases of b, of equal length: phase j is j / F of a token late, its lags are earlier by that."""
    count = len(phases)
    lag = torch.stack([phase.lag_s - j * token_s / count for j, phase in enumerate(phases)][::-1], -1)
    score, overlap = (
        torch.stack([getattr(p, name) for p in phases][::-1], -1).flatten(-2) for name in ("score", "overlap_s")
    )
    return Curve(lag.flatten(), score, overlap)


def fused(curves: Sequence[Curve], max_offset_s: float) -> Curve:
    """The mean of curves with the same lags, each standardised over the lags within the range, standardised again.

    Its scores are standard deviations, so its margins are to be compared with `FUSED_MARGIN`. ValueError where the lags differ.
    """
    near = [curve.lag_s.abs() <= max_offset_s + 1e-9 for curve in curves]
    lag = curves[0].lag_s[near[0]]
    if any(c.lag_s[n].shape != lag.shape or not torch.allclose(c.lag_s[n], lag) for c, n in zip(curves, near)):
        raise ValueError("curves of different lags cannot be fused")
    scores = torch.stack([_standardised(c.score[..., n].double()) for c, n in zip(curves, near)])
    overlap = torch.stack([c.overlap_s[..., n].double() for c, n in zip(curves, near)]).amin(0)
    return Curve(lag, _standardised(scores.mean(0)), overlap)


def _standardised(score: Tensor) -> Tensor:
    spread = score.std(-1, keepdim=True, unbiased=False)
    return torch.where(spread > FLAT, (score - score.mean(-1, keepdim=True)) / spread.clamp(min=FLAT), 0.0)


def find_offset(
    curve: Curve,
    *,
    max_offset_s: float = float("inf"),
    min_overlap: float = 0.5,
    min_margin: float = MARGIN,
    exclude_s: float = 0.2,
    refine: bool = True,
) -> Offset:
    """The lag of the highest score (K,), between the lags by a parabola through its neighbours (`refine`).

    min_overlap    share of the shorter recording that an overlap must have: few tokens are alike by chance
    min_margin     a peak that stands less above the second one decides nothing
    exclude_s      other peaks within this of the first are the same peak
    """
    lag, score, overlap = (v.cpu().double().numpy() for v in (curve.lag_s, curve.score, curve.overlap_s))
    usable = (np.abs(lag) <= max_offset_s + 1e-9) & (overlap >= min_overlap * overlap.max() - 1e-9) & (overlap > 0)
    if not usable.any() or np.ptp(score[usable]) <= FLAT:
        return Offset(float("nan"), 0.0, False)
    known = np.where(usable, score, -np.inf)
    best = int(known.argmax())
    confidence = float(known[best] - _second(lag, known, best, exclude_s))
    found = lag[best]
    if refine and 0 < best < len(lag) - 1 and usable[best - 1] and usable[best + 1]:
        found += (lag[1] - lag[0]) * vertex(*score[best - 1 : best + 2])
    return Offset(float(found), confidence, confidence >= min_margin)


def _second(lag: np.ndarray, score: np.ndarray, best: int, exclude_s: float) -> float:
    """The highest local maximum apart from the peak; the lowest score where the curve has but one."""
    padded = np.pad(score, 1, constant_values=-np.inf)
    peaks = (
        (score >= padded[:-2])
        & (score >= padded[2:])
        & (np.abs(lag - lag[best]) > exclude_s + 1e-9)
        & np.isfinite(score)
    )
    return float(score[peaks].max() if peaks.any() else score[np.isfinite(score)].min())


def vertex(left: float, middle: float, right: float) -> float:
    """Place of the top of the parabola through scores at -1, 0, 1, of which the middle one is the highest."""
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0


def together(curve: Curve, pairs: Sequence[tuple[int, int]] | None = None) -> Curve:
    """One curve of a scene of several people, from those of P sensor wearers and Q bodies (P, Q, K).

    pairs    who is whom; None: at each lag the best one-to-one assignment
    """
    if pairs is None:
        scores = curve.score.movedim(-1, 0).cpu().double().numpy()
        rows = [linear_sum_assignment(matrix, maximize=True) for matrix in scores]
        score = torch.tensor([matrix[row].mean() for matrix, row in zip(scores, rows)])
        return Curve(curve.lag_s, score.to(curve.score), curve.overlap_s.amax((0, 1)))
    p, q = (list(side) for side in zip(*pairs))
    return Curve(curve.lag_s, curve.score[p, q].mean(0), curve.overlap_s[p, q].amax(0))


def who_is_whom(curve: Curve, offset_s: float) -> list[tuple[int, int]]:
    """Pairs (wearer, body) of the best one-to-one assignment at an offset, from curves (P, Q, K)."""
    at = int((curve.lag_s - offset_s).abs().argmin())
    rows, columns = linear_sum_assignment(curve.score[..., at].cpu().double().numpy(), maximize=True)
    return list(zip(rows.tolist(), columns.tolist()))


def vote(similarity: Tensor, stride_s: float, top: int = 5) -> Curve:
    """Votes for each lag of windows at a stride (P, Q): each row and each column votes for the lags of its `top` highest
    entries, by their value (MoBind, section 5.2 of its released code).

    Entries that tie with the last of these vote too; a row or column of equal entries votes for nothing.
    """
    p, q = similarity.shape
    lag = torch.arange(p, device=similarity.device)[:, None] - torch.arange(q, device=similarity.device) + q - 1
    weight = torch.zeros_like(similarity)
    for dim, size in ((1, q), (0, p)):
        least = similarity.topk(min(top, size), dim=dim).values.narrow(dim, min(top, size) - 1, 1)
        tells = similarity.amax(dim, keepdim=True) - similarity.amin(dim, keepdim=True) > FLAT
        weight += torch.where((similarity >= least) & tells, similarity, 0.0)
    score = similarity.new_zeros(p + q - 1).index_add_(0, lag.flatten(), weight.flatten())
    overlap = torch.bincount(lag.flatten(), minlength=p + q - 1)
    lags = torch.arange(1 - q, p, device=similarity.device, dtype=torch.float64)
    return Curve(lags * stride_s, score, overlap * stride_s)


def sync_metrics(found: Sequence[Offset], truth_s: Sequence[float], grid_s: float = 0.2) -> dict[str, float]:
    """MAE, median and Acc@limit (share of errors below the limit, seconds) of offsets, over all n recordings.

    An answer of nan counts as zero. `abstained` is the share that is not decided, `decided/...` the figures of the others.
    Beside them stand those of answering zero always (`zero/...`), and of the best multiple of `grid_s` (`grid/...`).
    """
    truth = np.asarray(truth_s, np.float64)
    answers = np.nan_to_num([offset.offset_s for offset in found])
    decided = np.array([offset.decided for offset in found])
    out = {"n": float(len(truth)), "abstained": float(1 - decided.mean()), **_errors(answers - truth)}
    out |= {f"decided/{k}": v for k, v in _errors((answers - truth)[decided]).items()} if decided.any() else {}
    out |= {f"zero/{k}": v for k, v in _errors(truth).items()}
    return out | {f"grid/{k}": v for k, v in _errors(truth - grid_s * np.round(truth / grid_s)).items()}


def sync_values(found: Sequence[Offset], truth_s: Sequence[float]) -> dict[str, np.ndarray]:
    """What each recording (n,) adds to the figures of `sync_metrics` that are means: `MAE`, `Acc@limit`, `abstained`."""
    error = np.abs(np.nan_to_num([offset.offset_s for offset in found]) - np.asarray(truth_s, np.float64))
    hits = {f"Acc@{limit:g}": (error < limit - 1e-9).astype(float) for limit in LIMITS_S}
    return {"MAE": error, **hits, "abstained": np.array([not offset.decided for offset in found], float)}


def sync_intervals(found: Sequence[Offset], truth_s: Sequence[float], subjects: Sequence[str]) -> dict[str, Interval]:
    """Intervals of the figures of `sync_metrics` over people (n,); those of the decided over the people who have some."""
    values, people = sync_values(found, truth_s), np.asarray(subjects)
    out = mean_intervals(values, subjects) | median_intervals({"median": values["MAE"]}, subjects)
    decided = values.pop("abstained") == 0
    if not decided.any():
        return out
    values, some = {f"decided/{key}": x[decided] for key, x in values.items()}, people[decided].tolist()
    of_decided = mean_intervals(values, some) | median_intervals({"decided/median": values["decided/MAE"]}, some)
    return out | {key: replace(i, note=i.note and f"of the decided, {i.note}") for key, i in of_decided.items()}


def _errors(error: np.ndarray) -> dict[str, float]:
    error = np.abs(error)
    out = {"MAE": float(error.mean()), "median": float(np.median(error))}
    return out | {f"Acc@{limit:g}": float((error < limit - 1e-9).mean()) for limit in LIMITS_S}

"""Streams at other times: one windowed-sinc filter for every change of rate, shift and warp.

The filter passes what both the source's and the output's rate can carry, so that lowering a rate does not alias. Its
weights are divided by their sum over the valid source items: a constant stays exact, also at edges and beside gaps, and
invalid items have no part in any value.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array

LOBES = 8  # zero crossings of the sinc on each side
PASS = 0.95  # the cutoff's share of the lower Nyquist rate, which leaves room for the filter's slope
SAME = 1e-6  # grids that differ by less than this part of a source item are one grid


def needed(count: int, rate_hz: float, start_s: float, times: np.ndarray) -> tuple[int, int]:
    """The source items [from, to) that output items at `times` (T,) depend on; from = to where there are none."""
    x = (np.asarray(times, np.float64) - start_s) * rate_hz
    if _aligned(x):
        first = int(np.rint(x[0]))
        return min(max(first, 0), count), max(min(first + len(x), count), 0)
    widest = float(np.diff(x).max()) if len(x) > 1 else 1.0
    reach = math.ceil(LOBES * max(1.0, widest / PASS)) + 1
    begin, end = math.floor(x[0]), math.ceil(x[-1]) + 1
    if begin >= count or end <= 0:
        return 0, 0
    return max(begin - reach, 0), min(end + reach, count)


def resample(
    values: np.ndarray, valid: np.ndarray | None, rate_hz: float, start_s: float, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A stream at other times.

    values    (N, ..., C) float: item i at `start_s + i / rate_hz`
    valid     bool (N,), or (N, ...) as far as items are valid apart (joints), or None: all are
    times     (T,) ascending seconds; evenly spaced or not

    Returns values (T, ..., C) float32 and valid, (T,) or (T, ...). An output item is valid if the source items on both
    sides of it are; half an item beyond the first or last still is. Invalid output items are 0. Where the output's
    times are items of the source, at its rate, the values are the source's own.
    """
    x = (np.asarray(times, np.float64) - start_s) * rate_hz
    count, steps = len(values), len(x)
    known = np.ones(count, bool) if valid is None else valid
    if steps == 0 or count == 0:
        return np.zeros((steps, *values.shape[1:]), np.float32), np.zeros((steps, *known.shape[1:]), bool)

    low = np.floor(x + SAME).astype(np.int64)
    high = np.ceil(x - SAME).astype(np.int64)
    near = (x > -0.5 - SAME) & (x < count - 0.5 + SAME)
    low, high = np.clip(low, 0, count - 1), np.clip(high, 0, count - 1)
    inside = near.reshape(-1, *[1] * (known.ndim - 1))
    found = known[low] & known[high] & inside
    if _aligned(x):
        out = np.array(values[low], np.float32)
        return _zeroed(out, found), found

    weights = _weights_for(x, count)
    if known.all():
        out = (weights @ values.reshape(count, -1)).reshape(steps, *values.shape[1:])
        return _zeroed(out.astype(np.float32, copy=False), found), found
    mask = known.reshape(*known.shape, *[1] * (values.ndim - known.ndim))
    clean = np.where(mask, values, 0.0).astype(np.float32)
    out = (weights @ clean.reshape(count, -1)).reshape(steps, *values.shape[1:])
    total = (weights @ known.reshape(count, -1).astype(np.float32)).reshape(steps, *known.shape[1:])
    found &= total > 0.1  # a valid neighbour on both sides makes this larger: the main lobe is there
    divisor = np.where(found, total, 1.0).reshape(*total.shape, *[1] * (values.ndim - known.ndim))
    return _zeroed((out / divisor).astype(np.float32), found), found


def resample_rotations(
    values: np.ndarray, valid: np.ndarray | None, rate_hz: float, start_s: float, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Unit quaternions (N, ..., 4) at other times, as `resample`: q and -q are one rotation, so neighbours are given the
    same sign before the filter, and norm 1 after it. Invalid output items are the identity."""
    quaternions = np.asarray(values, np.float32)
    if valid is not None:
        mask = valid.reshape(*valid.shape, *[1] * (values.ndim - valid.ndim))
        quaternions = np.where(mask, quaternions, np.float32([1, 0, 0, 0]))
    flips = np.where((quaternions[1:] * quaternions[:-1]).sum(-1) < 0, -1.0, 1.0)
    signs = np.cumprod(np.concatenate([np.ones_like(flips[:1]), flips]), axis=0) if len(flips) else np.ones(1)
    signs = signs.reshape(*signs.shape, *[1] * (values.ndim - signs.ndim))
    out, found = resample((quaternions * signs).astype(np.float32), valid, rate_hz, start_s, times)
    norm = np.linalg.norm(out, axis=-1, keepdims=True)
    out = np.where(norm > 1e-6, out / np.maximum(norm, 1e-6), np.float32([1, 0, 0, 0]))
    return out.astype(np.float32), found


def resample_points(
    values: np.ndarray, rate_hz: float, start_s: float, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Image points (N, J, 3) of x, y, confidence at other times: (T, J, 3) and valid (T,).

    A point of confidence 0 is unknown: it has no part in any value, and where one of its neighbours in time is unknown
    the output point is too (all 0). `valid` says which items lie in the stream, whatever their points.
    """
    known = values[..., 2] > 0
    out, found = resample(values, known, rate_hz, start_s, times)
    # The filter may overshoot; a known point keeps a confidence above 0, by which it is told from an unknown one.
    out[..., 2] = np.where(found, np.clip(out[..., 2], 1e-3, 1.0), 0.0)
    x = (np.asarray(times) - start_s) * rate_hz
    return out, (x > -0.5 - SAME) & (x < len(values) - 0.5 + SAME)


def _zeroed(out: np.ndarray, found: np.ndarray) -> np.ndarray:
    if not found.all():
        out[~found] = 0.0
    return out


def _aligned(x: np.ndarray) -> bool:
    """Places are consecutive source items: nothing to filter."""
    return len(x) > 0 and bool(np.abs(x - (np.rint(x[0]) + np.arange(len(x)))).max() < SAME)


def _weights_for(x: np.ndarray, count: int) -> csr_array:
    """Weights (T, N) for places x; those of even grids are kept, since windows share few phases."""
    steps = len(x)
    step = float((x[-1] - x[0]) / (steps - 1)) if steps > 1 else 1.0
    if float(np.abs(x - (x[0] + step * np.arange(steps))).max()) < SAME:
        return _even_weights(round(float(x[0]), 7), round(step, 9), steps, count)
    return _weights(x, np.gradient(x), count)


@lru_cache(maxsize=64)
def _even_weights(first: float, step: float, steps: int, count: int) -> csr_array:
    return _weights(first + step * np.arange(steps), np.full(steps, step), count)


def _weights(x: np.ndarray, spacing: np.ndarray, count: int) -> csr_array:
    """Weights (T, N), in rows that sum to 1, of the filter for places and spacings (T,) in units of source items."""
    # An output finer than the source keeps the source's own cutoff.
    spacing = np.maximum(spacing / PASS, 1.0)
    half = LOBES * spacing
    begin = np.clip(np.floor(x - half).astype(np.int64), 0, count - 1)
    end = np.clip(np.ceil(x + half).astype(np.int64) + 1, begin + 1, count)
    lengths = end - begin
    ends = np.concatenate([[0], np.cumsum(lengths)])
    row = np.repeat(np.arange(len(x)), lengths)
    column = np.arange(ends[-1]) - ends[row] + begin[row]
    distance = (x[row] - column) / spacing[row]
    window = np.where(np.abs(distance) < LOBES, 0.5 + 0.5 * np.cos(np.pi * distance / LOBES), 0.0)
    weight = np.sinc(distance) * window
    total = np.add.reduceat(weight, ends[:-1])
    # A place far outside the source sees the filter's side lobes alone: it is not valid, its weights do not matter.
    weight /= np.where(np.abs(total) > 1e-3, total, 1.0)[row]
    return csr_array((weight.astype(np.float32), column, ends), shape=(len(x), count))  # pyright: ignore[reportArgumentType]

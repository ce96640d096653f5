"""Streams at other times: one windowed-sinc filter for every change of rate, shift and warp.

The filter passes what both the source's and the output's rate can carry, so that lowering a rate does not alias. Its
weights are divided by their sum over the valid source items: a constant stays exact, also at edges and beside gaps, and
invalid items have no part in any value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.sparse import csr_array

LOBES = 8  # zero crossings of the sinc on each side
PASS = 0.95  # the cutoff's share of the lower Nyquist rate, which leaves room for the filter's slope
IDENTITY = np.array([1, 0, 0, 0], np.float32)
SAME = 1e-6  # grids that differ by less than this part of a source item are one grid


@dataclass(frozen=True)
class Places:
    """Where output items lie among source items, in units of source items.

    first, step, count    of an even grid: first + step * arange(count)
    aligned               they are consecutive source items: nothing to filter
    uneven                (count,) ascending, where the grid is not even
    """

    first: float
    step: float
    count: int
    aligned: bool = False
    uneven: np.ndarray | None = None

    @property
    def even(self) -> bool:
        return self.uneven is None

    @cached_property
    def x(self) -> np.ndarray:
        """All places (count,), ascending; made when they are needed."""
        return self.first + self.step * np.arange(self.count) if self.uneven is None else self.uneven

    @property
    def last(self) -> float:
        return self.first + self.step * (self.count - 1) if self.uneven is None else float(self.uneven[-1])

    def inside(self, count: int) -> np.ndarray:
        """Which places lie in a stream of `count` items, half an item beyond its ends included: (count,) bool."""
        if self.first > -0.5 - SAME and self.last < count - 0.5 + SAME:
            return np.ones(self.count, bool)
        return (self.x > -0.5 - SAME) & (self.x < count - 0.5 + SAME)

    def after(self, begin: int) -> Places:
        """The same places for a source of which the first `begin` items are left out."""
        uneven = None if self.uneven is None else self.uneven - begin
        return self if begin == 0 else Places(self.first - begin, self.step, self.count, self.aligned, uneven)

    def steps(self) -> np.ndarray:
        """Source items from each output item's predecessor to it, (T,) float32; the first as the second."""
        if self.uneven is None:
            return np.full(self.count, self.step, np.float32)
        return np.diff(self.x, prepend=2 * self.x[0] - self.x[1]).astype(np.float32)


def even_places(first: float, step: float, count: int) -> Places:
    """Places of an even grid."""
    return Places(first, step, count, abs(step - 1) * count < SAME and abs(first - round(first)) < SAME)


def places(times: np.ndarray, rate_hz: float, start_s: float) -> Places:
    """Places of output times (T,), ascending seconds, in a stream whose item i is at `start_s + i / rate_hz`."""
    x = (np.asarray(times, np.float64) - start_s) * rate_hz
    count = len(x)
    if count == 0:
        return Places(0.0, 1.0, 0)
    step = float(x[-1] - x[0]) / (count - 1) if count > 1 else 1.0
    if count < 3 or float(np.abs(x - (x[0] + step * np.arange(count))).max()) < SAME:
        return even_places(float(x[0]), step, count)
    return Places(float(x[0]), step, count, uneven=x)


def needed(count: int, at: Places) -> tuple[int, int]:
    """The source items [from, to) of `count` that the output items depend on; from = to where there are none."""
    if at.aligned:
        first = round(at.first)
        begin, end = max(first, 0), min(first + at.count, count)
        return (begin, end) if begin < end else (0, 0)
    widest = at.step if at.even else float(np.diff(at.x).max())
    reach = math.ceil(LOBES * max(1.0, widest / PASS)) + 1
    begin, end = math.floor(at.first), math.ceil(at.last) + 1
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
    return resample_at(values, valid, places(times, rate_hz, start_s))


def resample_at(values: np.ndarray, valid: np.ndarray | None, at: Places) -> tuple[np.ndarray, np.ndarray]:
    """As `resample`, at places."""
    count, steps = len(values), at.count
    apart = () if valid is None else valid.shape[1:]
    whole = valid is None or bool(valid.all())
    if steps == 0 or count == 0:
        return np.zeros((steps, *values.shape[1:]), np.float32), np.zeros((steps, *apart), bool)
    near = at.inside(count)
    if valid is None or whole:
        found = near if not apart else np.broadcast_to(near.reshape(-1, *[1] * len(apart)), (steps, *apart)).copy()
    else:
        low = np.minimum(np.maximum(np.floor(at.x + SAME).astype(np.int64), 0), count - 1)
        high = np.minimum(np.maximum(np.ceil(at.x - SAME).astype(np.int64), 0), count - 1)
        found = valid[low] & valid[high] & near.reshape(-1, *[1] * len(apart))
    if at.aligned:
        first = round(at.first)
        begin, end = max(first, 0), min(first + steps, count)
        if (begin, end) == (first, first + steps) and whole:
            return np.array(values[begin:end], np.float32), found
        out = np.zeros((steps, *values.shape[1:]), np.float32)
        out[max(begin - first, 0) : max(end - first, 0)] = values[begin : max(end, begin)]
        return _zeroed(out, found), found

    if at.even:
        weights = _even_weights(round(at.first, 7), round(at.step, 9), steps, count)
    else:
        weights = _weights(at.x, np.gradient(at.x), count)
    if valid is None or whole:
        out = (weights @ values.reshape(count, -1)).reshape(steps, *values.shape[1:])
        return _zeroed(out.astype(np.float32, copy=False), found), found
    mask = valid.reshape(*valid.shape, *[1] * (values.ndim - valid.ndim))
    clean = np.where(mask, values, 0.0).astype(np.float32)
    out = (weights @ clean.reshape(count, -1)).reshape(steps, *values.shape[1:])
    total = (weights @ valid.reshape(count, -1).astype(np.float32)).reshape(steps, *apart)
    found &= total > 0.1  # a valid neighbour on both sides makes this larger: the main lobe is there
    divisor = np.where(found, total, 1.0).reshape(*total.shape, *[1] * (values.ndim - valid.ndim))
    return _zeroed((out / divisor).astype(np.float32), found), found


def resample_rotations(values: np.ndarray, valid: np.ndarray | None, at: Places) -> tuple[np.ndarray, np.ndarray]:
    """Unit quaternions (N, ..., 4) at places, as `resample`: q and -q are one rotation, so neighbours are given the
    same sign before the filter, and norm 1 after it. Invalid output items are the identity."""
    quaternions = np.asarray(values, np.float32)
    if valid is not None:
        mask = valid.reshape(*valid.shape, *[1] * (values.ndim - valid.ndim))
        quaternions = np.where(mask, quaternions, IDENTITY)
    flips = np.where((quaternions[1:] * quaternions[:-1]).sum(-1) < 0, -1.0, 1.0)
    signs = np.cumprod(np.concatenate([np.ones_like(flips[:1]), flips]), axis=0) if len(flips) else np.ones(1)
    signs = signs.reshape(*signs.shape, *[1] * (values.ndim - signs.ndim))
    out, found = resample_at((quaternions * signs).astype(np.float32), valid, at)
    norm = np.linalg.norm(out, axis=-1, keepdims=True)
    out = np.where(norm > 1e-6, out / np.maximum(norm, 1e-6), IDENTITY)
    return out.astype(np.float32), found


def resample_points(values: np.ndarray, at: Places) -> tuple[np.ndarray, np.ndarray]:
    """Image points (N, J, 3) of x, y, confidence at places: (T, J, 3) and valid (T,).

    A point of confidence 0 is unknown: it has no part in any value, and where one of its neighbours in time is unknown
    the output point is too (all 0). `valid` says which items lie in the stream, whatever their points.
    """
    known = values[..., 2] > 0
    out, found = resample_at(values, None if known.all() else known, at)
    if not at.aligned:
        # The filter may overshoot; a known point keeps a confidence above 0, by which it is told from an unknown one.
        confidence = out[..., 2]
        np.minimum(np.maximum(confidence, 1e-3, out=confidence), 1.0, out=confidence)
        confidence[~found] = 0.0
    return out, at.inside(len(values))


def _zeroed(out: np.ndarray, found: np.ndarray) -> np.ndarray:
    if not found.all():
        out[~found] = 0.0
    return out


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
    cells = (weight.astype(np.float32), column, ends)
    return csr_array(cells, shape=(len(x), count))  # pyright: ignore[reportArgumentType]

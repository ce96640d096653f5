"""From rows with time stamps to samples: clocks put in order, gaps filled or cut, pieces on an even grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from aura.data.sample import Sample
from aura.data.writer import Dropped

LATE_S = 1.0  # a row that is behind by less belongs further up; by more: the clock was set back, another recording
LOST_S = 0.08  # arrivals that are later from here on, by more: samples were lost, and the count of samples begins anew
FIT = 32  # samples from which a sensor's own rate is measured
ON_ROW = 1e-3  # a time nearer to a row than this part of a step is that row's


@dataclass(frozen=True)
class Settings:
    """How signals become samples.

    gap_s      longest gap that is filled by linear interpolation; longer ones are cut out
    sample_s   longest sample; min_s: shortest piece that is kept
    """

    gap_s: float = 0.1
    sample_s: float = 20.0
    min_s: float = 1.0


@dataclass(frozen=True, eq=False)
class Series:
    """A slower signal of the rows of a stretch, NaN in the rows without a value: as a stream of its own.

    values     (n, C)
    channels   names with units
    rate_hz    of the stream, about the signal's own: linear between values up to `gap_s` apart, NaN elsewhere
    """

    values: np.ndarray
    channels: Sequence[str]
    rate_hz: float
    gap_s: float


@dataclass(frozen=True, eq=False)
class Stretch:
    """Rows of one recording with the same labels.

    times    (n,) ascending seconds of the recording
    values   per sensor (n, 6) in m/s^2 and rad/s, NaN where there is none
    sensors  per sensor its entry of the stream: placement, channels, virtual, range
    about    fields of its samples: dataset, recording, subject, session, group, licence, labels
    texts    {text, start_s, end_s, kind} in seconds of the recording
    series   further streams by name
    """

    split: str
    times: np.ndarray
    values: Sequence[np.ndarray]
    sensors: Sequence[dict]
    about: dict
    texts: Sequence[dict]
    series: Mapping[str, Series] = field(default_factory=dict)


def clocks(times: np.ndarray) -> tuple[list[np.ndarray], list[Dropped]]:
    """Rows (k,) in order of time, for each clock that `times` (n,) holds, in seconds; and what was mended or left out.

    A step back by `LATE_S` or more is a clock that was set back: what follows is another recording. Rows that are
    behind by less are put in their place. Rows without a time and rows with the same time as another are left out.
    """
    rows = np.flatnonzero(np.isfinite(times))
    notes = [Dropped("rows without a time", count=len(times) - len(rows))] if len(rows) < len(times) else []
    found, late, twice = [], 0, 0
    for part in np.split(rows, np.flatnonzero(np.diff(times[rows]) <= -LATE_S) + 1):
        stamps = times[part]
        late += int((stamps < np.maximum.accumulate(stamps)).sum())
        part = part[np.argsort(stamps, kind="stable")]
        new = np.diff(times[part], prepend=-np.inf) > 0
        twice += int((~new).sum())
        if len(part):
            found.append(part[new])
    if len(found) > 1:
        notes.append(Dropped("clock set back: what follows is a recording of its own", count=len(found) - 1))
    notes += [Dropped("rows out of order: put in the order of their times", count=late)] if late else []
    notes += [Dropped("rows with the time of another", count=twice)] if twice else []
    return found, notes


def even_times(arrivals: np.ndarray, rate_hz: float) -> np.ndarray:
    """Times (n,) at which evenly taken samples were taken, of the ascending times (n,) in seconds at which they arrived.

    Radio and operating system deliver samples in bursts and after stalls, never early. So sample i was taken no later
    than any later sample j arrived, less (j - i) steps: the earliest of these says when, but for the shortest delay. Where
    it jumps up by more than `LOST_S`, samples were lost. Between losses times are a straight line, since the
    sensor's clock is better than the arrivals: its slope is fitted, or 1 / `rate_hz` (within 0.5 % of the sensor's) over
    fewer than `FIT` samples.
    """
    if not len(arrivals):
        return np.empty(0)
    index = np.arange(len(arrivals))
    step = 0.995 / rate_hz  # a little fast: the sensor's own deviation then shows as many small jumps up, not as delay
    begin = np.minimum.accumulate((arrivals - index * step)[::-1])[::-1]
    taken = index * step + begin
    out = np.empty(len(arrivals))
    cuts = np.flatnonzero(np.diff(begin) > LOST_S) + 1
    for a, b in itertools.pairwise([0, *cuts.tolist(), len(arrivals)]):
        at = index[a:b] - index[a:b].mean()
        slope = at @ taken[a:b] / (at @ at) if b - a >= FIT else 1 / rate_hz
        out[a:b] = taken[a:b].mean() + slope * at
    return out


def runs(*keys: np.ndarray) -> list[tuple[int, int]]:
    """(begin, end) of the runs of rows that are equal in all `keys` (n,)."""
    if not len(keys[0]):
        return []
    change = np.zeros(len(keys[0]) - 1, bool)
    for key in keys:
        change |= key[1:] != key[:-1]
    return list(itertools.pairwise([0, *(np.flatnonzero(change) + 1).tolist(), len(keys[0])]))


def samples(stretch: Stretch, rate_hz: float, settings: Settings) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of a stretch at `rate_hz`, and what was filled, cut or left out.

    Where a sensor is lost for longer than `gap_s`, the samples of that time hold the other sensors.
    """
    if not len(stretch.times):
        return
    longest = settings.gap_s + 1.1 / rate_hz
    step = np.diff(stretch.times)
    holes = np.flatnonzero(step > longest)
    if len(holes):
        seconds = float((step[holes] - 1 / rate_hz).sum())
        yield Dropped(f"gap of the clock longer than {settings.gap_s:g} s: cut there", seconds, len(holes))
    for begin, end in itertools.pairwise([0, *(holes + 1).tolist(), len(stretch.times)]):
        yield from _samples(stretch, begin, end, rate_hz, longest, settings)


def _samples(
    stretch: Stretch, begin: int, end: int, rate_hz: float, longest: float, settings: Settings
) -> Iterator[tuple[str, Sample] | Dropped]:
    times = stretch.times[begin:end]
    grid = times[0] + np.arange(math.floor((times[-1] - times[0]) * rate_hz + ON_ROW) + 1) / rate_hz
    laid = [on_grid(times, values[begin:end], grid, rate_hz, longest) for values in stretch.values]
    imu, live = np.stack([x for x, _, _ in laid]), np.stack([ok for _, ok, _ in laid])
    for sensor, (_, ok, filled) in zip(stretch.sensors, laid):
        kinds = {
            f"gaps of up to {settings.gap_s:g} s filled by interpolation": ok & filled,
            f"gaps longer than {settings.gap_s:g} s or at an end cut out": ~ok,
        }
        for kind, mask in kinds.items():
            if mask.any():
                yield Dropped(f"{sensor['placement']}: {kind}", int(mask.sum()) / rate_hz, int(mask.sum()))
    for first, last in runs(*live):
        which = np.flatnonzero(live[:, first])
        seconds = (last - first) / rate_hz
        if not len(which):
            continue
        if seconds < settings.min_s - 1e-9:
            yield Dropped(f"pieces shorter than {settings.min_s:g} s", seconds)
            continue
        count = math.ceil(seconds / settings.sample_s - 1e-9)
        edges = [first + round(i * (last - first) / count) for i in range(count + 1)]
        for a, b in itertools.pairwise(edges):
            sample = _sample(stretch, imu[which, a:b], which, float(grid[a]), rate_hz)
            for name, series in stretch.series.items():
                _add_series(sample, name, series, times, series.values[begin:end])
            yield stretch.split, sample


def on_grid(
    times: np.ndarray, values: np.ndarray, grid: np.ndarray, rate_hz: float, longest: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (n, C) at `times`, on an even grid (T,): (T, C) float32, which of them hold (T,), which were filled (T,).

    Linear between neighbours up to `longest` seconds apart; a time of the grid that is a row's has its very values.
    A row with any value missing counts as missing.
    """
    good = np.isfinite(values).all(1)
    out = np.zeros((len(grid), values.shape[1]), np.float32)
    if not good.any():
        return out, np.zeros(len(grid), bool), np.zeros(len(grid), bool)
    t, x = times[good], values[good]
    right = np.clip(np.searchsorted(t, grid, "right"), 1, max(len(t) - 1, 1)).clip(max=len(t) - 1)
    left = np.maximum(right - 1, 0)
    near = np.where(np.abs(grid - t[left]) <= np.abs(t[right] - grid), left, right)
    exact = np.abs(t[near] - grid) * rate_hz < ON_ROW
    span = t[right] - t[left]
    live = exact | ((t[left] <= grid) & (grid <= t[right]) & (span <= longest))
    share = np.divide(grid - t[left], span, out=np.zeros(len(grid)), where=span > 0)[:, None]
    between = x[left] + share * (x[right] - x[left])
    out[live] = np.where(exact[:, None], x[near], between)[live]
    return out, live, ~exact & (span > 1.5 / rate_hz)


def _add_series(sample: Sample, name: str, series: Series, times: np.ndarray, values: np.ndarray) -> None:
    """Adds a stream of the values (n, C) at `times` that lie in the sample; none where none does."""
    steps = max(1, round(sample.duration_s * series.rate_hz))
    grid = sample.start_s + np.arange(steps) / series.rate_hz
    laid = [on_grid(times, column[:, None], grid, series.rate_hz, series.gap_s)[:2] for column in values.T]
    found, live = np.concatenate([x for x, _ in laid], 1), np.stack([ok for _, ok in laid], 1)
    if live.any():
        entry = {"rate_hz": series.rate_hz, "start_s": 0.0, "length": steps, "channels": list(series.channels)}
        sample.streams[name] = entry
        sample.arrays[name] = np.where(live, found, np.float32(np.nan))


def _sample(stretch: Stretch, imu: np.ndarray, which: np.ndarray, start_s: float, rate_hz: float) -> Sample:
    duration = imu.shape[1] / rate_hz
    texts = []
    for text in stretch.texts:
        begin, end = max(text["start_s"] - start_s, 0.0), min(text["end_s"] - start_s, duration)
        if begin < end:
            texts.append({**text, "start_s": round(begin, 6), "end_s": round(end, 6)})
    sensors = [dict(stretch.sensors[i]) for i in which]
    return Sample(
        id=f"{stretch.about['recording']}_{round(start_s * 1000):07d}",
        start_s=round(start_s, 6),
        duration_s=duration,
        texts=texts,
        streams={"imu": {"rate_hz": rate_hz, "start_s": 0.0, "length": imu.shape[1], "sensors": sensors}},
        arrays={"imu": imu},
        **stretch.about,
    )

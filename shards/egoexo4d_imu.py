"""The headset's IMU of a take of Ego-Exo4D: by its clock to take time, then to an even rate.

timesync.csv says for each 1/30 s of a capture what the headset's clock showed. A row holds the stamp of the nearest frame,
so single rows are off by up to half a frame; both clocks run evenly, so a straight line through all rows of the take is
nearer to the truth than any row, and does not bend the signal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from aura.data.resample import LOBES, PASS, even_places, resample_at
from aura.data.writer import Dropped
from shards.aria_vrs import UnitData, read_imu
from shards.columns import Layout, read_columns
from shards.egoexo4d_takes import FPS, Take
from shards.signals import clocks, on_grid, runs

# Label of a unit -> where it sits: in the arms of the glasses.
PLACES = {"imu-right": "right temple", "imu-left": "left temple"}
# Grid on which stamps are made even, before the filter. The units' rates are 1000 and about 800 Hz; at twice that, of a
# tone at 170 Hz linear interpolation leaves 0.1 % in the result, at 1000 Hz it would leave 3 %.
SOURCE_HZ = 2000.0
OFF_LINE_S = 0.05  # a row of timesync.csv that is further from the line through the others is wrong
SAME_RATE = 0.01  # by more than this part two clocks of quartz never differ
CHUNK_S = 20.0  # resampled at a time, to bound the memory of the filter


@dataclass(frozen=True)
class Clock:
    """From the headset's clock to take time: `seconds` of a stamp are (stamp - origin_ns) / 1e9 * speed + start_s."""

    origin_ns: int
    start_s: float
    speed: float

    def seconds(self, stamps: np.ndarray) -> np.ndarray:
        """Take time (n,) in seconds of stamps (n,) int64 ns."""
        return (stamps - self.origin_ns) / 1e9 * self.speed + self.start_s


@dataclass(frozen=True, eq=False)
class Imu:
    """The units of a take on one even grid: item i is at i / rate_hz of take time.

    values (T, S, 6) m/s^2 and rad/s; live (T, S): which of them hold; labels: of the S units
    """

    rate_hz: float
    values: np.ndarray
    live: np.ndarray
    labels: tuple[str, ...]

    def runs(self) -> list[tuple[int, int]]:
        """(begin, end) of the runs of items in which the same units hold, where any does."""
        return [(a, b) for a, b in runs(*self.live.T) if self.live[a].any()]


def fit_clock(stamps: np.ndarray) -> tuple[Clock, list[Dropped]]:
    """The clock by stamps (N,) in ns, NaN where there is none, of the instants i / 30 s of take time, and what was left out.

    ValueError where the stamps lie on no line: then nobody knows when the IMU measured.
    """
    rows = np.flatnonzero(np.isfinite(stamps))
    if len(rows) < 2:
        raise ValueError("timesync.csv has no stamps of the headset for this take")
    origin = int(stamps[rows[0]])
    take_s, device_s = rows / FPS, (stamps[rows] - origin) / 1e9
    half = len(rows) // 2  # Theil's line over pairs half a take apart: wrong rows do not move it
    speed = float(
        np.median((device_s[half:] - device_s[: len(rows) - half]) / (take_s[half:] - take_s[: len(rows) - half]))
    )
    off = device_s - speed * take_s
    good = np.abs(off - np.median(off)) < OFF_LINE_S
    if good.mean() < 0.9 or abs(speed - 1) > SAME_RATE:
        worst = float(np.abs(off - np.median(off)).max())
        raise ValueError(
            f"the headset's clock in timesync.csv is not even: rows are up to {worst:.3g} s off, its speed is {speed:.4g}"
        )
    slope, start = np.polyfit(take_s[good], device_s[good], 1) if good.sum() > 2 else (speed, float(np.median(off)))
    empty, wrong = len(stamps) - len(rows), int((~good).sum())
    notes = [Dropped("rows of timesync.csv without a stamp: the line through the others", empty / FPS, empty)]
    notes += [Dropped("rows of timesync.csv off the line of the others: left out", wrong / FPS, wrong)]
    return Clock(origin, float(-start / slope), float(1 / slope)), [note for note in notes if note.count]


def read_clock(take: Take, source: Path) -> tuple[Clock, list[Dropped]]:
    """The clock of a take's headset. ValueError where timesync.csv lacks it."""
    path, column = take.timesync(source), f"{take.headset}_214-1_capture_timestamp_ns"
    if take.rows is None or not path.is_file():
        what = "timesync.csv is not there" if take.rows else "takes.json does not say its rows of timesync.csv"
        raise ValueError(f"{what}: the time of the IMU is not known")
    try:
        with open(path, "rb") as file:
            columns, _ = read_columns(file, {column: pa.float64()}, Layout(), threads=False)
    except ValueError as error:
        raise ValueError(f"timesync.csv {error}") from error
    begin, end = take.rows
    if begin < 0 or end > len(columns[column]):
        raise ValueError(f"timesync.csv has {len(columns[column])} rows, the take's are {begin} to {end}")
    return fit_clock(columns[column][begin:end])


def read_units(
    take: Take, source: Path, labels: Sequence[str], rate_hz: float, gap_s: float
) -> tuple[Imu | None, list[Dropped]]:
    """The take's units at `rate_hz`, and what was filled or left out. Gaps of up to `gap_s` are filled."""
    path = take.recording(source)
    if path is None:
        return None, [Dropped("IMU: no VRS file", take.duration_s)]
    try:
        clock, notes = read_clock(take, source)
        units = read_imu(path, labels)
    except ValueError as error:
        return None, [Dropped(f"IMU: {error}", take.duration_s)]
    laid, names = [], []
    for label in labels:
        if label not in units:
            notes.append(Dropped(f"{label}: not in the VRS file", take.duration_s))
            continue
        values, live, said = lay(units[label], clock, take.duration_s, rate_hz, gap_s)
        notes += [Dropped(f"{label}: {note.reason}", note.seconds, note.count) for note in said]
        laid.append((values, live))
        names.append(label)
    if not laid:
        return None, notes
    values, live = (np.stack(part, 1) for part in zip(*laid))
    return Imu(rate_hz, values, live, tuple(names)), notes


def lay(
    unit: UnitData, clock: Clock, duration_s: float, rate_hz: float, gap_s: float
) -> tuple[np.ndarray, np.ndarray, list[Dropped]]:
    """A unit at i / rate_hz of take time: values (T, 6) float32, which of them hold (T,), and what was filled or cut.

    First linear interpolation to an even grid finer than the unit's samples, then a filter that keeps what `rate_hz` can
    carry; a piece of the take at a time.
    """
    count = math.floor(duration_s * rate_hz - 1e-6) + 1
    step = math.ceil(SOURCE_HZ / rate_hz)
    source_hz = step * rate_hz
    reach = math.ceil(LOBES * step / PASS) + 1
    times = clock.seconds(unit.stamps)
    orders, notes = clocks(times)
    rows = max(orders, key=len, default=np.zeros(0, np.int64))
    if len(orders) > 1:
        notes = [note for note in notes if not note.reason.startswith("clock set back")]
        lost = len(times) - len(rows)
        notes.append(Dropped("samples of a clock that was set back: the longest part alone is used", count=lost))
    rows = rows[(times[rows] > -1) & (times[rows] < duration_s + 1) & np.isfinite(unit.values[rows]).all(1)]
    t, values = times[rows], unit.values[rows]
    steps = np.diff(t)
    own_s = float(np.median(steps)) if len(steps) else 0.0
    longest = gap_s + 1.1 * own_s
    bridged = steps[(steps > 1.5 * own_s) & (steps <= longest) & (t[1:] > 0) & (t[:-1] < duration_s)]
    if len(bridged):
        seconds = float((bridged - own_s).sum())
        notes.append(Dropped(f"gaps of up to {gap_s:g} s filled by interpolation", seconds, len(bridged)))
    out, live = np.zeros((count, 6), np.float32), np.zeros(count, bool)
    chunk = round(CHUNK_S * rate_hz)
    for begin in range(0, count, chunk):
        end = min(begin + chunk, count)
        grid = np.arange(begin * step - reach, end * step + reach) / source_hz
        first, last = np.searchsorted(t, [grid[0] - longest, grid[-1] + longest])
        fine, ok, _ = on_grid(t[first:last], values[first:last], grid, source_hz, longest)
        places = even_places(float(reach), float(step), end - begin)
        out[begin:end], live[begin:end] = resample_at(fine, ok, places)
    return out, live, [*notes, *_cover(int(live.sum()), count, rate_hz)]


def _cover(live: int, count: int, rate_hz: float) -> list[Dropped]:
    missing = count - live
    return [Dropped("seconds of the take that it does not cover", missing / rate_hz)] if missing else []

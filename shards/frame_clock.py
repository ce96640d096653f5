"""The clock of a camera's frames, from one unix time a frame: its rate is measured, its faults are mended or cut at."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from aura.data.writer import Dropped

JUMP_S = 1.5  # a longer step, or one back by a second, is a clock that was set, or frames that were lost
EVEN_S = 0.15  # times off a straight line by less are those of an even clock, read late
FEWEST = 20  # frames whose rate is measured
# Unix time in each unit, from 1990 to 2060.
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
SINCE, UNTIL = 6.3e8, 2.9e9


@dataclass(frozen=True, eq=False)
class Stretch:
    """Frames from `begin` on that one clock timed: seconds (n,) from the first, and frames a second."""

    begin: int
    times: np.ndarray
    rate_hz: float


def stretches(stamps: np.ndarray) -> tuple[list[Stretch], list[Dropped]]:
    """The stretches of a camera's times (n,), in seconds or thousandths ... of them since 1970, and what was wrong.

    A stretch ends where the clock jumps. In it a straight line gives the rate; times near that line are put on it (they say
    when a frame was stored, not when it was taken), others stay. ValueError where there is no rate to be measured.
    """
    try:
        times = np.array([np.nan if stamp is None else float(stamp) for stamp in np.asarray(stamps).ravel()])
    except (TypeError, ValueError) as error:
        raise ValueError(f"the times of frames are no numbers: {error}") from error
    good = np.flatnonzero(np.isfinite(times))
    if len(good) < FEWEST:
        raise ValueError(f"{len(good)} frames have a time: no rate can be measured")
    units = [scale for scale in UNITS.values() if SINCE < np.median(times[good]) * scale < UNTIL]
    if not units:
        raise ValueError(f"the times of frames are near {np.median(times[good]):g}: unix time in no unit")
    notes = []
    start, stop = int(good[0]), int(good[-1]) + 1
    if at_ends := len(times) - (stop - start):
        notes.append(Dropped("frames without a time at an end of the recording: left out", count=at_ends))
    if between := stop - start - len(good):
        notes.append(Dropped("frames without a time: put between their neighbours", count=between))
    seconds = np.interp(np.arange(start, stop), good, times[good] * units[0])
    step = np.diff(seconds)
    jumps = np.flatnonzero((step > JUMP_S) | (step < -1.0)) + 1
    if len(jumps):
        notes.append(Dropped("clock of the frames jumps: what follows is a recording of its own", count=len(jumps)))
    found = []
    for begin, end in itertools.pairwise([0, *jumps.tolist(), len(seconds)]):
        if end - begin < FEWEST:
            notes.append(Dropped(f"frames between jumps of the clock: fewer than {FEWEST}", count=end - begin))
            continue
        part = seconds[begin:end]
        late = int((part < np.maximum.accumulate(part)).sum())
        if late:
            notes.append(Dropped("times of frames out of order: put in order", count=late))
        found.append(_stretch(start + begin, np.sort(part)))
    if not found:
        raise ValueError("the clock of the frames jumps all the time: no rate can be measured")
    return found, notes


def _stretch(begin: int, seconds: np.ndarray) -> Stretch:
    index, seconds = np.arange(len(seconds)), seconds - seconds[0]
    slope, offset = np.polyfit(index, seconds, 1)
    usual = float(np.median(np.diff(seconds)))
    # Whole seconds say nothing of single frames: the line is all there is.
    near = EVEN_S if usual > 0 else JUMP_S
    if slope <= 0 or (usual <= 0 and not _near(seconds, slope * index + offset, near)):
        raise ValueError("the times of frames do not go on evenly: no rate can be measured")
    if _near(seconds, slope * index + offset, near):
        return Stretch(begin, slope * index, float(1 / slope))
    return Stretch(begin, seconds + 1e-6 * index / len(index), 1 / usual)  # equal times are parted


def _near(seconds: np.ndarray, line: np.ndarray, most: float) -> bool:
    return float(np.abs(seconds - line).max()) <= most

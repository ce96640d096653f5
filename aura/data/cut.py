"""Where a window lies in a sample, and how its time runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from aura.data.config import Window
from aura.data.order import hash64
from aura.data.resample import Places, even_places, places

START_GRID_S = 0.02  # training windows start on this grid: streams then share few phases, whose filters are kept


@dataclass(frozen=True)
class Cut:
    """Where a window lies in a sample, and how its time runs.

    first, share    the part of the sample: seconds `start_s` to `start_s + span_s`; with `whole` also as shares of each
                    stream's own extent
    warp, phase     the tempo: window time u (0 to 1) is place u + warp/(2 pi) (sin(2 pi u + phase) - sin(phase)), whose
                    speed is within 1 +- warp and which keeps both ends
    """

    start_s: float
    span_s: float
    seconds: float
    whole: bool = False
    first: float = 0.0
    share: float = 1.0
    warp: float = 0.0
    phase: float = 0.0

    def warped(self, u: np.ndarray) -> np.ndarray:
        """Places in the part, 0 to 1, of window times u, 0 to 1."""
        if self.warp == 0:
            return u
        return u + self.warp / (2 * np.pi) * (np.sin(2 * np.pi * u + self.phase) - np.sin(self.phase))

    def times(self, u: np.ndarray, stream: Mapping) -> np.ndarray:
        """Seconds in the sample of window times u (0 to 1) for a stream (`rate_hz`, `start_s`, `length`)."""
        place = self.warped(u)
        if self.whole:
            extent = stream["length"] / stream["rate_hz"]
            return stream["start_s"] + extent * (self.first + self.share * place)
        return self.start_s + self.span_s * place

    def grid(self, rate_hz: float, stream: Mapping) -> Places:
        """Where the window's items at a rate, `round(seconds * rate_hz)` of them, lie among the stream's items."""
        count = items(self.seconds, rate_hz)
        rate, start = stream["rate_hz"], stream["start_s"]
        if self.warp:
            return places(self.times(np.arange(count) / (rate_hz * self.seconds), stream), rate, start)
        if self.whole:
            length = stream["length"]
            return even_places(length * self.first, length * self.share / (rate_hz * self.seconds), count)
        speed = self.span_s / self.seconds
        return even_places((self.start_s - start) * rate, speed * rate / rate_hz, count)


def items(seconds: float, rate_hz: float) -> int:
    """Items of a window of some seconds at a rate."""
    return max(1, round(seconds * rate_hz))


def training_cut(window: Window, duration_s: float, key: int) -> Cut:
    """A window of a sample, drawn by `key`. A sample that is shorter than the window is at the window's start."""
    warp, phase = (
        (window.warp * uniform(key, "warp"), 2 * math.pi * uniform(key, "phase")) if window.warp else (0.0, 0.0)
    )
    if window.whole:
        share = 1 - (1 - window.crop) * uniform(key, "share")
        first = (1 - share) * uniform(key, "first")
        return Cut(first * duration_s, share * duration_s, window.seconds, True, first, share, warp, phase)
    room = max(0.0, duration_s - window.seconds - window.shift_s)
    start = START_GRID_S * int(uniform(key, "start") * (math.floor(room / START_GRID_S + 1e-6) + 1))
    return Cut(start, window.seconds, window.seconds, warp=warp, phase=phase)


def shifted_cut(window: Window, cut: Cut, duration_s: float, key: int, name: str) -> tuple[Cut, float]:
    """The window of one stream, later than the row's by a random multiple of the step, inside the sample; and the largest
    of the multiples, all of which were as likely."""
    room = min(window.shift_s, duration_s - cut.start_s - cut.span_s)
    steps = max(0, math.floor(room / window.shift_step_s + 1e-6))
    later = window.shift_step_s * int(uniform(key, f"shift {name}") * (steps + 1))
    return replace(cut, start_s=cut.start_s + later), window.shift_step_s * steps


def evaluation_cut(window: Window, duration_s: float, number: int) -> Cut:
    """The number-th window of a sample in evaluation: at the stride from the sample's start."""
    if window.whole:
        return Cut(0.0, duration_s, window.seconds, True)
    return Cut(number * (window.stride_s or window.seconds), window.seconds, window.seconds)


def evaluation_count(window: Window, duration_s: float) -> int:
    """Windows of a sample in evaluation: those that lie in it whole; a shorter sample still has one."""
    if window.whole:
        return 1
    stride = window.stride_s or window.seconds
    return max(1, math.floor((duration_s - window.seconds) / stride + 1e-6) + 1)


def uniform(key: int, name: str) -> float:
    """A number in [0, 1) that depends on key and name alone."""
    return (hash64(key, name) >> 11) / 2.0**53

"""Which windows of a recording are embedded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from aura.data.config import Window
from aura.data.cut import Cut, evaluation_count
from aura.data.memory import MemoryRecord
from aura.inference.config import ModelConfig
from aura.model import AuraModel
from aura.towers.tower import Tower

ROUNDING = 1e-6
LEAST_S = 0.01


@dataclass(frozen=True)
class Piece:
    """A window of a recording, by its number."""

    recording: int
    cut: Cut


def window_of(
    config: ModelConfig, module: AuraModel, stream: str, window_s: float | None, stride_s: float | None
) -> tuple[Window, float | None]:
    """The window that is asked for; and for a model that maps a whole clip onto its window, whatever its length, the seconds
    of clips that are cut out first (None: the recording is one). ValueError where the tower does not read such windows."""
    window = config.window
    for name, value in (("window_s", window_s), ("stride_s", stride_s)):
        if value is not None and not LEAST_S <= value < float("inf"):
            raise ValueError(f"{name} is {value!r}: seconds, at least {LEAST_S:g}")
    if window.whole:
        if stride_s is not None and window_s is None:
            raise ValueError(f"{config.name} reads a recording whole: stride_s needs window_s")
        return window.model_copy(update={"stride_s": stride_s or window_s}), window_s
    if window_s is not None and abs(window_s - window.seconds) > ROUNDING:
        tower = cast(Tower, module.towers[stream])
        longest = tower.longest_s
        if not tower.any_length and (longest is None or window_s > longest + ROUNDING):
            reads = f"windows of {window.seconds:g} s alone" if longest is None else f"at most {longest:g} s"
            raise ValueError(f"window_s {window_s:g}: the tower of {stream} reads {reads}")
        window = window.model_copy(update={"seconds": window_s, "stride_s": None})
    return window if stride_s is None else window.model_copy(update={"stride_s": stride_s}), None


def pieces(number: int, record: MemoryRecord, window: Window, whole_s: float | None) -> Iterator[Piece]:
    """Windows of a recording at the stride from its start; the last ends with it, so that all of it is read."""
    duration = float(record.entry["duration_s"])
    if window.whole and (whole_s is None or duration <= whole_s + ROUNDING):
        yield Piece(number, Cut(0.0, duration, window.seconds, True))
        return
    span = whole_s if window.whole and whole_s is not None else window.seconds
    stride = window.stride_s or span
    count = evaluation_count(Window(seconds=span, stride_s=stride), duration)
    starts = [i * stride for i in range(count)]
    if starts[-1] + span < duration - ROUNDING:
        starts.append(duration - span)
    for start in starts:
        if window.whole:
            cut = Cut(start, span, window.seconds, True, start / duration, span / duration)
        else:
            cut = Cut(start, span, span)
        yield Piece(number, cut)

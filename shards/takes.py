"""From a recording with several streams on one clock to samples: put on an even grid, filled or cut, labelled.

What converters share whose sensors, skeletons, 2D poses and videos have one row a frame.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from aura.body import kinematics as kin
from aura.body.skeletons import skeleton
from aura.data.sample import Sample
from aura.data.writer import Dropped
from shards.films import Film
from shards.signals import Settings, on_grid, runs

FILM_HZ = 10.0  # about the rate of written videos
UPRIGHT = 0.5  # cosine: the trunk's part along up, in the middle of a recording; other axes give about 0 or -1


@dataclass(frozen=True, eq=False)
class Imu:
    """Sensors (S, n, 6) in m/s^2 and rad/s, NaN where there is no value; orientation (S, n, 4), sensor to world, or None.

    sensors   per sensor its entry of the stream: placement, channels, virtual, range
    """

    values: np.ndarray
    sensors: Sequence[dict]
    orientation: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Points:
    """Joints (n, J, 3) of a skeleton: metres, NaN where unknown; or pixels and confidence, 0 where unknown.

    about   fields of the stream: skeleton; camera of a 2D pose
    """

    values: np.ndarray
    about: dict


@dataclass(frozen=True)
class Span:
    """Rows from `begin` to before `end`, what is done there, and its wordings as (kind, text)."""

    begin: int
    end: int
    labels: dict[str, str] = field(default_factory=dict)
    texts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Take:
    """A recording: row i of every stream was taken at `times[i]`.

    times    (n,) ascending seconds of the recording
    rate_hz  of the even grid that the rows are put on
    about    fields of its samples: dataset, recording, session, subject, group, licence, labels
    spans    in order, without overlap; rows outside of them have neither label nor text
    """

    split: str
    times: np.ndarray
    rate_hz: float
    about: dict
    imu: Imu | None = None
    mocap: Points | None = None
    poses: Mapping[str, Points] = field(default_factory=dict)
    films: Mapping[str, Film] = field(default_factory=dict)
    spans: Sequence[Span] = ()

    def between(self, begin: int, end: int) -> Take:
        """The take of the rows [begin, end): films are left as they are, their frames count from the first row."""
        part = slice(begin, end)
        imu = self.imu and replace(
            self.imu,
            values=self.imu.values[:, part],
            orientation=None if self.imu.orientation is None else self.imu.orientation[:, part],
        )
        spans = [
            replace(s, begin=max(s.begin, begin) - begin, end=min(s.end, end) - begin)
            for s in self.spans
            if s.begin < end and begin < s.end
        ]
        return replace(
            self,
            times=self.times[part],
            imu=imu,
            mocap=self.mocap and replace(self.mocap, values=self.mocap.values[part]),
            poses={name: replace(pose, values=pose.values[part]) for name, pose in self.poses.items()},
            films={name: replace(film, first=film.first + begin) for name, film in self.films.items()},
            spans=spans,
        )


def samples(take: Take, settings: Settings | None = None) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of a take, and what was filled, cut or left out.

    They end where a span does and where a sensor is lost for longer than `settings.gap_s` (then they hold the others).
    Within a sample, of a skeleton that is lost now and then the longest piece is kept, which may start late or end early.
    """
    settings = settings or Settings()
    if not len(take.times):
        return
    longest = settings.gap_s + 1.1 / take.rate_hz
    grid = take.times[0] + np.arange(round((take.times[-1] - take.times[0]) * take.rate_hz) + 1) / take.rate_hz
    right = np.searchsorted(take.times, grid).clip(1, max(len(take.times) - 1, 1)).clip(max=len(take.times) - 1)
    rows = np.where(grid - take.times[right - 1] < take.times[right] - grid, right - 1, right)  # nearest in time
    laid = Laid(take, grid, longest, settings)
    yield from laid.notes
    pieces: list[tuple[int, int]] = []
    for begin, end in runs(laid.span_of(rows), *laid.live):
        seconds = (end - begin) / take.rate_hz
        if seconds < settings.min_s - 1e-9:
            yield Dropped(f"pieces shorter than {settings.min_s:g} s", seconds)
            continue
        count = math.ceil(seconds / settings.sample_s - 1e-9)
        pieces += itertools.pairwise(begin + round(i * (end - begin) / count) for i in range(count + 1))
    every = max(1, round(take.rate_hz / FILM_HZ))
    films = {
        name: film.clips([(rows[a:b:every], take.rate_hz / every) for a, b in pieces])
        for name, film in take.films.items()
    }
    for a, b in pieces:
        yield from laid.sample(a, b, rows, {name: next(clips) for name, clips in films.items()})


class Laid:
    """A take on an even grid.

    live    (S, T): which sensors hold
    notes   what was filled and cut
    """

    def __init__(self, take: Take, grid: np.ndarray, longest: float, settings: Settings) -> None:
        self.take, self.grid, self.rate, self.min_s = take, grid, take.rate_hz, settings.min_s
        self.notes: list[Dropped] = []
        gap_s = settings.gap_s
        kinds = (
            f"gaps of up to {gap_s:g} s filled by interpolation",
            f"gaps longer than {gap_s:g} s or at an end cut out",
        )

        def lay(values: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
            out, live, filled = on_grid(take.times, values.reshape(len(values), -1), grid, take.rate_hz, longest)
            for kind, mask in zip(kinds, (live & filled, ~live)):
                if mask.any():
                    self.notes.append(Dropped(f"{name}: {kind}", int(mask.sum()) / take.rate_hz, int(mask.sum())))
            return out.reshape(len(grid), *values.shape[1:]), live

        self.live = np.zeros((0, len(grid)), bool)
        if take.imu is not None:
            parts = [take.imu.values]
            if take.imu.orientation is not None:
                parts.append(np.stack([signed(q) for q in take.imu.orientation]))
            found = [
                lay(values, sensor["placement"])
                for values, sensor in zip(np.concatenate(parts, axis=-1), take.imu.sensors)
            ]
            self.imu, self.live = (np.stack(part) for part in zip(*found))
        if take.mocap is not None:
            self.mocap, self.mocap_live = lay(take.mocap.values, "skeleton")
        self.poses = {}
        for name, pose in take.poses.items():
            known = np.where(pose.values[..., 2:] > 0, pose.values, np.nan)
            joints = [on_grid(take.times, known[:, j], grid, take.rate_hz, longest)[0] for j in range(known.shape[1])]
            self.poses[name] = np.stack(joints, axis=1)

    def span_of(self, rows: np.ndarray) -> np.ndarray:
        """For each time of the grid the number of its span, -1 for none."""
        number = np.full(len(self.take.times), -1)
        for i, span in enumerate(self.take.spans):
            number[span.begin : span.end] = i
        return number[rows]

    def sample(
        self, a: int, b: int, rows: np.ndarray, clips: Mapping[str, tuple[dict, bytes] | str]
    ) -> Iterator[tuple[str, Sample] | Dropped]:
        """The sample of the grid's times [a, b), between which the same sensors hold, or why there is none."""
        take, clock = self.take, {"rate_hz": self.rate, "start_s": 0.0, "length": b - a}
        which = np.flatnonzero(self.live[:, a])
        streams: dict[str, dict] = {}
        arrays: dict[str, np.ndarray | bytes] = {}
        if take.imu is not None and len(which):
            streams["imu"] = {**clock, "sensors": [dict(take.imu.sensors[i]) for i in which.tolist()]}
            arrays["imu"] = np.ascontiguousarray(self.imu[which, a:b, :6])
            if take.imu.orientation is not None:
                arrays["orientation"] = kin.normalise(self.imu[which, a:b, 6:]).astype(np.float32)
        if take.mocap is not None:
            pieces = [(i, j) for i, j in runs(self.mocap_live[a:b]) if self.mocap_live[a + i]]
            i, j = max(pieces, key=lambda piece: piece[1] - piece[0], default=(0, 0))
            if (j - i) / self.rate < self.min_s - 1e-9:
                i = j
            left = int(self.mocap_live[a:b].sum()) - (j - i)
            if left:
                what = f"pieces shorter than {self.min_s:g} s, or beside the longest of their sample"
                yield Dropped(f"skeleton: {what}", left / self.rate, left)
            if i < j:
                streams["mocap"] = {**clock, **take.mocap.about, "start_s": i / self.rate, "length": j - i}
                arrays["mocap"] = self.mocap[a + i : a + j]
        for name, values in self.poses.items():
            known = int((values[a:b, :, 2] > 0).any(1).sum())
            if known / self.rate >= self.min_s - 1e-9:
                streams[name] = {**clock, **take.poses[name].about}
                arrays[name] = values[a:b]
            elif known:
                what = f"poses of samples in which they are known for less than {self.min_s:g} s"
                yield Dropped(f"{name}: {what}", known / self.rate, known)
        for name, clip in clips.items():
            if isinstance(clip, str):
                yield Dropped(f"{name}: {clip}", (b - a) / self.rate)
            else:
                streams[name], arrays[name] = clip
                short = (b - a) / self.rate - clip[0]["length"] / clip[0]["rate_hz"]
                if short > 1e-6:
                    yield Dropped(f"{name}: its file ends, or is damaged, within a sample", short)
        if not streams:
            yield Dropped("time in which no stream has anything, or not long enough", (b - a) / self.rate)
            return
        start, duration = float(self.grid[a]), (b - a) / self.rate
        number = int(self.span_of(rows[a : a + 1])[0])
        span = take.spans[number] if number >= 0 else Span(0, 0)
        yield (
            take.split,
            Sample(
                id=f"{take.about['recording']}_{round(start * 1000):07d}",
                start_s=round(start, 6),
                duration_s=duration,
                texts=[{"text": text, "start_s": 0.0, "end_s": duration, "kind": kind} for kind, text in span.texts],
                streams=streams,
                arrays=arrays,
                **{**take.about, "labels": {**take.about.get("labels", {}), **span.labels}},
            ),
        )


def signed(q: np.ndarray) -> np.ndarray:
    """Quaternions (n, 4) signed so that neighbours are close, those that are not finite or have no length as NaN."""
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    good = np.isfinite(norm[:, 0]) & (np.abs(norm[:, 0] - 1) < 0.1)
    out = np.full(q.shape, np.nan)
    if good.any():
        out[good] = kin.continuous(q[good] / norm[good])
    return out


def force_up(imu: Imu) -> np.ndarray:
    """Per sensor (S,) the mean force turned into the world, its part along up over its length: near 1 where
    orientations take sensor to world, z up, and gravity is in the acceleration; NaN for a sensor without rows."""
    assert imu.orientation is not None
    found = []
    for values, q in zip(imu.values, imu.orientation):
        good = np.isfinite(values[:, :3]).all(1) & np.isfinite(q).all(1)
        mean = kin.rotate(q[good], values[good, :3]).mean(0) if good.any() else np.full(3, np.nan)
        found.append(mean[2] / np.linalg.norm(mean))
    return np.array(found)


def check_upright(joints: np.ndarray, name: str) -> None:
    """ValueError where the trunks of a recording (n, J, 3), in the world, do not point up in the middle (z).

    For sources that do not say how their axes lie.
    """
    ends = skeleton(name).up
    assert ends is not None  # skeletons of these data sets have a trunk
    lower, upper = (joints[:, list(end)].mean(1) for end in ends)
    trunk = (upper - lower)[np.isfinite(upper - lower).all(1)]
    if not len(trunk):
        return
    up = np.median(trunk / np.linalg.norm(trunk, axis=-1, keepdims=True), axis=0)
    if up[2] < UPRIGHT:
        raise ValueError(
            f"the trunk points along {np.round(up, 2).tolist()}, not up (0, 0, 1): the source's axes are not those that"
            " this converter knows, or the person lies all the time"
        )

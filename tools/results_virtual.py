"""Virtual against real IMU on UTD-MHAD: a table for docs/results.md (`tools/results.py` writes it).

The skeleton of a clip gives what an ideal sensor on the wrist or thigh would measure (`aura.body.virtual_imu`). It is laid
against the clip's real sensor, in the same band, without the ends of a clip in which the smoothing fades. What is unknown is
fitted: a shift in time for each clip, and the turn of the sensor on the limb, once for each subject and placement, or for
each clip (a skeleton does not tell the twist of a limb about itself).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfiltfilt
from tqdm import tqdm

from aura.body.skeletons import skeleton
from aura.body.virtual_imu import from_joints, virtual_imu
from aura.data.index import Split, open_split
from aura.data.sample import Sample

ROOT = Path(__file__).resolve().parents[1]
EDGE_HZ = 4.0  # of the smoothing: the camera gives 19 frames/s with noise of some millimetres
SHIFTS_S = np.arange(-20, 21) / 50
STRETCHES = np.arange(0.80, 1.2001, 0.02)
OTHER_EDGES_HZ = (3.0, 6.0)
LEAST = 25  # items that a comparison needs
GROUPS = {
    "wrist: gestures of one arm": "swipe_left swipe_right wave draw_x draw_circle_cw draw_circle_ccw draw_triangle knock",
    "wrist: both arms": "clap arm_cross arm_curl boxing push",
    "wrist: throws and swings": "throw basketball_shoot bowling baseball_swing tennis_swing tennis_serve catch"
    " pickup_throw",
    "thigh: steps in place": "jog walk",
    "thigh: sitting, lunges, squats": "sit2stand stand2sit lunge squat",
}
COLUMNS = (
    "real", "vector, mounting per subject", "vector, mounting per clip", "norm", "angular speed",
    "error, mounting per subject", "error, mounting per clip", "error of the norm",
)  # fmt: skip
HEAD = (
    "| actions | clips | RMS of the real one about its mean, m/s² | correlation: vector, one mounting a subject"
    " | vector, one mounting a clip | norm | angular speed | RMS error, m/s²: vector, one mounting a subject"
    " | vector, one mounting a clip | norm |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Clip:
    """A clip's real and virtual signals (n, 6) at 50 Hz in one band, and their times in seconds of the clip."""

    subject: str
    activity: str
    frame_hz: float
    real_times: np.ndarray
    real: np.ndarray
    times: np.ndarray
    virtual: np.ndarray


@dataclass(frozen=True)
class Fit:
    """A clip after the shift of the skeleton's clock that fits best (s, positive: the skeleton is late)."""

    shift_s: float
    speed_correlation: float
    real: np.ndarray
    virtual: np.ndarray


def clip_of(sample: Sample, edge_hz: float = EDGE_HZ) -> Clip | None:
    """None where the clip has no skeleton or is too short to be compared."""
    if "mocap" not in sample.streams:
        return None
    imu, mocap = sample.streams["imu"], sample.streams["mocap"]
    measured, joints = sample.arrays["imu"], sample.arrays["mocap"]
    assert isinstance(measured, np.ndarray)
    assert isinstance(joints, np.ndarray)
    rate = imu["rate_hz"]
    place, frame = from_joints(joints, skeleton(mocap["skeleton"]), imu["sensors"][0]["placement"])
    virtual, _ = virtual_imu(place, frame, mocap["rate_hz"], out_rate_hz=rate, low_pass_hz=edge_hz)
    times = mocap["start_s"] + np.arange(len(virtual)) / rate
    fade = 1 / (2 * edge_hz)
    keep = (times - times[0] >= fade) & (times[-1] - times >= fade)
    if keep.sum() < LEAST + 2 * SHIFTS_S[-1] * rate:
        return None
    sections = butter(4, edge_hz, fs=rate, output="sos")
    real = sosfiltfilt(sections, measured[0].astype(float), axis=0)
    real_times = imu["start_s"] + np.arange(len(real)) / rate
    about = sample.subject, sample.labels["activity"], mocap["rate_hz"]
    return Clip(*about, real_times, real, times[keep], virtual[keep])


def moments(clip: Clip, shift_s: float, stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Where the virtual items are on the sensor's clock, and which of them it covers, if the skeleton is late by a shift and
    its clock runs `stretch` times too fast (about the middle of the clip)."""
    middle = clip.real_times.mean()
    at = middle + (clip.times - middle) * stretch - shift_s
    return at, (at >= clip.real_times[0]) & (at <= clip.real_times[-1])


def speed_correlation(clip: Clip, shift_s: float = 0.0, stretch: float = 1.0) -> float:
    """Of the norms of angular velocity, which neither gravity nor the sensor's mounting touches."""
    at, inside = moments(clip, shift_s, stretch)
    real = np.interp(at[inside], clip.real_times, np.linalg.norm(clip.real[:, 3:], axis=1))
    return correlation(real, np.linalg.norm(clip.virtual[inside, 3:], axis=1))


def fit(clip: Clip) -> Fit:
    """The shift at which the angular speeds correlate best."""
    correlations = [speed_correlation(clip, shift) for shift in SHIFTS_S]
    shift = float(SHIFTS_S[int(np.argmax(correlations))])
    at, inside = moments(clip, shift)
    real = np.stack([np.interp(at[inside], clip.real_times, column) for column in clip.real.T], 1)
    return Fit(shift, max(correlations), real, clip.virtual[inside])


def fit_rate(clip: Clip) -> tuple[float, float, float]:
    """The best correlation of the angular speeds over all shifts and stretches, with its shift and stretch."""
    options = [(float(s), float(k)) for k in STRETCHES for s in SHIFTS_S]
    correlations = [speed_correlation(clip, *option) for option in options]
    best = int(np.argmax(correlations))
    return correlations[best], *options[best]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, over all axes at once: (n,) or (n, 3), each axis less its own mean. 0 where one does not vary."""
    a, b = a - a.mean(0), b - b.mean(0)
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def rotation(real: np.ndarray, virtual: np.ndarray) -> np.ndarray:
    """The rotation R (3, 3) that makes `virtual @ R.T` nearest to `real` in least squares: both (n, 3) (Kabsch, 1976)."""
    u, _, v = np.linalg.svd(real.T @ virtual)
    return u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v


def measures(fit: Fit, turn: np.ndarray) -> dict[str, float]:
    """Correlations, and root mean square errors in m/s^2; `turn` is of the subject's mounting."""
    real, virtual = fit.real[:, :3], fit.virtual[:, :3]
    own = rotation(real, virtual)
    norms = np.linalg.norm(real, axis=1), np.linalg.norm(virtual, axis=1)
    return {
        "vector, mounting per subject": correlation(real, virtual @ turn.T),
        "vector, mounting per clip": correlation(real, virtual @ own.T),
        "error, mounting per subject": _error(real, virtual @ turn.T),
        "error, mounting per clip": _error(real, virtual @ own.T),
        "norm": correlation(*norms),
        "error of the norm": _error(*norms),
        "angular speed": fit.speed_correlation,
        "real": float(np.sqrt(np.square(real - real.mean(0)).sum(-1).mean())),
    }


def _error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a - b).reshape(len(a), -1).sum(-1).mean()))


def tables(path: str | Path = ROOT / "data" / "utd_mhad") -> str:
    """The section's tables, from the training subjects' clips."""
    split = open_split(str(path), "train")
    every = " ".join(GROUPS.values()).split()
    clips, fits = fitted(split, EDGE_HZ)
    values = compare(clips, fits)
    lines = [*HEAD, *(row(group, clips, values, names.split()) for group, names in GROUPS.items())]
    lines.append(row("all", clips, values, every))
    for edge in OTHER_EDGES_HZ:
        others = fitted(split, edge)
        lines.append(row(f"all, both below {edge:g} Hz", others[0], compare(*others), every))
    return "\n".join([*lines, "", *clock_table(clips, fits)])


def fitted(split: Split, edge_hz: float) -> tuple[list[Clip], list[Fit]]:
    found = (clip_of(split.sample(i), edge_hz) for i in tqdm(range(len(split)), desc=f"virtual IMU, {edge_hz:g} Hz"))
    clips = [clip for clip in found if clip is not None]
    return clips, [fit(clip) for clip in clips]


def compare(clips: Sequence[Clip], fits: Sequence[Fit]) -> list[dict[str, float]]:
    """Measures of each clip."""
    worn = [(clip.subject, placement_of(clip)) for clip in clips]
    turns = {}
    for key in set(worn):
        same = [f for at, f in zip(worn, fits) if at == key]
        real, virtual = (np.concatenate([getattr(f, side)[:, :3] for f in same]) for side in ("real", "virtual"))
        turns[key] = rotation(real, virtual)
    return [measures(f, turns[at]) for at, f in zip(worn, fits)]


def placement_of(clip: Clip) -> str:
    return next(group for group, names in GROUPS.items() if clip.activity in names.split()).partition(":")[0]


def row(words: str, clips: Sequence[Clip], values: Sequence[dict[str, float]], names: Sequence[str]) -> str:
    """A line of the table: median and quartiles over subjects, of each the median over the clips of these actions."""
    cells = []
    for column in COLUMNS:
        of: dict[str, list[float]] = {}
        for clip, found in zip(clips, values):
            if clip.activity in names:
                of.setdefault(clip.subject, []).append(found[column])
        cells.append(quartiles(float(np.median(x)) for x in of.values()))
    count = sum(clip.activity in names for clip in clips)
    return f"| {words} | {count} | {' | '.join(cells)} |"


def clock_table(clips: Sequence[Clip], fits: Sequence[Fit]) -> list[str]:
    """What fitting the skeleton's clock gains, beside the same fit of another trial's skeleton (same subject and action)."""
    kept = [(clip, f, crossed(clip, other)) for clip, f in zip(clips, fits) if (other := next_trial(clips, clip))]
    own = [fit_rate(clip) for clip, _, _ in tqdm(kept, desc="rates")]
    control = [fit_rate(clip) for _, _, clip in tqdm(kept, desc="rates of other trials")]
    hz = [clip.frame_hz for clip, _, _ in kept]
    rates = [rate / found[2] for rate, found in zip(hz, own)]
    rows = (
        ("as converted: the skeleton stretched over the clip", [speed_correlation(c) for c, _, _ in kept],
         [speed_correlation(c) for _, _, c in kept], None, hz),
        ("a shift fitted", [f.speed_correlation for _, f, _ in kept], [fit(c).speed_correlation for _, _, c in kept],
         [f.shift_s for _, f, _ in kept], hz),
        ("a shift and a rate fitted", [x[0] for x in own], [x[0] for x in control], [x[1] for x in own], rates),
    )  # fmt: skip
    lines = [
        f"| clock of the skeleton, {len(kept)} clips | correlation of angular speeds | the same with another trial's skeleton"
        " | skeleton late by, s | frames/s |",
        "|---|---|---|---|---|",
    ]
    for words, found, other, shifts, frames in rows:
        late = quartiles(shifts) if shifts else "-"
        lines.append(f"| {words} | {quartiles(found)} | {quartiles(other)} | {late} | {quartiles(frames, 1)} |")
    return lines


def next_trial(clips: Sequence[Clip], clip: Clip) -> Clip | None:
    """The next clip of the same subject and action, round; None where there is no other."""
    same = [c for c in clips if (c.subject, c.activity) == (clip.subject, clip.activity)]
    at = next(i for i, c in enumerate(same) if c is clip)
    return same[(at + 1) % len(same)] if len(same) > 1 else None


def crossed(clip: Clip, other: Clip) -> Clip:
    """The clip's sensor beside the other's skeleton, which is stretched over the clip."""
    scale = clip.real_times[-1] / other.real_times[-1]
    return replace(clip, frame_hz=other.frame_hz / scale, times=other.times * scale, virtual=other.virtual)


def quartiles(values: Iterable[float], digits: int = 2) -> str:
    """Median and quartiles."""
    low, middle, high = np.quantile(list(values), (0.25, 0.5, 0.75))
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

"""From a recorded motion to samples: mended, cut, with virtual IMUs and 2D poses. What converters of mocap share."""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aura.body import kinematics as kin
from aura.body.cameras import Camera, look_at, project
from aura.body.skeletons import Skeleton, skeleton
from aura.body.virtual_imu import from_joints, from_segments, virtual_imu
from aura.data.resample import resample
from aura.data.sample import Sample
from aura.data.writer import Dropped
from shards.tables import Facts

PLACEMENTS = (
    "head", "chest", "pelvis", "left wrist", "right wrist", "left thigh", "right thigh", "left ankle", "right ankle",
)  # fmt: skip
FASTEST = 12.0  # m/s: a step of a joint faster than this, and
JERK = 10.0  # m/s: this much faster than the steps beside it, is a fault of the recording (a marker that was swapped)
CALIBRATION_FRAMES = 2  # a jump after so few frames is the end of a calibration pose
MEND_S = 0.1  # longest gap that is filled by interpolation
FLANK_S = 0.04  # also wrong, before and after frames between jumps
# Left out beside a cut: exporters blend a calibration pose into the motion, and smoothing has an end here.
SETTLE_S = 0.1
POSE_HZ = 30.0  # highest rate of 2D poses
PIXELS, FOV_DEG = 480, 50.0  # of random cameras


@dataclass(frozen=True)
class Settings:
    """How motions become samples.

    placements   of the virtual sensors
    cameras      a number of random cameras, or cameras in place: {eye, target (metres, z up), width, height, fov_deg}
    low_pass_hz  edge of the low-pass on the motion before its second derivative (at most 0.4 of its rate): mocap of
                 120 Hz unsmoothed doubles the acceleration by noise
    max_hz       rate of the streams: the recording's, divided by the whole number that brings it to this or less
    sample_s     longest sample; min_s: shortest piece between two faults that is kept
    """

    placements: tuple[str, ...] = PLACEMENTS
    cameras: int | tuple[dict[str, Any], ...] = 1
    seed: int = 0
    low_pass_hz: float = 15.0
    max_hz: float = 60.0
    sample_s: float = 20.0
    min_s: float = 0.5


@dataclass(frozen=True, eq=False)
class Motion:
    """A person's motion in metres, z up.

    skeleton      as in a stream: a known name, or joints and parents
    positions     (T, J, 3)
    orientations  (T, J, 4): of the frame that carries the bones from each joint to its children, frame to world; None
                  where the source has positions alone
    rest          positions (J, 3) and orientations (J, 4) of a standing pose, for `from_segments`
    about         more fields of the mocap stream, such as the unit of the source
    """

    skeleton: str | dict
    rate_hz: float
    positions: np.ndarray
    orientations: np.ndarray | None = None
    rest: tuple[np.ndarray, np.ndarray] | None = None
    about: dict[str, Any] | None = None

    def between(self, begin: int, end: int) -> Motion:
        turns = None if self.orientations is None else self.orientations[begin:end]
        return replace(self, positions=self.positions[begin:end], orientations=turns)


def samples(
    motion: Motion, dataset: str, recording: str, facts: Facts, licence: str, settings: Settings
) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of a motion, and what was mended, cut or left out."""
    for begin, piece in mend(motion):
        if isinstance(piece, Dropped):
            yield piece
            continue
        seconds = len(piece.positions) / piece.rate_hz
        if seconds < settings.min_s or len(piece.positions) < 6:
            yield Dropped(f"clip or piece between faults shorter than {settings.min_s:g} s or 6 frames", seconds)
            continue
        try:
            for sample in _cut(piece, begin / motion.rate_hz, dataset, recording, facts, licence, settings):
                yield facts.split, sample
        except ValueError as error:
            yield Dropped(f"{recording}: {error}", seconds)


def mend(motion: Motion) -> Iterator[tuple[int, Motion | Dropped]]:
    """Pieces of a motion without faults, with their first frames; and what was done about faults.

    Faults are frames that are not finite, frames equal to the one before, and steps at an impossible speed. Faulty frames
    between good ones are filled by interpolation up to `MEND_S` (with `FLANK_S` on both sides of jumps); longer runs, and
    jumps that stay, are cut out.
    """
    places, turns, rate = motion.positions, motion.orientations, motion.rate_hz
    bad = np.asarray(~np.isfinite(places).all((1, 2)))
    if turns is not None:
        bad = bad | np.asarray(~np.isfinite(turns).all((1, 2)))
    frozen = np.zeros(len(bad), bool)
    frozen[1:] = (places[1:] == places[:-1]).all((1, 2))
    kinds = {"not finite": bad, "equal to the one before": frozen & ~bad}
    jumps = _jumps(np.where(bad[:, None, None], 0.0, places), rate) & ~(bad | frozen)[1:] & ~(bad | frozen)[:-1]
    swapped, cuts = _groups(jumps, round(MEND_S * rate), round(FLANK_S * rate))
    kinds["between two jumps"] = swapped & ~bad & ~frozen
    faulty = bad | frozen | swapped
    places, turns = places.copy(), None if turns is None else turns.copy()
    filled = np.zeros(len(bad), bool)
    for begin, end in _runs(faulty):
        longest = (MEND_S + 2 * FLANK_S * swapped[begin:end].any()) * rate
        inside = begin > CALIBRATION_FRAMES and end < len(bad) and not {begin, end} & cuts
        if inside and end - begin <= longest:
            share = np.arange(1, end - begin + 1)[:, None] / (end - begin + 1)
            first, last = places[begin - 1], places[end]
            if np.linalg.norm(last - first, axis=-1).max() / (end - begin + 1) * rate > FASTEST:
                continue
            places[begin:end] = _hermite(places, faulty, begin, end)
            if turns is not None:
                turns[begin:end] = kin.slerp(turns[begin - 1][None], turns[end][None], share)
            filled[begin:end] = True
    for kind, mask in kinds.items():
        for done, what in ((filled, "filled by interpolation"), (~filled, "cut out")):
            count = int((mask & done).sum())
            if count:
                yield 0, Dropped(f"frames {kind}: {what}", count / rate, count)
    holes = dict(_runs(faulty & ~filled))
    settle, begin = round(SETTLE_S * rate), 0
    for end in sorted({*cuts, *holes, len(bad)}):
        if begin == 0 and 0 < end <= CALIBRATION_FRAMES:
            yield 0, Dropped("calibration pose before the motion, cut off", end / rate)
        elif begin < end:
            first, last = begin + settle * (begin > 0), end - settle * (end < len(bad))
            if first < last:
                yield first, replace(motion, positions=places, orientations=turns).between(first, last)
            beside = min(first - begin + end - last, end - begin)
            if beside:
                yield 0, Dropped("frames beside a cut: left out", beside / rate, beside)
        begin = max(begin, holes.get(end, end))


def _hermite(places: np.ndarray, faulty: np.ndarray, begin: int, end: int) -> np.ndarray:
    """The cubic from the frame before `begin` to frame `end` (..., J, 3) with the velocities of up to 3 good steps there."""
    before = max(int(np.flatnonzero(faulty[:begin])[-1]) + 1 if faulty[:begin].any() else 0, begin - 4)
    after = min(end + int(np.flatnonzero(faulty[end:])[0]) - 1 if faulty[end:].any() else len(faulty) - 1, end + 3)
    first, last, span = places[begin - 1], places[end], end - begin + 1
    v0 = (first - places[before]) / max(begin - 1 - before, 1) * span
    v1 = (places[after] - last) / max(after - end, 1) * span
    t = (np.arange(1, span) / span)[:, None, None]
    return first + t * v0 + t**2 * (3 * (last - first) - 2 * v0 - v1) + t**3 * (2 * (first - last) + v0 + v1)


def _jumps(places: np.ndarray, rate: float) -> np.ndarray:
    """Which steps (T - 1,) from frame to frame are faults."""
    step = np.diff(places, axis=0) * rate
    speed = np.linalg.norm(step, axis=-1)
    change = np.full(step.shape[:2], np.inf)
    if len(step) > 1:
        turn = np.linalg.norm(np.diff(step, axis=0), axis=-1)
        change[0], change[-1], change[1:-1] = turn[0], turn[-1], np.maximum(turn[1:], turn[:-1])
    return ((speed > FASTEST) & (change > JERK)).any(1)


def _groups(jumps: np.ndarray, reach: int, flank: int) -> tuple[np.ndarray, set[int]]:
    """Frames (T,) between jumps that are near each other, and `flank` more; and the frames at which a jump that stays begins."""
    swapped, cuts = np.zeros(len(jumps) + 1, bool), set()
    steps = np.flatnonzero(jumps)
    for group in np.split(steps, np.flatnonzero(np.diff(steps) > reach) + 1) if len(steps) else []:
        if len(group) == 1:
            cuts.add(int(group[0]) + 1)
        if len(group) > 1:
            swapped[max(group[0] + 1 - flank, 1) : group[-1] + 1 + flank] = True
    return swapped, cuts


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """(begin, end) of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2])]


def _cut(
    motion: Motion, start_s: float, dataset: str, recording: str, facts: Facts, licence: str, settings: Settings
) -> Iterator[Sample]:
    """A motion without faults as samples of at most `settings.sample_s`, of nearly equal length."""
    tree = skeleton(motion.skeleton)
    rate = motion.rate_hz / math.ceil(motion.rate_hz / settings.max_hz - 1e-9)
    imu, orientation = measure(motion, tree, rate, settings)
    length = imu.shape[1]
    joints, _ = resample(motion.positions, None, motion.rate_hz, 0.0, np.arange(length) / rate)
    every = math.ceil(rate / POSE_HZ - 1e-9)  # a 2D pose for each so many frames
    sensors = [
        {"placement": p, "channels": ["acc", "gyro"], "virtual": True, "range": [0.0, 0.0]} for p in settings.placements
    ]
    count = math.ceil(length / (settings.sample_s * rate) - 1e-9)
    edges = [round(i * length / count) for i in range(count + 1)]
    for begin, end in itertools.pairwise(edges):
        from_s = start_s + begin / rate
        key = f"{recording}_{round(from_s * 1000):07d}"
        clock = {"rate_hz": rate, "start_s": 0.0, "length": end - begin}
        streams: dict[str, dict] = {
            "imu": {**clock, "sensors": sensors},
            "mocap": {**clock, "skeleton": motion.skeleton, **(motion.about or {})},
        }
        arrays: dict[str, np.ndarray | bytes] = {
            "imu": imu[:, begin:end],
            "orientation": orientation[:, begin:end],
            "mocap": joints[begin:end],
        }
        for i, camera in enumerate(viewpoints(joints[begin:end], key, settings)):
            name = "pose2d" if i == 0 else f"pose2d_cam{i + 1}"
            arrays[name] = project(joints[begin:end:every], camera).astype(np.float32)
            clock = {"rate_hz": rate / every, "start_s": 0.0, "length": len(arrays[name])}
            streams[name] = {**clock, "skeleton": motion.skeleton, "camera": camera.intrinsics()}
        duration = (end - begin) / rate
        yield Sample(
            id=key,
            dataset=dataset,
            recording=recording,
            session=facts.session,
            subject=facts.subject,
            group=facts.group,
            start_s=from_s,
            duration_s=duration,
            licence=licence,
            labels=facts.labels,
            texts=_texts(facts, from_s, duration),
            streams=streams,
            arrays=arrays,
        )


def _texts(facts: Facts, start_s: float, duration_s: float) -> list[dict]:
    """The texts that overlap a sample, in its seconds."""
    found = []
    for text in facts.texts:
        begin = max(text["start_s"] - start_s, 0.0)
        end = min(duration_s if text["end_s"] is None else text["end_s"] - start_s, duration_s)
        if begin < end:
            found.append({**text, "start_s": begin, "end_s": end})
    return found


def measure(motion: Motion, tree: Skeleton, rate: float, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Virtual IMU (S, T', 6) and orientation (S, T', 4), float32, at `rate`, of the sensors of `settings`."""
    found = [
        from_joints(motion.positions, tree, placement)
        if motion.orientations is None or motion.rest is None
        else from_segments(motion.positions, motion.orientations, motion.rest, tree, placement)
        for placement in settings.placements
    ]
    imu, orientation = virtual_imu(
        np.stack([place for place, _ in found], axis=1),
        np.stack([frame for _, frame in found], axis=1),
        motion.rate_hz,
        out_rate_hz=rate,
        low_pass_hz=min(settings.low_pass_hz, 0.4 * motion.rate_hz),
    )
    return imu.swapaxes(0, 1).astype(np.float32), orientation.swapaxes(0, 1).astype(np.float32)


def viewpoints(joints: np.ndarray, key: str, settings: Settings) -> list[Camera]:
    """The cameras of a sample: those of `settings`, or random ones that have all joints (T, J, 3) in view.

    Random cameras stand anywhere around the middle of the motion, 0 to 20 degrees above it, as near as they can.
    """
    if not isinstance(settings.cameras, int):
        return [look_at(**camera) for camera in settings.cameras]
    rng = np.random.default_rng([settings.seed, zlib.crc32(key.encode())])
    middle = (joints.min((0, 1)) + joints.max((0, 1))) / 2
    radius = float(np.linalg.norm(joints - middle, axis=-1).max())
    cameras = []
    for _ in range(settings.cameras):
        azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(0, 20))
        distance = rng.uniform(1.05, 1.5) * radius / np.sin(np.radians(FOV_DEG) / 2)
        toward = [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        eye = middle + distance * np.array(toward)
        cameras.append(look_at(eye, middle, width=PIXELS, height=PIXELS, fov_deg=FOV_DEG))
    return cameras


def recording_name(path: str) -> str:
    """An id of `[A-Za-z0-9_-]` for a file of a source: its path without ending."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", path.rsplit(".", 1)[0].replace("/", "-")).strip("_-")

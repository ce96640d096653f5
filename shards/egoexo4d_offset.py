"""How far the clocks of a headset's IMU and of body poses are apart, by plain correlation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aura.body.virtual_imu import GRAVITY
from shards.egoexo4d_imu import Imu
from shards.egoexo4d_pose import COCO, Run

HEAD = tuple(COCO.joints.index(name) for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear"))
SPAN_S = 0.1  # over which the acceleration is taken: frames so far apart are subtracted
REACH_S = 1.0  # largest offset that is looked for
FEWEST_S = 3.0  # shortest time of common data
CLEAR = 0.3  # a weaker correlation says nothing


class Offset(NamedTuple):
    """seconds by which the pose is late (it shows at t + seconds what the IMU measured at t), correlation there."""

    seconds: float
    correlation: float


def estimate(imu: Imu, runs: Sequence[Run]) -> Offset | None:
    """The offset between a take's IMU and its poses; None where there is too little of them, or no clear one.

    The norm of what an accelerometer in the head would measure, |p'' + g| of the head's joints p by differences over
    +-`SPAN_S`, against the norm of what the first unit that is there measured, smoothed alike: a second difference is the
    acceleration under a triangle of that width. The maximum of their correlation over shifts, refined by a parabola.
    """
    times, felt = _felt(runs)
    if not len(times):
        return None
    reach = round(REACH_S * imu.rate_hz)
    unit = int(imu.live.sum(0).argmax())
    norm = _smooth(imu.values[:, unit, :3], imu.live[:, unit], imu.rate_hz)
    # The same frames at all shifts, so that one shift is not preferred for the frames that it leaves out.
    places = np.rint(times * imu.rate_hz).astype(int)
    inside = (places >= reach) & (places + reach < len(norm))
    places, felt = places[inside], felt[inside]
    lost = np.concatenate([[0], np.cumsum(~np.isfinite(norm))])
    good = lost[places + reach + 1] == lost[places - reach]
    places, felt = places[good], felt[good]
    if len(felt) < 3 or len(felt) < FEWEST_S * runs[0].rate_hz:
        return None
    # A shift at a time: all shifts of all frames of a long take would be gigabytes.
    found = np.array([_correlation(norm[places + shift], felt) for shift in range(-reach, reach + 1)])
    best = int(found.argmax())
    if found[best] < CLEAR or best in (0, len(found) - 1):
        return None
    before, here, after = found[best - 1 : best + 2]
    bend = before - 2 * here + after
    shift = best - reach + (0.5 * (before - after) / bend if bend < 0 else 0.0)
    return Offset(float(-shift / imu.rate_hz), float(here))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def told(manifest: dict) -> str:
    """A line on the offsets of all samples, from the labels that the manifest counts."""
    found: list[float] = []
    for split in manifest["splits"].values():
        for value, samples in split["labels"].get("imu_pose_offset_s", {}).items():
            found += [float(value)] * samples
    if not found:
        return "pose late to IMU: could be estimated for no take"
    low, middle, high = np.percentile(found, [5, 50, 95])
    return f"pose late to IMU: median {middle:.3f} s, 5 to 95 % {low:.3f} to {high:.3f} s, of {len(found)} samples"


def _felt(runs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) and the norm (n,) of what an accelerometer in the head would measure: the mean over head joints."""
    times, norms = [np.zeros(0)], [np.zeros(0)]
    for run in runs:
        apart = max(1, round(SPAN_S * run.rate_hz))
        if run.length <= 2 * apart:
            continue
        head = run.points[:, HEAD].astype(np.float64)
        force = (head[2 * apart :] - 2 * head[apart:-apart] + head[: -2 * apart]) * (run.rate_hz / apart) ** 2
        known = np.asarray(np.isfinite(force).all(-1))
        count = known.sum(1)
        mean = np.where(known[..., None], force, 0).sum(1) / np.maximum(count, 1)[:, None]
        kept = count > 0
        at = run.start_s + (np.arange(len(force)) + apart) / run.rate_hz
        times.append(at[kept])
        norms.append(np.linalg.norm(mean[kept] + [0, 0, GRAVITY], axis=-1))
    return np.concatenate(times), np.concatenate(norms)


def _smooth(acc: np.ndarray, live: np.ndarray, rate_hz: float) -> np.ndarray:
    """Norm (T,) of the acceleration (T, 3) under a triangle of +-`SPAN_S`, NaN where not all of it holds."""
    half = max(1, round(SPAN_S * rate_hz))
    weights = np.bartlett(2 * half + 1)
    weights /= weights.sum()
    values = np.where(live[:, None], acc, np.nan).astype(np.float64)
    if len(values) < len(weights):
        return np.full(len(values), np.nan)
    summed = np.stack([np.convolve(values[:, k], weights, "same") for k in range(3)], -1)
    summed[:half], summed[-half:] = np.nan, np.nan
    return np.linalg.norm(summed, axis=-1)

"""Whether a recording looks like what a model was trained on: wrong units, rates and axes are told, not guessed away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aura.data.config import Input, kind_of
from aura.data.memory import MemoryRecord
from aura.inference.recordings import G

# Of a sensor at rest, of a fast movement, and of a standing body: where a model says nothing of its training.
PLAUSIBLE = {"acc": [6.0, 9.8, 20.0], "gyro": [0.0, 0.5, 10.0], "height": [0.4, 1.5, 2.2]}
SLOWER = 0.75
LIMIT = 2.0  # a median this many times beyond the 1st or 99th percentile of training is told


class InputWarning(UserWarning):
    """A recording that a model can read, and that looks unlike its training."""


def doubts(record: MemoryRecord, stream: str, settings: Input, statistics: Mapping[str, Any]) -> list[str]:
    """In words, what is odd of the stream of a recording; none: nothing is.

    statistics    of the model's training, see `aura.data.describe`
    """
    about, kind = record.head["streams"][stream], kind_of(stream)
    known = statistics.get(stream, {})
    found = []
    rate: float | None = getattr(settings, "rate_hz", None)
    if rate is not None and about["rate_hz"] < SLOWER * min(rate, *known.get("rate_hz", [rate])):
        found.append(
            f"{stream} at {about['rate_hz']:g} Hz: the model reads {rate:g} Hz, what is faster than half your rate is missing"
        )
    if kind == "imu":
        found += _imu_doubts(record.array(stream), about["sensors"], known)
        found += _placement_doubts(about["sensors"], settings, known)
    elif kind == "mocap":
        height = float(np.median(np.ptp(record.array(stream)[..., 2], axis=1)))
        low, _, high = known.get("height", PLAUSIBLE["height"])
        if not low / LIMIT <= height <= high * LIMIT:
            usual = f"{low:.2g} to {high:.2g} m in training"
            found.append(f"{stream} spans {height:.3g} m along z, {usual}: is it in metres, with z up? See units, up")
    return found


def _imu_doubts(values: np.ndarray, sensors: list[dict], known: Mapping[str, Any]) -> list[str]:
    found = []
    for values_of, sensor in zip(values, sensors):
        name = "" if sensor["placement"] == "unknown" else f" at {sensor['placement']}"
        acc = float(np.median(np.linalg.norm(values_of[:, :3], axis=-1)))
        low, usual, high = known.get("acc", PLAUSIBLE["acc"])
        if not low / LIMIT <= acc <= high * LIMIT:
            guess = "is gravity taken out of it?" if acc < low else "is it in another unit?"
            if 0.5 < acc < 2:
                guess = "is it in g? Say units='g'"
            elif 500 < acc < 2000:
                guess = "is it in mg? Say units='mg'"
            elif 0.0005 < acc < 0.02:
                guess = "are units='mg' said of g?"
            elif G**2 / 2 < acc < G**2 * 2:
                guess = "are units='g' said of m/s^2?"
            found.append(f"acceleration{name}: median norm {acc:.3g} m/s^2, {usual:.3g} in training: {guess}")
        if "gyro" not in sensor["channels"]:
            continue
        gyro = float(np.median(np.linalg.norm(values_of[:, 3:], axis=-1)))
        low, usual, high = known.get("gyro", PLAUSIBLE["gyro"])
        if gyro > LIMIT * max(high, 1.0):
            found.append(
                f"angular velocity{name}: median norm {gyro:.3g} rad/s, {usual:.3g} in training: is it in deg/s? Say"
                " gyro_units='deg/s'"
            )
    return found


def _placement_doubts(sensors: list[dict], settings: Input, known: Mapping[str, Any]) -> list[str]:
    named = list(getattr(settings, "placements", ()))
    there = named or list(known.get("placements", {}))
    names = {sensor["placement"] for sensor in sensors} - {"unknown"}
    new = sorted(names - set(there)) if there else []
    if not new:
        return []
    what = "is not read" if named and names & set(named) else "is new to the model"
    return [f"the sensor at {', '.join(new)} {what}: those of training were at {', '.join(there)}"]

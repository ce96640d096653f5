"""Whether a recording looks like what a model was trained on: wrong units, rates and axes are told, not guessed away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aura.data.config import ImuInput, Input, kind_of
from aura.data.describe import sensors_read
from aura.data.memory import MemoryRecord
from aura.data.units import LIMIT, InputWarning, acceleration_doubt, rotation_doubt

__all__ = ["InputWarning", "doubts", "fewer_sensors", "places"]

HEIGHT = [0.4, 1.5, 2.2]  # of a body, in metres: where a model says nothing of its training
SLOWER = 0.75


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
        low, _, high = known.get("height", HEIGHT)
        if not low / LIMIT <= height <= high * LIMIT:
            usual = f"{low:.2g} to {high:.2g} m in training"
            found.append(f"{stream} spans {height:.3g} m along z, {usual}: is it in metres, with z up? See units, up")
    elif kind == "series":
        found += _channel_doubts(record.array(stream), stream, about["channels"], known)
    elif kind == "pose2d":
        found += _pixel_doubts(record.array(stream), stream)
    return found


def places(settings: Input, statistics: Mapping[str, Any]) -> list[str]:
    """Where the sensors of an IMU stream were worn in training, as far as it is known."""
    named: list[str] = list(getattr(settings, "placements", ()))
    return named or [name for name in statistics.get("placements", {}) if name != "unknown"]


def fewer_sensors(record: MemoryRecord, stream: str, settings: Input, statistics: Mapping[str, Any]) -> str:
    """In words, that a recording has fewer sensors than any of the model's training; "": it has not, or the model was trained
    with sensors that are dropped at random, and knows any number."""
    seen = statistics.get(stream, {}).get("sensors")
    if seen is None or not isinstance(settings, ImuInput) or settings.augment.drop_sensor > 0:
        return ""
    worn = [sensor["placement"] for sensor in record.head["streams"][stream]["sensors"]]
    count = sensors_read(worn, settings) or len(worn)  # where none is at a place that the model names, all are read
    if count >= seen[0]:
        return ""
    return (
        f"{stream}: {count} sensor{' is' if count == 1 else 's are'} given, the model was trained with"
        f" {seen[0] if seen[0] == seen[1] else f'{seen[0]} to {seen[1]}'} at a time, never with fewer: what it says may be far"
        " worse; give all, or take a model trained with augment.drop_sensor"
    )


def _imu_doubts(values: np.ndarray, sensors: list[dict], known: Mapping[str, Any]) -> list[str]:
    found = []
    for values_of, sensor in zip(values, sensors):
        where = "" if sensor["placement"] == "unknown" else f" at {sensor['placement']}"
        acc, gyro = (float(np.median(np.linalg.norm(part, axis=-1))) for part in (values_of[:, :3], values_of[:, 3:]))
        found.append(acceleration_doubt(acc, known, where))
        if "gyro" in sensor["channels"]:
            found.append(rotation_doubt(gyro, known, where))
    return [doubt for doubt in found if doubt]


def _placement_doubts(sensors: list[dict], settings: Input, known: Mapping[str, Any]) -> list[str]:
    named, there = list(getattr(settings, "placements", ())), places(settings, known)
    names = {sensor["placement"] for sensor in sensors} - {"unknown"}
    new = sorted(names - set(there)) if there else []
    if not new:
        return []
    what = "is not read" if named and names & set(named) else "is new to the model"
    return [f"the sensor at {', '.join(new)} {what}: those of training were at {', '.join(there)}"]


def _channel_doubts(values: np.ndarray, stream: str, channels: list[str], known: Mapping[str, Any]) -> list[str]:
    """Of values (T, C): a median further from those of training than half of what these span, and of the nearest of them, is
    one of another unit."""
    found = []
    for channel, column in zip(channels, values.T):
        low, _, high = known.get("channels", {}).get(channel, [-np.inf, 0, np.inf])
        if np.isnan(column).all():
            continue
        median, name, unit = float(np.nanmedian(column)), *channel.split(" ")
        below, above = (max((high - low) / 2, abs(end) / 2) for end in (low, high))
        if not low - below <= median <= high + above:
            found.append(
                f"{stream}: {name} is {median:.3g} {unit}, {low:.3g} to {high:.3g} {unit} in training: is it in {unit}?"
            )
    return found


def _pixel_doubts(values: np.ndarray, stream: str) -> list[str]:
    """Of points (T, J, 3): a body of a pixel or two is one whose points are shares of the image."""
    points = values[..., :2][values[..., 2] > 0]
    low, high = float(points.min()), float(points.max())
    if max(-low, high) > 1:
        return []
    return [
        f"{stream}: all points lie within {low:.2g} and {high:.2g}, and are read as pixels: are they shares of the image?"
        " Multiply x by its width and y by its height"
    ]

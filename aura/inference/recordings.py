"""Recordings as people have them, as samples that the readers of shards read: units, axes and shapes are settled here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from aura.body.placements import placement_id
from aura.body.skeletons import SKELETONS, skeleton
from aura.data.config import CHANNEL
from aura.data.film import measure
from aura.data.memory import MemoryRecord
from aura.data.sample import Sample
from aura.data.units import ACC, GYRO, LENGTH, factor

SLOWEST_HZ, FASTEST_HZ = 0.5, 1e5
LARGEST = 1e12  # of a value: beyond it sums of squares are no numbers any more


def imu_record(
    values: Any,
    rate_hz: float,
    units: str = "m/s^2",
    gyro_units: str = "rad/s",
    placements: Sequence[str] | str | None = None,
    orientation: Any = None,
    stream: str = "imu",
) -> MemoryRecord:
    """A recording of S sensors.

    values        (T, 3) acceleration, (T, 6) acceleration then angular velocity, or (S, T, 3 or 6) of several sensors; NumPy,
                  torch, pandas or lists. The accelerometer's own measure, gravity in it: at rest its norm is 1 g
    units         of acceleration: m/s^2, g, mg; gyro_units: rad/s, deg/s; or as they are written otherwise (m/s2, dps), see
                  `aura.data.units.SPELLINGS`
    placements    where each sensor is worn, of `aura.body.placements`; None, or "unknown" of any number of them: unknown
    orientation   (S, T, 4) unit quaternions w x y z, sensor to world, for towers that read them

    ValueError for another shape, a unit or placement that is not known, values that are not finite.
    """
    found = _array(values, "imu")
    if found.ndim == 2:
        found = found[None]
    if found.ndim != 3 or found.shape[-1] not in (3, 6) or 0 in found.shape:
        raise ValueError(
            f"imu has shape {np.shape(values)}: give (T, 3) acceleration or (T, 6) acceleration and angular velocity, or"
            " (sensors, T, 3 or 6)" + _chosen(values)
        )
    count, length, channels = found.shape
    if isinstance(placements, str):
        placements = [placements] * (count if placements == "unknown" else 1)
    names = ["unknown"] * count if placements is None else [str(name).replace("_", " ") for name in placements]
    if len(names) != count:
        raise ValueError(f"placements names {len(names)} sensors, imu has {count}")
    for name in names:
        placement_id(name)
    scaled = np.zeros((count, length, 6), np.float32)
    scaled[..., :3] = found[..., :3] * factor(units, ACC, "units")
    if channels == 6:
        scaled[..., 3:] = found[..., 3:] * factor(gyro_units, GYRO, "gyro_units")
    sensors = [{"placement": name, "channels": ["acc", "gyro"][: channels // 3]} for name in names]
    arrays: dict[str, Any] = {stream: scaled}
    if orientation is not None:
        turned = _array(orientation, "orientation").astype(np.float32)
        turned = turned[None] if turned.ndim == 2 else turned
        if turned.shape != (count, length, 4):
            raise ValueError(f"orientation has shape {turned.shape}, imu needs ({count}, {length}, 4)")
        if (off := float(np.abs(np.linalg.norm(turned, axis=-1) - 1).max())) > 0.05:
            raise ValueError(f"orientation: quaternions have norm 1, these are off by {off:.3g}")
        arrays["orientation" + stream.removeprefix("imu")] = turned
    return _record(arrays, stream, rate_hz, length, sensors=sensors)


def _chosen(values: Any) -> str:
    """How to take the right columns of a table."""
    columns = [str(name) for name in getattr(values, "columns", [])]
    return (
        f"; of the columns {', '.join(columns)} take those, without times: table[['ax', 'ay', 'az', ...]]"
        if columns
        else ""
    )


def mocap_record(
    values: Any, rate_hz: float, skeleton: str | Mapping, units: str = "m", up: str = "z", stream: str = "mocap"
) -> MemoryRecord:
    """Joint positions (T, J, 3) in a right-handed frame; `up`: the axis that points up, z or y. skeleton: a name that
    `aura.body.skeletons` knows, or {joints, parents}. ValueError as `imu_record`."""
    found = _array(values, "mocap") * factor(units, LENGTH, "units")
    if up not in ("y", "z"):
        raise ValueError(f"up is {up!r}: y or z")
    found = _skeletal(found, skeleton, "mocap", (3,))
    if up == "y":
        found = np.stack([found[..., 0], -found[..., 2], found[..., 1]], -1)
    return _record({stream: found.astype(np.float32)}, stream, rate_hz, len(found), skeleton=_named(skeleton))


def pose2d_record(
    values: Any, rate_hz: float, skeleton: str | Mapping, image_size: tuple[int, int], stream: str = "pose2d"
) -> MemoryRecord:
    """Image points (T, J, 2) in pixels, or (T, J, 3) with a confidence 0 to 1 (0: unknown); image_size: width, height.
    ValueError as `imu_record`."""
    found = _skeletal(_array(values, "pose2d"), skeleton, "pose2d", (2, 3))
    if found.shape[-1] == 2:
        found = np.concatenate([found, np.ones_like(found[..., :1])], -1)
    if found[..., 2].min() < 0 or found[..., 2].max() > 1:
        raise ValueError(f"pose2d: confidences go from {found[..., 2].min():g} to {found[..., 2].max():g}, not 0 to 1")
    found = np.where(found[..., 2:] > 0, found, 0)
    try:
        width, height = (int(side) for side in image_size)
    except (TypeError, ValueError):
        raise ValueError(f"pose2d needs image_size=(width, height) in pixels, is {image_size!r}") from None
    if width < 1 or height < 1:
        raise ValueError(f"pose2d: image_size is {image_size!r}: width and height in pixels")
    if not (found[..., 2] > 0).any():
        raise ValueError("pose2d: every point is unknown (confidence 0)")
    camera = {"width": width, "height": height}
    return _record(
        {stream: found.astype(np.float32)}, stream, rate_hz, len(found), skeleton=_named(skeleton), camera=camera
    )


def series_record(values: Any, rate_hz: float, channels: Sequence[str], stream: str = "series") -> MemoryRecord:
    """A signal over time (T, C), or (T,) of one channel, NaN where a value is missing; channels: a name and a unit of each, such
    as "heart_rate bpm". ValueError as `imu_record`, and where nothing is known."""
    found = _array(values, stream, missing=True)
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or 0 in found.shape:
        raise ValueError(f"{stream} has shape {np.shape(values)}: give (T, channels), or (T,) of one channel")
    channels = [channels] if isinstance(channels, str) else list(channels)
    for name in channels:
        if CHANNEL.fullmatch(name) is None:
            raise ValueError(f"{stream}: channels: {name!r} is no name and unit, such as 'heart_rate bpm'")
    if found.shape[1] != len(channels):
        raise ValueError(
            f"{stream} has {found.shape[1]} channels, channels names {len(channels)}: {', '.join(channels)}; say which these"
            " are, channels=[...]"
        )
    if np.isnan(found).all():
        raise ValueError(f"{stream}: every value is missing")
    return _record({stream: found.astype(np.float32)}, stream, rate_hz, len(found), channels=channels)


def video_record(values: Any, rate_hz: float | None = None, stream: str = "video") -> MemoryRecord:
    """A film: path or bytes of a file that FFmpeg reads, whose frames are turned upright, or frames (T, H, W, 3) uint8 RGB at
    `rate_hz`, upright. ValueError for a file without frames, frames of another form or beyond
    `aura.data.film.MOST_SIZE`."""
    if isinstance(values, str | Path):
        try:
            values = Path(values).read_bytes()
        except OSError as error:
            raise ValueError(f"video: {values} cannot be read: {error.strerror}") from error
    if isinstance(values, bytes):
        try:
            film = measure(values)
        except av.FFmpegError as error:
            raise ValueError(f"video: {len(values)} bytes that are no film: {error}") from error
        except ValueError as error:
            raise ValueError(f"video: {error}") from error
        camera = {"width": film.width, "height": film.height}
        return _record({stream: values}, stream, film.frames / film.seconds, film.frames, camera=camera)
    frames = np.asarray(values)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"video: frames are {frames.dtype} {frames.shape}, give uint8 (T, H, W, 3), RGB; or a file")
    camera = {"width": frames.shape[2], "height": frames.shape[1]}
    return _record({stream: frames}, stream, rate_hz, len(frames), camera=camera)


def _array(values: Any, name: str, *, missing: bool = False) -> np.ndarray:
    """Numbers of any library as an array. ValueError where they are none, or not finite; `missing`: NaN is allowed."""
    if hasattr(values, "detach"):  # torch
        values = values.detach().cpu()
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        columns = list(getattr(values, "columns", []))
        raise ValueError(
            f"{name}: not an array of numbers ({error})"
            + (f"; of the columns {columns} choose some" if columns else "")
        ) from error
    if np.iscomplexobj(values):
        raise ValueError(f"{name}: numbers are complex")
    if np.abs(found[np.isfinite(found)]).max(initial=0.0) > LARGEST:
        raise ValueError(
            f"{name}: values up to {np.abs(found[np.isfinite(found)]).max():.3g}: are they what was measured?"
        )
    bad = np.isinf(found) if missing else ~np.isfinite(found)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name}: {np.count_nonzero(bad)} of {found.size} values are not finite, first at {where}:"
            " interpolate short gaps, cut the recording at long ones"
        )
    return found


def _skeletal(found: np.ndarray, meta: str | Mapping, name: str, sizes: tuple[int, ...]) -> np.ndarray:
    if found.ndim != 3 or found.shape[-1] not in sizes or 0 in found.shape:
        raise ValueError(f"{name} has shape {found.shape}: give (T, joints, {' or '.join(map(str, sizes))})")
    known = skeleton(_named(meta))
    if len(known.joints) != found.shape[1]:
        raise ValueError(
            f"{name} has {found.shape[1]} joints, the skeleton {known.name or 'given'} has {len(known.joints)}: name another"
            f" of {', '.join(SKELETONS)}, or give {{'joints': [...], 'parents': [...]}}"
        )
    return found


def _named(meta: str | Mapping) -> Any:
    return meta if isinstance(meta, str) else {"joints": list(meta["joints"]), "parents": list(meta["parents"])}


def _record(arrays: dict[str, Any], stream: str, rate_hz: float | None, length: int, **about: Any) -> MemoryRecord:
    if not isinstance(rate_hz, int | float | np.number) or not SLOWEST_HZ <= rate_hz <= FASTEST_HZ:
        raise ValueError(
            f"rate_hz is {rate_hz!r}: give the items of {stream} a second, a number from {SLOWEST_HZ:g} to {FASTEST_HZ:g}"
        )
    entry = {"rate_hz": float(rate_hz), "start_s": 0.0, "length": length, **about}
    return MemoryRecord(Sample(f"the given {stream}", "given", "given", length / rate_hz, {stream: entry}, arrays))

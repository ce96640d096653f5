"""One sample of a shard: format `aura-shards/1`, its files and its rules.

A sample is up to 60 s of a recording with all its streams. In a tar it is the consecutive files `KEY.json`, then
`KEY.<array>.npy` or `KEY.<stream>.mp4`, in order of name. Time is in seconds, acceleration in m/s^2, angular velocity
in rad/s, length in metres, image points in pixels.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeGuard

import numpy as np

from aura.body.placements import PLACEMENTS
from aura.body.skeletons import skeleton
from aura.data.config import CHANNEL, KINDS, kind_of

KEY = re.compile(r"[A-Za-z0-9_-]+")
RECORDED = tuple(kind for kind in KINDS if kind != "text")
STREAM = re.compile(rf"({'|'.join(RECORDED)})(_[a-z0-9_]+)?")
ARRAY = re.compile(rf"({'|'.join(RECORDED)}|orientation)(_[a-z0-9_]+)?|(video(_[a-z0-9_]+)?|text)\.emb")
SHAPES = {  # of arrays, by kind
    "imu": "(S, T, 6)",
    "mocap": "(T, J, 3)",
    "pose2d": "(T, J, 3)",
    "series": "(T, C)",
    "emb": "(n, D)",
}
TEXT_KINDS = ("label", "description", "commentary", "paraphrase")
CHANNELS = ("acc", "gyro")
MAX_SECONDS = 60.0
OVERHANG_S = 2.0  # a stream may begin before its sample or end after it, by less than this
CAMERA_REALS = ("fx", "fy", "cx", "cy")


@dataclass
class Sample:
    """What a converter makes and a reader gives.

    id, recording   id is the key of the sample's files, unique in the folder, of `[A-Za-z0-9_-]`
    streams         by stream name, as in KEY.json: `rate_hz`, `start_s` (in the sample, may be negative), `length`,
                    `clock_hz` (items a second by the stream's own clock, where `rate_hz` was fitted to another stream) and
                    imu: `sensors`, a list of {placement, channels, virtual, range: [acc, gyro] full scale, 0 unknown};
                    mocap, pose2d: `skeleton`, a known name or {joints, parents}; pose2d, video: `camera` with `width`,
                    `height` and `fx`, `fy`, `cx`, `cy` where known; series: `channels`, a name and a unit of each
                    ("heart_rate bpm"). Embeddings of a frozen tower: an entry `video.emb`
                    with `tower` (hash), `rate_hz`, `start_s`, `length`; `text.emb` with `tower`, `length`
    arrays          `imu` float32 (S, T, 6), `orientation` float32 (S, T, 4), `mocap` float32 (T, J, 3), `pose2d`
                    float32 (T, J, 3), `series` float32 (T, C), NaN where a value is missing, `video` bytes of an mp4, `video.emb`, `text.emb` float16 (n, D); a second stream
                    of a kind has a suffix (`video_depth`, and `orientation_b` beside `imu_b`)
    texts           list of {text, start_s, end_s, kind}, times in the sample, kind of `TEXT_KINDS`
    """

    id: str
    dataset: str
    recording: str
    duration_s: float
    streams: dict[str, dict]
    arrays: dict[str, np.ndarray | bytes]
    session: str = ""
    subject: str = ""
    group: str = ""
    start_s: float = 0.0
    licence: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    texts: list[dict] = field(default_factory=list)


def orientation_of(imu: str) -> str:
    """Name of the orientation array beside an imu stream: `imu_b` -> `orientation_b`."""
    return "orientation" + imu[len("imu") :]


def metadata(sample: Sample) -> dict:
    """The content of KEY.json: reals are floats and strings are never null, so that every reader sees one type."""

    def stream(entry: dict) -> dict:
        entry = {k: float(v) if k in ("rate_hz", "start_s", "clock_hz") else v for k, v in entry.items()}
        if "sensors" in entry:
            entry["sensors"] = [
                {
                    "placement": s["placement"],
                    "channels": list(s["channels"]),
                    "virtual": bool(s.get("virtual", False)),
                    "range": [float(x) for x in s.get("range") or (0.0, 0.0)],
                }
                for s in entry["sensors"]
            ]
        if "camera" in entry:
            entry["camera"] = {k: float(v) if k in CAMERA_REALS else v for k, v in entry["camera"].items()}
        return entry

    return {
        "id": sample.id,
        "dataset": sample.dataset,
        "recording": sample.recording,
        "session": sample.session,
        "subject": sample.subject,
        "group": sample.group,
        "start_s": float(sample.start_s),
        "duration_s": float(sample.duration_s),
        "licence": sample.licence,
        "labels": {name: sample.labels[name] for name in sorted(sample.labels)},
        "texts": [
            {"text": t["text"], "start_s": float(t["start_s"]), "end_s": float(t["end_s"]), "kind": t["kind"]}
            for t in sample.texts
        ],
        "streams": {name: stream(sample.streams[name]) for name in sorted(sample.streams)},
    }


def to_members(sample: Sample) -> list[tuple[str, bytes]]:
    """The sample's files as (name, bytes): KEY.json first, then the arrays in order of name.

    Raises ValueError where the sample breaks a rule of `validate`.
    """
    validate(sample)
    head = json.dumps(metadata(sample), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    members = [(f"{sample.id}.json", head.encode())]
    for name in sorted(sample.arrays):
        value = sample.arrays[name]
        if isinstance(value, bytes):
            members.append((f"{sample.id}.{name}.mp4", value))
        else:
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(value), allow_pickle=False)
            members.append((f"{sample.id}.{name}.npy", buffer.getvalue()))
    return members


def from_members(members: Iterable[tuple[str, bytes]]) -> Sample:
    """The sample that the files (name, bytes) of one key hold. Raises ValueError, naming the file that cannot be read.

    Says nothing about the rules: `validate` does.
    """
    head, arrays, key = None, {}, None
    for name, data in members:
        base, _, rest = name.partition(".")
        if key not in (None, base):
            raise ValueError(f"{name}: belongs to another sample than {key!r}")
        key = base
        try:
            if rest == "json":
                head = json.loads(data)
            elif rest.endswith(".npy"):
                arrays[rest.removesuffix(".npy")] = np.load(io.BytesIO(data), allow_pickle=False)
            elif rest.endswith(".mp4"):
                arrays[rest.removesuffix(".mp4")] = bytes(data)
            else:
                raise ValueError("a file of a sample ends in .json, .npy or .mp4")
        except Exception as error:  # numpy raises of all kinds at a damaged header
            raise ValueError(f"{name}: cannot be read: {error}") from error
    if not isinstance(head, dict):
        raise ValueError(f"{key}.json: missing or not an object")
    return from_metadata(head, arrays)


def from_metadata(head: dict, arrays: dict[str, np.ndarray | bytes]) -> Sample:
    """A sample of the content of its KEY.json and its arrays. Raises ValueError where a field is missing or unknown."""
    known = Sample.__dataclass_fields__.keys() - {"arrays"}
    needed = ("id", "dataset", "recording", "duration_s", "streams")
    missing = [name for name in needed if name not in head]
    unknown = sorted(head.keys() - known)
    if missing or unknown:
        raise ValueError(f"{head.get('id', '?')}.json: fields missing: {missing}, unknown: {unknown}")
    return Sample(**head, arrays=arrays)


def validate(sample: Sample) -> None:
    """Raises ValueError that lists everything in which the sample breaks the format."""
    found = problems(sample)
    if found:
        raise ValueError(f"sample {sample.id!r} of recording {sample.recording!r}: " + "; ".join(found))


def problems(sample: Sample) -> list[str]:
    """Everything in which a sample breaks the format, one line each: `field: what is wrong, what is right`."""
    found = _head_problems(sample)
    for name, entry in sample.streams.items():
        if not isinstance(entry, dict):
            found.append(f"streams.{name}: is {type(entry).__name__}, must be an object")
        elif ARRAY.fullmatch(name) is None:
            found.append(f"streams.{name}: unknown name, must be {', '.join(RECORDED)}, or one with a _suffix")
        elif name not in sample.arrays:
            found.append(f"streams.{name}: has no array")
    for name, value in sample.arrays.items():
        entry = sample.streams.get(name)
        if ARRAY.fullmatch(name) is None:
            found.append(f"{name}: unknown array name")
        elif kind_of(name) == "orientation":
            found += _orientation_problems(sample, name, value)
        elif not isinstance(entry, dict):
            found.append(f"{name}: array without an entry in streams")
        else:
            found += _stream_problems(sample, name, entry, value)
    return found


def _head_problems(sample: Sample) -> list[str]:
    found = []
    for name in ("id", "dataset", "recording", "session", "subject", "group", "licence"):
        if not isinstance(getattr(sample, name), str):
            found.append(f'{name}: is {getattr(sample, name)!r}, must be a string ("" where there is none)')
    if isinstance(sample.id, str) and KEY.fullmatch(sample.id) is None:
        found.append(f"id: {sample.id!r} must be of [A-Za-z0-9_-], not empty")
    found += [f"{name}: is empty" for name in ("dataset", "recording") if getattr(sample, name) == ""]
    if not _real(sample.duration_s) or not 0 < sample.duration_s <= MAX_SECONDS + 1e-6:
        found.append(
            f"duration_s: is {sample.duration_s!r}, must be above 0 and at most {MAX_SECONDS:g}; leave a longer recording as"
            " samples of the same recording, each with its start_s"
        )
    if not _real(sample.start_s):
        found.append(f"start_s: is {sample.start_s!r}, must be a finite number")
    if not isinstance(sample.labels, dict):
        return [*found, f"labels: is {type(sample.labels).__name__}, must be an object"]
    for name, value in sample.labels.items():
        if not isinstance(name, str) or not name or not isinstance(value, str):
            found.append(f"labels.{name}: is {value!r}, must be a string")
    for i, text in enumerate(sample.texts):
        if not isinstance(text, dict) or text.keys() != {"text", "start_s", "end_s", "kind"}:
            found.append(f"texts[{i}]: must have text, start_s, end_s, kind and nothing else")
            continue
        if not isinstance(text["text"], str) or not text["text"].strip():
            found.append(f"texts[{i}].text: is {text['text']!r}, must be a string that says something")
        if text["kind"] not in TEXT_KINDS:
            found.append(f"texts[{i}].kind: is {text['kind']!r}, must be one of {', '.join(TEXT_KINDS)}")
        if not (_real(text["start_s"]) and _real(text["end_s"]) and text["start_s"] <= text["end_s"]):
            found.append(f"texts[{i}]: start_s {text['start_s']!r} to end_s {text['end_s']!r} is no span of seconds")
    return found


def _stream_problems(sample: Sample, name: str, entry: dict, value: np.ndarray | bytes) -> list[str]:
    found = []
    embedding = name.endswith(".emb")
    kind = "emb" if embedding else kind_of(name)
    length = entry.get("length")
    if name != "text.emb":
        found += _time_problems(sample, name, entry)
    if kind == "video":
        if not isinstance(value, bytes) or value[4:8] != b"ftyp":
            found.append(f"{name}: must be the bytes of an mp4 file")
        if not isinstance(length, int) or length < 1:
            found.append(f"streams.{name}.length: is {length!r}, must be the number of frames")
        return found + _camera_problems(name, entry)
    shape = SHAPES[kind]
    dtype = np.dtype("<f2" if embedding else "<f4")
    last = {"imu": 6, "mocap": 3, "pose2d": 3}.get(kind)
    if not isinstance(value, np.ndarray) or value.dtype != dtype:
        return [*found, f"{name}: is {getattr(value, 'dtype', type(value).__name__)}, must be {dtype.name}"]
    if value.ndim != shape.count(",") + 1 or 0 in value.shape or (last and value.shape[-1] != last):
        lacks = "; what a sensor does not measure is 0, and not in its channels" if kind == "imu" else ""
        return [*found, f"{name}: shape is {value.shape}, must be {shape}, and not empty{lacks}"]
    items = value.shape[1] if kind == "imu" else value.shape[0]
    if length != items:
        found.append(f"streams.{name}.length: is {length!r}, the array has {items}")
    if kind == "series":
        return found + _series_problems(name, entry, value)
    if not np.isfinite(value).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        return [*found, f"{name}: is not finite, first at {first}"]
    if embedding:
        if not isinstance(entry.get("tower"), str) or not entry["tower"]:
            found.append(f"streams.{name}.tower: must be the hash of the tower")
        if name == "text.emb" and items != len(sample.texts):
            found.append(f"text.emb: has {items} rows for {len(sample.texts)} texts")
    elif kind == "imu":
        found += _sensor_problems(name, entry, value)
    elif kind in ("mocap", "pose2d"):
        found += _skeleton_problems(name, entry, value.shape[1])
    if kind == "pose2d":
        found += _camera_problems(name, entry)
        confidence = value[..., 2]
        if confidence.min() < 0 or confidence.max() > 1:
            found.append(f"{name}: confidence is {confidence.min():g} to {confidence.max():g}, must be within 0 to 1")
        if (value[..., :2][confidence == 0] != 0).any():
            found.append(f"{name}: a point of confidence 0 is unknown, its x and y must be 0")
    return found


def _time_problems(sample: Sample, name: str, entry: dict) -> list[str]:
    rate, start, length = entry.get("rate_hz"), entry.get("start_s"), entry.get("length")
    if not _real(rate) or rate <= 0:
        return [f"streams.{name}.rate_hz: is {rate!r}, must be above 0"]
    clock = entry.get("clock_hz", rate)
    if not _real(clock) or clock <= 0:
        return [f"streams.{name}.clock_hz: is {clock!r}, must be above 0"]
    if not _real(start):
        return [f"streams.{name}.start_s: is {start!r}, must be a finite number"]
    if isinstance(length, int) and _real(sample.duration_s):
        end = start + (length - 1) / rate
        if start < -OVERHANG_S or end > sample.duration_s + OVERHANG_S or end < 0 or start > sample.duration_s:
            span = f"{start:g} to {end:g} s"
            return [f"streams.{name}: spans {span} of a sample of {sample.duration_s:g} s; check rate_hz and start_s"]
    return []


def _orientation_problems(sample: Sample, name: str, value: np.ndarray | bytes) -> list[str]:
    beside = "imu" + name[len("orientation") :]
    imu = sample.arrays.get(beside)
    if not isinstance(imu, np.ndarray):
        return [f"{name}: there is no {beside} beside it"]
    if not isinstance(value, np.ndarray) or value.dtype != np.dtype("<f4") or value.shape != (*imu.shape[:2], 4):
        shape = getattr(value, "shape", type(value).__name__)
        return [f"{name}: must be float32 {(*imu.shape[:2], 4)}, the sensors and times of {beside}, is {shape}"]
    if not np.isfinite(value).all():
        return [f"{name}: is not finite"]
    off = float(np.abs(np.linalg.norm(value.astype(np.float64), axis=-1) - 1).max())
    return [f"{name}: quaternions must have norm 1, off by {off:.3g}"] if off > 1e-3 else []


def _sensor_problems(name: str, entry: dict, value: np.ndarray) -> list[str]:
    sensors = entry.get("sensors")
    if not isinstance(sensors, list) or len(sensors) != value.shape[0]:
        return [f"streams.{name}.sensors: must be a list of the array's {value.shape[0]} sensors"]
    found = []
    for i, sensor in enumerate(sensors):
        place = f"streams.{name}.sensors[{i}]"
        if not isinstance(sensor, dict):
            found.append(f"{place}: must be an object")
            continue
        if sensor.get("placement") not in PLACEMENTS:
            found.append(f"{place}.placement: is {sensor.get('placement')!r}, must be of {', '.join(PLACEMENTS)}")
        channels = sensor.get("channels")
        if not isinstance(channels, list | tuple) or not channels or not set(channels) <= set(CHANNELS):
            found.append(f"{place}.channels: is {channels!r}, must be some of {list(CHANNELS)}")
            continue
        for j, channel in enumerate(CHANNELS):
            if channel not in channels and value[i, :, 3 * j : 3 * j + 3].any():
                found.append(f"{place}: {channel} is not among its channels, so it must be zero")
        full_scale = sensor.get("range") or [0.0, 0.0]
        if len(full_scale) != 2 or not all(_real(x) and x >= 0 for x in full_scale):
            found.append(f"{place}.range: is {full_scale!r}, must be [m/s^2, rad/s], 0.0 where unknown")
    return found


def _series_problems(name: str, entry: dict, value: np.ndarray) -> list[str]:
    found, channels = [], entry.get("channels")
    if not isinstance(channels, list | tuple) or len(channels) != value.shape[1]:
        found.append(
            f"streams.{name}.channels: is {channels!r}, must be a list of the array's {value.shape[1]} channels"
        )
    elif wrong := [c for c in channels if not isinstance(c, str) or CHANNEL.fullmatch(c) is None]:
        found.append(f"streams.{name}.channels: {wrong[0]!r} must be a name and a unit, such as 'heart_rate bpm'")
    elif len({channel.partition(" ")[0] for channel in channels}) < len(channels):
        found.append(f"streams.{name}.channels: {list(channels)} name one twice")
    if np.isinf(value).any():
        found.append(f"{name}: is infinite, first at {tuple(int(i) for i in np.argwhere(np.isinf(value))[0])}")
    elif np.isnan(value).all():
        found.append(f"{name}: holds no value: leave the stream out")
    return found


def _skeleton_problems(name: str, entry: dict, joints: int) -> list[str]:
    place = f"streams.{name}.skeleton"
    try:
        known = len(skeleton(entry["skeleton"]).joints)
    except (KeyError, TypeError, ValueError) as error:
        return [f"{place}: must be a known name, or joints and parents: {error}"]
    return [] if known == joints else [f"{place}: has {known} joints, the array {joints}"]


def _camera_problems(name: str, entry: dict) -> list[str]:
    camera = entry.get("camera")
    if not isinstance(camera, dict):
        return [f"streams.{name}.camera: must have width and height"]
    found = []
    for side in ("width", "height"):
        if not isinstance(camera.get(side), int) or camera[side] < 1:
            found.append(f"streams.{name}.camera.{side}: is {camera.get(side)!r}, must be pixels, a whole number")
    for key in CAMERA_REALS:
        if key in camera and not _real(camera[key]):
            found.append(f"streams.{name}.camera.{key}: is {camera[key]!r}, must be a finite number")
    return found


def _real(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

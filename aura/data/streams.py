"""One entry per kind of stream: from a record to the fields of a row's `Stream`, without the batch dimension.

`READERS[kind](record, cut, options)` gives a dict of arrays, or None where the record lacks the stream or it covers too
little of the window. `BLANKS[kind](seconds, options)` gives the same fields for a row that lacks it. What is drawn for the
augmentation has names `draws.<name>`; without a random generator (evaluation) nothing is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from aura.body.placements import placement_id
from aura.body.skeletons import SKELETONS, match, skeleton
from aura.data.config import ImuAugment, ImuInput, MocapInput, Pose2dInput, SkeletonAugment, TextInput, VideoInput
from aura.data.cut import Cut, items
from aura.data.index import BadSample, Record
from aura.data.order import hash64
from aura.data.resample import IDENTITY, needed, resample_at, resample_points, resample_rotations
from aura.data.sample import orientation_of
from aura.data.video import decode_frames

NO_IMU_AUGMENT = ImuAugment.model_validate({})
NO_SKELETON_AUGMENT = SkeletonAugment.model_validate({})


@dataclass
class Options:
    """What a reader of a kind needs beside the record.

    tower, shape    stored embeddings asked for: hash of their tower, shape of a row; "" and (): the stream itself
    training        rows have draws of the augmentation
    stretched       windows run at another speed than the recording: rows have `step_s`
    key             of the row, in training: seeds its random choices; None: there are none
    """

    name: str
    config: Any
    min_cover: float
    tower: str = ""
    shape: tuple[int, ...] = ()
    training: bool = False
    stretched: bool = False
    key: int | None = None

    @cached_property
    def rng(self) -> np.random.Generator | None:
        """The row's generator for this stream, made when it is first needed."""
        return None if self.key is None else np.random.Generator(np.random.Philox(key=hash64(self.key, self.name)))


Fields = dict[str, Any]


def read_imu(record: Record, cut: Cut, options: Options) -> Fields | None:
    """values (S, T, 6), valid (S, T), sensor_mask (S,), channel_mask (S, 6), placement (S,), orientation (S, T, 4)."""
    config: ImuInput = options.config
    name = options.name
    stream = record.head["streams"].get(name)
    if stream is None:
        return None
    sensors = stream["sensors"]
    at = cut.grid(config.rate_hz, stream)
    begin, end = needed(stream["length"], at)
    if begin == end:
        return None
    at = at.after(begin)
    chosen = list(range(len(sensors)))
    if len(chosen) > config.sensors:
        if options.rng is not None:
            chosen = sorted(options.rng.permutation(len(chosen))[: config.sensors].tolist())
        chosen = chosen[: config.sensors]
    source = _finite(record, name, record.items(name, begin, end, chosen))
    values, valid = resample_at(source.swapaxes(0, 1), None, at)
    if _covers_less(valid, options.min_cover):
        return None
    out = blank_imu(cut.seconds, options)
    count = len(chosen)
    if count == config.sensors:
        out["values"] = values.swapaxes(0, 1)
    else:
        out["values"][:count] = values.swapaxes(0, 1)
    out["valid"][:count] = valid
    out["sensor_mask"][:count] = True
    if options.stretched:
        out["step_s"] = at.steps() / np.float32(stream["rate_hz"])
    for slot, i in enumerate(chosen):
        channels = sensors[i]["channels"]
        out["channel_mask"][slot, :3] = "acc" in channels
        out["channel_mask"][slot, 3:] = "gyro" in channels
        out["placement"][slot] = _placement(record, sensors[i]["placement"])
    if config.orientation and record.has(orientation_of(name)):
        source = _finite(record, name, record.items(orientation_of(name), begin, end, chosen))
        rotations, _ = resample_rotations(source.swapaxes(0, 1), None, at)
        out["orientation"][:count] = np.where(valid[None, :, None], rotations.swapaxes(0, 1), 0)
    if options.key is not None and config.augment != NO_IMU_AUGMENT:
        assert options.rng is not None
        _draw_imu(out, config, options.rng, count)
    return out


def blank_imu(seconds: float, options: Options) -> Fields:
    config: ImuInput = options.config
    slots, steps = config.sensors, items(seconds, config.rate_hz)
    out = {
        "values": np.zeros((slots, steps, 6), np.float32),
        "valid": np.zeros((slots, steps), bool),
        "sensor_mask": np.zeros(slots, bool),
        "channel_mask": np.zeros((slots, 6), bool),
        "placement": np.zeros(slots, np.int64),
    }
    if config.orientation:
        out["orientation"] = np.zeros((slots, steps, 4), np.float32)
    if options.stretched:
        out["step_s"] = np.full(steps, 1 / config.rate_hz, np.float32)
    augment = config.augment
    if options.training:
        if augment.rotation_deg or augment.limb_rotation_deg:
            out["draws.rotation"] = np.tile(IDENTITY, (slots, 1))
        if augment.gain:
            out["draws.gain"] = np.ones((slots, 6), np.float32)
        if augment.drop_sensor:
            out["draws.drop"] = np.zeros(slots, bool)
    return out


def _draw_imu(out: Fields, config: ImuInput, rng: np.random.Generator, count: int) -> None:
    """Fills the draws of a row: for each slot the turn (quaternion), the gain of each channel, whether it is dropped."""
    augment = config.augment
    slots = config.sensors
    if "draws.rotation" in out:
        out["draws.rotation"] = multiply(
            random_rotations(rng, slots, augment.rotation_deg), _limb_rotations(rng, slots, augment.limb_rotation_deg)
        )
    if "draws.gain" in out:
        out["draws.gain"] = (1 + augment.gain * rng.uniform(-1, 1, (slots, 6))).astype(np.float32)
    if "draws.drop" in out:
        chance = rng.random(slots)
        drop = chance < augment.drop_sensor
        drop[count:] = False
        if drop[:count].all():
            drop[int(np.argmax(chance[:count]))] = False  # one always stays
        out["draws.drop"] = drop
    for noise, part in ((augment.acc_noise, slice(0, 3)), (augment.gyro_noise, slice(3, 6))):
        if noise:
            shaken = noise * rng.standard_normal(out["values"][..., part].shape, dtype=np.float32)
            known = out["valid"][..., None] & out["channel_mask"][:, None, part]
            out["values"][..., part] += np.where(known, shaken, 0)


def random_rotations(rng: np.random.Generator, count: int, degrees: float) -> np.ndarray:
    """Unit quaternions (count, 4) about random axes, the angle normal with this deviation; 180 or more: uniform."""
    q = rng.standard_normal((count, 4))
    if degrees < 180:
        axis = q[:, 1:] / np.linalg.norm(q[:, 1:], axis=1, keepdims=True)
        half = np.radians(degrees) * q[:, :1] / 2
        q = np.concatenate([np.cos(half), np.sin(half) * axis], axis=1)
    return (q / np.linalg.norm(q, axis=1, keepdims=True)).astype(np.float32)


def _limb_rotations(rng: np.random.Generator, count: int, degrees: float) -> np.ndarray:
    half = (
        rng.uniform(-np.pi, np.pi, count) if degrees >= 180 else np.radians(degrees) * rng.standard_normal(count)
    ) / 2
    return np.stack([np.cos(half), np.sin(half), 0 * half, 0 * half], axis=1).astype(np.float32)


def multiply(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Hamilton product of quaternions (..., 4), w x y z."""
    w, v, x, u = p[..., :1], p[..., 1:], q[..., :1], q[..., 1:]
    return np.concatenate([w * x - (v * u).sum(-1, keepdims=True), w * u + x * v + np.cross(v, u)], axis=-1)


def read_skeleton(record: Record, cut: Cut, options: Options) -> Fields | None:
    """mocap: values (T, J, 3) on the recipe's skeleton, valid (T,), joint_mask (J,). pose2d: image_size (2,) too."""
    config: MocapInput | Pose2dInput = options.config
    name = options.name
    stream = record.head["streams"].get(name)
    if stream is None:
        return None
    at = cut.grid(config.rate_hz, stream)
    begin, end = needed(stream["length"], at)
    if begin == end:
        return None
    source = _finite(record, name, record.items(name, begin, end))
    index, there, same = _matched(_skeleton_text(stream["skeleton"]), config.skeleton)
    if not len(index):
        raise BadSample(f"{record.where}: no joint of {name} is in {config.skeleton}, the skeleton of inputs.{name}")
    if not same:
        source = source[:, index]
    at = at.after(begin)
    values, valid = resample_points(source, at) if config.kind == "pose2d" else resample_at(source, None, at)
    if _covers_less(valid, options.min_cover):
        return None
    out = blank_skeleton(cut.seconds, options)
    if there.all():
        out["values"] = values
    else:
        out["values"][:, there] = values
    out["valid"][:] = valid
    out["joint_mask"][:] = there
    if options.stretched:
        out["step_s"] = at.steps() / np.float32(stream["rate_hz"])
    if config.kind == "pose2d":
        out["image_size"][:] = stream["camera"]["width"], stream["camera"]["height"]
    if options.key is not None and config.augment != NO_SKELETON_AUGMENT:
        assert options.rng is not None
        _draw_skeleton(out, config, options.rng)
    return out


def blank_skeleton(seconds: float, options: Options) -> Fields:
    config: MocapInput | Pose2dInput = options.config
    if config.skeleton not in SKELETONS:
        raise ValueError(f"inputs.{options.name}.skeleton: {config.skeleton!r} is not one of {', '.join(SKELETONS)}")
    steps, joints = items(seconds, config.rate_hz), len(SKELETONS[config.skeleton].joints)
    out: Fields = {
        "values": np.zeros((steps, joints, 3), np.float32),
        "valid": np.zeros(steps, bool),
        "joint_mask": np.zeros(joints, bool),
    }
    if config.kind == "pose2d":
        out["image_size"] = np.zeros(2, np.float32)
    if options.stretched:
        out["step_s"] = np.full(steps, 1 / config.rate_hz, np.float32)
    augment = config.augment
    if options.training:
        if augment.yaw_deg:
            out["draws.yaw"] = np.zeros((), np.float32)
        if augment.scale:
            out["draws.scale"] = np.ones((), np.float32)
        if augment.bone:
            out["draws.bone"] = np.ones(joints, np.float32)
        if augment.drop_joint:
            out["draws.drop"] = np.zeros(joints, bool)
        if augment.offset:
            out["draws.offset"] = np.zeros((joints, 3), np.float32)
    return out


def _draw_skeleton(out: Fields, config: MocapInput | Pose2dInput, rng: np.random.Generator) -> None:
    """Fills the draws of a row: yaw in radians, size, length of each bone, dropped joints, offsets of joints.

    Offsets and noise are metres; for pose2d pixels, drawn as a share of the image's height, of x and y alone.
    """
    augment = config.augment
    joints = len(out["joint_mask"])
    axes, unit = (2, float(out["image_size"][1])) if config.kind == "pose2d" else (3, 1.0)
    if "draws.yaw" in out:
        turn = (
            rng.uniform(-np.pi, np.pi)
            if augment.yaw_deg >= 180
            else np.radians(augment.yaw_deg) * rng.standard_normal()
        )
        out["draws.yaw"] = np.array(turn, np.float32)
    if "draws.scale" in out:
        out["draws.scale"] = np.array(1 + augment.scale * rng.uniform(-1, 1), np.float32)
    if "draws.bone" in out:
        out["draws.bone"] = (1 + augment.bone * rng.uniform(-1, 1, joints)).astype(np.float32)
    if "draws.drop" in out:
        chance, there = rng.random(joints), out["joint_mask"]
        drop = (chance < augment.drop_joint) & there
        if drop[there].all():
            drop[int(np.argmax(np.where(there, chance, -1)))] = False  # one always stays
        out["draws.drop"] = drop
    if "draws.offset" in out:
        out["draws.offset"][:, :axes] = augment.offset * unit * rng.standard_normal((joints, axes))
    if augment.noise:
        values = out["values"]
        known = out["valid"][:, None] & out["joint_mask"]
        if config.kind == "pose2d":
            known &= values[..., 2] > 0
        shaken = augment.noise * unit * rng.standard_normal((*known.shape, axes), dtype=np.float32)
        values[..., :axes] += np.where(known[..., None], shaken, 0)


def read_video(record: Record, cut: Cut, options: Options) -> Fields | None:
    """values (F, 3, H, W) uint8, valid (F,); with stored embeddings values (F, D) float32.

    Frames are the nearest of a grid of `grid_hz` from the stream's first frame to the middles of the window's F parts.
    Embeddings of clips (their entry has `window_s`) give the one nearest to the window's start: F = 1.
    """
    config: VideoInput = options.config
    name = options.name
    stored = record.head["streams"].get(f"{name}.emb") if options.tower else None
    stream = stored if options.tower else record.head["streams"].get(name)
    if stream is None:
        return None
    if options.tower:
        _check_tower(record, options, stream)
        rate, count = stream["rate_hz"], stream["length"]
    else:
        rate, count = config.grid_hz, grid_items(stream, config.grid_hz)
    middles = np.array([0.0]) if "window_s" in stream else (np.arange(config.frames) + 0.5) / config.frames
    extent = {"rate_hz": rate, "start_s": stream["start_s"], "length": count}
    place = (cut.times(middles, extent) - stream["start_s"]) * rate
    valid = (place > -0.5 - 1e-6) & (place < count - 0.5 + 1e-6)
    if _covers_less(valid, options.min_cover):
        return None
    index = np.clip(np.floor(place + 0.5 - 1e-6).astype(int), 0, count - 1)
    if options.tower:
        first, last = int(index.min()), int(index.max())
        rows = _finite(record, f"{name}.emb", record.items(f"{name}.emb", first, last + 1))[index - first]
        return {"values": np.where(valid[:, None], rows, 0).astype(np.float32), "valid": valid}
    try:
        frames = decode_frames(record.bytes(f"{name}.mp4"), index / rate)
    except ValueError as error:
        raise BadSample(f"{record.where}.{name}.mp4: {error}") from error
    pixels = fit_frames(frames, config.size)
    pixels[~valid] = 0
    return {"values": pixels, "valid": valid}


def grid_items(stream: Mapping, grid_hz: float) -> int:
    """Frames of a video stream on the grid that training and stored embeddings share: at start_s + i / grid_hz."""
    return int(np.floor((stream["length"] - 1) / stream["rate_hz"] * grid_hz + 1e-6)) + 1


def fit_frames(frames: np.ndarray, size: int) -> np.ndarray:
    """RGB frames (F, H, W, 3) uint8 to (F, 3, size, size): the short side scaled to `size`, then cut in the centre."""
    height, width = frames.shape[1:3]
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if min(height, width) != size:
        scale = size / min(height, width)
        shape = (max(size, round(height * scale)), max(size, round(width * scale)))
        pixels = torch.nn.functional.interpolate(pixels, shape, mode="bicubic", antialias=True)
    top, left = (pixels.shape[2] - size) // 2, (pixels.shape[3] - size) // 2
    return pixels[:, :, top : top + size, left : left + size].contiguous().numpy().copy()


def blank_video(seconds: float, options: Options) -> Fields:
    config: VideoInput = options.config
    shape = options.shape if options.tower else (config.frames, 3, config.size, config.size)
    return {
        "values": np.zeros(shape, np.float32 if options.tower else np.uint8),
        "valid": np.zeros(shape[0], bool),
    }


def read_text(record: Record, cut: Cut, options: Options) -> Fields | None:
    """text: the words drawn for the row, among those of the wanted kinds that overlap the window (evaluation: the first);
    with stored embeddings also values (D,) and valid (1,)."""
    config: TextInput = options.config
    end = cut.start_s + cut.span_s
    fit = [
        i
        for i, text in enumerate(record.head["texts"])
        if text["kind"] in config.kinds
        and text["start_s"] < end
        and (text["end_s"] > cut.start_s or text["start_s"] >= cut.start_s)
    ]
    if not fit:
        return None
    # By hash and not by the generator, which costs more than all the rest here.
    index = fit[0] if options.key is None else fit[hash64(options.key, options.name) % len(fit)]
    out: Fields = {"text": record.head["texts"][index]["text"]}
    if options.tower:
        stored = record.head["streams"].get("text.emb")
        if stored is None:
            return None
        _check_tower(record, options, stored)
        row = _finite(record, "text.emb", record.items("text.emb", index, index + 1))[0]
        out |= {"values": row.astype(np.float32), "valid": np.ones(1, bool)}
    return out


def blank_text(seconds: float, options: Options) -> Fields:
    if not options.tower:
        return {"text": ""}
    return {"text": "", "values": np.zeros(options.shape, np.float32), "valid": np.zeros(1, bool)}


READERS: dict[str, Callable[[Record, Cut, Options], Fields | None]] = {
    "imu": read_imu,
    "mocap": read_skeleton,
    "pose2d": read_skeleton,
    "video": read_video,
    "text": read_text,
}
BLANKS: dict[str, Callable[[float, Options], Fields]] = {
    "imu": blank_imu,
    "mocap": blank_skeleton,
    "pose2d": blank_skeleton,
    "video": blank_video,
    "text": blank_text,
}


def _covers_less(valid: np.ndarray, share: float) -> bool:
    return int(np.count_nonzero(valid)) < share * valid.size - 1e-6


def _finite(record: Record, name: str, values: np.ndarray) -> np.ndarray:
    # A sum is three times cheaper than a test of every value, and finite only if (short of overflow) all values are.
    if not np.isfinite(values.sum()) and not np.isfinite(values).all():
        raise BadSample(f"{record.where}.{name}.npy: holds values that are not finite")
    return values


def _check_tower(record: Record, options: Options, stored: Mapping) -> None:
    if stored.get("tower") != options.tower:
        raise ValueError(
            f"{record.where}: the stored embeddings of {options.name} are of tower {stored.get('tower')!r}, the recipe's"
            f" is {options.tower!r}; run tools/precompute.py for this recipe"
        )


def _placement(record: Record, name: str) -> int:
    try:
        return placement_id(name)
    except ValueError as error:
        raise BadSample(f"{record.where}: {error}") from error


def _skeleton_text(meta: str | dict) -> str:
    return meta if isinstance(meta, str) else json.dumps(meta, sort_keys=True)


@lru_cache(maxsize=256)
def _matched(meta: str, target: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Which joints of the recipe's skeleton the stream has, (J,) bool; their places in it; whether they are all of it."""
    source = skeleton(json.loads(meta) if meta.startswith("{") else meta)
    index = match(source, SKELETONS[target])
    there = index >= 0
    return index[there], there, index.tolist() == list(range(len(source.joints)))

"""Streams of motion: IMU, motion capture and 2D pose. See `aura.data.streams`."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from aura.body.placements import placement_id
from aura.body.skeletons import SKELETONS, match, skeleton
from aura.data.config import ImuInput, MocapInput, Pose2dInput
from aura.data.cut import Cut, items
from aura.data.draws import draw_imu, draw_skeleton
from aura.data.fields import Fields, Options, finite, generator
from aura.data.index import BadSample, Record
from aura.data.resample import IDENTITY, Places, needed, resample_at, resample_points, resample_rotations
from aura.data.sample import orientation_of


class Span(NamedTuple):
    """What a window needs of a stream.

    begin, end    the items
    at            the window's places among these
    valid, found  which places lie in the stream, (T,), and how many
    inner         of an aligned window: its places that are these items, which need no filter; None: all are
    """

    begin: int
    end: int
    at: Places
    valid: np.ndarray
    found: int
    inner: slice | None


@lru_cache(maxsize=256)
def find_span(cut: Cut, rate_hz: float, source_hz: float, start_s: float, length: int) -> Span | None:
    """Where a window at a rate lies in a stream; None where it lies outside. Clips of one length share it."""
    at = cut.grid(rate_hz, {"rate_hz": source_hz, "start_s": start_s, "length": length})
    begin, end = needed(length, at)
    if begin == end:
        return None
    at = at.after(begin)
    valid = at.inside(end - begin)
    first = -round(at.first)
    inner = None if end - begin == at.count else slice(first, first + end - begin)
    return Span(begin, end, at, valid, int(np.count_nonzero(valid)), inner)


def read_imu(
    record: Record, cut: Cut, options: Options, key: int | None = None, out: Fields | None = None
) -> Fields | None:
    """values (S, T, 6), valid (S, T), sensor_mask (S,), channel_mask (S, 6), placement (S,), orientation (S, T, 4)."""
    config: ImuInput = options.config
    name = options.name
    stream = record.head["streams"].get(name)
    if stream is None:
        return None
    span = find_span(cut, config.rate_hz, stream["rate_hz"], stream["start_s"], stream["length"])
    if span is None:
        return None
    sensors = stream["sensors"]
    chosen = list(range(len(sensors)))
    if config.placements:
        worn = [sensor["placement"] for sensor in sensors]
        chosen = [worn.index(placement) for placement in config.placements if placement in worn]
        if not chosen:
            return None
    drawn = key is not None and options.augmented
    rng = generator(key, name) if key is not None and (drawn or len(chosen) > config.sensors) else None
    if len(chosen) > config.sensors:
        if rng is not None:
            chosen = sorted(rng.permutation(len(chosen))[: config.sensors].tolist())
        chosen = chosen[: config.sensors]
    count = len(chosen)
    out = blank_imu(cut.seconds, options) if out is None else out
    values = out["values"][:count]
    if span.at.aligned:
        if span.inner:
            values[:, : span.inner.start] = 0
            values[:, span.inner.stop :] = 0
            values = values[:, span.inner]
        finite(record, name, record.items(name, span.begin, span.end, chosen, values))
    else:
        source = finite(record, name, record.items(name, span.begin, span.end, chosen))
        values[...] = resample_at(source.swapaxes(0, 1), None, span.at)[0].swapaxes(0, 1)
    if _covers_less(span, options.min_cover):
        return None
    out["valid"][:count] = span.valid
    out["sensor_mask"][:count] = True
    for slot, i in enumerate(chosen):
        channels = sensors[i]["channels"]
        out["channel_mask"][slot, :3] = "acc" in channels
        out["channel_mask"][slot, 3:] = "gyro" in channels
        out["placement"][slot] = _placement(record, sensors[i]["placement"])
    if count < config.sensors:
        for field in ("values", "valid", "sensor_mask", "channel_mask", "placement"):
            out[field][count:] = 0
    if options.stretched:
        out["step_s"][:] = span.at.steps() / np.float32(stream.get("clock_hz", stream["rate_hz"]))
    if config.orientation:
        out["orientation"][...] = 0
        if record.has(orientation_of(name)):
            beside = orientation_of(name)
            source = finite(record, beside, record.items(beside, span.begin, span.end, chosen))
            rotations, _ = resample_rotations(source.swapaxes(0, 1), None, span.at)
            out["orientation"][:count] = np.where(span.valid[None, :, None], rotations.swapaxes(0, 1), 0)
    if drawn:
        assert rng is not None
        draw_imu(out, config, rng, count)
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
        if augment.acc_bias or augment.gyro_bias:
            out["draws.bias"] = np.zeros((slots, 6), np.float32)
        if augment.drop_gravity:
            out["draws.gravity"] = np.zeros((), bool)
        if augment.drop_gyro:
            out["draws.gyro"] = np.zeros((), bool)
        if augment.clip_acc:
            out["draws.clip"] = np.zeros((), bool)
        if augment.drop_sensor:
            out["draws.drop"] = np.zeros(slots, bool)
    return out


def read_skeleton(
    record: Record, cut: Cut, options: Options, key: int | None = None, out: Fields | None = None
) -> Fields | None:
    """mocap: values (T, J, 3) on the recipe's skeleton, valid (T,), joint_mask (J,). pose2d: image_size (2,) too."""
    config: MocapInput | Pose2dInput = options.config
    name = options.name
    stream = record.head["streams"].get(name)
    if stream is None:
        return None
    span = find_span(cut, config.rate_hz, stream["rate_hz"], stream["start_s"], stream["length"])
    if span is None:
        return None
    index, there, same = _matched(_skeleton_text(stream["skeleton"]), config.skeleton)
    out = blank_skeleton(cut.seconds, options) if out is None else out
    values = out["values"]
    if span.at.aligned and same:
        if span.inner:
            values[: span.inner.start] = 0
            values[span.inner.stop :] = 0
            values = values[span.inner]
        finite(record, name, record.items(name, span.begin, span.end, None, values))
        if config.kind == "pose2d":
            known = values[..., 2] > 0
            if np.count_nonzero(known) < known.size:
                values[~known] = 0
    else:
        source = finite(record, name, record.items(name, span.begin, span.end))
        if not len(index):
            raise BadSample(
                f"{record.where}: no joint of {name} is in {config.skeleton}, the skeleton of inputs.{name}"
            )
        source = source if same else source[:, index]
        made = resample_points(source, span.at) if config.kind == "pose2d" else resample_at(source, None, span.at)
        if there.all():
            values[...] = made[0]
        else:
            values[...] = 0
            values[:, there] = made[0]
    if _covers_less(span, options.min_cover):
        return None
    out["valid"][:] = span.valid
    out["joint_mask"][:] = there
    if options.stretched:
        out["step_s"][:] = span.at.steps() / np.float32(stream.get("clock_hz", stream["rate_hz"]))
    if config.kind == "pose2d":
        out["image_size"][:] = stream["camera"]["width"], stream["camera"]["height"]
    if key is not None and options.augmented:
        draw_skeleton(out, config, generator(key, name))
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


def _covers_less(span: Span, share: float) -> bool:
    return span.found < share * span.at.count - 1e-6


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

"""Applies what the reader drew for each row, batched on the batch's device.

The draws travel in `Stream.draws`, so that a row's augmentation depends on the row alone. What is not drawn is absent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from aura.body.skeletons import SKELETONS, Skeleton
from aura.data.batch import Batch, Stream
from aura.data.config import Input
from aura.data.quaternions import conjugate, multiply, rotate

SLOW_S = 1.0  # span of what is taken for gravity
SMALL_RANGE = 2 * 9.81  # m/s^2: the smallest range that accelerometers of wearables have


def augment(batch: Batch, inputs: Mapping[str, Input]) -> Batch:
    """The batch with its draws applied and taken out. `inputs` are the recipe's: they name the skeletons.

    imu       `rotation` (B, S, 4): a sensor is mounted otherwise, accelerometer, gyroscope and orientation together;
              `gain` (B, S, 6) after it; `gravity` (B,): rows of which gravity is taken out; then `bias` (B, S, 6) is added;
              `clip` (B,): rows whose accelerometers are cut off at +-2 g; `gyro` (B,): rows without gyroscopes;
              `drop` (B, S): sensors that are masked
    mocap     `bone` (B, J): length of the bone to each joint, relative; `offset` (B, J, 3) in metres; then `scale` (B,)
              about the origin and `yaw` (B,) about the vertical, in radians; `drop` (B, J): joints that are masked
    pose2d    `scale` (B,) about the mean of the known points; `offset` (B, J, 3) in pixels, 0 for confidence; `drop`
    """
    streams = {}
    for name, stream in batch.streams.items():
        if stream.draws:
            settings = inputs[name]
            if settings.kind == "imu":
                stream = augment_imu(stream, settings.rate_hz)
            elif settings.kind == "mocap":
                stream = augment_mocap(stream, SKELETONS[settings.skeleton])
            elif settings.kind == "pose2d":
                stream = augment_pose2d(stream)
        streams[name] = stream
    return dataclasses.replace(batch, streams=streams)


def augment_imu(stream: Stream, rate_hz: float) -> Stream:
    """An IMU stream with its draws applied."""
    values, orientation, draws = stream.values, stream.orientation, stream.draws
    if "rotation" in draws:
        turn = draws["rotation"][:, :, None]
        values = torch.cat([rotate(turn, values[..., :3]), rotate(turn, values[..., 3:])], dim=-1)
        if orientation is not None:
            # v' = R v for the sensor's axes, so the turn from the new axes to the world undoes R first.
            orientation = multiply(orientation, conjugate(turn).expand_as(orientation))
    if "gain" in draws:
        values = values * draws["gain"][:, :, None]
    mask, valid, channels = stream.sensor_mask, stream.valid, stream.channel_mask
    if "gravity" in draws:
        moving = values[..., :3] - slow_part(values[..., :3], valid, rate_hz)
        acceleration = torch.where(draws["gravity"][:, None, None, None], moving, values[..., :3])
        values = torch.cat([acceleration, values[..., 3:]], dim=-1)
    if "bias" in draws:
        assert channels is not None
        known = valid[..., None] & channels[:, :, None]
        values = values + torch.where(known, draws["bias"][:, :, None], 0.0)
    if "clip" in draws:
        clipped = values[..., :3].clamp(-SMALL_RANGE, SMALL_RANGE)
        acceleration = torch.where(draws["clip"][:, None, None, None], clipped, values[..., :3])
        values = torch.cat([acceleration, values[..., 3:]], dim=-1)
    if "gyro" in draws:
        assert channels is not None
        kept = torch.ones_like(channels)
        kept[..., 3:] &= ~(draws["gyro"][:, None, None] & channels[..., :1])  # a gyroscope that is alone stays
        channels = channels & kept
        values = torch.where(kept[:, :, None], values, 0.0)
    if "drop" in draws and mask is not None:
        mask = mask & ~draws["drop"]
        valid = valid & mask[..., None]
        values = torch.where(mask[..., None, None], values, 0.0)
        if orientation is not None:
            orientation = torch.where(mask[..., None, None], orientation, 0.0)
    return dataclasses.replace(
        stream,
        values=values,
        orientation=orientation,
        sensor_mask=mask,
        channel_mask=channels,
        valid=valid,
        draws={},
    )


def slow_part(values: Tensor, valid: Tensor, rate_hz: float, span_s: float = SLOW_S) -> Tensor:
    """Mean (B, S, T, C) of the valid items within half of `span_s`, before and after; 0 where there is none.

    What phones take for gravity when they report linear acceleration is such a slow part too.
    """
    reach = round(rate_hz * span_s / 2)
    known = valid[..., None].to(values.dtype)
    sums = F.pad(torch.where(valid[..., None], values, 0.0), (0, 0, reach + 1, reach)).cumsum(-2)
    counts = F.pad(known, (0, 0, reach + 1, reach)).cumsum(-2)
    width = 2 * reach + 1
    total, count = (c[..., width:, :] - c[..., :-width, :] for c in (sums, counts))
    return torch.where(valid[..., None], total / count.clamp(min=1), 0.0)


def augment_mocap(stream: Stream, skeleton: Skeleton) -> Stream:
    """A mocap stream with its draws applied."""
    values, draws, mask = stream.values, stream.draws, stream.joint_mask
    assert mask is not None
    if "bone" in draws:
        values = stretch_bones(values, draws["bone"], mask, skeleton)
    if "offset" in draws:
        values = values + draws["offset"][:, None]
    if "scale" in draws:
        values = values * draws["scale"][:, None, None, None]
    if "yaw" in draws:
        cos, sin = draws["yaw"].cos()[:, None, None], draws["yaw"].sin()[:, None, None]
        x, y, z = values.unbind(-1)
        values = torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1)
    return _masked(stream, values, mask)


def augment_pose2d(stream: Stream) -> Stream:
    """A 2D pose stream with its draws applied; unknown points stay 0."""
    values, draws, mask = stream.values, stream.draws, stream.joint_mask
    assert mask is not None
    points, confidence = values[..., :2], values[..., 2:]
    known = (confidence > 0) & stream.valid[:, :, None, None] & mask[:, None, :, None]
    if "offset" in draws:
        points = points + draws["offset"][:, None, :, :2]
    if "scale" in draws:
        total = torch.where(known, points, 0.0).sum((1, 2), keepdim=True)
        centre = total / known.sum((1, 2), keepdim=True).clamp(min=1)
        points = centre + (points - centre) * draws["scale"][:, None, None, None]
    values = torch.cat([torch.where(known, points, 0.0), torch.where(known, confidence, 0.0)], dim=-1)
    return _masked(stream, values, mask)


def stretch_bones(values: Tensor, bone: Tensor, mask: Tensor, skeleton: Skeleton) -> Tensor:
    """Joints (B, T, J, 3) with the bone to each joint longer by its factor (B, J); joints without a parent stay.

    A joint moves with its parent. Where the parent is absent from a row (mask (B, J)) the bone keeps its length, and
    the joint moves as the nearest ancestor that is there.
    """
    moved: dict[int, Tensor] = {}
    zero = torch.zeros_like(values[:, :, 0])
    for joint in root_first(skeleton):
        parent = skeleton.parents[joint]
        if parent < 0:
            moved[joint] = zero
            continue
        longer = (bone[:, joint] - 1)[:, None, None] * (values[:, :, joint] - values[:, :, parent])
        both = (mask[:, joint] & mask[:, parent])[:, None, None]
        moved[joint] = moved[parent] + torch.where(both, longer, 0.0)
    return values + torch.stack([moved[joint] for joint in range(len(skeleton.joints))], dim=2)


def root_first(skeleton: Skeleton) -> list[int]:
    """Joints in an order in which every parent comes before its children."""

    def depth(joint: int) -> int:
        return 0 if skeleton.parents[joint] < 0 else 1 + depth(skeleton.parents[joint])

    return sorted(range(len(skeleton.joints)), key=depth)


def _masked(stream: Stream, values: Tensor, mask: Tensor) -> Stream:
    """The stream with new values, its dropped joints masked, and zeros where nothing is known."""
    if "drop" in stream.draws:
        mask = mask & ~stream.draws["drop"]
    known = stream.valid[:, :, None, None] & mask[:, None, :, None]
    return dataclasses.replace(stream, values=torch.where(known, values, 0.0), joint_mask=mask, draws={})

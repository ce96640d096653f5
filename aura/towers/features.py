"""From the values of a stream to the channels that a tower sees."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from aura.data.augment import slow_part
from aura.data.batch import Stream
from aura.data.quaternions import multiply, rotate

GRAVITY = 9.81  # m/s^2: the accelerometer's unit inside the towers
TILT = 5.0  # cosines of usual tilts then spread as the other channels do
MOVING_S = 0.5  # span of the gravity that moves with the limb
World = Literal["none", "start", "mean"]


def imu_channels(world: World, norms: bool, gravity: bool = False) -> int:
    """Number of channels that `imu_features` gives."""
    return 6 + (2 if norms else 0) + (6 if world != "none" else 0) + (10 if gravity else 0) + 2


def imu_features(stream: Stream, rate_hz: float, world: World, norms: bool, gravity: bool = False) -> Tensor:
    """Channels (B, S, C, T) of an IMU stream.

    Specific force in units of g and angular velocity in rad/s; with `norms` the length of each; with `world` the
    acceleration without gravity and the angular velocity in a frame with z up and x along the heading at the start
    (6 channels, see `world_motion`); with `gravity` what no mounting changes (10 channels, see `gravity_motion`); at last, for each of the two instruments, 1 where it was measured and 0 where not.
    What was not measured is zero in every channel that needs it.
    """
    values, known = _known(stream)
    acc, gyro = values[..., :3], values[..., 3:]
    has_acc, has_gyro = known[..., :3].all(-1, keepdim=True), known[..., 3:].all(-1, keepdim=True)
    parts = [acc / GRAVITY, gyro]
    if norms:
        parts += [acc.norm(dim=-1, keepdim=True) / GRAVITY, gyro.norm(dim=-1, keepdim=True)]
    if world != "none":
        both = has_acc & has_gyro
        force, rate = world_motion(acc, gyro, both[..., 0], steps(stream, rate_hz)[:, None], world)
        parts += [torch.where(both, force / GRAVITY, 0.0), torch.where(both, rate, 0.0)]
    if gravity:
        channels = gravity_motion(acc, gyro, has_acc[..., 0], rate_hz)
        parts += [channels[..., :8], torch.where(has_acc & has_gyro, channels[..., 8:], 0.0)]
    parts += [has_acc.to(values.dtype), has_gyro.to(values.dtype)]
    return torch.cat(parts, dim=-1).transpose(-1, -2)


def steps(stream: Stream, rate_hz: float) -> Tensor:
    """Seconds (B, T) from the item before to each item, in the recording."""
    if stream.step_s is None:  # `shape[0]`, not `len`, which would fix the number of rows of an exported graph
        return stream.valid.new_full(
            (stream.present.shape[0], stream.valid.shape[-1]), 1 / rate_hz, dtype=torch.float32
        )
    return stream.step_s.clamp(min=1e-4)  # never to be divided by zero, in rows that hold nothing


def _known(stream: Stream) -> tuple[Tensor, Tensor]:
    """Values (B, S, T, 6) with zeros where nothing was measured, and that mask."""
    known = stream.valid[..., None].expand_as(stream.values)
    if stream.sensor_mask is not None:
        known = known & stream.sensor_mask[:, :, None, None]
    if stream.channel_mask is not None:
        known = known & stream.channel_mask[:, :, None]
    return torch.where(known, stream.values, 0.0), known


def gravity_motion(acc: Tensor, gyro: Tensor, valid: Tensor, rate_hz: float) -> Tensor:
    """What a sensor measures along and across gravity (B, S, T, 10): a turn of the sensor on its limb changes none of it.

    acc (m/s^2), gyro (rad/s) (B, S, T, 3), zero where unknown; valid (B, S, T). Gravity is taken for the mean specific
    force of the window, and, moving with the limb, for that of half a second. Channels: specific force along the
    window's gravity beyond 1 g, across it; along the moving gravity beyond 1 g, across it (all in g); cosine less 1, times
    5, of the moving gravity with the window's, with its own at the start and at the end of the window; strength of the movement (rms of the force beyond
    the moving gravity over half a second, g); angular velocity about the moving gravity, across it (rad/s).
    """
    weight = valid[..., None].to(acc.dtype)
    acc = acc / GRAVITY
    mean = (acc * weight).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True).clamp(min=1)
    slow = slow_part(acc, valid, rate_hz, MOVING_S)
    up, tilt = (torch.nn.functional.normalize(v, dim=-1, eps=1e-6) for v in (mean, slow))
    rest = acc - slow
    strength = slow_part(rest.square().sum(-1, keepdim=True), valid, rate_hz, MOVING_S).clamp(min=1e-8).sqrt()
    index = torch.arange(valid.shape[-1], device=valid.device)
    begin = torch.where(valid, index, len(index)).amin(-1).clamp(max=len(index) - 1)
    end = torch.where(valid, index, -1).amax(-1).clamp(min=0)
    # Not `take_along_dim`: an exported graph would keep the example's number of rows.
    first, last = (tilt.gather(-2, i[..., None, None].expand(*i.shape, 1, 3)) for i in (begin, end))
    parts = []
    for vector, axis in ((acc, up), (acc, tilt)):
        along, across = along_across(vector, axis)
        parts += [along - 1, across]
    parts += [TILT * ((tilt * axis).sum(-1, keepdim=True) - 1) for axis in (up, first, last)]
    parts += [strength, *along_across(gyro, tilt)]
    return torch.where(valid[..., None], torch.cat(parts, dim=-1), 0.0)


def along_across(vector: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """Component of vectors (..., 3) along unit vectors (..., 3), and the length of what is across; both (..., 1)."""
    along = (vector * axis).sum(-1, keepdim=True)
    across = (vector - along * axis).square().sum(-1, keepdim=True)
    return along, (across + 1e-8).sqrt()


def world_motion(acc: Tensor, gyro: Tensor, valid: Tensor, step_s: Tensor, world: World) -> tuple[Tensor, Tensor]:
    """Acceleration without gravity (m/s^2) and angular velocity (rad/s), both (..., T, 3), in a frame with z up.

    acc, gyro (..., T, 3) in the sensor's frame, valid (..., T), step_s (..., T) seconds since the item before. Orientation is the integral of the gyroscope from the
    first item. Gravity is the mean specific force, in the frame of the first item, over the first 0.2 s (`start`: right
    if the sensor is at rest there) or over the whole window (`mean`: the mean acceleration of a window is small).
    The x axis is the heading of the sensor's z axis at the start (of its x axis where z is near the vertical).
    """
    turn = integrate(gyro, step_s)
    force = rotate(turn, acc)
    weight = valid.to(acc.dtype)
    if world == "start":
        # Time of valid items alone: a stream that starts late has its start later.
        elapsed = (weight * step_s).cumsum(-1)
        weight = weight * (elapsed <= torch.maximum(elapsed.new_tensor(0.2), (weight * step_s).amax(-1, keepdim=True)))
    gravity = (force * weight[..., None]).sum(-2) / weight.sum(-1, keepdim=True).clamp(min=1)
    up = torch.nn.functional.normalize(gravity, dim=-1, eps=1e-6)
    frame = up_frame(up)
    turned = (force - gravity[..., None, :]) @ frame.transpose(-1, -2)
    return turned, rotate(turn, gyro) @ frame.transpose(-1, -2)


def up_frame(up: Tensor) -> Tensor:
    """Rows x, y, z (..., 3, 3) of the frame with z = `up` (..., 3): `frame @ v` gives v's coordinates in it."""
    axes = torch.eye(3, dtype=up.dtype, device=up.device)
    steep = up[..., 2:].abs() > 0.95
    ahead = torch.where(steep, axes[0], axes[2])
    ahead = torch.nn.functional.normalize(ahead - (ahead * up).sum(-1, keepdim=True) * up, dim=-1, eps=1e-6)
    return torch.stack([ahead, torch.linalg.cross(up, ahead), up], dim=-2)


def integrate(gyro: Tensor, step_s: Tensor) -> Tensor:
    """Quaternions (..., T, 4), w x y z: from the sensor's frame at each item to its frame at the first.

    gyro (..., T, 3) in rad/s, step_s (..., T); between two items the mean of their rates. A prefix product of the steps' quaternions by
    doubling: log2(T) products of whole windows instead of T of single items.
    """
    middle = (gyro[..., 1:, :] + gyro[..., :-1, :]) / 2
    half = torch.nn.functional.pad(middle, (0, 0, 1, 0)) * (step_s[..., None] / 2)
    angle = half.norm(dim=-1, keepdim=True)
    q = torch.cat([angle.cos(), half * torch.sinc(angle / torch.pi)], dim=-1)
    shift = 1
    while shift < q.shape[-2]:
        q = torch.cat([q[..., :shift, :], multiply(q[..., :-shift, :], q[..., shift:, :])], dim=-2)
        shift *= 2
    return q / q.norm(dim=-1, keepdim=True)

"""From joint positions to the channels that a motion tower sees."""

from __future__ import annotations

import math
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from aura.body.skeletons import Skeleton
from aura.data.batch import Stream
from aura.towers.features import steps
from aura.towers.transformer import masked_mean

# Velocities of a lively movement are a few trunk lengths a second, turns of limbs a few rad/s: both near 1 like the rest.
RATE_UNIT = 3.0
LIMBS = tuple(
    (f"{side}_{start}", f"{side}_{end}")
    for side in ("left", "right")
    for start, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"))
)


class MotionFeatures(nn.Module):
    """Channels (B, C, T) of a mocap or pose2d stream of one skeleton.

    Per joint its position from the body's centre and its velocity with the body's own motion, per bone its direction,
    per upper arm, forearm and thigh its rotation rate (mocap: vector and length), per joint whether it is known (pose2d:
    its confidence). Mocap is in trunk lengths, turned about the vertical so that the line of the shoulders lies along y;
    pose2d in units of the body's spread in the image, y upwards. A joint that is unknown is zero in all of its channels.
    """

    bones: Tensor
    limbs: Tensor
    kernel: Tensor

    def __init__(self, skeleton: Skeleton, kind: Literal["mocap", "pose2d"], rate_hz: float, smooth_s: float) -> None:
        super().__init__()
        names = skeleton.canonical
        limbs = [(names.index(a), names.index(b)) for a, b in LIMBS if a in names and b in names]
        self.skeleton, self.kind, self.rate_hz = skeleton, kind, rate_hz
        # Lines from right to left, the first known of which gives the heading.
        lines = (("right_shoulder", "left_shoulder"), ("right_hip", "left_hip"))
        self.lines = [(names.index(a), names.index(b)) for a, b in lines if a in names and b in names]
        self.register_buffer("bones", torch.tensor(skeleton.edges).reshape(-1, 2), persistent=False)
        self.register_buffer("limbs", torch.tensor(limbs).reshape(-1, 2), persistent=False)
        reach = math.ceil(3 * smooth_s * rate_hz)
        offsets = torch.arange(-reach, reach + 1) / (smooth_s * rate_hz) if reach else torch.zeros(1)
        self.register_buffer("kernel", torch.exp(-(offsets**2) / 2), persistent=False)
        joints, dims, turn = len(skeleton.joints), *((3, 4) if kind == "mocap" else (2, 1))
        self.channels = 2 * dims * joints + dims * len(skeleton.edges) + turn * len(limbs) + joints

    def forward(self, stream: Stream) -> Tensor:
        # Positions and their differences stay in full precision under autocast.
        with torch.autocast(stream.values.device.type, enabled=False):
            points, known, confidence = self._points(stream)
            step = steps(stream, self.rate_hz)
            centred, velocity = self._joints(points, known, step)
            bones, _ = directions(points, known, self.bones)
            limbs, limb_known = directions(points, known, self.limbs)
            turning = slope(limbs, limb_known, step) / RATE_UNIT
            if self.kind == "mocap":
                turn = torch.linalg.cross(limbs, turning)
                turn = torch.cat([turn, turn.norm(dim=-1, keepdim=True)], dim=-1)
            else:
                turn = limbs[..., :1] * turning[..., 1:] - limbs[..., 1:] * turning[..., :1]
            parts = [centred.flatten(2), velocity.flatten(2), bones.flatten(2), turn.flatten(2), confidence]
            return torch.cat(parts, dim=-1).transpose(1, 2)

    def joints(self, stream: Stream) -> Tensor:
        """(B, T, J, C) of each joint alone: position from the body's centre, velocity, whether it is known (confidence)."""
        with torch.autocast(stream.values.device.type, enabled=False):
            points, known, confidence = self._points(stream)
            centred, velocity = self._joints(points, known, steps(stream, self.rate_hz))
            return torch.cat([centred, velocity, confidence[..., None]], dim=-1)

    def _points(self, stream: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """Positions (B, T, J, D) in the units of the features, known (B, T, J), confidence (B, T, J)."""
        points, known = self._known(stream)
        points = smooth(points, known, self.kernel)
        if self.kind == "mocap":
            confidence = known.to(points.dtype)
            points = points / self._trunk_length(points, known)[:, None, None, None]
            points = points @ self._heading(points, known)
        else:
            confidence = torch.where(known, stream.values[..., 2], 0.0)
            points = points[..., :2] * points.new_tensor([1.0, -1.0])
            points = points / spread(points, known)[:, None, None, None]
        return points, known, confidence

    def _joints(self, points: Tensor, known: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Position from the body's centre, and velocity with the body's own, of each joint: two (B, T, J, D)."""
        centred = torch.where(known[..., None], points - self._centre(points, known), 0.0)
        return centred, slope(points, known, step) / RATE_UNIT

    def _known(self, stream: Stream) -> tuple[Tensor, Tensor]:
        """Positions (B, T, J, 3) with zeros where unknown, and known (B, T, J) bool."""
        known = stream.valid[..., None].expand(stream.values.shape[:-1])
        if stream.joint_mask is not None:
            known = known & stream.joint_mask[:, None]
        if self.kind == "pose2d":
            known = known & (stream.values[..., 2] > 0)
        return torch.where(known[..., None], stream.values, 0.0), known

    def _centre(self, points: Tensor, known: Tensor) -> Tensor:
        """The trunk's lower end in each frame (B, T, 1, D); the mean of the known joints where it is unknown."""
        weight = known[..., None].to(points.dtype)
        mean = (points * weight).sum(2, keepdim=True) / weight.sum(2, keepdim=True).clamp(min=1)
        if self.skeleton.up is None:
            return mean
        low = list(self.skeleton.up[0])
        there = known[:, :, low].all(2)[:, :, None, None]
        return torch.where(there, points[:, :, low].mean(2, keepdim=True), mean)

    def _trunk_length(self, points: Tensor, known: Tensor) -> Tensor:
        """Median length of the trunk over the window (B,), in metres; from the body's spread where it is unknown."""
        fallback = spread(points, known)
        if self.skeleton.up is None:
            return fallback
        low, high = (list(end) for end in self.skeleton.up)
        length = (points[:, :, high].mean(2) - points[:, :, low].mean(2)).norm(dim=-1)
        length = length.masked_fill(~known[:, :, low + high].all(2), torch.nan).nanmedian(1).values
        return torch.where(length > 1e-3, length, fallback)

    def _heading(self, points: Tensor, known: Tensor) -> Tensor:
        """Rotation about z (B, 1, 3, 3), for rows from the right, that brings the mean right-left direction to y."""
        side = points.new_tensor([0.0, 1.0]).expand(len(points), 2)
        for right, left in reversed(self.lines):
            there = known[:, :, right] & known[:, :, left]
            line = F.normalize(points[:, :, left, :2] - points[:, :, right, :2], dim=-1, eps=1e-3)
            line = masked_mean(line, there, 1)
            usable = line.norm(dim=-1, keepdim=True) > 1e-2
            side = torch.where(usable, F.normalize(torch.where(usable, line, 1.0), dim=-1), side)
        x, y = side.unbind(-1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rows = [torch.stack(row, -1) for row in ((y, x, zero), (-x, y, zero), (zero, zero, one))]
        return torch.stack(rows, dim=-2)[:, None]


def smooth(x: Tensor, known: Tensor, kernel: Tensor) -> Tensor:
    """Weighted mean over time of the known values: x (B, T, J, D), known (B, T, J), kernel (K,), K odd."""
    if len(kernel) == 1:
        return x
    b, _, j, d = x.shape
    weight = known[..., None].to(x.dtype)
    both = rearrange(torch.cat([x * weight, weight], dim=-1), "b t j d -> (b j d) 1 t")
    both = F.conv1d(both, kernel.to(x.dtype)[None, None], padding=len(kernel) // 2)
    both = rearrange(both, "(b j d) 1 t -> b t j d", b=b, j=j)
    return torch.where(known[..., None], both[..., :d] / both[..., d:].clamp(min=1e-6), 0.0)


def spread(points: Tensor, known: Tensor) -> Tensor:
    """Root mean square distance (B,) of the known joints from their mean in each frame; 1 where nothing is known."""
    weight = known[..., None].to(points.dtype)
    mean = (points * weight).sum(2, keepdim=True) / weight.sum(2, keepdim=True).clamp(min=1)
    square = ((points - mean) ** 2 * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1)
    return torch.where(square > 1e-6, square, 1.0).sqrt()


def slope(x: Tensor, known: Tensor, step_s: Tensor) -> Tensor:
    """Derivative over time (B, T, K, D), step_s (B, T) since the item before: the mean of the slopes to the known neighbours, zero without one."""
    there = (known[:, 1:] & known[:, :-1])[..., None].to(x.dtype)
    rise = (x[:, 1:] - x[:, :-1]) * there / step_s[:, 1:, None, None]
    count = F.pad(there, (0, 0, 0, 0, 1, 0)) + F.pad(there, (0, 0, 0, 0, 0, 1))
    return (F.pad(rise, (0, 0, 0, 0, 1, 0)) + F.pad(rise, (0, 0, 0, 0, 0, 1))) / count.clamp(min=1)


def directions(points: Tensor, known: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (B, T, E, D) from the first joint of each pair to the second, and whether they are known (B, T, E)."""
    start, end = pairs.unbind(1)
    there = known[:, :, start] & known[:, :, end]
    line = F.normalize(points[:, :, end] - points[:, :, start], dim=-1, eps=1e-6)
    return torch.where(there[..., None], line, 0.0), there

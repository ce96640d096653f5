"""Synchronisation without a network: signals of sensors and of joints that rise and fall together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from aura.body.parts import part_joints
from aura.body.skeletons import skeleton
from aura.data.batch import Stream
from aura.data.config import ImuInput, MocapInput, Pose2dInput
from aura.model import parts_of
from aura.objectives.fine import Tokens
from aura.tasks.sync import Curve, fused, token_curve
from aura.towers.features import GRAVITY

SMOOTH_S = 0.06  # standard deviation of the smoothing of all signals
SMALL = 1e-3


def classical_curve(a: Tokens, b: Tokens, rate_hz: float, max_offset_s: float) -> Curve:
    """Fused curve of the correlations of the three `signals` (n, S, T, 3), over the lags within the range.

    Three lines of signal processing that any network must beat: energy of acceleration, vertical acceleration, speed.
    """
    curves = [token_curve(_signal(a, i), [_signal(b, i)], 1 / rate_hz) for i in range(3)]
    return fused(curves, max_offset_s)


def signals(stream: Stream, settings: ImuInput | MocapInput | Pose2dInput) -> Tokens:
    """Three signals (n, S, T, 3) of each sensor or part at the rate of its items: logarithm of the size of the acceleration,
    vertical acceleration, logarithm of the speed (of a sensor: of its angular velocity). A part is seen by its last joint."""
    if isinstance(settings, ImuInput):
        values, seen = stream.values.double(), stream.valid
        norm = values[..., :3].norm(dim=-1)
        found = _of_sensors(
            _smooth(norm - GRAVITY, seen, settings.rate_hz),
            _smooth(values[..., 3:].norm(dim=-1), seen, settings.rate_hz),
        )
    else:
        points, seen = _ends(stream, settings)
        found = _of_joints(points, seen, settings)
    local = found.new_zeros(*seen.shape[:2], 0)
    return Tokens(found, seen, local, parts_of(stream, found.shape[1]), torch.zeros(len(found), dtype=torch.int64))


def _of_sensors(vertical: Tensor, turning: Tensor) -> Tensor:
    # The length of the specific force changes mostly with what is along gravity.
    return torch.stack([(vertical.abs() + SMALL).log(), vertical, (turning + SMALL).log()], dim=-1)


def _of_joints(points: Tensor, seen: Tensor, settings: MocapInput | Pose2dInput) -> Tensor:
    speed, acceleration = (
        torch.stack([_smooth(points[..., d], seen, settings.rate_hz, order) for d in range(points.shape[-1])], dim=-1)
        for order in (1, 2)
    )
    scale = [x.norm(dim=-1).mean((-1, -2), keepdim=True).clamp(min=1e-9) for x in (speed, acceleration)]
    size = (acceleration.norm(dim=-1) / scale[1] + SMALL).log()
    return torch.stack([size, acceleration[..., -1], (speed.norm(dim=-1) / scale[0] + SMALL).log()], dim=-1)


def _ends(stream: Stream, settings: MocapInput | Pose2dInput) -> tuple[Tensor, Tensor]:
    """The last known joint of each part: places (n, P, T, D), the last coordinate upwards, and seen (n, P, T)."""
    index = torch.from_numpy(part_joints(skeleton(settings.skeleton)))  # (P, 3)
    known = stream.valid[..., None] & (True if stream.joint_mask is None else stream.joint_mask[:, None])
    points = stream.values.double()
    if settings.kind == "pose2d":
        known = known & (points[..., 2] > 0)
        points = points[..., :2] * points.new_tensor([1.0, -1.0])
    usable = (index >= 0) & known.any(1)[:, index.clamp(min=0)]  # (n, P, 3)
    last = usable.long().mul(torch.arange(1, 4)).argmax(-1)
    joint = index.clamp(min=0).expand(len(points), -1, -1).gather(2, last[..., None]).squeeze(-1)  # (n, P)
    rows = torch.arange(len(points))[:, None]
    seen = known.transpose(1, 2)[rows, joint] & usable.any(-1)[..., None]
    return points.transpose(1, 2)[rows, joint], seen


def _smooth(values: Tensor, seen: Tensor, rate_hz: float, order: int = 0) -> Tensor:
    """A derivative over time (..., T), smoothed; what is not seen is a straight line between what is."""
    flat = np.where(seen, values, 0.0).reshape(-1, values.shape[-1])
    known = seen.numpy().reshape(flat.shape)
    time = np.arange(flat.shape[-1])
    for row, mask in zip(flat, known):
        if mask.any() and not mask.all():
            row[~mask] = np.interp(time[~mask], time[mask], row[mask])
    out = gaussian_filter1d(flat, SMOOTH_S * rate_hz, axis=-1, order=order, mode="nearest") * rate_hz**order
    return torch.from_numpy(out).view(values.shape)


def _signal(tokens: Tokens, i: int) -> Tokens:
    return replace(tokens, values=tokens.values[..., i : i + 1])

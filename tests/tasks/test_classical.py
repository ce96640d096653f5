"""Offsets by signals alone, of a sensor and a joint that make one motion."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from aura.body.skeletons import skeleton
from aura.data.batch import Stream
from aura.data.config import ImuInput, MocapInput, Pose2dInput
from aura.tasks.classical import classical_curve, signals
from aura.tasks.sync import Curve, find_offset, fused

RATE, SECONDS = 25.0, 6.0


def hand(times, seed):
    """Place (T, 3) of a hand that moves at random, smoothly; z up."""
    rng = np.random.default_rng(seed)
    rate, phase, size = rng.uniform(0.3, 2.0, (12, 3)), rng.uniform(0, 7, (12, 3)), 0.1 * rng.standard_normal((12, 3))
    return (size * np.sin(2 * np.pi * times[:, None, None] * rate + phase)).sum(1)


def sensor(times, seed):
    """What a sensor that keeps its axes shows there: specific force, and a turning as fast as the hand moves."""
    step = 1e-3
    before, here, after = (hand(times + d, seed) for d in (-step, 0, step))
    force = (before - 2 * here + after) / step**2 + np.array([0, 0, 9.81])
    speed = np.linalg.norm(after - before, axis=1, keepdims=True) / (2 * step)
    return np.concatenate([force, speed * np.array([1.0, 0, 0])], axis=1)


def stream(values, **rest):
    values = torch.tensor(values, dtype=torch.float32)
    n = len(values)
    shape = values.shape[:3] if values.shape[-1] == 6 else values.shape[:2]
    return Stream(values, torch.ones(n, dtype=torch.bool), torch.ones(shape, dtype=torch.bool), **rest)


@pytest.mark.parametrize("kind", ["mocap", "pose2d"])
def test_offsets_of_recordings(kind):
    """Within an item; a wrist sensor and one of a thigh that the skeleton does not show."""
    offsets, times = [0.52, -1.0, 0.0], np.arange(round(RATE * SECONDS)) / RATE
    settings = (MocapInput if kind == "mocap" else Pose2dInput)(rate_hz=RATE, skeleton="coco17")
    from aura.body.placements import placement_id

    placement = torch.tensor([[placement_id("left wrist"), placement_id("right thigh")]]).expand(3, -1)
    imu = np.stack([np.stack([sensor(times, i), sensor(times, 9)]) for i in range(3)])
    wrist = skeleton("coco17").canonical.index("left_wrist")
    joints = np.zeros((3, len(times), 17, 3))
    for i, offset in enumerate(offsets):
        place = hand(times + offset, i)
        joints[i, :, wrist] = (
            place if kind == "mocap" else np.stack([300 * place[:, 0], -300 * place[:, 2], 0 * times + 0.9], 1)
        )
    mask = torch.zeros(3, 17, dtype=torch.bool)
    mask[:, wrist] = True
    body = stream(joints, joint_mask=mask)
    body.valid[1, 40:50] = False
    body.values[1, 40:50] = torch.nan
    a = signals(stream(imu, placement=placement), ImuInput(rate_hz=RATE, sensors=2))
    b = signals(replace(body, values=body.values.nan_to_num()), settings)
    assert b.mask.any(-1)[0].tolist() == [True, False, False, False, False, False]
    assert not b.mask[1, 0, 40:50].any()
    curve = classical_curve(a, b, RATE, 1.6)
    found = [find_offset(curve[i]).offset_s for i in range(3)]
    assert found == pytest.approx(offsets, abs=0.04)
    # A sensor compared with another one that makes the same motion.
    later = np.stack([np.stack([sensor(times + o, i), sensor(times + o, 9)]) for i, o in enumerate(offsets)])
    other = signals(stream(later, placement=placement), ImuInput(rate_hz=RATE, sensors=2))
    both = classical_curve(a, other, RATE, 1.6)
    assert [find_offset(both[i]).offset_s for i in range(3)] == pytest.approx(offsets, abs=0.01)


def test_fused_curves_weigh_the_same_whatever_their_units():
    lag = torch.arange(-20, 21).double() * 0.1
    one, two = (torch.exp(-((lag - at) ** 2) / 0.02)[None] for at in (0.3, 0.5))
    curves = [Curve(lag, score, torch.ones_like(score)) for score in (one, 1000 * two + 7)]
    both = fused(curves, 1.5)
    assert float(both.lag_s[0]) == pytest.approx(-1.5)
    assert find_offset(both[0]).offset_s == pytest.approx(0.4, abs=0.01)
    flat = fused([curves[0], Curve(lag, torch.zeros_like(one), torch.ones_like(one))], 1.5)
    assert find_offset(flat[0]).offset_s == pytest.approx(0.3, abs=1e-6), "a curve that says nothing changes nothing"
    nothing = fused([Curve(lag, torch.zeros_like(one), torch.ones_like(one))] * 2, 1.5)
    assert math.isnan(find_offset(nothing[0]).offset_s)
    with pytest.raises(ValueError, match="different lags"):
        fused([curves[0], Curve(lag + 0.05, one, torch.ones_like(one))], 1.5)

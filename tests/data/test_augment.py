"""Augmentation in closed form."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from aura.body.skeletons import SKELETONS, Skeleton
from aura.data.augment import augment, augment_imu, augment_mocap, augment_pose2d, slow_part, stretch_bones
from aura.data.batch import Batch, Stream
from aura.data.config import ImuInput, MocapInput
from aura.data.draws import draw_imu
from aura.data.fields import Options
from aura.data.motion import blank_imu
from aura.data.quaternions import multiply, rotate

CHAIN = Skeleton("chain", ("hand", "elbow", "shoulder", "foot"), (1, 2, -1, -1))


def quaternion(axis, degrees):
    half = math.radians(degrees) / 2
    axis = torch.tensor(axis, dtype=torch.float64)
    return torch.cat([torch.tensor([math.cos(half)], dtype=torch.float64), math.sin(half) * axis / axis.norm()])


def imu_stream(rows=2, sensors=3, steps=7, seed=0):
    g = torch.Generator().manual_seed(seed)
    q = torch.nn.functional.normalize(torch.randn(rows, sensors, steps, 4, generator=g, dtype=torch.float64), dim=-1)
    return Stream(
        values=torch.randn(rows, sensors, steps, 6, generator=g, dtype=torch.float64),
        present=torch.ones(rows, dtype=torch.bool),
        valid=torch.ones(rows, sensors, steps, dtype=torch.bool),
        sensor_mask=torch.ones(rows, sensors, dtype=torch.bool),
        channel_mask=torch.ones(rows, sensors, 6, dtype=torch.bool),
        placement=torch.ones(rows, sensors, dtype=torch.int64),
        orientation=q,
    )


def body(rows=2, steps=5, joints=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Stream(
        values=torch.randn(rows, steps, joints, 3, generator=g, dtype=torch.float64),
        present=torch.ones(rows, dtype=torch.bool),
        valid=torch.ones(rows, steps, dtype=torch.bool),
        joint_mask=torch.ones(rows, joints, dtype=torch.bool),
    )


def with_draws(stream, **draws):
    return dataclasses.replace(stream, draws=draws)


def test_quarter_turn_of_a_sensor():
    v = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(rotate(quaternion([0, 0, 1], 90), v), torch.tensor([-2.0, 1, 3], dtype=torch.float64))
    a, b = quaternion([0, 0, 1], 90), quaternion([1, 0, 0], 90)
    torch.testing.assert_close(rotate(multiply(a, b), v), rotate(a, rotate(b, v)))


def test_rotation_turns_both_instruments_and_keeps_what_the_world_sees():
    stream = imu_stream()
    turns = torch.stack([quaternion([i, 1, 2], 40 * i + 20) for i in range(6)]).reshape(2, 3, 4)
    turned = augment_imu(with_draws(stream, rotation=turns), 50.0)
    for part in (slice(0, 3), slice(3, 6)):
        expected = rotate(turns[:, :, None], stream.values[..., part])
        torch.testing.assert_close(turned.values[..., part], expected)
        # In the world the same vectors: the sensor is mounted otherwise, its motion is the same.
        before = rotate(stream.orientation, stream.values[..., part])
        torch.testing.assert_close(rotate(turned.orientation, turned.values[..., part]), before)
    assert turned.draws == {}


def test_gain_and_dropped_sensors():
    stream = imu_stream()
    gain = 1 + torch.arange(36, dtype=torch.float64).reshape(2, 3, 6) / 100
    drop = torch.tensor([[False, True, False], [False, False, False]])
    found = augment_imu(with_draws(stream, gain=gain, drop=drop), 50.0)
    torch.testing.assert_close(found.values[0, 0], stream.values[0, 0] * gain[0, 0])
    torch.testing.assert_close(found.values[1, 2], stream.values[1, 2] * gain[1, 2])
    assert found.sensor_mask.tolist() == [[True, False, True], [True, True, True]]
    assert not found.valid[0, 1].any()
    assert not found.values[0, 1].any()
    assert found.valid[0, 0].all()


def test_bias_is_added_where_there_is_a_value():
    stream = imu_stream()
    stream.valid[0, 1, 3] = False
    stream.channel_mask[1, 0, 3:] = False  # without a gyroscope
    bias = torch.arange(36, dtype=torch.float64).reshape(2, 3, 6) / 10
    found = augment_imu(with_draws(stream, bias=bias), 50.0).values
    expected = stream.values + bias[:, :, None]
    expected[0, 1, 3], expected[1, 0, :, 3:] = stream.values[0, 1, 3], stream.values[1, 0, :, 3:]
    torch.testing.assert_close(found, expected)


def test_gravity_is_taken_out_of_the_rows_drawn_for_it():
    """A sensor that turns slowly while it shakes at 5 Hz: the shaking is left, of the accelerometer alone."""
    rate, steps = 50.0, 250
    t = torch.arange(steps, dtype=torch.float64) / rate
    slow = 9.81 * torch.stack([torch.cos(0.2 * t), torch.sin(0.2 * t), 0 * t], -1)
    shake = torch.stack([0 * t, 0 * t, torch.sin(2 * math.pi * 5 * t)], -1)
    stream = imu_stream(rows=2, sensors=1, steps=steps)
    stream.values[..., :3] = slow + shake
    found = augment_imu(with_draws(stream, gravity=torch.tensor([True, False])), rate)
    torch.testing.assert_close(found.values[1], stream.values[1])
    torch.testing.assert_close(found.values[0, ..., 3:], stream.values[0, ..., 3:])
    middle = found.values[0, 0, 50:-50, :3]
    torch.testing.assert_close(middle, shake[50:-50], atol=0.05, rtol=0)


def test_a_bias_stays_where_gravity_is_taken_out():
    stream = imu_stream(rows=1, sensors=1, steps=60)
    stream.values[..., :3] = torch.tensor([0.0, 0, 9.81], dtype=torch.float64)  # at rest
    bias = torch.full((1, 1, 6), 0.3, dtype=torch.float64)
    found = augment_imu(with_draws(stream, gravity=torch.tensor([True]), bias=bias), 20.0)
    torch.testing.assert_close(found.values[..., :3], torch.full((1, 1, 60, 3), 0.3, dtype=torch.float64))


def test_slow_part_is_the_mean_of_a_second_of_what_is_valid():
    g = torch.Generator().manual_seed(1)
    values, valid = torch.randn(2, 3, 40, 3, generator=g, dtype=torch.float64), torch.rand(2, 3, 40, generator=g) < 0.7
    broken = torch.where(valid[..., None], values, math.nan)
    found = slow_part(broken, valid, 10.0)
    for b, s, i in itertools.product(range(2), range(3), range(40)):
        near = range(max(0, i - 5), min(40, i + 6))
        rows = [values[b, s, j] for j in near if valid[b, s, j]] if valid[b, s, i] else []
        expected = torch.stack(rows).mean(0) if rows else torch.zeros(3, dtype=torch.float64)
        torch.testing.assert_close(found[b, s, i], expected)


def test_bones_become_longer_and_children_follow():
    stream = body(joints=4)
    factors = torch.tensor([[1.5, 0.8, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    out = stretch_bones(stream.values, factors, stream.joint_mask, CHAIN)
    hand, elbow, shoulder, foot = stream.values[0].unbind(1)
    torch.testing.assert_close(out[0, :, 2], shoulder)  # roots stay, whatever their factor
    torch.testing.assert_close(out[0, :, 3], foot)
    torch.testing.assert_close(out[0, :, 1], shoulder + 0.8 * (elbow - shoulder))
    torch.testing.assert_close(out[0, :, 0], shoulder + 0.8 * (elbow - shoulder) + 1.5 * (hand - elbow))
    torch.testing.assert_close(out[1], stream.values[1])


def test_bones_beside_an_absent_joint():
    stream = body(joints=4)
    mask = torch.tensor([[True, False, True, True], [True, True, True, True]])
    values = stream.values.clone()
    values[0, :, 1] = 0
    factors = torch.full((2, 4), 1.5, dtype=torch.float64)
    out = stretch_bones(values, factors, mask, CHAIN)
    torch.testing.assert_close(out[0, :, 0], values[0, :, 0])  # the elbow is unknown, so the forearm keeps its length
    torch.testing.assert_close(out[1], stretch_bones(stream.values, factors, mask | True, CHAIN)[1])


@pytest.mark.parametrize("name", list(SKELETONS))
def test_bone_lengths_of_known_skeletons(name):
    skeleton = SKELETONS[name]
    joints = len(skeleton.joints)
    stream = body(rows=1, joints=joints)
    factors = torch.linspace(0.7, 1.4, joints, dtype=torch.float64)[None]
    out = stretch_bones(stream.values, factors, stream.joint_mask, skeleton)
    for parent, joint in skeleton.edges:
        before = (stream.values[:, :, joint] - stream.values[:, :, parent]).norm(dim=-1)
        after = (out[:, :, joint] - out[:, :, parent]).norm(dim=-1)
        torch.testing.assert_close(after, before * factors[0, joint])


def test_yaw_scale_offset_and_dropped_joints():
    stream = body()
    yaw = torch.tensor([math.pi / 2, 0.3], dtype=torch.float64)
    scale = torch.tensor([1.1, 0.9], dtype=torch.float64)
    offset = torch.randn(2, 4, 3, dtype=torch.float64)
    drop = torch.tensor([[False, False, False, True], [False] * 4])
    found = augment_mocap(with_draws(stream, yaw=yaw, scale=scale, offset=offset, drop=drop), CHAIN)
    moved = (stream.values + offset[:, None]) * scale[:, None, None, None]
    expected = torch.stack([-moved[0, ..., 1], moved[0, ..., 0], moved[0, ..., 2]], -1)
    torch.testing.assert_close(found.values[0, :, :3], expected[:, :3])
    torch.testing.assert_close(found.values[1, ..., 2], moved[1, ..., 2])
    turn = rotate(quaternion([0, 0, 1], math.degrees(0.3)), moved[1])
    torch.testing.assert_close(found.values[1], turn)
    assert not found.values[0, :, 3].any()
    assert found.joint_mask.tolist() == [[True, True, True, False], [True] * 4]


def test_pose_scales_about_its_own_centre_and_unknown_points_stay_unknown():
    stream = body(joints=4)
    stream.values[..., 2] = 0.9
    stream.values[0, :, 1] = 0
    stream.valid[1, 3:] = False
    stream.values[1, 3:] = math.nan
    scale = torch.tensor([2.0, 0.5], dtype=torch.float64)
    offset = torch.zeros(2, 4, 3, dtype=torch.float64)
    offset[0, 0, 0] = 7.0
    found = augment_pose2d(with_draws(stream, scale=scale, offset=offset))
    points = stream.values[0][:, [0, 2, 3], :2] + offset[0, None][:, [0, 2, 3], :2]
    centre = points.mean((0, 1))
    torch.testing.assert_close(found.values[0][:, [0, 2, 3], :2], centre + 2 * (points - centre))
    assert not found.values[0, :, 1].any()
    assert found.values[0, :, 0, 2].eq(0.9).all()
    points = stream.values[1, :3, :, :2]
    torch.testing.assert_close(found.values[1, :3, :, :2], (points + points.mean((0, 1))) / 2)
    assert torch.isfinite(found.values).all()


def test_batch_takes_its_skeletons_from_the_inputs():
    imu, mocap = imu_stream(), body(joints=20)
    row = torch.zeros(2, dtype=torch.int64)
    lists = {"ids": ["a", "b"], "recordings": [""] * 2, "subjects": [""] * 2, "groups": [""] * 2, "texts": [""] * 2}
    batch = Batch(
        streams={
            "imu": with_draws(imu, gain=torch.full((2, 3, 6), 2.0, dtype=torch.float64)),
            "mocap_b": with_draws(mocap, bone=torch.full((2, 20), 1.2, dtype=torch.float64)),
            "mocap": mocap,
        },
        row=row,
        start_s=row.double(),
        span_s=row.double(),
        weight=row.float(),
        labels=[{}, {}],
        **lists,
    )
    inputs = {"imu": ImuInput(), "mocap_b": MocapInput(), "mocap": MocapInput()}
    found = augment(batch, inputs)
    torch.testing.assert_close(found.streams["imu"].values, 2 * imu.values)
    expected = stretch_bones(
        mocap.values, torch.full((2, 20), 1.2, dtype=torch.float64), mocap.joint_mask, SKELETONS["kinect20"]
    )
    torch.testing.assert_close(found.streams["mocap_b"].values, expected)
    assert found.streams["mocap"] is mocap
    assert all(not s.draws for s in found.streams.values())
    assert np.isfinite(found.streams["imu"].values.numpy()).all()


def test_small_range_and_missing_gyroscope_of_some_rows():
    stream = imu_stream(rows=3)
    stream = dataclasses.replace(stream, values=stream.values * 15)
    draws = {"clip": torch.tensor([True, False, True]), "gyro": torch.tensor([False, True, True])}
    found = augment_imu(with_draws(stream, **draws), 50.0)
    acc = stream.values[..., :3]
    torch.testing.assert_close(found.values[0, ..., :3], acc[0].clamp(-2 * 9.81, 2 * 9.81))
    assert (acc[0].abs() > 2 * 9.81).any()
    torch.testing.assert_close(found.values[1, ..., :3], acc[1])
    torch.testing.assert_close(found.values[0, ..., 3:], stream.values[0, ..., 3:])
    assert not found.values[1:, ..., 3:].any()
    assert found.channel_mask.tolist() == [[[True] * 6] * 3] + [[[True] * 3 + [False] * 3] * 3] * 2


def test_shares_of_hidden_placements_small_ranges_and_missing_gyroscopes():
    config = ImuInput(
        sensors=4,
        augment={"hide_placement": 0.3, "clip_acc": 0.2, "drop_gyro": 0.6},  # type: ignore[arg-type]
    )
    told, clip, gyro = [], [], []
    for seed in range(600):
        out = blank_imu(1.0, Options("imu", config, 0.5, training=True))
        out["placement"][:] = 13
        draw_imu(out, config, np.random.default_rng(seed), 4)
        told.append((out["placement"] == 13).mean())
        clip.append(bool(out["draws.clip"]))
        gyro.append(bool(out["draws.gyro"]))
    assert np.mean(told) == pytest.approx(0.7, abs=0.04)
    assert np.mean(clip) == pytest.approx(0.2, abs=0.05)
    assert np.mean(gyro) == pytest.approx(0.6, abs=0.06)

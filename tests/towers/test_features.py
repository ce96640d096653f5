import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from aura.towers.features import (
    gravity_motion,
    imu_channels,
    imu_features,
    integrate,
    rotate,
    up_frame,
    world_motion,
)
from tests.towers.streams import imu_stream

UP = np.array([0, 0, 9.81])
STEP = torch.full((1,), 0.01, dtype=torch.float64)


def test_integration_equals_one_rotation_after_another():
    rng = np.random.default_rng(0)
    gyro = rng.normal(0, 2, (137, 3))
    step = rng.uniform(0.005, 0.02, 137)
    expected = [Rotation.identity()]
    for i in range(1, 137):
        expected.append(expected[-1] * Rotation.from_rotvec((gyro[i] + gyro[i - 1]) / 2 * step[i]))
    got = Rotation.from_quat(integrate(torch.tensor(gyro), torch.tensor(step)).numpy(), scalar_first=True)
    assert max((a.inv() * b).magnitude() for a, b in zip(expected, got)) < 1e-12


def turning_sensor(items=200, rate=1.3):
    """A sensor that turns about an oblique axis while it accelerates along world x: acc, gyro, and the truth."""
    axis = np.array([0.6, 0.0, 0.8])
    time = np.arange(items) * 0.01
    start = Rotation.from_rotvec([0.3, -0.5, 0.2])  # sensor to world
    pose = start * Rotation.from_rotvec(axis * rate * time[:, None])
    accel = np.stack([np.sin(2 * math.pi * time / 2), 0 * time, 0 * time], axis=1)  # mean zero over the window
    force = pose.inv().apply(accel + UP)
    return torch.tensor(force), torch.tensor(np.tile(axis * rate, (items, 1))), accel, pose


@pytest.mark.parametrize("world", ["mean", "start"])
def test_world_channels_recover_the_motion_in_an_upright_frame(world):
    acc, gyro, accel, pose = turning_sensor()
    if world == "start":  # at rest for the first 0.2 s, as that choice asks for
        accel = accel * (np.arange(200) > 20)[:, None]
        acc = torch.tensor(pose.inv().apply(accel + UP))
    valid = torch.ones(200, dtype=torch.bool)
    force, rate = (x.numpy() for x in world_motion(acc, gyro, valid, STEP.expand(200), world))
    assert np.allclose(np.linalg.norm(force, axis=1), np.linalg.norm(accel, axis=1), atol=0.01)
    assert np.abs(force[:, 2]).max() < 0.01  # the acceleration is level
    assert np.allclose(rate[:, 2], pose.apply(gyro)[:, 2], atol=0.01)  # turn about the vertical


def test_world_channels_do_not_depend_on_a_turn_of_the_sensor_about_its_z_axis():
    acc, gyro, _, _ = turning_sensor()
    valid = torch.ones(200, dtype=torch.bool)
    mount = Rotation.from_rotvec([0, 0, 0.7])  # the heading is that of the z axis
    turned = (torch.tensor(mount.apply(x)) for x in (acc, gyro))
    for a, b in zip(
        world_motion(acc, gyro, valid, STEP.expand(200), "mean"), world_motion(*turned, valid, STEP.expand(200), "mean")
    ):
        assert torch.allclose(a, b, atol=1e-9)


def test_the_upright_frame_is_a_rotation_whatever_up_is():
    up = torch.nn.functional.normalize(torch.randn(100, 3, dtype=torch.float64), dim=-1)
    up[0], up[1] = torch.tensor([0.0, 0, 1]), torch.tensor([0.0, 0, -1])
    frame = up_frame(up)
    assert torch.allclose(frame @ frame.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(100, 3, 3), atol=1e-9)
    assert torch.allclose(torch.linalg.det(frame), torch.ones(100, dtype=torch.float64))
    assert torch.allclose((frame @ up[..., None])[..., 0], torch.tensor([0.0, 0, 1]).double().expand(100, 3), atol=1e-9)


def test_rotation_by_quaternions_equals_scipy():
    turn = Rotation.random(20, random_state=0)
    v = np.random.default_rng(0).normal(size=(20, 3))
    got = rotate(torch.tensor(turn.as_quat(scalar_first=True)), torch.tensor(v))
    assert np.allclose(got, turn.apply(v))


@pytest.mark.parametrize("world", ["none", "start", "mean"])
@pytest.mark.parametrize("norms", [True, False])
def test_channels_and_units(world, norms):
    stream = imu_stream(rows=2, sensors=3, items=50)
    x = imu_features(stream, 50.0, world, norms)
    assert x.shape == (2, 3, imu_channels(world, norms), 50)
    assert torch.allclose(x[:, :, :3], stream.values[..., :3].transpose(-1, -2) / 9.81)
    assert torch.allclose(x[:, :, 3:6], stream.values[..., 3:].transpose(-1, -2))
    assert x[:, :, -2:].eq(1).all()


def test_a_missing_gyroscope_is_seen_as_missing():
    stream = imu_stream(rows=1)
    stream.values[..., 3:] = 0.0
    still = imu_features(stream, 50.0, "mean", True)
    stream.channel_mask[..., 3:] = False
    missing = imu_features(stream, 50.0, "mean", True)
    assert still[0, 0, -1].eq(1).all()
    assert missing[0, 0, -1].eq(0).all()
    assert missing[0, 0, 8:14].eq(0).all()  # world channels need both instruments
    assert still[0, 0, 8:14].ne(0).any()


def test_a_stretched_window_turns_by_its_own_clock():
    stream = imu_stream(rows=1, items=100)
    stream.values[:] = torch.tensor([0.0, 0, 9.81, math.pi, 0, 0])  # half a turn a second about x
    stream.step_s = torch.full((1, 100), 0.02)
    slow = imu_features(stream, 100.0, "start", False)
    stream.step_s = None
    assert torch.allclose(slow, imu_features(stream, 50.0, "start", False))
    assert not torch.allclose(slow, imu_features(stream, 100.0, "start", False), atol=0.1)


def test_channels_along_gravity_do_not_depend_on_the_mounting():
    acc, gyro, _, _ = turning_sensor()
    known = torch.ones(1, 1, 200, dtype=torch.bool)
    known[..., 150:] = False  # what follows is not read
    mount = Rotation.from_rotvec([0.4, -1.2, 0.7])
    found = gravity_motion(acc[None, None], gyro[None, None], known, 100.0)
    turned = [torch.tensor(mount.apply(x))[None, None] for x in (acc, gyro)]
    for values in turned:
        values[..., 150:, :] = 50.0
    again = gravity_motion(*(torch.where(known[..., None], v, 0.0) for v in turned), known, 100.0)
    clean = gravity_motion(
        *(torch.where(known[..., None], v, 0.0) for v in (acc[None, None], gyro[None, None])), known, 100.0
    )
    assert found.shape == (1, 1, 200, 10)
    assert torch.allclose(again, clean, atol=1e-9)
    assert not clean[..., 150:, :].any()


def test_channels_along_gravity_in_closed_form():
    """A sensor tilted by 30 degrees that is pushed up and down and turned about the vertical."""
    t = np.arange(400) * 0.01
    push = 3 * np.sin(2 * np.pi * 5 / 0.51 * t)  # whole cycles in half a second
    tilted = Rotation.from_euler("y", 30, degrees=True)
    acc = tilted.inv().apply(np.stack([0 * t, 0 * t, 9.81 + push], 1))
    gyro = tilted.inv().apply(np.tile([0.0, 0, 1.5], (400, 1)))
    known = torch.ones(1, 1, 400, dtype=torch.bool)
    found = gravity_motion(torch.tensor(acc)[None, None], torch.tensor(gyro)[None, None], known, 100.0)[0, 0]
    middle = slice(50, 350)
    np.testing.assert_allclose(found[middle, 0], push[middle] / 9.81, atol=1e-3)
    np.testing.assert_allclose(found[middle, [1, 3]], 0, atol=1e-3)
    np.testing.assert_allclose(found[middle, 4:7], 0, atol=1e-5)  # it never tilts
    np.testing.assert_allclose(found[middle, 7], 3 / 9.81 / np.sqrt(2), rtol=0.01)
    np.testing.assert_allclose(found[middle, 8], 1.5, rtol=1e-6)
    np.testing.assert_allclose(found[middle, 9], 0, atol=2e-4)
    assert imu_channels("mean", True, True) == imu_channels("mean", True) + 10

"""The random forest on statistics of windows."""

import dataclasses

import numpy as np
import pytest
import torch

from aura.data.batch import Stream
from aura.tasks.forest import BANDS, by_placement, forest, window_statistics

RATE, STEPS = 20.0, 80


def sensors(values):
    n, s, t, _ = values.shape
    every = torch.ones(n, dtype=torch.bool)
    return Stream(
        torch.from_numpy(values),
        every,
        torch.ones(n, s, t, dtype=torch.bool),
        sensor_mask=torch.ones(n, s, dtype=torch.bool),
    )


def test_statistics_are_those_of_the_valid_items():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 2, STEPS, 6))
    stream = sensors(values)
    stream.valid[1, 0, 50:] = False
    stream.values[1, 0, 50:] = torch.nan
    stream.sensor_mask[2, 1] = False
    found = window_statistics(stream, "imu").reshape(3, 8 + BANDS, 2, 8)
    assert np.isfinite(found).all()
    kept = values[1, 0, :50]
    np.testing.assert_allclose(found[1, 0, 0, :6], kept.mean(0))
    np.testing.assert_allclose(found[1, 1, 0, :6], kept.std(0))
    np.testing.assert_allclose(found[1, 5, 0, :6], np.median(kept, 0))
    np.testing.assert_allclose(found[1, 7, 0, :6], np.abs(np.diff(kept, axis=0)).mean(0))
    np.testing.assert_allclose(found[0, 3, 1, 6], np.linalg.norm(values[0, 1, :, :3], axis=1).max())
    assert not found[2, :, 1].any(), "a sensor that is missing"
    np.testing.assert_allclose(found[0, 8:].sum(0), 1)


def test_a_skeleton_is_seen_relative_to_itself():
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(2, STEPS, 5, 3))

    def make(x):
        every = torch.ones(2, STEPS, dtype=torch.bool)
        return Stream(torch.from_numpy(x), every[:, 0], every)

    found = window_statistics(make(joints), "mocap")
    np.testing.assert_allclose(window_statistics(make(3 * joints + [5.0, -2, 1]), "mocap"), found, atol=1e-9)
    confident = np.concatenate([joints[..., :2], np.ones((2, STEPS, 5, 1))], -1)
    confident[0, :, 4] = 0  # a point that is unknown
    pose = window_statistics(make(confident), "pose2d").reshape(2, -1, 5, 3)
    assert not pose[0, :, 4].any()
    assert pose[1, :, 4].any()


def test_it_learns_what_statistics_tell():
    rng = np.random.default_rng(0)
    t = np.arange(STEPS) / RATE

    def windows(count, hz):
        phase = rng.uniform(0, 6.28, (count, 1, 1, 1))
        return np.sin(2 * np.pi * hz * t[None, None, :, None] + phase) + 0.1 * rng.normal(size=(count, 1, STEPS, 6))

    classes = {"slow": 0.5, "fast": 3.0}
    sides = [
        ([name for name in classes for _ in range(n)], np.concatenate([windows(n, hz) for hz in classes.values()]))
        for n in (20, 15)
    ]
    (labels, train), (truth, test) = [(names, window_statistics(sensors(x), "imu")) for names, x in sides]
    found, sure, names = forest(train, labels, test)
    assert found == truth
    assert names == ["fast", "slow"]
    assert sure.shape == (30, 2)
    np.testing.assert_allclose(sure.sum(1), 1)
    assert forest(train, labels, test)[1] == pytest.approx(sure)


def test_a_sensor_that_is_missing_moves_no_other():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 2, 5, 6, generator=generator)
    there = torch.tensor([[True, True], [True, False], [True, True]])
    stream = Stream(
        values=values,
        present=torch.ones(3, dtype=torch.bool),
        valid=there[..., None].expand(3, 2, 5).clone(),
        sensor_mask=there,
        placement=torch.tensor([[13, 24], [24, 0], [24, 13]]),
    )
    found = by_placement(stream, [13, 20, 24])
    assert found.sensor_mask.tolist() == [[True, False, True], [False, False, True], [True, False, True]]
    torch.testing.assert_close(found.values[[0, 2], 0], torch.stack([values[0, 0], values[2, 1]]))
    torch.testing.assert_close(found.values[:, 2], torch.stack([values[0, 1], values[1, 0], values[2, 0]]))
    assert found.valid.any(-1).tolist() == found.sensor_mask.tolist()
    twice = dataclasses.replace(stream, placement=torch.zeros(3, 2, dtype=torch.int64))
    assert by_placement(twice, [0]) is twice, "two sensors at unknown places are not told apart"

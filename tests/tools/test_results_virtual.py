"""The comparison of virtual and real IMUs finds what it is told to find: shifts, rates, mountings."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aura.body.skeletons import SKELETONS
from aura.body.virtual_imu import from_joints, virtual_imu
from aura.data.sample import Sample

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # as for a script that lies there
import results_virtual as rv


def swing(t: np.ndarray) -> np.ndarray:
    """Someone who stands and swings the right arm: joints (T, 20, 3), z up."""
    rng = np.random.default_rng(3)
    joints = SKELETONS["kinect20"].joints
    body = np.zeros((len(t), 20, 3)) + rng.normal(0, 0.01, (20, 3))
    heights = {"head": 0.6, "shoulder_center": 0.4, "spine": 0.1, "hip_center": 0.0, "knee": -0.5, "ankle": -0.9}
    for j, name in enumerate(joints):
        side = {"left": -0.2, "right": 0.2}.get(name.partition("_")[0], 0.0)
        part = name.partition("_")[2] if side else name
        body[:, j] += [side, 0, heights.get(part, 0.4 if part in ("shoulder", "elbow") else 0.0)]
    angle = 0.9 * np.sin(2 * np.pi * 0.7 * t) + 0.4 * np.sin(2 * np.pi * 1.1 * t + 1)
    turn = 0.5 * np.sin(2 * np.pi * 0.5 * t)
    bone = np.stack([np.sin(turn) * np.cos(angle), np.sin(angle), -np.cos(turn) * np.cos(angle)], 1)
    body[:, joints.index("right_elbow")] = body[:, joints.index("right_shoulder")] - [0, 0, 0.3]
    body[:, joints.index("right_wrist")] = body[:, joints.index("right_elbow")] + 0.25 * bone
    return body


def sample(late_s: float, mounting: Rotation, rate_error: float = 1.0, seconds: float = 4.0) -> Sample:
    """A clip whose sensor is ideal, and whose skeleton is late by a shift on a clock that runs too fast by a factor."""
    fine = np.arange(0, round(seconds * 200)) / 200
    place, frame = from_joints(swing(fine), SKELETONS["kinect20"], "right wrist")
    imu, _ = virtual_imu(place, frame, 200.0, out_rate_hz=50.0)
    imu = np.concatenate([mounting.apply(imu[:, :3]), mounting.apply(imu[:, 3:])], 1)
    middle = (len(imu) - 1) / 100
    clock = np.arange(round(seconds * 19)) / 19
    joints = swing(middle + (clock - middle) * rate_error - late_s)
    sensor = {"placement": "right wrist", "channels": ["acc", "gyro"]}
    return Sample(
        id="a", dataset="d", recording="a", duration_s=seconds, subject="s1", labels={"activity": "throw"},
        streams={
            "imu": {"rate_hz": 50.0, "start_s": 0.0, "length": len(imu), "sensors": [sensor]},
            "mocap": {"rate_hz": 19.0, "start_s": 0.0, "length": len(joints), "skeleton": "kinect20"},
        },
        arrays={"imu": imu[None].astype(np.float32), "mocap": joints.astype(np.float32)},
    )  # fmt: skip


@pytest.mark.parametrize("late", [-0.2, 0.0, 0.14])
def test_shift_and_mounting_are_found(late: float) -> None:
    mounting = Rotation.from_euler("xyz", [150, 10, -25], degrees=True)
    clip = rv.clip_of(sample(late, mounting))
    assert clip is not None
    fit = rv.fit(clip)
    assert fit.shift_s == pytest.approx(late, abs=0.021)
    turn = rv.rotation(fit.real[:, :3], fit.virtual[:, :3])
    # The twist of the bone begins at nothing in the skeleton's first frame, which is another moment.
    assert (Rotation.from_matrix(turn) * mounting.inv()).magnitude() < np.radians(2 if late == 0 else 15)
    found = rv.measures(fit, turn)
    assert found["vector, mounting per subject"] == found["vector, mounting per clip"] > 0.98
    assert found["angular speed"] > 0.98
    assert found["error of the norm"] <= found["error, mounting per clip"] < 0.15 * found["real"]


def test_a_rate_is_found() -> None:
    clip = rv.clip_of(sample(0.1, Rotation.identity(), rate_error=0.9, seconds=6.0))
    assert clip is not None
    assert rv.fit_rate(clip)[0] > rv.fit(clip).speed_correlation + 0.02
    assert rv.fit_rate(clip)[2] == pytest.approx(0.9, abs=0.021)


def test_rotations_do_not_mirror() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3))
    turn = rv.rotation(points * [1, 1, -1], points)
    assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)


def test_correlation_is_over_all_axes() -> None:
    x = np.random.default_rng(0).normal([9.8, 0, 0], 1, (100, 3))
    assert rv.correlation(x, 2 * x + [1, 2, 3]) == pytest.approx(1)
    assert abs(rv.correlation(x, x[:, [1, 2, 0]])) < 0.2
    assert rv.correlation(np.ones(5), np.arange(5.0)) == 0


def test_every_action_has_one_group() -> None:
    from shards.utd_mhad_texts import ACTIONS

    listed = " ".join(rv.GROUPS.values()).split()
    assert sorted(listed) == sorted(action.name for action in ACTIONS)
    thigh = {n for group, names in rv.GROUPS.items() if group.startswith("thigh") for n in names.split()}
    assert thigh == {action.name for action in ACTIONS[21:]}

"""Quaternions against scipy, forward kinematics against a chain worked out by hand."""

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from aura.body import kinematics as kin


@pytest.fixture
def turns() -> tuple[np.ndarray, Rotation]:
    """500 random rotations, with half turns and the identity, as quaternions w x y z and as scipy's."""
    vectors = np.random.default_rng(0).normal(size=(500, 3)) * 1.5
    vectors[:4] = [[0, 0, 0], [np.pi, 0, 0], [0, np.pi, 0], [0, 0, np.pi]]
    rotation = Rotation.from_rotvec(vectors)
    return np.roll(rotation.as_quat(), 1, axis=-1), rotation


def test_quaternions_agree_with_scipy(turns: tuple[np.ndarray, Rotation]) -> None:
    q, rotation = turns
    v = np.random.default_rng(1).normal(size=(500, 3))
    np.testing.assert_allclose(kin.rotate(q, v), rotation.apply(v), atol=1e-12)
    np.testing.assert_allclose(kin.to_matrix(q), rotation.as_matrix(), atol=1e-12)
    product = Rotation.from_quat(np.roll(kin.multiply(q, q[::-1]), -1, axis=-1))
    assert (product * (rotation * rotation[::-1]).inv()).magnitude().max() < 1e-7
    np.testing.assert_allclose(np.abs((kin.from_matrix(rotation.as_matrix()) * q).sum(-1)), 1, atol=1e-12)
    np.testing.assert_allclose(kin.rotate(kin.conjugate(q), kin.rotate(q, v)), v, atol=1e-12)


def test_rotation_vectors_and_axis_angle() -> None:
    vectors = np.random.default_rng(2).normal(size=(300, 3))
    vectors[:2] = [[0, 0, 0], [1e-9, 0, 0]]
    expected = Rotation.from_rotvec(vectors).as_matrix()
    np.testing.assert_allclose(kin.to_matrix(kin.from_rotation_vector(vectors)), expected, atol=1e-12)
    quarter = kin.from_axis_angle([0, 0, 2.0], np.pi / 2)
    np.testing.assert_allclose(kin.rotate(quarter, [1.0, 0, 0]), [0, 1, 0], atol=1e-15)


@pytest.mark.parametrize("order", ["".join(o) for n in (1, 2, 3) for o in itertools.permutations("xyz", n)])
def test_euler_angles_in_every_order(order: str) -> None:
    """From left to right is what scipy calls intrinsic, in capitals."""
    angles = np.random.default_rng(4).uniform(-np.pi, np.pi, (200, len(order)))
    expected = Rotation.from_euler(order.upper(), angles).as_matrix()
    np.testing.assert_allclose(kin.to_matrix(kin.from_euler(angles, order)), expected, atol=1e-12)


def test_slerp_against_scipy_takes_the_short_way(turns: tuple[np.ndarray, Rotation]) -> None:
    q, _ = turns
    a, b, share = q[10:110], -q[110:210], np.linspace(0, 1, 100)
    got = kin.to_matrix(kin.slerp(a, b, share))
    for i in range(0, 100, 9):
        pair = Rotation.from_quat(np.roll(np.stack([a[i], b[i]]), -1, axis=-1))
        np.testing.assert_allclose(got[i], Slerp([0, 1], pair)(share[i]).as_matrix(), atol=1e-9)
    np.testing.assert_allclose(kin.slerp(a, a, share), a, atol=1e-12)


def test_continuous_signs() -> None:
    q = kin.from_axis_angle([0, 1, 0], np.linspace(0, 4 * np.pi, 50))
    flipped = q * np.random.default_rng(3).choice([-1.0, 1.0], size=(50, 1))
    np.testing.assert_allclose(kin.continuous(flipped) * np.sign(flipped[0, 0]), q, atol=1e-12)


def test_forward_kinematics_of_a_bent_arm_in_any_order_of_joints() -> None:
    # Joints: hand (parent elbow), root, elbow (parent root). Root turned 90 degrees about z, elbow another 90.
    quarter = kin.from_axis_angle([0, 0, 1], np.pi / 2)
    rotations = np.stack([kin.IDENTITY, quarter, quarter])[None].repeat(2, 0)
    offsets = np.array([[0.25, 0, 0], [9, 9, 9], [0.3, 0, 0]])
    positions, orientations = kin.forward_kinematics([2, -1, 1], offsets, rotations, [[0, 0, 1.0], [1.0, 0, 1.0]])
    np.testing.assert_allclose(positions[0], [[-0.25, 0.3, 1], [0, 0, 1], [0, 0.3, 1]], atol=1e-12)
    np.testing.assert_allclose(positions[1] - positions[0], np.tile([1, 0, 0], (3, 1)), atol=1e-12)
    np.testing.assert_allclose(kin.rotate(orientations[0, 0], [1, 0, 0]), [-1, 0, 0], atol=1e-12)
    with pytest.raises(ValueError, match="circle"):
        kin.forward_kinematics([1, 0], offsets[:2], rotations[:, :2], [[0, 0, 0], [0, 0, 0]])

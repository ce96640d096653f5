"""The virtual IMU against closed forms. Bounds hold for every item, ends included, unless a test says otherwise."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aura.body import kinematics as kin
from aura.body.skeletons import SKELETONS, Skeleton, skeleton
from aura.body.virtual_imu import GRAVITY, from_joints, from_segments, imperfect, virtual_imu

RATE = 100.0
T = np.arange(300) / RATE


def still(frames: int = 300) -> np.ndarray:
    return np.tile(kin.IDENTITY, (frames, 1))


def test_rest_shows_gravity_up_in_the_mounted_frame() -> None:
    mounting = kin.from_axis_angle([1, 2, 3], 0.7)
    imu, orientation = virtual_imu(np.ones((300, 3)), still(), RATE, mounting=mounting)
    up = Rotation.from_rotvec(0.7 * np.array([1, 2, 3]) / np.sqrt(14)).inv().apply([0, 0, GRAVITY])
    np.testing.assert_allclose(imu, np.tile([*up, 0, 0, 0], (300, 1)), atol=1e-8)
    np.testing.assert_allclose(orientation, np.tile(mounting, (300, 1)), atol=1e-12)


def test_free_fall_shows_nothing() -> None:
    position = np.stack([2 * T, 0 * T, 5 - 0.5 * GRAVITY * T**2], -1)
    imu, _ = virtual_imu(position, still(), RATE)
    np.testing.assert_allclose(imu, 0, atol=1e-7)


def test_turn_about_a_tilted_axis_with_lever_arm() -> None:
    """A sensor 0.3 m off the axis of a turntable: w^2 r towards the axis, w about it, 3 rad/s: within 1e-4."""
    omega, radius = 3.0, 0.3
    axis = np.array([0.0, 0.6, 0.8])
    lever = radius * np.array([1.0, 0, 0])  # at right angles to the axis
    orientation = kin.from_axis_angle(axis, omega * T)
    imu, _ = virtual_imu(np.zeros((300, 3)), orientation, RATE, lever_m=lever)
    np.testing.assert_allclose(imu[:, 3:], np.tile(omega * axis, (300, 1)), atol=1e-4)
    gravity = kin.rotate(kin.conjugate(orientation), [0, 0, GRAVITY])
    # Bound at the ends, where the spline knows one side only; 1e-4 inside.
    np.testing.assert_allclose(imu[:, :3] - gravity, np.tile([-(omega**2) * radius, 0, 0], (300, 1)), atol=5e-3)
    np.testing.assert_allclose((imu[:, :3] - gravity)[10:-10, 0], -(omega**2) * radius, atol=1e-4)


def test_gyro_is_in_the_sensor_frame() -> None:
    """A sensor whose x axis points up, turned about world z, sees the rate on x."""
    mounting = kin.from_matrix(np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]]).T)
    up = kin.rotate(mounting, [1.0, 0, 0])
    orientation = kin.from_axis_angle([0, 0, 1], 2.0 * T)
    imu, _ = virtual_imu(np.zeros((300, 3)), orientation, RATE, mounting=mounting)
    np.testing.assert_allclose(imu[:, 3:], np.tile([2.0 * up[2], 0, 0], (300, 1)), atol=1e-5)


def test_pendulum() -> None:
    """Bob of a pendulum, angle from scipy's integrator: no force across the rod, g cos + w^2 L along, to 0.01."""
    from scipy.integrate import solve_ivp

    length = 0.8
    motion = solve_ivp(
        lambda _, s: [s[1], -GRAVITY / length * np.sin(s[0])], (0, 3), [1.2, 0], t_eval=T, rtol=1e-12, atol=1e-12
    )
    angle, rate = motion.y
    # The rod hangs along -z of the segment and turns about -y, so that positive angles swing towards +x.
    orientation = kin.from_axis_angle([0, -1, 0], angle)
    imu, _ = virtual_imu(np.zeros((300, 3)), orientation, RATE, lever_m=[0, 0, -length])
    np.testing.assert_allclose(imu[:, 0], 0, atol=0.01)
    np.testing.assert_allclose(imu[:, 2], GRAVITY * np.cos(angle) + rate**2 * length, atol=0.01)
    np.testing.assert_allclose(imu[:, 4], -rate, atol=1e-3)


@pytest.mark.parametrize(("frequency", "bound"), [(1.0, 1e-5), (5.0, 1e-3), (10.0, 1e-2)])
def test_sinusoid(frequency: float, bound: float) -> None:
    """Relative error of the acceleration of a sine at 100 frames/s, 0.1 s away from the ends."""
    w = 2 * np.pi * frequency
    position = np.stack([0 * T, 0.05 * np.sin(w * T), 0 * T], -1)
    imu, _ = virtual_imu(position, still(), RATE)
    error = np.abs(imu[:, 1] + 0.05 * w**2 * np.sin(w * T))[10:-10].max() / (0.05 * w**2)
    assert error < bound


def test_output_rate_and_several_sensors_at_once() -> None:
    """20 frames/s of a 1 Hz sine read at 50 Hz: within 0.2 %; sensors share the call and do not mix."""
    t = np.arange(81) / 20
    position = np.zeros((81, 2, 3))
    position[:, 1, 0] = np.sin(2 * np.pi * t)
    imu, orientation = virtual_imu(position, np.tile(kin.IDENTITY, (81, 2, 1)), 20.0, out_rate_hz=50.0)
    assert imu.shape == (201, 2, 6)
    assert orientation.shape == (201, 2, 4)
    fine = np.arange(201) / 50
    error = imu[:, 1, 0] + (2 * np.pi) ** 2 * np.sin(2 * np.pi * fine)
    assert np.abs(error)[15:-15].max() < 0.002 * (2 * np.pi) ** 2
    np.testing.assert_allclose(imu[:, 0], np.tile([0, 0, GRAVITY, 0, 0, 0], (201, 1)), atol=1e-9)


def test_low_pass_removes_measurement_noise() -> None:
    noisy = np.random.default_rng(0).normal(size=(300, 3)) * 0.001
    raw, _ = virtual_imu(noisy, still(), RATE)
    smooth, _ = virtual_imu(noisy, still(), RATE, low_pass_hz=6.0)
    assert raw[20:-20, 0].std() > 10
    assert smooth[20:-20, 0].std() < 0.5


def test_imperfections_noise_bias_range() -> None:
    imu = np.tile([0, 0, GRAVITY, 0, 0, 0], (20000, 1))
    bias = np.array([0.1, -0.2, 0.0])
    got = imperfect(imu, np.random.default_rng(0), acc_noise=0.5, gyro_noise=0.02, acc_bias=bias, gyro_bias=0.01)
    np.testing.assert_allclose((got - imu).mean(0), [*bias, 0.01, 0.01, 0.01], atol=0.02)
    np.testing.assert_allclose((got - imu).std(0), [0.5] * 3 + [0.02] * 3, rtol=0.05)
    clipped = imperfect(imu, np.random.default_rng(0), acc_noise=9.0, acc_range=10.0, gyro_range=0.0)
    assert np.abs(clipped[:, :3]).max() == 10.0
    assert (clipped[:, 3:] == 0).all()
    assert imu[0, 2] == GRAVITY  # the input is untouched


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="at least 4 frames"):
        virtual_imu(np.zeros((3, 3)), still(3), RATE)
    with pytest.raises(ValueError, match="not finite"):
        virtual_imu(np.full((9, 3), np.nan), still(9), RATE)
    with pytest.raises(ValueError, match="low_pass_hz"):
        virtual_imu(np.zeros((9, 3)), still(9), RATE, low_pass_hz=60.0)


def standing(frames: int) -> np.ndarray:
    """A Kinect skeleton standing at the origin, facing +x (left is +y), z up."""
    at = {
        "head": (0, 0, 1.7), "shoulder_center": (0, 0, 1.45), "spine": (0, 0, 1.1), "hip_center": (0, 0, 0.95),
        "shoulder": (0, 0.2, 1.4), "elbow": (0, 0.2, 1.1), "wrist": (0, 0.2, 0.85), "hand": (0, 0.2, 0.77),
        "hip": (0, 0.1, 0.9), "knee": (0, 0.1, 0.5), "ankle": (0, 0.1, 0.1), "foot": (0.15, 0.1, 0.02),
    }  # fmt: skip
    joints = []
    for name in SKELETONS["kinect20"].joints:
        side, _, part = name.partition("_")
        x, y, z = at[part] if side in ("left", "right") else at[name]
        joints.append((x, -y if side == "right" else y, z))
    return np.tile(np.array(joints, float), (frames, 1, 1))


@pytest.mark.parametrize(
    ("placement", "x_axis"),
    [("left wrist", (0, 0, -1)), ("right thigh", (0, 0, -1)), ("pelvis", (0, 0, 1)), ("head", (0, 0, 1))],
)
def test_frames_from_joints_at_rest(placement: str, x_axis: tuple[int, ...]) -> None:
    """x along the bone, y forward (+x of the world here)."""
    position, orientation = from_joints(standing(10), SKELETONS["kinect20"], placement)
    axes = kin.to_matrix(orientation[5])
    np.testing.assert_allclose(axes[:, 0], x_axis, atol=1e-9)
    np.testing.assert_allclose(axes[:, 1], [1, 0, 0], atol=1e-9)
    imu, _ = virtual_imu(position, orientation, 20.0)
    np.testing.assert_allclose(imu[:, 0], GRAVITY * x_axis[2], atol=1e-6)


def test_frames_from_joints_follow_a_turning_body_and_a_swinging_arm() -> None:
    """Whole body turned about z at 1 rad/s, right forearm raised at 2 rad/s: the wrist's gyro is the sum of both."""
    t = np.arange(100) / 50
    joints = standing(100)
    names = SKELETONS["kinect20"].joints
    elbow = names.index("right_elbow")
    raise_ = kin.from_axis_angle([0, -1, 0], 2.0 * t)
    for name in ("right_wrist", "right_hand"):
        at = names.index(name)
        joints[:, at] = joints[:, elbow] + kin.rotate(raise_, joints[:, at] - joints[:, elbow])
    turn = kin.from_axis_angle([0, 0, 1], t)
    joints = kin.rotate(turn[:, None], joints)
    position, orientation = from_joints(joints, SKELETONS["kinect20"], "right wrist")
    imu, _ = virtual_imu(position, orientation, 50.0)
    world = kin.rotate(orientation, imu[:, 3:])
    expected = kin.rotate(turn, [0, -2.0, 0]) + np.array([0, 0, 1.0])
    np.testing.assert_allclose(world[5:-5], expected[5:-5], atol=2e-3)
    np.testing.assert_allclose(position, joints[:, names.index("right_wrist")], atol=1e-12)


def test_smoothing_keeps_slow_motion_to_the_ends_and_fades_acceleration_there() -> None:
    t = np.arange(240) / 60
    position = np.stack([0.3 * np.sin(2 * np.pi * t), 0 * t, 0 * t], -1)
    imu, _ = virtual_imu(position, still(240), 60.0, low_pass_hz=15.0)
    expected = -0.3 * (2 * np.pi) ** 2 * np.sin(2 * np.pi * t)
    np.testing.assert_allclose(imu[5:-5, 0], expected[5:-5], atol=0.02 * np.abs(expected).max())
    noise = position + 0.001 * np.random.default_rng(0).normal(size=position.shape)
    rough, _ = virtual_imu(noise, still(240), 60.0, low_pass_hz=15.0)
    error = np.abs(rough[:, 0] - expected)
    assert error[[0, 1, -2, -1]].max() < 2 * error[20:-20].max()


def test_segments_at_rest_are_where_joints_put_them_and_keep_their_twist() -> None:
    """A forearm that turns about itself: joints do not move, so only the segment's orientation shows it."""
    tree = SKELETONS["kinect20"]
    rest, still_ = standing(1)[0], np.tile(kin.IDENTITY, (20, 1))
    joints, turns = standing(50), np.tile(kin.IDENTITY, (50, 20, 1))
    for placement in ("left wrist", "right thigh", "chest", "pelvis", "head", "left ankle", "right hip", "lower back"):
        place, frame = from_segments(joints, turns, (rest, still_), _kinect_with_trunk(), placement)
        other = from_joints(joints, tree, placement)
        np.testing.assert_allclose(place, other[0], atol=1e-12)
        np.testing.assert_allclose(np.abs((frame * other[1]).sum(-1)), 1, atol=1e-9)
    t = np.arange(50) / 50
    turns[:, tree.joints.index("left_elbow")] = kin.from_axis_angle([0, 0, -1], 4.0 * t)  # the bone hangs along -z
    imu, _ = virtual_imu(*from_segments(joints, turns, (rest, still_), _kinect_with_trunk(), "left wrist"), 50.0)
    np.testing.assert_allclose(imu[5:-5, 3:], np.tile([4.0, 0, 0], (40, 1)), atol=1e-3)
    np.testing.assert_allclose(imu[5:-5, 0], -GRAVITY, atol=1e-3)


def test_segments_with_any_local_axes_give_the_same_sensor() -> None:
    """The frames of joints are an exporter's choice: turning all of them by constants changes nothing."""
    rng = np.random.default_rng(1)
    choice = kin.normalise(rng.normal(size=(20, 4)))
    turn = kin.from_axis_angle([0.2, 0.3, 1], np.linspace(0, 1, 30))
    joints = kin.rotate(turn[:, None], standing(30))
    plain = np.tile(turn[:, None], (1, 20, 1))
    rest = standing(1)[0]
    for placement in ("left wrist", "chest", "right foot"):
        a = from_segments(joints, plain, (rest, np.tile(kin.IDENTITY, (20, 1))), _kinect_with_trunk(), placement)
        b = from_segments(joints, kin.multiply(plain, choice), (rest, choice), _kinect_with_trunk(), placement)
        np.testing.assert_allclose(a[0], b[0], atol=1e-12)
        np.testing.assert_allclose(np.abs((a[1] * b[1]).sum(-1)), 1, atol=1e-12)


def _kinect_with_trunk() -> Skeleton:
    """The Kinect's joints hung on the pelvis, as segments are: the Kinect's own tree hangs on the head."""
    tree = SKELETONS["kinect20"]
    up = {"hip_center": None, "spine": "hip_center", "shoulder_center": "spine", "head": "shoulder_center"}
    parents = [
        (-1 if up[n] is None else tree.joints.index(str(up[n]))) if n in up else tree.parents[i]
        for i, n in enumerate(tree.joints)
    ]
    return Skeleton("kinect from the pelvis", tree.joints, tuple(parents))


def test_from_joints_names_what_is_absent() -> None:
    with pytest.raises(ValueError, match="'left_hand'"):
        from_joints(
            np.zeros((5, 17, 3)) + np.random.default_rng(0).normal(size=(17, 3)), SKELETONS["coco17"], "left hand"
        )
    with pytest.raises(ValueError, match="no rule"):
        from_joints(standing(5), SKELETONS["kinect20"], "left ear")
    with pytest.raises(ValueError, match="neither pelvis"):
        from_joints(np.zeros((5, 1, 3)), skeleton({"joints": ["head"], "parents": [-1]}), "head")

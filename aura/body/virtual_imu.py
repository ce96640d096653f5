"""What an IMU on a moving body would measure: specific force and angular velocity in the sensor's own frame.

The world has z up and gravity 9.80665 m/s^2 down, so a sensor at rest shows +9.80665 along up. Motions are splines of
degree 5 through the given frames: the error of the second derivative falls with the fourth power of the frame's length
(a sine of 5 Hz at 100 frames/s: 0.03 % away from the ends), and any output rate is read from the same curve.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import BSpline, make_interp_spline
from scipy.signal import butter, sosfiltfilt

from aura.body import kinematics as kin
from aura.body.skeletons import Skeleton

GRAVITY = 9.80665
_UP = np.array([0.0, 0.0, GRAVITY])
PADDING = 20  # frames added to both ends of a motion that is smoothed

# Placement -> (proximal joint, distal joint, share of the way). Without sides: the same on both.
_LIMBS: dict[str, tuple[str, str, float]] = {
    "upper arm": ("shoulder", "elbow", 0.5),
    "forearm": ("elbow", "wrist", 0.5),
    "wrist": ("elbow", "wrist", 1.0),
    "hand": ("wrist", "hand", 0.5),
    "finger": ("wrist", "hand", 1.0),
    "hip pocket": ("hip", "knee", 0.15),
    "thigh": ("hip", "knee", 0.5),
    "shank": ("knee", "ankle", 0.5),
    "ankle": ("knee", "ankle", 1.0),
    "foot": ("ankle", "foot", 0.5),
}
# Placement -> share of the way from the lower to the upper end of the trunk.
_TRUNK = {"pelvis": 0.0, "lower back": 0.2, "chest": 0.75, "upper back": 0.9, "neck": 1.0}


def virtual_imu(
    position: ArrayLike,
    orientation: ArrayLike,
    rate_hz: float,
    *,
    mounting: ArrayLike = kin.IDENTITY,
    lever_m: ArrayLike = (0.0, 0.0, 0.0),
    out_rate_hz: float | None = None,
    low_pass_hz: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Ideal measurement of sensors fixed to moving segments.

    position     (T, ..., 3) metres, of the segments' origins in the world (z up)
    orientation  (T, ..., 4) unit quaternions w x y z, segment to world
    mounting     (..., 4), sensor to segment
    lever_m      (..., 3) metres, the sensor's place in the segment's frame
    out_rate_hz  rate of the result; default: rate_hz. Items start at frame 0 and end at or before the last frame
    low_pass_hz  -3 dB edge of a zero-phase low-pass (Butterworth, 4th order, forward and backward) on the motion
                 first; for mocap with measurement noise, which the second derivative blows up. In about
                 1 / (2 low_pass_hz) seconds from either end the acceleration fades to 0 (at rest)

    Returns imu (T', ..., 6), specific force in m/s^2 and angular velocity in rad/s, both in the sensor's frame, and the
    sensors' orientation (T', ..., 4), sensor to world. ValueError for fewer than 4 frames and for values not finite.
    """
    position, orientation = np.asarray(position, float), np.asarray(orientation, float)
    frames = len(position)
    if len(orientation) != frames or position.shape[-1] != 3 or orientation.shape[-1] != 4:
        raise ValueError(
            f"position must be (T, ..., 3) and orientation (T, ..., 4), got {position.shape}, {orientation.shape}"
        )
    if frames < 4:
        raise ValueError(f"a virtual IMU needs at least 4 frames of motion, got {frames}")
    if not (np.isfinite(position).all() and np.isfinite(orientation).all()):
        raise ValueError("position or orientation holds values that are not finite: fill or cut the gaps first")
    turn = kin.continuous(kin.multiply(orientation, mounting))
    place = position + kin.rotate(orientation, lever_m)
    before = 0  # frames added to both ends
    if low_pass_hz is not None:
        before = min(frames - 1, PADDING)
        place, turn = (_low_pass(values, rate_hz, low_pass_hz, before) for values in (place, turn))
    out_rate = rate_hz if out_rate_hz is None else out_rate_hz
    times = np.arange(int(np.floor((frames - 1) / rate_hz * out_rate + 1e-9)) + 1) / out_rate
    curve, spin = (_spline(values, rate_hz, -before / rate_hz) for values in (place, turn))
    q = kin.normalise(spin(times))
    # Of a curve of unnormalised quaternions p the rate is 2 conj(p) p' / |p|^2 without its real part.
    rate = 2.0 * kin.multiply(kin.conjugate(spin(times)), spin(times, 1))[..., 1:]
    gyro = rate / np.square(spin(times)).sum(-1, keepdims=True)
    force = kin.rotate(kin.conjugate(q), curve(times, 2) + _UP)
    return np.concatenate([force, gyro], axis=-1), q


def imperfect(
    imu: ArrayLike,
    rng: np.random.Generator,
    *,
    acc_noise: float = 0.0,
    gyro_noise: float = 0.0,
    acc_bias: ArrayLike = 0.0,
    gyro_bias: ArrayLike = 0.0,
    acc_range: float = np.inf,
    gyro_range: float = np.inf,
) -> np.ndarray:
    """The measurement (..., 6) with constant bias and white noise (standard deviation), then clipped at +-range.

    m/s^2 and rad/s; biases are scalars or (..., 3).
    """
    imu = np.array(imu, float)
    for half, noise, bias, limit in (
        (imu[..., :3], acc_noise, acc_bias, acc_range),
        (imu[..., 3:], gyro_noise, gyro_bias, gyro_range),
    ):
        half += np.asarray(bias, float)
        if noise:
            half += noise * rng.standard_normal(half.shape)
        np.clip(half, -limit, limit, out=half)
    return imu


def from_joints(joints: ArrayLike, skeleton: Skeleton, placement: str) -> tuple[np.ndarray, np.ndarray]:
    """Place (T, 3) and frame (T, 4) of a sensor at `placement`, from joint positions (T, J, 3) alone, z up.

    The frame's x axis points along the bone (limbs: away from the trunk; trunk and head: up). Its y axis points forward
    in the trunk. Twist of a limb about its own bone is not in the positions: a limb's frame follows the bone in the
    trunk's frame by the shortest turn from frame to frame. ValueError for a placement or joint that is not there.
    """
    joints = np.asarray(joints, float)
    names = skeleton.canonical

    def at(name: str) -> np.ndarray:
        if name not in names:
            raise ValueError(f"placement {placement!r} needs joint {name!r}, which skeleton {skeleton.name!r} lacks")
        return joints[:, names.index(name)]

    if skeleton.up is None:
        raise ValueError(f"skeleton {skeleton.name!r} has neither pelvis and neck nor hips and shoulders")
    lower, upper = (joints[:, list(end)].mean(1) for end in skeleton.up)
    left = at("left_shoulder") - at("right_shoulder") + at("left_hip") - at("right_hip")
    trunk = _frame(upper - lower, np.cross(left, upper - lower))
    side, _, part = placement.partition(" ")
    if placement in _TRUNK:
        return lower + _TRUNK[placement] * (upper - lower), trunk
    if placement == "head":
        return at("head"), _follow(at("head") - upper, trunk)
    if side in ("left", "right") and part in ("hip", "shoulder"):
        return at(f"{side}_{part}"), trunk
    if side in ("left", "right") and part in _LIMBS:
        proximal, distal, share = _LIMBS[part]
        start, end = at(f"{side}_{proximal}"), at(f"{side}_{distal}")
        return start + share * (end - start), _follow(end - start, trunk)
    raise ValueError(f"no rule builds a sensor at placement {placement!r} from joints")


def from_segments(
    positions: ArrayLike,
    orientations: ArrayLike,
    rest: tuple[ArrayLike, ArrayLike],
    skeleton: Skeleton,
    placement: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Place (T, 3) and frame (T, 4) of a sensor at `placement`, fixed to a segment whose orientation is known, twist too.

    positions     (T, J, 3) metres, z up
    orientations  (T, J, 4): of the frame that carries the bones from each joint to its children, frame to world
    rest          positions (J, 3) and orientations (J, 4) of one pose, in which the person should stand: in this pose the
                  sensor is where `from_joints` puts it, and it keeps this place in its segment's frame

    ValueError for a placement or joint that is not there.
    """
    positions, orientations = np.asarray(positions, float), np.asarray(orientations, float)
    place, frame = (values[0] for values in from_joints(np.asarray(rest[0], float)[None], skeleton, placement))
    carrier = skeleton.canonical.index(_carrier(skeleton, placement))
    at, back = np.asarray(rest[0], float)[carrier], kin.conjugate(np.asarray(rest[1], float)[carrier])
    lever, mounting = kin.rotate(back, place - at), kin.multiply(back, frame)
    turns = orientations[:, carrier]
    return positions[:, carrier] + kin.rotate(turns, lever), kin.multiply(turns, mounting)


def _carrier(skeleton: Skeleton, placement: str) -> str:
    """The joint whose frame moves the segment of a placement."""
    side, _, part = placement.partition(" ")
    if placement == "head":
        return "head"
    if part == "hip":
        return "pelvis"
    if part in _LIMBS and side in ("left", "right"):
        return f"{side}_{_LIMBS[part][0]}"
    names, chain = skeleton.canonical, ["neck"]
    if "neck" not in names or "pelvis" not in names:
        raise ValueError(f"placement {placement!r} needs joints 'pelvis' and 'neck', which {skeleton.name!r} lacks")
    while chain[-1] != "pelvis":
        parent = skeleton.parents[names.index(chain[-1])]
        if parent < 0:
            raise ValueError(f"skeleton {skeleton.name!r}: its neck does not hang on its pelvis")
        chain.append(names[parent])
    chain = chain[:0:-1]  # from the pelvis to the joint under the neck
    share = _TRUNK.get(placement, 1.0)
    return chain[min(int(share * len(chain)), len(chain) - 1)]


def _frame(x: np.ndarray, near_y: np.ndarray) -> np.ndarray:
    """Orientation (T, 4) of the frame with this x axis and its y axis as near as can be to `near_y`."""
    x = kin.normalise(x)
    z = kin.normalise(np.cross(x, near_y))
    return kin.continuous(kin.from_matrix(np.stack([x, np.cross(z, x), z], axis=-1)))


def _follow(bone: np.ndarray, trunk: np.ndarray) -> np.ndarray:
    """Orientation (T, 4) whose x axis is the bone (T, 3), without twist about it in the trunk's frame."""
    x = kin.normalise(kin.rotate(kin.conjugate(trunk), bone))
    steps = _shortest(x[:-1], x[1:])
    # In the first frame y is the trunk's y (forward), or its z for a bone that points forward.
    forward = np.array([0.0, 1.0, 0.0]) if abs(x[0, 1]) < 0.9 else np.array([0.0, 0.0, 1.0])
    local = np.empty((len(x), 4))
    local[0] = _frame(x[:1], forward[None])[0]
    for t, step in enumerate(steps):
        local[t + 1] = kin.multiply(step, local[t])
    return kin.continuous(kin.multiply(trunk, kin.normalise(local)))


def _shortest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The shortest turn (..., 4) from unit vectors a to unit vectors b."""
    cross, dot = np.cross(a, b), (a * b).sum(-1, keepdims=True)
    if (dot < -1 + 1e-9).any():
        raise ValueError("a bone turns by 180 degrees from one frame to the next")
    return kin.normalise(np.concatenate([1.0 + dot, cross], axis=-1))


def _spline(values: np.ndarray, rate_hz: float, start_s: float) -> BSpline:
    """The interpolating spline through (T, ...), degree 5 (3 for 4 or 5 frames), as a function of seconds."""
    return make_interp_spline(start_s + np.arange(len(values)) / rate_hz, values, k=5 if len(values) >= 6 else 3)


def _low_pass(values: np.ndarray, rate_hz: float, edge_hz: float, added: int) -> np.ndarray:
    """(T, ...) smoothed, with `added` frames before and behind: the motion goes on point-symmetrically beyond its ends.

    They stay, so that the spline's ends, where noise has the most weight, lie outside of the motion.
    """
    if not 0 < edge_hz < rate_hz / 2:
        raise ValueError(f"low_pass_hz={edge_hz} must lie between 0 and half the frame rate, {rate_hz / 2}")
    sections = butter(4, edge_hz, fs=rate_hz, output="sos")
    longer = np.concatenate(
        [2 * values[:1] - values[added:0:-1], values, 2 * values[-1:] - values[-2 : -2 - added : -1]]
    )
    return sosfiltfilt(sections, longer, axis=0, padlen=0)

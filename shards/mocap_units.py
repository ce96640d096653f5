"""Poses of a file in metres with z up: what formats of motion capture leave open, unit and axes, is told by the body.

- Unit: metres, centimetres, millimetres, inches or the CMU database's unit, whichever gives the body a height nearest to
  1.65 m; a file whose body is not 0.5 to 2.5 m high in it is refused. The factor is `unit_m` of the stream `mocap`.
- Up: the axis along which the head is over the ankles in the pose of all angles 0, or in the mean of the clip where that
  pose is none that a person can take. The world is turned so that z is up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aura.body import kinematics as kin
from aura.body.skeletons import Skeleton, skeleton
from shards.bvh_names import Matched
from shards.mocap import Motion

Poses = tuple[np.ndarray, np.ndarray]

UNITS = {"metres": 1.0, "CMU units": 0.0254 / 0.45, "inches": 0.0254, "centimetres": 0.01, "millimetres": 0.001}
USUAL_M, HEIGHTS_M = 1.65, (0.5, 2.5)
HEAD_AND_FEET = 1.16  # height of a body over the sum of its leg, trunk and neck: feet and the head above its joint


@dataclass(frozen=True)
class Reading:
    """What overrides the file: frames a second, metres a unit, the axis that is up, joint of the library -> of the file."""

    fps: float | None = None
    unit_m: float | None = None
    up: str | None = None
    joints: tuple[tuple[str, str], ...] = ()


def placed(matched: Matched, rate_hz: float, poses: Poses, rest: Poses, reading: Reading) -> Motion:
    """The motion in metres, z up.

    poses   places (T, J, 3) and orientations (T, J, 4) of the matched joints, in the file's unit and world
    rest    the same (1, J, ...) with all angles 0

    ValueError where unit or up axis cannot be told.
    """
    tree = skeleton(matched.skeleton)
    (places, turns), (rest_places, rest_turns) = poses, rest
    finite = np.isfinite(places).all((1, 2))
    if not finite.any():
        raise ValueError("no frame has only finite numbers")
    first = int(finite.argmax())
    size = body_size(places[first], tree)
    unit = reading.unit_m or unit_of(size)
    if not HEIGHTS_M[0] <= size * unit <= HEIGHTS_M[1]:
        raise ValueError(
            f"its body is {size * unit:.3g} m high at {unit:g} m a unit ({size:.4g} units), not {HEIGHTS_M[0]:g} to"
            f" {HEIGHTS_M[1]:g} m: give the true unit (--unit)"
        )
    up, stands = up_axis(rest_places[0], places[finite], tree, reading.up)
    turn = to_z_up(up)
    pose = (rest_places[0], rest_turns[0]) if stands else (places[first], turns[first])
    return Motion(
        matched.skeleton,
        rate_hz,
        kin.rotate(turn, places * unit),
        kin.multiply(turn, turns),
        (kin.rotate(turn, pose[0] * unit), kin.multiply(turn, pose[1])),
        {"unit_m": float(unit)},
    )


def body_size(places: np.ndarray, tree: Skeleton) -> float:
    """Height of a body by its bones, from joints (J, 3) in any pose, in their unit."""
    names = tree.canonical

    def length(a: str, b: str) -> float:
        return float(np.linalg.norm(places[names.index(a)] - places[names.index(b)]))

    legs = [length(f"{s}_hip", f"{s}_knee") + length(f"{s}_knee", f"{s}_ankle") for s in ("left", "right")]
    chain, at = 0.0, names.index("head")
    while names[at] != "pelvis":
        parent = tree.parents[at]
        if parent < 0:
            raise ValueError("its head does not hang on its pelvis")
        chain += float(np.linalg.norm(places[at] - places[parent]))
        at = parent
    return HEAD_AND_FEET * (sum(legs) / 2 + chain)


def unit_of(size: float) -> float:
    """Metres a unit for which a body of `size` units is nearest to the usual height, by ratio."""
    if not size > 0:
        raise ValueError("its body has no height: all its joints are in one place")
    return min(UNITS.values(), key=lambda unit: abs(np.log(size * unit / USUAL_M)))


def up_axis(
    rest_places: np.ndarray, places: np.ndarray, tree: Skeleton, given: str | None = None
) -> tuple[np.ndarray, bool]:
    """The up direction of a file's world, (3,) along an axis; and whether the pose of all angles 0 stands along it."""
    names = tree.canonical
    ankles = [names.index("left_ankle"), names.index("right_ankle")]

    def upright(joints: np.ndarray) -> np.ndarray:
        """From the ankles to the head, as a share of the body's height, (..., 3)."""
        return (joints[..., names.index("head"), :] - joints[..., ankles, :].mean(-2)) / body_size(places[0], tree)

    at_rest = upright(rest_places)
    axis = int(np.abs(at_rest).argmax())
    stands = abs(at_rest[axis]) > 0.6 and abs(at_rest[axis]) > 0.9 * np.linalg.norm(at_rest)
    if given is not None:
        up = np.eye(3)["xyz".index(given[-1])] * (-1 if given.startswith("-") else 1)
        return up, bool(stands and at_rest @ up > 0.6)
    if not stands:
        mean = upright(places).mean(0)
        axis = int(np.abs(mean).argmax())
        if abs(mean[axis]) < 0.8 * np.linalg.norm(mean) or abs(mean[axis]) < 0.2:
            raise ValueError("which axis is up cannot be told from its poses: give it (--up)")
        return np.eye(3)[axis] * np.sign(mean[axis]), False
    return np.eye(3)[axis] * np.sign(at_rest[axis]), True


def to_z_up(up: np.ndarray) -> np.ndarray:
    """The rotation (4,) that brings an axis to z by the shortest turn; for -z, half a turn about x."""
    z = np.array([0.0, 0.0, 1.0])
    if abs(up @ z) > 0.5:
        return kin.from_axis_angle([1.0, 0, 0], 0.0 if up @ z > 0 else np.pi)
    return kin.from_axis_angle(np.cross(up, z), np.pi / 2)

"""Joints of SMPL bodies (Loper et al. 2015; SMPL+H, SMPL-X): in the rest pose, and moved by pose parameters.

The model's files are licensed and not part of this library. With them (`rest_joints`) joints are exact. Without them an
average body's are used: segment lengths as shares of the stature by Drillis and Contini (1966; in Winter, Biomechanics and
Motor Control of Human Movement), 1.70 m high. Angles are exact either way, lengths are not the person's.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from aura.body import kinematics as kin
from aura.body.skeletons import SKELETONS

BODY = 22  # joints that SMPL, SMPL+H and SMPL-X have in common, in this order
TREE = SKELETONS["smpl22"]
FAMILIES = {24: "smpl", 52: "smplh", 55: "smplx"}  # by number of joints
STATURE_M = 1.70

# Height of the joints over the floor, distance to the left and to the front, as shares of the stature, standing with
# the arms held out to the sides.
_SHARES = {
    "pelvis": (0.0, 0.575, 0.0),
    "spine1": (0.0, 0.640, -0.015),
    "spine2": (0.0, 0.715, -0.015),
    "spine3": (0.0, 0.745, -0.005),
    "neck": (0.0, 0.860, -0.020),
    "head": (0.0, 0.910, 0.010),
    "hip": (0.050, 0.530, 0.0),
    "knee": (0.055, 0.285, 0.0),
    "ankle": (0.055, 0.039, -0.020),
    "foot": (0.060, 0.010, 0.060),
    "collar": (0.045, 0.820, -0.010),
    "shoulder": (0.110, 0.818, -0.015),
    "elbow": (0.296, 0.818, -0.015),
    "wrist": (0.442, 0.818, -0.015),
}


def average_joints() -> np.ndarray:
    """Joints (22, 3) of the average body in the rest pose, metres: x to the left, y up, z forward, the pelvis at 0."""
    joints = []
    for name in TREE.joints:
        side, _, part = name.partition("_")
        x, y, z = _SHARES[part] if side in ("left", "right") else _SHARES[name]
        joints.append((-x if side == "right" else x, y - _SHARES["pelvis"][1], z))
    return STATURE_M * np.array(joints)


@lru_cache
def find_models(folder: Path) -> dict[tuple[str, str], Path]:
    """Model files (`.npz`) in a folder by (family, gender), told by the words in their path.

    `SMPLX_NEUTRAL.npz`, `smplh/male/model.npz`. ValueError where there is none.
    """
    found = {}
    for path in sorted(folder.rglob("*.npz")):
        words = set(re.split(r"[^a-z]+", path.relative_to(folder).as_posix().lower()))
        for gender in words & {"male", "female", "neutral"}:
            try:
                with np.load(path, allow_pickle=False) as content:
                    joints = content["J_regressor"].shape[0]
            except (ValueError, KeyError, OSError) as error:
                raise ValueError(f"{path} is no body model that can be read without unpickling: {error}") from error
            if joints in FAMILIES:
                found.setdefault((FAMILIES[joints], gender), path)
    if not found:
        raise ValueError(
            f"{folder} holds no body models: give a folder with files such as SMPLX_NEUTRAL.npz or smplh/male/model.npz"
        )
    return found


def rest_joints(model: Path, betas: np.ndarray) -> np.ndarray:
    """Joints (22, 3) of a model's file for a shape (n,), metres, in the rest pose and the model's axes."""
    with np.load(model, allow_pickle=False) as content:
        template, regressor, shapes = (content[key] for key in ("v_template", "J_regressor", "shapedirs"))
    count = min(len(betas), shapes.shape[-1])
    return regressor[:BODY] @ (template + shapes[..., :count] @ betas[:count])


def move(joints: np.ndarray, poses: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, 22, 3) and orientations (T, 22, 4) of a body in the world of its parameters.

    joints  (22, 3) in the rest pose
    poses   (T, 22, 3): rotation vectors of each joint in its parent's frame, of the pelvis in the world
    trans   (T, 3): where the model's origin goes; the pelvis goes to `trans` + its place at rest
    """
    offsets = joints - joints[np.maximum(TREE.parents, 0)]
    return kin.forward_kinematics(TREE.parents, offsets, kin.from_rotation_vector(poses), trans + joints[0])

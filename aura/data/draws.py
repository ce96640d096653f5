"""What is drawn for the augmentation of a row: it travels in the batch, and `aura.data.augment` applies it on the device.

`out` has the fields of a row's stream (see `aura.data.streams`): the draws among them are filled in, noise is added.
"""

from __future__ import annotations

import numpy as np

from aura.body.kinematics import multiply
from aura.body.placements import placement_id
from aura.data.config import ImuInput, MocapInput, Pose2dInput
from aura.data.fields import Fields


def draw_imu(out: Fields, config: ImuInput, rng: np.random.Generator, count: int) -> None:
    """Fills the draws of a row: for each slot the turn (quaternion), gain and offset of each channel, whether it is dropped;
    whether gravity is taken out, the gyroscope is missing, the accelerometer's range is small. Hides placements."""
    augment = config.augment
    slots = config.sensors
    if "draws.rotation" in out:
        out["draws.rotation"][...] = multiply(
            random_rotations(rng, slots, augment.rotation_deg), _limb_rotations(rng, slots, augment.limb_rotation_deg)
        )
    if "draws.gain" in out:
        out["draws.gain"][...] = (1 + augment.gain * rng.uniform(-1, 1, (slots, 6))).astype(np.float32)
    if "draws.bias" in out:
        size = np.repeat(np.array([augment.acc_bias, augment.gyro_bias], np.float32), 3)
        out["draws.bias"][...] = size * rng.standard_normal((slots, 6), dtype=np.float32)
    if "draws.gravity" in out:
        out["draws.gravity"][...] = rng.random() < augment.drop_gravity
    if "draws.gyro" in out:
        out["draws.gyro"][...] = rng.random() < augment.drop_gyro
    if "draws.clip" in out:
        out["draws.clip"][...] = rng.random() < augment.clip_acc
    if augment.hide_placement:
        out["placement"][rng.random(slots) < augment.hide_placement] = placement_id("unknown")
    if "draws.drop" in out:
        chance = rng.random(slots)
        drop = chance < augment.drop_sensor
        drop[count:] = False
        if drop[:count].all():
            drop[int(np.argmax(chance[:count]))] = False  # one always stays
        out["draws.drop"][...] = drop
    for noise, part in ((augment.acc_noise, slice(0, 3)), (augment.gyro_noise, slice(3, 6))):
        if noise:
            shaken = noise * rng.standard_normal(out["values"][..., part].shape, dtype=np.float32)
            known = out["valid"][..., None] & out["channel_mask"][:, None, part]
            out["values"][..., part] += np.where(known, shaken, 0)


def random_rotations(rng: np.random.Generator, count: int, degrees: float) -> np.ndarray:
    """Unit quaternions (count, 4) about random axes, the angle normal with this deviation; 180 or more: uniform."""
    q = rng.standard_normal((count, 4))
    if degrees < 180:
        axis = q[:, 1:] / np.linalg.norm(q[:, 1:], axis=1, keepdims=True)
        half = np.radians(degrees) * q[:, :1] / 2
        q = np.concatenate([np.cos(half), np.sin(half) * axis], axis=1)
    return (q / np.linalg.norm(q, axis=1, keepdims=True)).astype(np.float32)


def _limb_rotations(rng: np.random.Generator, count: int, degrees: float) -> np.ndarray:
    half = (
        rng.uniform(-np.pi, np.pi, count) if degrees >= 180 else np.radians(degrees) * rng.standard_normal(count)
    ) / 2
    return np.stack([np.cos(half), np.sin(half), 0 * half, 0 * half], axis=1).astype(np.float32)


def draw_skeleton(out: Fields, config: MocapInput | Pose2dInput, rng: np.random.Generator) -> None:
    """Fills the draws of a row: yaw in radians, size, length of each bone, dropped joints, offsets of joints.

    Offsets and noise are metres; for pose2d pixels, drawn as a share of the image's height, of x and y alone.
    """
    augment = config.augment
    joints = len(out["joint_mask"])
    axes, unit = (2, float(out["image_size"][1])) if config.kind == "pose2d" else (3, 1.0)
    if "draws.yaw" in out:
        turn = (
            rng.uniform(-np.pi, np.pi)
            if augment.yaw_deg >= 180
            else np.radians(augment.yaw_deg) * rng.standard_normal()
        )
        out["draws.yaw"][...] = turn
    if "draws.scale" in out:
        out["draws.scale"][...] = 1 + augment.scale * rng.uniform(-1, 1)
    if "draws.bone" in out:
        out["draws.bone"][...] = (1 + augment.bone * rng.uniform(-1, 1, joints)).astype(np.float32)
    if "draws.drop" in out:
        chance, there = rng.random(joints), out["joint_mask"]
        drop = (chance < augment.drop_joint) & there
        if drop[there].all():
            drop[int(np.argmax(np.where(there, chance, -1)))] = False  # one always stays
        out["draws.drop"][...] = drop
    if "draws.offset" in out:
        out["draws.offset"][:, axes:] = 0
        out["draws.offset"][:, :axes] = augment.offset * unit * rng.standard_normal((joints, axes))
    if augment.noise:
        values = out["values"]
        known = out["valid"][:, None] & out["joint_mask"]
        if config.kind == "pose2d":
            known &= values[..., 2] > 0
        shaken = augment.noise * unit * rng.standard_normal((*known.shape, axes), dtype=np.float32)
        values[..., :axes] += np.where(known[..., None], shaken, 0)

"""Quaternions and forward kinematics, in numpy, vectorised over any leading axes.

Quaternions are unit, w x y z, Hamilton; `rotate(q, v)` takes a vector from the frame that q describes to the frame it
is described in (sensor to world). Angles in radians, lengths in metres.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


def multiply(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Product a b of quaternions (..., 4): the rotation b, then a."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    aw, ax, ay, az = (a[..., i] for i in range(4))
    bw, bx, by, bz = (b[..., i] for i in range(4))
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def conjugate(q: ArrayLike) -> np.ndarray:
    """The inverse rotation of unit quaternions (..., 4)."""
    return np.asarray(q, float) * np.array([1.0, -1.0, -1.0, -1.0])


def rotate(q: ArrayLike, v: ArrayLike) -> np.ndarray:
    """Vectors v (..., 3) turned by quaternions q (..., 4); leading axes are broadcast."""
    q, v = np.asarray(q, float), np.asarray(v, float)
    w, axis = q[..., :1], q[..., 1:]
    twice = 2.0 * _cross(axis, v)
    return v + w * twice + _cross(axis, twice)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """np.cross for (..., 3) at a third of its cost on short arrays."""
    ax, ay, az = (a[..., i] for i in range(3))
    bx, by, bz = (b[..., i] for i in range(3))
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def normalise(v: ArrayLike) -> np.ndarray:
    """Vectors (..., C) of length 1; ValueError for a vector of no length."""
    v = np.asarray(v, float)
    norm = np.linalg.norm(v, axis=-1, keepdims=True)
    if not (norm > 1e-12).all():
        raise ValueError(
            f"{int((~(norm > 1e-12)).sum())} of {norm.size} vectors have no direction (length 0 or not finite)"
        )
    return v / norm


def from_axis_angle(axis: ArrayLike, angle: ArrayLike) -> np.ndarray:
    """Quaternions (..., 4) of turns by `angle` (...) about `axis` (..., 3), which need not have length 1."""
    return from_rotation_vector(normalise(axis) * np.asarray(angle, float)[..., None])


def from_rotation_vector(vector: ArrayLike) -> np.ndarray:
    """Quaternions (..., 4) of rotation vectors (..., 3): direction is the axis, length the angle."""
    vector = np.asarray(vector, float)
    half = 0.5 * np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * vector], axis=-1)


def from_euler(angles: ArrayLike, order: str) -> np.ndarray:
    """Quaternions (..., 4) of turns by `angles` (..., n) radians about the axes that `order` names, such as "zxy".

    The product from left to right: "zxy" is Rz Rx Ry of column vectors (intrinsic turns about z, then x, then y).
    """
    angles = np.asarray(angles, float)
    q = np.broadcast_to(IDENTITY, (*angles.shape[:-1], 4))
    for i, axis in enumerate(order):
        half = 0.5 * angles[..., i]
        turn = np.zeros((*half.shape, 4))
        turn[..., 0], turn[..., 1 + "xyz".index(axis)] = np.cos(half), np.sin(half)
        q = turn if i == 0 else multiply(q, turn)
    return q


def slerp(a: ArrayLike, b: ArrayLike, share: ArrayLike) -> np.ndarray:
    """Quaternions (..., 4) at `share` (...) of the shortest way from a to b (Shoemake 1985)."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    step = multiply(conjugate(a), b)
    step = np.where(step[..., :1] < 0, -step, step)
    sine = np.linalg.norm(step[..., 1:], axis=-1)
    angle = 2.0 * np.arctan2(sine, step[..., 0]) * np.asarray(share, float)
    axis = step[..., 1:] / np.where(sine < 1e-12, 1.0, sine)[..., None]
    return multiply(a, from_rotation_vector(axis * angle[..., None]))


def from_matrix(matrix: ArrayLike) -> np.ndarray:
    """Quaternions (..., 4) with w >= 0 of rotation matrices (..., 3, 3), by the largest component (Shepperd 1978)."""
    m = np.asarray(matrix, float)
    diagonal = np.einsum("...ii->...i", m)
    trace = diagonal.sum(-1)
    squares = np.concatenate([1 + trace[..., None], 1 + 2 * diagonal - trace[..., None]], axis=-1)  # 4 * (w x y z)^2
    x, y, z = m[..., 2, 1], m[..., 0, 2], m[..., 1, 0]
    cx, cy, cz = m[..., 1, 2], m[..., 2, 0], m[..., 0, 1]
    w0, x0, y0, z0 = np.moveaxis(squares, -1, 0)
    candidates = np.stack(
        [
            np.stack([w0, x - cx, y - cy, z - cz], -1),
            np.stack([x - cx, x0, z + cz, y + cy], -1),
            np.stack([y - cy, z + cz, y0, x + cx], -1),
            np.stack([z - cz, y + cy, x + cx, z0], -1),
        ],
        axis=-2,
    )
    best = squares.argmax(-1)[..., None, None]
    q = normalise(np.take_along_axis(candidates, best, axis=-2)[..., 0, :])
    return np.where(q[..., :1] < 0, -q, q)


def to_matrix(q: ArrayLike) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4)."""
    q = np.asarray(q, float)
    return np.stack([rotate(q, axis) for axis in np.eye(3)], axis=-1)


def continuous(q: ArrayLike) -> np.ndarray:
    """Quaternions (T, ..., 4) signed so that neighbours in time are close (q and -q are one rotation)."""
    q = np.asarray(q, float)
    flips = np.sign((q[1:] * q[:-1]).sum(-1, keepdims=True))
    signs = np.cumprod(np.where(flips == 0, 1.0, flips), axis=0)
    return np.concatenate([q[:1], q[1:] * signs], axis=0)


def forward_kinematics(
    parents: Sequence[int], offsets: ArrayLike, rotations: ArrayLike, root: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, J, 3) and orientations (T, J, 4), joint frame to world, of a tree of joints.

    parents    J indexes, -1 for a root; in any order
    offsets    (J, 3) or (T, J, 3) metres: from the parent to the joint in the parent's frame (ignored for a root)
    rotations  (T, J, 4): of each joint's frame in its parent's frame (of a root: in the world)
    root       (T, 3) metres: position of the roots
    """
    rotations, root = np.asarray(rotations, float), np.asarray(root, float)
    offsets = np.broadcast_to(np.asarray(offsets, float), (len(rotations), len(parents), 3))
    positions, orientations = np.empty_like(offsets), np.empty_like(rotations)
    done: set[int] = set()
    while len(done) < len(parents):
        ready = [j for j, parent in enumerate(parents) if j not in done and (parent < 0 or parent in done)]
        if not ready:
            raise ValueError(f"the parents {list(parents)} make a circle")
        for joint in ready:
            parent = parents[joint]
            if parent < 0:
                positions[:, joint], orientations[:, joint] = root, rotations[:, joint]
            else:
                positions[:, joint] = positions[:, parent] + rotate(orientations[:, parent], offsets[:, joint])
                orientations[:, joint] = multiply(orientations[:, parent], rotations[:, joint])
        done.update(ready)
    return positions, orientations

"""Pinhole cameras: world points to pixels.

The camera's frame has x to the right in the image, y down, z forward. Pixel (0, 0) is the centre of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class Camera:
    """Pinhole camera without distortion: size and intrinsics in pixels, pose in the world.

    rotation  (3, 3): world to camera (rows are the camera's right, down and forward axes in the world)
    position  (3,): metres, in the world
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    rotation: np.ndarray
    position: np.ndarray

    def intrinsics(self) -> dict[str, float]:
        """The `camera` field of a stream."""
        return {name: getattr(self, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}


def look_at(eye: ArrayLike, target: ArrayLike, *, width: int, height: int, fov_deg: float) -> Camera:
    """A level camera (no roll; world z up) at `eye` whose image centre shows `target`.

    fov_deg is the horizontal angle of view. ValueError for eye = target and for a view straight up or down.
    """
    eye, forward = np.asarray(eye, float), np.asarray(target, float) - np.asarray(eye, float)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    if np.linalg.norm(right) < 1e-9:
        raise ValueError("look_at: eye and target are the same or one above the other; a level camera has no such view")
    down = np.cross(forward, right)
    rotation = np.stack([axis / np.linalg.norm(axis) for axis in (right, down, forward)])
    focal = 0.5 * width / np.tan(np.radians(fov_deg) / 2)
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2, rotation, eye)


def project(points: ArrayLike, camera: Camera, *, near_m: float = 0.05) -> np.ndarray:
    """World points (..., 3) in metres to (..., 3): x and y in pixels, confidence.

    Confidence is 1 for a point in the image and 0 (then x = y = 0) for one nearer than `near_m` before the camera,
    behind it, or outside the image.
    """
    local = (np.asarray(points, float) - camera.position) @ camera.rotation.T
    z = local[..., 2]
    before = z > near_m
    depth = np.where(before, z, 1.0)
    x = camera.cx + camera.fx * local[..., 0] / depth
    y = camera.cy + camera.fy * local[..., 1] / depth
    inside = before & (x >= -0.5) & (x < camera.width - 0.5) & (y >= -0.5) & (y < camera.height - 0.5)
    return np.where(inside[..., None], np.stack([x, y, np.ones_like(x)], axis=-1), 0.0)

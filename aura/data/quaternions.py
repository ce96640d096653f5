"""Unit quaternions, w x y z, Hamilton, as torch tensors; `aura.body.kinematics` has them for numpy."""

from __future__ import annotations

import torch
from torch import Tensor


def conjugate(q: Tensor) -> Tensor:
    """The opposite turn of unit quaternions (..., 4)."""
    return torch.cat([q[..., :1], -q[..., 1:]], dim=-1)


def multiply(p: Tensor, q: Tensor) -> Tensor:
    """Product p q of quaternions (..., 4): the turn q, then p."""
    a, b, c, d = p.unbind(-1)
    w, x, y, z = q.unbind(-1)
    return torch.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        dim=-1,
    )


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """Vectors v (..., 3) turned by unit quaternions q (..., 4)."""
    q = q.expand(*v.shape[:-1], 4)
    u = q[..., 1:]
    t = 2 * torch.linalg.cross(u, v)
    return v + q[..., :1] * t + torch.linalg.cross(u, t)

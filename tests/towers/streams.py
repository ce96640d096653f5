"""Streams of random values for the towers' tests."""

import torch

from aura.body.skeletons import SKELETONS
from aura.data.batch import Stream


def imu_stream(rows=4, sensors=1, items=250, seed=0):
    rng = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, sensors, items, 6, generator=rng)
    values[..., 2] += 9.81
    return Stream(
        values,
        present=torch.ones(rows, dtype=torch.bool),
        valid=torch.ones(rows, sensors, items, dtype=torch.bool),
        sensor_mask=torch.ones(rows, sensors, dtype=torch.bool),
        channel_mask=torch.ones(rows, sensors, 6, dtype=torch.bool),
        placement=torch.arange(rows * sensors).reshape(rows, sensors) % 20,
    )


def skeleton_stream(kind="mocap", skeleton="kinect20", rows=4, items=100, seed=0):
    """Joints at fixed places (trunk up, left side on the left) that sway smoothly."""
    rng = torch.Generator().manual_seed(seed)
    joints = len(SKELETONS[skeleton].joints)
    rest = torch.randn(joints, 3, generator=rng) * 0.3
    time = torch.linspace(0, 6, items)[None, :, None, None]
    phase = torch.rand(rows, 1, joints, 3, generator=rng) * 6
    values = rest + 0.1 * torch.sin(time + phase)
    image_size = None
    if kind == "pose2d":
        values = torch.cat(
            [320 + 200 * values[..., :2], torch.rand(rows, items, joints, 1, generator=rng) * 0.5 + 0.5], -1
        )
        image_size = torch.tensor([[640.0, 480.0]]).expand(rows, 2).clone()
    return Stream(
        values,
        present=torch.ones(rows, dtype=torch.bool),
        valid=torch.ones(rows, items, dtype=torch.bool),
        joint_mask=torch.ones(rows, joints, dtype=torch.bool),
        image_size=image_size,
    )


def video_stream(rows=2, frames=4, size=32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, (rows, frames, 3, size, size), generator=rng, dtype=torch.uint8)
    return Stream(values, torch.ones(rows, dtype=torch.bool), torch.ones(rows, frames, dtype=torch.bool))


def text_stream(ids):
    return Stream(ids, torch.ones(len(ids), dtype=torch.bool), torch.ones_like(ids, dtype=torch.bool))


def series_stream(rows=3, items=20, channels=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    values = 80 + 20 * torch.randn(rows, items, channels, generator=rng)
    return Stream(values, torch.ones(rows, dtype=torch.bool), torch.ones(rows, items, channels, dtype=torch.bool))

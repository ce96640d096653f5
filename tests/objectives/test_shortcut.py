"""Trained on noise, where nothing can be learned, the published token loss falls: by position alone. Ours does not."""

import math

import pytest
import torch

from aura.data.batch import Stream
from aura.data.config import ImuInput, Pose2dInput
from aura.objectives.config import Fine
from aura.objectives.fine import Tokens, token_contrast
from aura.objectives.heads import FineHead
from aura.towers import build_tower
from aura.towers.baselines.mobind import MobindConfig
from aura.towers.imu import ImuTransformerConfig
from aura.towers.parts import PartTransformerConfig

ROWS, TOKENS = 8, 10
SMALL = {"width": 32, "depth": 1, "heads": 2}
PUBLISHED = [MobindConfig(**SMALL, hidden=32, signals="acc+gyro", pool="mean", dropout=0, drop_features=0)] * 2
OURS = [
    ImuTransformerConfig(**SMALL, stem=16, placements=False, border="replicate"),
    PartTransformerConfig(**SMALL, stem=16, border="replicate"),
]


def noise(g):
    """Windows of two streams that have nothing to do with each other."""
    every = torch.ones(ROWS, dtype=torch.bool)
    imu = Stream(
        torch.randn(ROWS, 2, 10 * TOKENS // 2, 6, generator=g) * torch.tensor([3.0] * 3 + [1.0] * 3),
        every,
        torch.ones(ROWS, 2, 10 * TOKENS // 2, dtype=torch.bool),
        sensor_mask=torch.ones(ROWS, 2, dtype=torch.bool),
        channel_mask=torch.ones(ROWS, 2, 6, dtype=torch.bool),
        placement=torch.tensor([13, 14]).expand(ROWS, 2),
    )
    points = 50 + 10 * torch.randn(ROWS, 10 * TOKENS // 2, 17, 2, generator=g)
    pose = Stream(
        torch.cat([points, torch.ones(*points.shape[:3], 1)], -1),
        every,
        torch.ones(points.shape[:2], dtype=torch.bool),
        joint_mask=torch.ones(ROWS, 17, dtype=torch.bool),
        image_size=torch.full((ROWS, 2), 100.0),
    )
    return imu, pose


def trained(configs, fine, shift, steps=120):
    """Loss over chance on fresh noise after some steps on noise."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    inputs = (ImuInput(rate_hz=25, sensors=2), Pose2dInput(rate_hz=25))
    towers = [build_tower(config, input, TOKENS * 0.2) for config, input in zip(configs, inputs)]
    heads = [FineHead(32, 32, [fine], [first]) for first in (True, False)]
    parameters = [p for module in (*towers, *heads) for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, 3e-3)
    scale = torch.tensor([1 / 0.07])
    losses = []
    for _ in range(steps):
        sides = []
        for tower, head, stream in zip(towers, heads, noise(g)):
            out = tower(stream)
            found = head(out.tokens, out.mask, torch.arange(ROWS))
            parts = torch.arange(2).expand(ROWS, 2) if stream.placement is not None else torch.arange(6).expand(ROWS, 6)
            start = torch.randint(0, shift + 1, (ROWS,), generator=g)
            sides.append(Tokens(found.tokens, out.mask, found.local, parts, start))
        loss = token_contrast(*sides, scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / math.log(TOKENS))
    return sum(losses[-10:]) / 10


def test_positions_are_a_shortcut_of_the_published_loss():
    assert trained(PUBLISHED, Fine(token=1, projection=None, centre=False), shift=0, steps=250) < 0.5


@pytest.mark.parametrize(
    ("configs", "shift"), [(PUBLISHED, 5), (OURS, 5)], ids=["their encoders, cut at random places", "ours"]
)
def test_windows_cut_at_places_of_their_own_close_it(configs, shift):
    assert trained(configs, Fine(token=1, projection=32), shift) > 0.95

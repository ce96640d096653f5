"""MoBind's encoders as they are described: their number of parameters, and what is missing."""

import pytest
import torch

from aura.data.batch import Stream
from aura.data.config import ImuInput, Pose2dInput
from aura.towers.baselines.mobind import Mobind, MobindConfig

FIVE = ("left wrist", "right wrist", "left shank", "right shank", "head")
CLS, LOCAL = 256, 256 * 256  # theirs has an unused class token; the projection of locals is the objective's here


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    ("input", "expected"),
    [
        (ImuInput(rate_hz=50, placements=FIVE, orientation=True), 1_855_616),
        (ImuInput(rate_hz=20, placements=FIVE, orientation=True), 1_659_008),
        (ImuInput(rate_hz=60, placements=FIVE, orientation=True), 1_921_152),
        (Pose2dInput(rate_hz=10), 1_593_312),
        (Pose2dInput(rate_hz=20), 1_658_848),
        (Pose2dInput(rate_hz=60), 1_920_992),
    ],
)
def test_parameters(input, expected):
    encoder = Mobind(MobindConfig(pool="mean"), input, 5.0)
    assert count(encoder) == expected - CLS - LOCAL
    mix = Mobind(MobindConfig(), input, 5.0).mix
    assert mix is not None
    assert count(mix) == 787_200, "the aggregator of five sensors, without its layer norm"


def batch(n=3):
    torch.manual_seed(0)
    return Stream(
        torch.randn(n, 5, 100, 6),
        torch.ones(n, dtype=torch.bool),
        torch.ones(n, 5, 100, dtype=torch.bool),
        sensor_mask=torch.ones(n, 5, dtype=torch.bool),
        channel_mask=torch.ones(n, 5, 6, dtype=torch.bool),
        placement=torch.tensor([13, 14, 21, 22, 1]).expand(n, 5).clone(),
        orientation=torch.nn.functional.normalize(torch.randn(n, 5, 100, 4), dim=-1),
    )


def test_order_of_sensors_and_missing_ones():
    tower = Mobind(MobindConfig(), ImuInput(rate_hz=20, placements=FIVE, orientation=True), 5.0).eval()
    whole = batch()
    out = tower(whole)
    assert out.tokens.shape == (3, 5, 25, 256)
    order = torch.tensor([4, 2, 0, 1, 3])
    turned = whole.map(lambda t: t[:, order] if t.dim() > 1 else t)
    torch.testing.assert_close(tower(turned).pooled, out.pooled, atol=1e-5, rtol=1e-4)
    # What a masked sensor holds is not read.
    pooled = []
    for filler in (0.0, 7.0):
        some = batch()
        some.sensor_mask[:, 1] = False
        some.values[:, 1] = filler
        pooled.append(tower(some.cleaned()).pooled)
    assert torch.equal(*pooled)
    assert not torch.allclose(pooled[0], out.pooled)


def test_pose_parts_are_in_the_order_of_all_towers():
    tower = Mobind(MobindConfig(), Pose2dInput(rate_hz=20), 5.0).eval()
    points = torch.cat([100 * torch.rand(2, 100, 17, 2), torch.ones(2, 100, 17, 1)], -1)
    points[1, :, [6, 8, 10], 2] = 0  # the right arm is out of sight
    stream = Stream(
        points,
        torch.ones(2, dtype=torch.bool),
        torch.ones(2, 100, dtype=torch.bool),
        image_size=torch.full((2, 2), 100.0),
    )
    out = tower(stream)
    assert out.mask.any(2).tolist() == [[True] * 5 + [False], [True, False, True, True, True, False]]
    x, _, _ = tower.parts(stream)
    torch.testing.assert_close(x[0, 0, :, 7], points[0, 7, [5, 7, 9], :2].T.flatten() / 100)

import pytest
import torch

from aura.data.config import ImuInput
from aura.towers import build_tower
from aura.towers.imu import ImuTransformerConfig
from aura.towers.stem import Moments
from tests.towers.streams import imu_stream

SMALL = {"width": 32, "depth": 2, "heads": 2, "stem": 8}


def tower(rate=50.0, seconds=5.0, sensors=2, **settings):
    torch.manual_seed(0)
    return build_tower(ImuTransformerConfig(**SMALL | settings), ImuInput(rate_hz=rate, sensors=sensors), seconds)


@pytest.mark.parametrize(("rate", "sensors"), [(50, 1), (100, 3), (200, 2), (35, 1)])
def test_shapes_at_any_rate_and_number_of_sensors(rate, sensors):
    out = tower(rate, moments=Moments(width=16))(imu_stream(3, sensors, rate * 5))
    assert out.pooled.shape == (3, 32)
    assert out.tokens.shape == (3, sensors, 25, 32)
    assert out.mask.shape == (3, sensors, 25)
    assert out.mask.all()
    assert out.moments.shape == (3, 25, 16)


def test_the_default_is_small_enough():
    for rate in (50, 100, 200):
        made = build_tower(ImuTransformerConfig(), ImuInput(rate_hz=rate), 5.0)
        assert sum(p.numel() for p in made.parameters()) <= 2_200_000


@pytest.mark.parametrize("pool", ["mean", "attention"])
@pytest.mark.parametrize("fusion", ["tokens", "sensors"])
@pytest.mark.parametrize("world", ["none", "start", "mean"])
def test_what_is_not_valid_changes_no_value_and_no_gradient(pool, fusion, world):
    made = tower(pool=pool, fusion=fusion, world=world, moments=Moments(width=16))
    stream = imu_stream(3, 2)
    stream.valid[0, :, 200:] = False
    stream.valid[1, 1, :33] = False
    stream.sensor_mask[2, 1] = False
    stream.channel_mask[1, 0, 3:] = False
    read = stream.valid & stream.sensor_mask[:, :, None]
    read = read[..., None] & stream.channel_mask[:, :, None]

    def run(fill):
        stream.values = torch.where(read, stream.values, fill)
        made.zero_grad()
        out = made(stream)
        (out.pooled.square().sum() + out.moments.square().sum()).backward()
        return [out.pooled, out.moments] + [p.grad.clone() for p in made.parameters() if p.grad is not None]

    clean, dirty = run(0.0), run(float("nan"))
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty))
    assert all(x.isfinite().all() for x in clean)


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_each_sensor_alone_then_the_mean_of_their_directions(pool):
    made, stream = tower(sensors=3, pool=pool, fusion="sensors").eval(), imu_stream(4, 3)
    stream.sensor_mask[1, 2] = False
    each = []
    for sensor in range(3):
        one = stream.map(lambda tensor, s=sensor: tensor[:, s : s + 1] if tensor.dim() > 1 else tensor)
        vector = made(one).pooled
        each.append(vector / vector.norm(dim=1, keepdim=True))
    expected = torch.stack(each, 1).mean(1)
    expected[1] = (each[0][1] + each[1][1]) / 2
    torch.testing.assert_close(made(stream).pooled, 32**0.5 * expected)


def test_a_masked_sensor_does_not_count():
    made = tower(moments=Moments(width=16))
    both = imu_stream(3, 2)
    both.sensor_mask[:, 1] = False
    one = made(both.map(lambda t: t[:, :1] if t.dim() > 1 else t))
    out = made(both)
    assert torch.allclose(out.pooled, one.pooled, atol=1e-6)
    assert torch.allclose(out.moments, one.moments, atol=1e-6)


def test_the_order_of_sensors_does_not_matter_but_their_placement_does():
    made = tower()
    stream = imu_stream(3, 2)
    swapped = stream.map(lambda t: t.flip(1) if t.dim() > 1 else t)
    assert torch.allclose(made(stream).pooled, made(swapped).pooled, atol=1e-6)
    swapped.placement = stream.placement
    assert not torch.allclose(made(stream).pooled, made(swapped).pooled, atol=1e-4)


def test_a_longer_window_than_built_for_is_read():
    made = tower()
    assert made(imu_stream(1, 1, 613)).tokens.shape == (1, 1, 62, 32)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"token_s 0\.2 at rate_hz 18\.7"):
        tower(rate=18.7)
    with pytest.raises(ValueError, match=r"25\.5 tokens of 0\.2 s"):
        tower(seconds=5.1)

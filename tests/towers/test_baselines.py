import pytest
import torch
from torch.nn import functional as F

from aura.data.config import ImuInput, MocapInput
from aura.towers import build_tower
from aura.towers.baselines.rnn import MocapRnnConfig, Mw2Config
from aura.towers.baselines.senvt import Senvt, SenvtConfig
from tests.towers.streams import imu_stream, skeleton_stream

IMU = ImuInput(rate_hz=200)
MOCAP = MocapInput(rate_hz=10, skeleton="coco17")


def count(config, given, seconds=5.0):
    with torch.device("meta"):
        return sum(p.numel() for p in build_tower(config, given, seconds).parameters())


@pytest.mark.parametrize(
    ("size", "imu", "mocap"),
    [
        ("SS", 1_912_072, 1_898_241),
        ("S", 14_458_888, 14_431_233),
        ("B", 57_228_808, 57_173_505),
        ("L", 202_232_328, 202_158_593),
    ],
)
def test_senvt_has_the_published_parameters_its_head_of_512_included(size, imu, mocap):
    assert count(SenvtConfig(size=size), IMU) == imu
    assert count(SenvtConfig(size=size, patch=1), MOCAP) == mocap


def test_the_parts_of_senvt_ss_have_the_published_parameters():
    tower = build_tower(SenvtConfig(), IMU, 5.0)
    parts = {name: sum(p.numel() for p in module.parameters()) for name, module in tower.named_children()}
    assert parts == {
        "patch": 9_408,
        "mask_patch": 8,
        "norm_patch": 384,
        "layers": 6 * 296_448,
        "norm": 384,
        "project": 98_816,
    }
    assert tower.encode(torch.randn(2, 6, 1000)).shape == (2, 126, 192)
    assert tower(imu_stream(2, 1, 1000)).pooled.shape == (2, 512)


def test_rnns_have_the_published_parameters():
    assert count(Mw2Config(gru_axis="channel"), IMU) == 850_892
    assert count(Mw2Config(gru_axis="time"), IMU) == 850_892
    assert count(MocapRnnConfig(gru_axis="channel"), MOCAP) == 958_566


def spread_and_gradients(**settings):
    """Spread of the tokens inside a sample after the last block; gradient norm of query and key of every block."""
    torch.manual_seed(0)
    tower = Senvt(SenvtConfig(dropout=0.0, **settings), IMU, 5.0)
    x = torch.randn(16, 6, 1000)
    tokens = tower.encode(x)
    a = F.normalize(tower.project(tower.norm(tokens[:, 0])), dim=-1)
    b = F.normalize(torch.randn(16, 512), dim=-1)
    F.cross_entropy(a @ b.T / 0.1, torch.arange(16)).backward()
    query_key = [layer.qkv.weight.grad[: 2 * 192].norm().item() for layer in tower.layers]
    return (tokens - tokens.mean(1, keepdim=True)).norm(dim=-1).mean().item(), query_key


def test_tokens_collapse_without_residuals_and_not_with_them():
    spread, query_key = spread_and_gradients(residual=True)
    assert spread > 0.1
    assert min(query_key) > 1e-4
    spread, query_key = spread_and_gradients(residual=False, pos_init="uniform")
    assert spread < 1e-4
    assert max(query_key[2:]) < 1e-5


def test_positions_start_as_asked_for():
    torch.manual_seed(0)
    uniform = Senvt(SenvtConfig(pos_init="uniform"), IMU, 5.0).position.detach()
    assert uniform.min() >= 0
    assert uniform.mean() == pytest.approx(0.5, abs=0.02)
    assert Senvt(SenvtConfig(), IMU, 5.0).position.detach().std() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("items", [500, 1000, 1200])
def test_mw2_over_time_takes_any_window(items):
    tower = build_tower(Mw2Config(), ImuInput(rate_hz=200), items / 200)
    assert tower(imu_stream(2, 1, items)).pooled.shape == (2, 512)


@pytest.mark.parametrize("items", [400, 500, 1030])
def test_mw2_over_channels_refuses_windows_that_do_not_fit(items):
    with pytest.raises(ValueError, match=rf"window of {items} items leaves \d+ steps.*needs 32"):
        build_tower(Mw2Config(gru_axis="channel"), ImuInput(rate_hz=200), items / 200)


@pytest.mark.parametrize("items", [990, 1000, 1001])
def test_mw2_over_channels_takes_windows_that_leave_32_steps(items):
    tower = build_tower(Mw2Config(gru_axis="channel"), ImuInput(rate_hz=200), items / 200)
    assert tower(imu_stream(2, 1, items)).pooled.shape == (2, 512)


def test_the_axis_of_the_gru_is_another_function_of_the_same_weights():
    time = build_tower(Mw2Config(gru_axis="time"), IMU, 5.0)
    channel = build_tower(Mw2Config(gru_axis="channel"), IMU, 5.0)
    channel.load_state_dict(time.state_dict())
    stream = imu_stream(2, 1, 1000)
    assert not torch.allclose(time(stream).pooled, channel(stream).pooled, atol=1e-2)


def test_the_released_mocap_input_has_no_height():
    stream = skeleton_stream("mocap", "coco17", items=50)
    for config in (MocapRnnConfig, SenvtConfig):
        extra = {"patch": 1} if config is SenvtConfig else {}
        torch.manual_seed(0)
        flat = build_tower(config(mocap_z="flag", **extra), MOCAP, 5.0).eval()
        whole = build_tower(config(**extra), MOCAP, 5.0).eval()
        lifted = stream.map(torch.clone)
        lifted.values[..., 2] += torch.linspace(0, 2, 50)[:, None]
        assert torch.equal(flat(stream).pooled, flat(lifted).pooled)
        assert not torch.allclose(whole(stream).pooled, whole(lifted).pooled, atol=1e-4)


def test_what_the_baselines_cannot_read_is_refused():
    with pytest.raises(ValueError, match=r"inputs\.sensors is 3.*one sensor"):
        build_tower(SenvtConfig(), ImuInput(rate_hz=200, sensors=3), 5.0)
    with pytest.raises(ValueError, match="no whole number of patches of 8"):
        build_tower(SenvtConfig(), ImuInput(rate_hz=50), 5.1)
    with pytest.raises(ValueError, match="built for 1000 items a window was given 800"):
        build_tower(SenvtConfig(), IMU, 5.0)(imu_stream(1, 1, 800))
    with pytest.raises(ValueError, match="too short"):
        build_tower(Mw2Config(), ImuInput(rate_hz=10), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("residual", [True, False])
def test_senvt_learns_the_order_of_two_motifs_with_residuals_alone(residual):
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    config = SenvtConfig(dropout=0.0, output=2, pos_init="uniform", residual=residual)
    tower = Senvt(config, ImuInput(rate_hz=100), 1.28)  # 16 patches
    optimizer = torch.optim.AdamW(tower.parameters(), 5e-4)
    motifs = torch.randn(2, 6, 8, generator=rng) * 3
    right = []
    for _ in range(140):
        first = torch.randint(0, 2, (64,), generator=rng)
        x = torch.randn(64, 6, 16, 8, generator=rng) * 0.3
        places = torch.rand(64, 16, generator=rng).argsort(1)[:, :2].sort(1).values
        x[torch.arange(64), :, places[:, 0]] += motifs[first]
        x[torch.arange(64), :, places[:, 1]] += motifs[1 - first]
        logits = tower.project(tower.norm(tower.encode(x.flatten(2))[:, 0]))
        F.cross_entropy(logits, first).backward()
        optimizer.step()
        optimizer.zero_grad()
        right.append((logits.argmax(1) == first).float().mean().item())
    late = sum(right[-10:]) / 10
    assert late > 0.95 if residual else late < 0.65

import math

import pytest
import torch

from aura.body.skeletons import SKELETONS
from aura.data.config import ImuInput, MocapInput, Pose2dInput
from aura.towers import build_tower
from aura.towers.imu import ImuTransformerConfig
from aura.towers.motion import MotionTransformerConfig
from aura.towers.motion_features import MotionFeatures, slope, smooth
from aura.towers.stem import Moments
from tests.towers.streams import skeleton_stream

SMALL = {"width": 32, "depth": 2, "heads": 2, "stem": 16}


def tower(kind="mocap", skeleton="kinect20", rate=20.0, seconds=5.0, **settings):
    torch.manual_seed(0)
    given = MocapInput if kind == "mocap" else Pose2dInput
    return build_tower(MotionTransformerConfig(**SMALL | settings), given(rate_hz=rate, skeleton=skeleton), seconds)


def features(kind, skeleton="kinect20", smooth_s=0.0):
    return MotionFeatures(SKELETONS[skeleton], kind, 20.0, smooth_s)


@pytest.mark.parametrize("skeleton", list(SKELETONS))
@pytest.mark.parametrize("kind", ["mocap", "pose2d"])
def test_shapes_for_every_named_skeleton(kind, skeleton):
    made = tower(kind, skeleton, moments=Moments(width=16))
    out = made(skeleton_stream(kind, skeleton, 3))
    assert out.pooled.shape == (3, 32)
    assert out.tokens.shape == (3, 1, 25, 32)
    assert out.mask.shape == (3, 1, 25)
    assert out.moments.shape == (3, 25, 16)
    assert made.moments_shape == (25, 16)


def test_moments_are_as_many_as_the_imu_towers():
    for seconds, token_s in ((5.0, 0.2), (2.4, 0.1), (3.0, 0.5)):
        settings = {"token_s": token_s, "moments": Moments(width=16)}
        imu = build_tower(ImuTransformerConfig(**SMALL | settings), ImuInput(rate_hz=40), seconds)
        assert imu.moments_shape == tower(seconds=seconds, **settings).moments_shape


@pytest.mark.parametrize("skeleton", ["kinect20", "coco17", "smpl24"])
def test_mocap_features_do_not_depend_on_place_heading_or_size(skeleton):
    stream, made = skeleton_stream("mocap", skeleton), features("mocap", skeleton, 0.04)
    x = made(stream)
    angle = 0.8
    turn = torch.tensor([[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    stream.values = (stream.values @ turn) * 1.3 + torch.tensor([2.0, -1.0, 0.4])
    assert torch.allclose(made(stream), x, atol=2e-4)


def test_the_right_to_left_line_lies_along_y():
    stream = skeleton_stream("mocap")
    names = SKELETONS["kinect20"].canonical
    x = features("mocap")(stream)[:, : 3 * 20].unflatten(1, (20, 3))  # (B, J, 3, T)
    line = (x[:, names.index("left_shoulder")] - x[:, names.index("right_shoulder")]).median(-1).values
    assert (line[:, 1] > 0).all()
    assert line[:, 0].abs().max() < 0.1 * line[:, 1].min()


def test_pose_features_do_not_depend_on_place_or_size_in_the_image():
    stream, made = skeleton_stream("pose2d", "coco17"), features("pose2d", "coco17")
    x = made(stream)
    stream.values[..., :2] = stream.values[..., :2] * 0.6 + torch.tensor([40.0, 90.0])
    assert torch.allclose(made(stream), x, atol=1e-3)


def test_velocity_keeps_the_motion_of_the_body_and_its_clock():
    stream = skeleton_stream("mocap")
    stream.values = stream.values[:, :1].repeat(1, 100, 1, 1)
    stream.values[..., 2] += torch.arange(100)[None, :, None] / 20 * 0.5  # rises at 0.5 m/s
    made = features("mocap")
    x = made(stream)
    trunk = made._trunk_length(stream.values, torch.ones(4, 100, 20, dtype=torch.bool))
    velocity = x[:, 60:120].unflatten(1, (20, 3))
    assert torch.allclose(velocity[:, :, 2], (0.5 / trunk / 3)[:, None, None].expand(4, 20, 100), atol=1e-4)
    assert velocity[:, :, :2].abs().max() < 1e-4
    stream.step_s = torch.full((4, 100), 0.1)  # the same frames in twice the time
    slow = made(stream)[:, 60:120].unflatten(1, (20, 3))
    assert torch.allclose(slow * 2, velocity, atol=1e-4)


def test_limb_rotation_rate_of_a_swinging_forearm():
    stream = skeleton_stream("mocap", rows=1)
    stream.values = stream.values[:, :1].repeat(1, 100, 1, 1)
    names = SKELETONS["kinect20"].canonical
    elbow, wrist = names.index("left_elbow"), names.index("left_wrist")
    angle = torch.arange(100) / 20 * 1.5  # 1.5 rad/s about the vertical
    stream.values[0, :, wrist] = stream.values[0, :, elbow] + 0.3 * torch.stack(
        [angle.cos(), angle.sin(), 0 * angle], dim=-1
    )
    made = features("mocap")
    x = made(stream)
    turn = x[0, 120 + 57 : 120 + 57 + 24].unflatten(0, (6, 4))
    which = made.limbs.tolist().index([elbow, wrist])
    assert torch.allclose(turn[which, 2, 1:-1] * 3, torch.full((98,), 1.5), atol=2e-3)
    assert torch.allclose(turn[which, 3, 1:-1] * 3, torch.full((98,), 1.5), atol=2e-3)
    others = [i for i in range(6) if i != which]
    assert turn[others].abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["mocap", "pose2d"])
def test_what_is_not_valid_changes_no_value_and_no_gradient(kind):
    made = tower(kind, moments=Moments(width=16))
    stream = skeleton_stream(kind, rows=3)
    stream.valid[0, 60:] = False
    stream.joint_mask[1, [0, 3, 5]] = False  # head, pelvis, an elbow
    stream.joint_mask[2, 8:] = False
    if kind == "pose2d":
        stream.values[0, 10:20, 2] = 0.0
    read = stream.valid[:, :, None] & stream.joint_mask[:, None]
    read = read[..., None].expand_as(stream.values)

    def run(fill):
        stream.values = torch.where(read, stream.values, fill)
        made.zero_grad()
        out = made(stream)
        (out.pooled.square().sum() + out.moments.square().sum()).backward()
        return [out.pooled, out.moments] + [p.grad.clone() for p in made.parameters() if p.grad is not None]

    clean, dirty = run(0.0), run(float("nan"))
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty))
    assert all(x.isfinite().all() for x in clean)


def test_a_point_without_confidence_is_not_read():
    stream, made = skeleton_stream("pose2d", "coco17"), features("pose2d", "coco17", 0.04)
    stream.values[:, 30:50, 9, 2] = 0.0
    x = made(stream)
    stream.values[:, 30:50, 9, :2] = 5000.0
    assert torch.equal(made(stream), x)


def test_smoothing_is_a_mean_of_what_is_known():
    x, known = torch.randn(2, 30, 4, 3), torch.rand(2, 30, 4) > 0.3
    constant = smooth(torch.ones_like(x) * known[..., None], known, torch.tensor([0.5, 1.0, 0.5]))
    assert torch.allclose(constant, known[..., None].expand_as(x).float(), atol=1e-6)


def test_slope_at_gaps_and_ends_takes_the_known_side():
    x = torch.arange(6.0)[None, :, None, None] * 2
    known = torch.tensor([1, 1, 0, 1, 1, 1], dtype=torch.bool)[None, :, None]
    got = slope(torch.where(known[..., None], x, 99.0), known, torch.full((1, 6), 0.5))
    assert got.flatten().tolist() == [4, 4, 0, 4, 4, 4]

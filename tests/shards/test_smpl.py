"""SMPL bodies: files in the layouts of AMASS (both releases) and HumanML3D, made here, against the shards."""

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aura.body import kinematics as kin
from aura.body.skeletons import SKELETONS
from aura.body.virtual_imu import GRAVITY
from aura.data.writer import ShardError
from shards import smpl
from shards.smpl_body import average_joints, find_models, move, rest_joints
from tests.shards.test_bvh import contents, shard_samples

JOINTS = SKELETONS["smpl22"].joints


def pose_parameters(frames: int, rate: float, joints: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Someone upright in a world with z up who turns and swings; poses (T, 3 joints), trans (T, 3)."""
    rng, t = np.random.default_rng(seed), np.arange(frames) / rate
    poses = np.zeros((frames, joints, 3))
    for joint in range(1, 22):
        axis = rng.normal(size=3)
        poses[:, joint] = 0.25 * np.sin(2 * np.pi * rng.uniform(0.3, 0.8) * t + rng.uniform(0, 6))[:, None] * axis
    heading = Rotation.from_euler("z", 0.5 * t[:, None]) * Rotation.from_euler("x", np.pi / 2)
    poses[:, 0] = heading.as_rotvec()
    trans = np.stack([1.0 * t, 0.1 * np.sin(t), 1.0 + 0.01 * np.sin(9 * t)], -1)
    return poses.reshape(frames, -1), trans


def amass(root: Path) -> Path:
    """Both releases, a shape, a file that needs unpickling, a file without rate."""
    for folder in ("CMU/01", "CMU/02", "HDM05/bk"):
        (root / folder).mkdir(parents=True)
    poses, trans = pose_parameters(360, 120.0, 52)
    np.savez(
        root / "CMU/01/01_01_poses.npz", trans=trans, poses=poses, betas=np.zeros(16), dmpls=np.zeros((360, 8)),
        gender=np.array(b"female"), mocap_framerate=np.array(120.0),
    )  # fmt: skip
    body, trans = pose_parameters(240, 100.0, 55, seed=1)
    np.savez(
        root / "CMU/02/02_01_stageii.npz", trans=trans, poses=body, root_orient=body[:, :3], pose_body=body[:, 3:66],
        pose_hand=body[:, 75:], betas=np.full(16, 0.5), gender=np.array("male"), mocap_frame_rate=np.array(100.0),
        surface_model_type=np.array("smplx"), labels=np.array(["a", None], object),
    )  # fmt: skip
    np.savez(
        root / "HDM05/bk/bk_01_stageii.npz", trans=trans, root_orient=body[:, :3], pose_body=body[:, 3:66],
        betas=np.zeros(16), gender=np.array("neutral"), mocap_frame_rate=np.array(100.0),
        surface_model_type=np.array("smplx"),
    )  # fmt: skip
    np.savez(root / "CMU/01/shape.npz", betas=np.zeros(16), gender=np.array("female"))
    np.savez(root / "CMU/01/norate_poses.npz", trans=trans, poses=poses[:240])
    np.savez(
        root / "CMU/01/odd_poses.npz", trans=np.array([None]), poses=np.array([None]), mocap_framerate=np.array(120.0)
    )
    return root


def model_file(path: Path, joints: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A body model's file with random shapes; gives its joints at rest and how they change with the betas."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    template, shapes = rng.normal(size=(80, 3)), 0.01 * rng.normal(size=(80, 3, 16))
    regressor = rng.dirichlet(np.ones(80), joints)
    regressor[:22] = np.linalg.lstsq(template.T, average_joints().T, rcond=None)[0].T
    np.savez(path, v_template=template, shapedirs=shapes, J_regressor=regressor)
    return regressor @ template, np.einsum("jv,vcb->jcb", regressor, shapes)


def test_joints_of_a_pose_against_scipy() -> None:
    poses, trans = pose_parameters(20, 10.0, 22)
    poses = poses.reshape(20, 22, 3) * 2
    joints = average_joints() + np.array([0, 0.2, 0])
    places, turns = move(joints, poses, trans)
    parents = SKELETONS["smpl22"].parents
    for t in (0, 7, 19):
        world, at = [], []
        for j, parent in enumerate(parents):
            own = Rotation.from_rotvec(poses[t, j])
            world.append(own if parent < 0 else world[parent] * own)
            at.append(
                joints[j] + trans[t] if parent < 0 else at[parent] + world[parent].apply(joints[j] - joints[parent])
            )
        np.testing.assert_allclose(places[t], at, atol=1e-12)
        np.testing.assert_allclose(kin.to_matrix(turns[t]), [r.as_matrix() for r in world], atol=1e-12)


def test_the_average_body_is_one() -> None:
    joints = dict(zip(JOINTS, average_joints()))
    for name, at in joints.items():
        if name.startswith("left_"):
            np.testing.assert_allclose(at * [-1, 1, 1], joints["right" + name[4:]], atol=1e-12)
            assert at[0] > 0
    length = {part: np.linalg.norm(joints[f"left_{a}"] - joints[f"left_{b}"]) / 1.7 for part, a, b in (
        ("thigh", "hip", "knee"), ("shank", "knee", "ankle"), ("upper arm", "shoulder", "elbow"),
        ("forearm", "elbow", "wrist"))}  # fmt: skip
    # Winter, figure 4.1: shares of the stature.
    assert length == pytest.approx({"thigh": 0.245, "shank": 0.246, "upper arm": 0.186, "forearm": 0.146}, abs=0.002)


def test_amass_of_both_releases(tmp_path: Path) -> None:
    source = amass(tmp_path / "source")
    manifest = smpl.run(source, tmp_path / "out")
    found = shard_samples(tmp_path / "out")
    assert sorted(found) == [
        "CMU-01-01_01_poses_0000000",
        "CMU-02-02_01_stageii_0000000",
        "HDM05-bk-bk_01_stageii_0000000",
    ]
    assert {s.subject for s in found.values()} == {"CMU-01", "CMU-02", "HDM05-bk"}
    dropped = list(manifest["dropped"])
    assert "file of a body's shape, without motion" in dropped
    assert any(r.startswith("CMU/01/norate_poses.npz: has no frame rate") for r in dropped)
    assert any(r.startswith("CMU/01/odd_poses.npz: cannot be read") for r in dropped), "nothing is unpickled"
    assert "average body" in (tmp_path / "out" / "README.md").read_text()

    sample = found["CMU-01-01_01_poses_0000000"]
    assert (sample.streams["imu"]["rate_hz"], sample.streams["imu"]["length"]) == (60, 180)
    poses, trans = pose_parameters(360, 120.0, 52)
    places, _ = move(average_joints(), poses.reshape(360, 52, 3)[:, :22], trans)
    np.testing.assert_allclose(sample.arrays["mocap"][5:-5], places[::2][5:-5], atol=2e-3)
    # Pelvis: x of the sensor is up the trunk, gravity is 9.81 along it, turning is 0.5 rad/s about it.
    pelvis = sample.arrays["imu"][2, 20:-20]
    up = kin.rotate(sample.arrays["orientation"][2, 20:-20], [1.0, 0, 0])
    assert up[:, 2].min() > 0.995
    assert pelvis[:, 3] == pytest.approx(0.5, abs=0.01)
    assert pelvis[:, 0].mean() == pytest.approx(GRAVITY, abs=0.05)
    # The two releases' ways to say the same pose.
    two, three = found["CMU-02-02_01_stageii_0000000"], found["HDM05-bk-bk_01_stageii_0000000"]
    np.testing.assert_array_equal(two.arrays["imu"], three.arrays["imu"])
    assert two.streams["imu"]["rate_hz"] == 50
    done = subprocess.run([sys.executable, "tools/verify_shards.py", tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_body_models_give_each_clip_its_own_joints(tmp_path: Path) -> None:
    source, models = amass(tmp_path / "source"), tmp_path / "models"
    female = model_file(models / "smplh/female/model.npz", 52, 1)
    neutral = model_file(models / "SMPLX_NEUTRAL.npz", 55, 2)
    male = model_file(models / "SMPLX_MALE.npz", 55, 3)
    assert sorted(find_models(models)) == [("smplh", "female"), ("smplx", "male"), ("smplx", "neutral")]
    np.testing.assert_allclose(
        rest_joints(models / "SMPLX_MALE.npz", np.full(16, 0.5)), male[0][:22] + 0.5 * male[1][:22].sum(-1)
    )
    smpl.run(source, tmp_path / "out", body_models=models, workers=1)
    found = shard_samples(tmp_path / "out")
    for key, joints, frames, rate, count, seed in (
        ("CMU-01-01_01_poses_0000000", female[0][:22], 360, 120.0, 52, 0),
        ("CMU-02-02_01_stageii_0000000", male[0][:22] + 0.5 * male[1][:22].sum(-1), 240, 100.0, 55, 1),
        ("HDM05-bk-bk_01_stageii_0000000", neutral[0][:22], 240, 100.0, 55, 1),
    ):
        poses, trans = pose_parameters(frames, rate, count, seed)
        places, _ = move(joints, poses.reshape(frames, count, 3)[:, :22], trans)
        np.testing.assert_allclose(found[key].arrays["mocap"][5:-5], places[::2][5:-5], atol=3e-3)
    with pytest.raises(ValueError, match="holds no body models"):
        smpl.run(source, tmp_path / "o", body_models=source / "HDM05/bk")


def humanml(root: Path) -> Path:
    """Four ids and their mirrored copies, one with NaN, one that no split has, one that is missing."""
    for folder in ("new_joints", "texts"):
        (root / folder).mkdir(parents=True)
    ids = [f"{i:06d}" for i in range(1, 5)]
    for i, key in enumerate([*ids, *(f"M{k}" for k in ids), "000009"]):
        poses, trans = pose_parameters(80 + i, 20.0, 22, seed=i)
        places, _ = move(average_joints(), poses.reshape(-1, 22, 3), trans)
        x, y, z = np.moveaxis(places, -1, 0)
        joints = np.stack([x, z, -y], -1).astype(np.float32)  # y up
        if key == "000003":
            joints[40, 3] = np.nan
        np.save(root / "new_joints" / f"{key}.npy", joints)
        (root / "texts" / f"{key}.txt").write_text(
            f"a person moves, {key}#a/DET person/NOUN#0.0#0.0\nit turns#it/PRON turn/VERB#1.0#2.5\nnan too#x/NOUN#nan#nan\n"
        )
    (root / "train.txt").write_text("000001\nM000001\n000003\nM000003\n000077\n")
    (root / "val.txt").write_text("000002\nM000002\n")
    (root / "test.txt").write_text("000004\nM000004\n")
    (root / "all.txt").write_text("\n".join(ids))
    return root


def test_humanml3d(tmp_path: Path) -> None:
    source = humanml(tmp_path / "HumanML3D")
    manifest = smpl.run(source, tmp_path / "out")
    found = shard_samples(tmp_path / "out")
    assert {s["samples"] for s in manifest["splits"].values()} == {2, 3}
    assert {name: s["samples"] for name, s in manifest["splits"].items()} == {"test": 2, "train": 3, "val": 2}
    assert manifest["dropped"].keys() == {
        "file that holds NaN, left out",
        "file that is in no split",
        "file of a split, missing",
    }
    assert manifest["dropped"]["file that holds NaN, left out"] == {"count": 1, "seconds": 4.1}
    sample = found["000002_0000000"]
    assert (sample.group, found["M000002_0000000"].group) == ("000002", "000002")
    assert sample.texts == [
        {"text": "a person moves, 000002", "start_s": 0.0, "end_s": 4.05, "kind": "description"},
        {"text": "it turns", "start_s": 1.0, "end_s": 2.5, "kind": "description"},
        {"text": "nan too", "start_s": 0.0, "end_s": 4.05, "kind": "description"},
    ]
    poses, trans = pose_parameters(81, 20.0, 22, seed=1)
    places, _ = move(average_joints(), poses.reshape(-1, 22, 3), trans)
    np.testing.assert_allclose(sample.arrays["mocap"], places, atol=1e-6)
    assert sample.streams["imu"]["rate_hz"] == 20
    assert np.linalg.norm(sample.arrays["imu"][2, 5:-5, :3], axis=-1).mean() == pytest.approx(GRAVITY, abs=0.2)
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as file:
        file.add(source, "HumanML3D")
    smpl.run(tmp_path / "all.tar.gz", tmp_path / "packed", workers=2)
    assert contents(tmp_path / "packed") == contents(tmp_path / "out")


def test_humanml3d_errors(tmp_path: Path) -> None:
    source = humanml(tmp_path / "HumanML3D")
    (source / "val.txt").write_text("M000001\n000002\n")
    with pytest.raises(ShardError, match=r"M000001 is in train\.txt too"):
        smpl.run(source, tmp_path / "out")
    (source / "train.txt").write_text("000001\n000003\n")
    with pytest.raises(ShardError, match=r"M000001 is in val\.txt and its original in train\.txt"):
        smpl.run(source, tmp_path / "out")
    (source / "val.txt").write_text("000002\n")
    (source / "texts" / "000001.txt").write_text("only a caption\n")
    with pytest.raises(ShardError, match=r"texts/000001\.txt: 'only a caption' is not"):
        smpl.run(source, tmp_path / "out")
    for name in ("train", "val", "test"):
        (source / f"{name}.txt").unlink()
    with pytest.raises(ShardError, match=r"train\.txt, val\.txt and test\.txt are missing"):
        smpl.run(source, tmp_path / "out")
    (tmp_path / "none").mkdir()
    with pytest.raises(ShardError, match=r"neither \.npz files of AMASS"):
        smpl.run(tmp_path / "none", tmp_path / "out")

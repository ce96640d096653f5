"""TotalCapture: a tree in the published layout, made here, against its shards."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aura.body.cameras import Camera
from aura.body.skeletons import SKELETONS
from aura.data.sample import Sample
from aura.data.video import decode_frames, encode_h264
from aura.data.writer import ShardError
from shards import totalcapture
from shards.totalcapture_files import CalibratedCamera, read_calibration, read_cameras, read_joints, read_sensors
from tests.shards import fixtures_totalcapture as made
from tests.shards.reading import array, contents, dropped, samples_in

UP = Rotation.from_euler("x", 90, degrees=True)  # Vicon's world, y up, to z up


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, made.Truth]:
    root = tmp_path_factory.mktemp("totalcapture")
    return root, made.write_tree(root)


@pytest.fixture(scope="module")
def out(source: tuple[Path, made.Truth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "totalcapture"
    totalcapture.run(source[0], folder)
    return folder


@pytest.fixture(scope="module")
def found(out: Path) -> dict[str, tuple[str, Sample]]:
    return {sample.recording: (split, sample) for split, sample in samples_in(out).values()}


def test_splits_labels_and_lengths(found: dict[str, tuple[str, Sample]]) -> None:
    assert {name: (split, s.labels["activity"], s.labels["sequence"], s.duration_s) for name, (split, s) in found.items()} == {
        "s1_walking1": ("train", "walking", "walking1", 4.0),
        "s4_rom3": ("val", "range of motion", "rom3", pytest.approx(200 / 60)),
        "s5_acting2": ("test", "acting", "acting2", 3.0),
    }  # fmt: skip
    for _, sample in found.values():
        assert sample.session == sample.subject == sample.recording[:2]
        assert [s["placement"] for s in sample.streams["imu"]["sensors"]] == list(totalcapture.PLACEMENTS.values())


def test_sensors_in_their_frame_and_vicons_world(found: dict[str, tuple[str, Sample]]) -> None:
    for name, (_, sample) in found.items():
        imu, orientation, frames = (
            array(sample, "imu"),
            array(sample, "orientation"),
            np.arange(array(sample, "imu").shape[1]),
        )
        for i, sensor in enumerate(made.SENSORS):
            filled = np.zeros(len(frames), bool)
            if name == "s4_rom3" and sensor == "L_LowArm":
                filled[50:56] = True  # 0.1 s, filled by a straight line
            if name == "s5_acting2" and sensor == "Head":
                filled[70] = True
            assert np.isfinite(imu).all()
            tolerance = np.where(filled, 0.2, 2e-6)
            off = np.abs(imu[i, :, :3] - made.acceleration(sensor, frames)).max(1)
            assert (off < tolerance + 2e-6).all(), (name, sensor)
            if name == "s4_rom3":
                assert sample.streams["imu"]["sensors"][i]["channels"] == ["acc", "gyro"]
                np.testing.assert_allclose(imu[i, :, 3:], made.angular_velocity(sensor, frames), atol=1e-5)
            else:
                assert sample.streams["imu"]["sensors"][i]["channels"] == ["acc"]
                assert not imu[i, :, 3:].any()
            expected = UP * made.REFERENCE * made.orientation(sensor, frames)
            turn = expected.inv() * Rotation.from_quat(orientation[i], scalar_first=True)
            assert (turn.magnitude() < np.where(filled, 1e-3, 1e-5)).all(), (name, sensor)


def test_joints_in_metres_and_their_projections(
    source: tuple[Path, made.Truth], found: dict[str, tuple[str, Sample]]
) -> None:
    for name, (_, sample) in found.items():
        frames = np.arange(source[1].sequences[name].vicon)
        y_up = made.positions(frames)
        joints = array(sample, "mocap")
        by_name = dict(zip(made.JOINTS, range(21)))
        order = [by_name[joint] for joint in totalcapture.JOINTS]
        np.testing.assert_allclose(joints, UP.apply(y_up.reshape(-1, 3)).reshape(y_up.shape)[:, order], atol=1e-6)
        assert (joints[:, 6, 2] > joints[:, 0, 2]).all()  # heads over hips
        for i in range(8):
            stream = "pose2d" if i == 0 else f"pose2d_cam{i + 1}"
            points = array(sample, stream)
            homogeneous = np.concatenate([y_up, np.ones((*y_up.shape[:2], 1))], -1) @ source[1].cameras[f"cam{i + 1}"].T
            expected = (homogeneous[..., :2] / homogeneous[..., 2:])[:, order]
            assert sample.streams[stream]["projected"] is True
            assert (points[: len(frames), :, 2] == 1).all()
            np.testing.assert_allclose(points[: len(frames), :, :2], expected, atol=1e-2)
            assert not points[len(frames) :].any()  # Vicon has ended


def test_names_of_joints_fit_those_of_other_skeletons() -> None:
    skeleton = SKELETONS["vicon21"]
    named = dict(zip(totalcapture.JOINTS, skeleton.joints))
    assert named["LeftForeArm"] == "left_elbow"
    assert named["RightArm"] == "right_shoulder"
    assert named["RightLeg"] == "right_knee"
    assert named["Hips"] == "pelvis"
    assert skeleton.up is not None
    parents = {totalcapture.JOINTS[j]: totalcapture.JOINTS[p] for j, p in enumerate(skeleton.parents) if p >= 0}
    assert parents["LeftHand"] == "LeftForeArm"
    assert parents["RightUpLeg"] == "Hips"
    assert parents["LeftShoulder"] == "Spine3"


def test_what_is_wrong_is_named(out: Path) -> None:
    reasons = dropped(out)
    assert {
        "s5_acting2: the sensor file says 200 frames and has 180": 1,
        "s4_rom3: Vicon has 194 frames, the sensors 200; taken to begin together": 1,
        "s2_freestyle1: no Vicon file, used without": 1,
        "frames of sensor files out of order: put in order": 1,
        "lines of sensor files that are cut or damaged": 1,
        "left forearm: gaps of up to 0.1 s filled by interpolation": 6,
        "head: gaps of up to 0.1 s filled by interpolation": 1,
    }.items() <= {reason: about["count"] for reason, about in reasons.items()}.items()


def test_same_bytes_with_two_workers(source: tuple[Path, made.Truth], out: Path, tmp_path: Path) -> None:
    totalcapture.run(source[0], tmp_path / "out", workers=2)
    assert contents(tmp_path / "out") == contents(out)


def test_videos_calibration_and_choice_of_cameras(source: tuple[Path, made.Truth], tmp_path: Path) -> None:
    root = tmp_path / "in"
    for part in ("s1", "S1"):
        shutil.copytree(source[0] / part, root / part)
    shutil.copy(source[0] / "calibration.cal", root)
    grey = (37 * np.arange(240) % 240).astype(np.uint8)  # neighbours differ much
    pictures = np.broadcast_to(grey[:, None, None, None], (240, 54, 96, 3))
    mp4 = encode_h264(pictures, 60.0)
    (root / "S1" / "TC_S1_walking1_cam1.mp4").write_bytes(mp4)
    (root / "S1" / "TC_S1_walking1_cam3.mp4").write_bytes(mp4[: len(mp4) // 2])
    (root / "S1" / "TC_S1_walking1_cam4.mp4").write_bytes(encode_h264(pictures[::2], 30.0))
    (root / "S1" / "TC_S1_walking1_cam5.mp4").write_bytes(mp4)
    (root / "S1" / "TC_S1_walking1_cam6.mp4").write_bytes(encode_h264(pictures[:120], 60.0))
    with zipfile.ZipFile(root / "cam7.zip", "w") as archive:
        archive.writestr("S1/TC_S1_walking1_cam7.mp4", mp4)
    damaged = bytearray((root / "cam7.zip").read_bytes())
    damaged[len(damaged) // 2] ^= 255
    (root / "cam7.zip").write_bytes(damaged)
    totalcapture.run(root, tmp_path / "out", cameras="1,3,4,6,7")
    ((_, sample),) = samples_in(tmp_path / "out").values()
    assert [name for name in sample.streams if name != "imu"] == [
        "mocap", "pose2d", "pose2d_cam3", "pose2d_cam4", "pose2d_cam6", "pose2d_cam7", "video", "video_cam6",
    ]  # fmt: skip
    entry, video = sample.streams["video"], sample.arrays["video"]
    assert isinstance(video, bytes)
    assert (entry["rate_hz"], entry["length"], entry["camera"]["width"]) == (10.0, 40, 96)
    shown = decode_frames(video, np.arange(40) / 10).mean((1, 2, 3))
    np.testing.assert_allclose(shown, grey[::6], atol=6)
    reasons = dropped(tmp_path / "out")
    assert any("video left out: TC_S1_walking1_cam3.mp4" in reason for reason in reasons)
    assert any("video left out: cam7.zip: S1/TC_S1_walking1_cam7.mp4 cannot be read" in reason for reason in reasons)
    assert any("TC_S1_walking1_cam4.mp4 has 30 frames a second, not 60" in reason for reason in reasons)
    assert any("TC_S1_walking1_cam6.mp4 has 120 frames for 240 rows" in reason for reason in reasons)
    assert reasons["video_cam6: its file ends, or is damaged, within a sample"]["seconds"] == 2.0
    (root / "calibration.cal").unlink()
    for path in root.rglob("*calib_imu_ref.txt"):
        path.write_text("13\nHead 0 0 0 1\n")
    totalcapture.run(root, tmp_path / "out2", cameras="none")
    ((_, sample),) = samples_in(tmp_path / "out2").values()
    assert sorted(sample.arrays) == ["imu", "mocap"]
    assert any("no orientation: calib_imu_ref lacks" in reason for reason in dropped(tmp_path / "out2"))
    assert "sequences without 2D poses: there is no calibration.cal" in dropped(tmp_path / "out2")


def changed(root: Path, name: str, change) -> None:
    """Numbers of all sensor lines of a file, changed."""
    (path,) = root.rglob(name)
    lines = path.read_text().splitlines()
    for i, line in enumerate(lines):
        words = line.split()
        if len(words) > 2:
            numbers = change(np.array(words[1:], float))
            lines[i] = " ".join([words[0], *(f"{v:.6f}" for v in numbers)])
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(("factor", "ok"), [(180 / np.pi, True), (9.81, False)])
def test_the_gyroscopes_unit_is_measured(
    source: tuple[Path, made.Truth], tmp_path: Path, factor: float, ok: bool
) -> None:
    shutil.copytree(source[0] / "s4", tmp_path / "s4")
    name = "s4_rom3_Xsens_AuxFields.sensors"
    changed(tmp_path, name, lambda x: np.concatenate([x[:7], x[7:10] * factor, x[10:]]))
    recordings = totalcapture.plan(totalcapture.files_within(tmp_path, (".sensors", ".txt"), tmp_path))
    if not ok:
        with pytest.raises(ValueError, match="neither rad/s nor deg/s"):
            totalcapture.read_imu(recordings[0])
        return
    imu, _ = totalcapture.read_imu(recordings[0])
    assert imu is not None
    np.testing.assert_allclose(imu.values[3, :, 3:], made.angular_velocity("L_UpArm", np.arange(200)), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: np.concatenate([x[:4], x[4:] / 9.81]), "not m/s\\^2 with gravity"),
        (lambda x: np.concatenate([x[:4], 0.1 * x[4:] - 0.5]), "not m/s\\^2 with gravity"),
    ],
)
def test_accelerations_in_another_unit_fail(
    source: tuple[Path, made.Truth], tmp_path: Path, change, message: str
) -> None:
    for part in ("s1", "S1"):
        shutil.copytree(source[0] / part, tmp_path / "in" / part)
    changed(tmp_path, "s1_walking1_Xsens.sensors", change)
    with pytest.raises(ShardError, match=f"s1_walking1.*{message}"):
        totalcapture.run(tmp_path / "in", tmp_path / "out")


def test_orientations_that_do_not_turn_gravity_up_are_left_out(source: tuple[Path, made.Truth], tmp_path: Path) -> None:
    shutil.copytree(source[0] / "s1", tmp_path / "in" / "s1")
    changed(tmp_path, "s1_walking1_Xsens.sensors", lambda x: np.concatenate([x[:1], -x[1:4], x[4:]]))
    totalcapture.run(tmp_path / "in", tmp_path / "out")
    ((_, sample),) = samples_in(tmp_path / "out").values()
    assert sorted(sample.arrays) == ["imu"]
    assert any("does not turn gravity up" in reason for reason in dropped(tmp_path / "out"))


def test_distortion_and_what_lies_beyond_it() -> None:
    camera = CalibratedCamera(Camera(1920, 1080, 1000, 1000, 959.5, 539.5, np.eye(3), np.zeros(3)), -0.2)
    points = camera.project(np.array([[0.3, -0.2, 1.0], [0, 0, -1.0], [2.0, 0, 1.0], [np.nan, 0, 1]]))
    scale = 1 - 0.2 * (0.3**2 + 0.2**2)
    np.testing.assert_allclose(points[0], [959.5 + 300 * scale, 539.5 - 200 * scale, 1])
    assert not points[1:].any()  # behind; where the picture would fold back; unknown


def test_files_that_are_something_else(tmp_path: Path) -> None:
    for read, text, message in (
        (read_sensors, "", "begins with ''"),
        (read_sensors, "13 10\n1\n", "holds no line"),
        (read_calibration, "13\nHead 0 0 1\n", "not `name x y z w`"),
        (read_calibration, "13\nHead 0 0 0 2\n", "length 2"),
        (read_cameras, "8 1\n0 1079 0 1919\n", "is not as"),
        (
            lambda text: read_joints(text, totalcapture.JOINTS),
            "Hips\tSpine\n1 2 3\t4 5 6\n",
            "has the joints Hips, Spine",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            read(text)
    joints, cut = read_joints(
        "\t".join(totalcapture.JOINTS) + "\n" + "\t".join(["1 2 3"] * 21) + "\n1 2 3\t4", totalcapture.JOINTS
    )
    assert (joints.shape, cut) == ((1, 21, 3), 1)
    np.testing.assert_allclose(joints[0, 0], np.array([1, -3, 2]) * 0.0254)
    with pytest.raises(ShardError, match=r"s1/s1_walking1_Xsens\.sensors"):
        totalcapture.run(tmp_path, tmp_path / "out")
    made.write_tree(tmp_path / "in")
    with pytest.raises(ShardError, match="there is no camera 9, only 1"):
        totalcapture.run(tmp_path / "in", tmp_path / "out", cameras="9")

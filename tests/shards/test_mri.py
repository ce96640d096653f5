"""mRI: a tree in the published layout, made here, against its shards."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aura.data.video import decode_frames, encode_h264
from aura.data.writer import ShardError
from shards import mri
from tests.shards import fixtures_mri as made
from tests.shards.reading import array, contents, dropped, samples_in

ATOL_ACC = 2e-4  # m/s^2: the files have 6 digits of g


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mri")
    made.write_tree(root)
    return root


@pytest.fixture(scope="module")
def out(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "mri"
    mri.run(source, folder)
    return folder


def frames_of(sample, length: int, number: int = 1) -> np.ndarray:
    """Camera frames of a sample's items."""
    first = sample.start_s * made.FPS
    assert abs(first - round(first)) < 0.05
    return round(first) + np.arange(length)


def test_actions_splits_and_rates(out: Path) -> None:
    found = samples_in(out)
    spans = {key: (split, sample) for key, (split, sample) in found.items()}
    one = sorted((s for _, s in spans.values() if s.subject == "subject01"), key=lambda s: s.start_s)
    assert [(s.labels.get("activity"), round(s.duration_s * made.FPS)) for s in one] == [
        ("T pose", 19), ("both upper limb extension", 21), ("squat", 25), ("free form", 25), ("walk", 20),
    ]  # fmt: skip
    assert {s.subject: split for split, s in spans.values()} == {
        "subject01": "train", "subject15": "test", "subject16": "val",
    }  # fmt: skip
    for _, sample in spans.values():
        assert sample.streams["pose2d"]["rate_hz"] == pytest.approx(made.FPS, rel=3e-4)
        assert sample.recording == sample.subject == sample.session
    assert [(t["kind"], t["text"]) for t in one[2].texts] == [
        ("label", "squat"), ("description", "a person bends both knees to squat and stands up again"),
    ]  # fmt: skip
    card = (out / "README.md").read_text()
    assert "subject01: 10.1 frames a second" in card
    assert "Licence: unknown" in card


def test_values_of_sensors_and_poses(out: Path) -> None:
    files = {"right wrist": "IMU1", "left wrist": "IMU2", "right shank": "IMU4", "left shank": "IMU5"}
    seen = 0
    for _, sample in samples_in(out).values():
        subject = made.SUBJECTS[[s.number for s in made.SUBJECTS].index(int(sample.subject[-2:]))]
        frames = frames_of(sample, round(sample.duration_s * made.FPS))
        if "imu" in sample.streams:
            imu, orientation = array(sample, "imu"), array(sample, "orientation")
            for i, sensor in enumerate(sample.streams["imu"]["sensors"]):
                assert sensor["channels"] == ["acc"]
                assert not sensor["virtual"]
                assert not imu[i, :, 3:].any()
                if sensor["placement"] == "unknown":
                    continue
                name = files[sensor["placement"]]
                np.testing.assert_allclose(imu[i, :, :3], made.acceleration(name, frames), atol=ATOL_ACC)
                turn = made.orientation(name, frames).inv() * Rotation.from_quat(orientation[i], scalar_first=True)
                assert turn.magnitude().max() < 1e-5
                seen += 1
        if "mocap" in sample.streams:
            entry = sample.streams["mocap"]
            shown = frames[round(entry["start_s"] * entry["rate_hz"]) :][: entry["length"]]
            x, y, z = np.moveaxis(made.joints(shown), -1, 0)
            np.testing.assert_allclose(array(sample, "mocap"), np.stack([x, -z, y], -1), atol=1e-5)
        for stream, side in (("pose2d", "r"), ("pose2d_left", "l")):
            points = array(sample, stream)
            there = (frames >= subject.gt[0]) & (frames <= subject.gt[1])
            assert np.array_equal(points[..., 2] == 1, np.repeat(there[:, None], 17, 1))
            expected = made.image_points(frames, side)
            np.testing.assert_allclose(points[there, :, :2], expected[there], atol=1e-3)
            assert sample.streams[stream]["camera"] == {
                "width": 1920, "height": 1080, "fx": 1000.0, "fy": 1000.0, "cx": 960.0, "cy": 540.0,
            }  # fmt: skip
    assert seen == 5 * 4 + 5 * 3  # known placements of subject1 and of subject15 in their five actions


def test_what_is_wrong_is_named_and_nothing_runs(out: Path) -> None:
    reasons = dropped(out)
    assert not Path(made.PWNED).exists()
    for words in (
        "subject2_all_labels.cpl is refused: it wants io.open",
        "subject3_all_labels.cpl is truncated or damaged",
        "subject16: no IMU files, used without",
        "subject15: IMU4 has -1 rows beside its frames",
        "times of frames out of order: put in order",
    ):
        assert sum(words in reason for reason in reasons) == 1, words


def test_same_bytes_of_archives_and_of_two_workers(source: Path, out: Path, tmp_path: Path) -> None:
    made.write_tree(tmp_path / "zipped", archive=True)
    mri.run(tmp_path / "zipped", tmp_path / "out", workers=2)
    assert contents(tmp_path / "out") == contents(out)


def test_videos_are_counted_by_frames_at_the_measured_rate(tmp_path: Path) -> None:
    subject = made.SUBJECTS[2]
    made.write_tree(tmp_path / "in")
    release = tmp_path / "in" / "dataset_release"
    for path in release.rglob("*subject*"):
        if path.is_file() and "subject16" not in path.name:
            path.unlink()
    grey = (4 * np.arange(subject.frames)).astype(np.uint8)
    pictures = np.broadcast_to(grey[:, None, None, None], (len(grey), 64, 96, 3))
    (tmp_path / "in" / "videos").mkdir()
    (tmp_path / "in" / "videos" / "blurred_subject16_color0.mp4").write_bytes(encode_h264(pictures, 30.0))
    (tmp_path / "in" / "videos" / "blurred_subject16_color1.mp4").write_bytes(encode_h264(pictures[:-1], 30.0))
    (release / "raw_data" / "imu" / "subject16").mkdir(parents=True)
    (release / "raw_data" / "imu" / "subject16" / "IMU1.csv").write_text("a line\n" * 292)
    mri.run(tmp_path / "in", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "10.1 frames a second; its raw IMU files have 292 lines, 49.99 for each second" in card
    for _, sample in samples_in(tmp_path / "out").values():
        entry, mp4 = sample.streams["video"], sample.arrays["video"]
        assert isinstance(mp4, bytes)
        frames = frames_of(sample, entry["length"])
        shown = decode_frames(mp4, np.arange(entry["length"]) / entry["rate_hz"])
        np.testing.assert_allclose(shown.mean((1, 2, 3)), grey[frames], atol=3)
        assert entry["rate_hz"] == pytest.approx(made.FPS, rel=3e-4)
        assert entry["camera"]["fx"] == 1000.0
        assert "video_left" not in sample.streams
    assert any("color1.mp4 has 59 frames for 60 times" in reason for reason in dropped(tmp_path / "out"))


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("axg,ayg,azg", lambda x: x * 9.81, "not g with gravity"),
        ("rows", lambda x: np.repeat(x, 5, 0), r"'IMU0': 645.* rows for the 129 frames"),
    ],
)
def test_units_and_rates_that_are_not_the_known_ones_fail(tmp_path: Path, column: str, change, message: str) -> None:
    made.write_tree(tmp_path / "in")
    for path in (tmp_path / "in").rglob("subject1/IMU*.csv"):
        header, *lines = path.read_text().splitlines()
        cells = [line.split(",") for line in lines]
        rows = np.array([row[1:] for row in cells], float)
        if column == "rows":
            rows = change(rows)
        else:
            rows[:, :3] = change(rows[:, :3])
        path.write_text("\n".join([header, *("0x50," + ",".join(f"{v:.6f}" for v in row) for row in rows)]) + "\n")
    with pytest.raises(ShardError, match=f"subject01.*{message}"):
        mri.run(tmp_path / "in", tmp_path / "out")


def test_sides_that_go_better_when_swapped_are_reported(source: Path) -> None:
    """Sensors of a person who moves the arms one after the other, worn on the wrong sides."""
    n = 400
    t = np.arange(n) / 10
    left, right = np.sin(2 * np.pi * t) * (t % 20 < 10), np.sin(2 * np.pi * t) * (t % 20 >= 10)
    mocap = np.zeros((n, 17, 3))
    mocap[:, 9, 2], mocap[:, 10, 2] = 0.3 * left, 0.3 * right
    files = {name: mri.SourceFile(name, source) for name in ("IMU1", "IMU2")}
    recording = mri.Recording(1, "train", imu=files)

    def imu(of_right: np.ndarray, of_left: np.ndarray) -> mri.Imu:
        values = np.zeros((2, n, 6))
        values[..., 2] = 9.81 + 3 * np.stack([of_right, of_left])
        return mri.Imu(values, [{}, {}])

    assert list(mri.swapped_sides(imu(right, left), mocap, recording)) == []
    (words,) = mri.swapped_sides(imu(left, right), mocap, recording)
    assert words.startswith("wrists: left and right go better with the poses when swapped")


def test_lying_axes_and_strange_labels_fail(source: Path, tmp_path: Path) -> None:
    upright = made.joints(np.arange(50)).transpose(0, 2, 1)
    mri.check_upright(mri.world(upright, [0, 49]), "coco17")
    with pytest.raises(ValueError, match="not up"):
        mri.check_upright(mri.world(upright[:, [0, 2, 1]], [0, 49]), "coco17")
    keys = ("imu_avail_frames", "gt_avail_frames", "2d_l_avail_frames", "2d_r_avail_frames", "video_label")
    labels = {**{key: [0, 1] for key in keys}, "pose_2d_l": 0, "pose_2d_r": 0, "refined_gt_kps": upright}
    with pytest.raises(ValueError, match=r"refined_gt_kps has shape \(50, 3, 17\), and 60 frames have times"):
        mri.check_labels(labels, 60)
    labels |= {"pose_2d_l": upright[:, :2], "pose_2d_r": upright[:, :2], "video_label": {"walk": [1, 2]}}
    mri.check_labels(labels, 50)
    with pytest.raises(ValueError, match="frames of 'walk' are None"):
        mri.check_labels({**labels, "video_label": {"walk": None}}, 50)
    with pytest.raises(ValueError, match=r"is it the file _all_labels\.cpl"):
        mri.check_labels({"frame_total": 60}, 60)
    with pytest.raises(ShardError, match=r"aligned_data/pose_labels/subject1_all_labels\.cpl: download"):
        mri.run(tmp_path, tmp_path / "out")


def test_command_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(source, tmp_path / "in")
    monkeypatch.setattr(
        "sys.argv", ["mri", "--source", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--limit", "1"]
    )
    mri.main()
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["converter"]["arguments"] == {"limit": 1}
    monkeypatch.setattr("sys.argv", ["mri", "--source", str(tmp_path / "none"), "--out", str(tmp_path / "out2")])
    with pytest.raises(SystemExit) as stop:
        mri.main()
    assert stop.value.code == 1
    assert "does not exist" in capsys.readouterr().err

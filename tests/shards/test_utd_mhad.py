"""UTD-MHAD: raw files in their exact layout, made here, against the samples; and a few real clips."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from aura.body.skeletons import SKELETONS
from aura.body.virtual_imu import from_joints, virtual_imu
from aura.data.sample import Sample, from_members, validate
from aura.data.video import decode_frames
from aura.data.writer import Dropped, ShardError
from shards import utd_mhad
from shards.archives import SourceFile, files
from shards.utd_mhad_texts import ACTIONS

N, T = 120, 45


def raw(seed: int) -> dict[str, np.ndarray]:
    """One trial as the publisher stores it: g and deg/s; joints (20, 3, T) before the Kinect; depth in millimetres."""
    rng = np.random.default_rng(seed)
    iner = np.concatenate([rng.uniform(-8, 8, (N, 3)), rng.uniform(-1000, 1000, (N, 3))], axis=1)
    skel = np.stack(
        [rng.uniform(-0.7, 0.7, (20, T)), rng.uniform(-0.8, 0.8, (20, T)), rng.uniform(2, 4, (20, T))], axis=1
    )
    depth = np.repeat(np.arange(T, dtype=np.uint16) * 50 + 1000, 240 * 320).reshape(T, 240, 320).transpose(1, 2, 0)
    depth = depth.copy()
    depth[:40, :, :] = 0
    return {"inertial": iner, "skeleton": skel, "depth": depth}


def mat(kind: str, values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {{"inertial": "d_iner", "skeleton": "d_skel", "depth": "d_depth"}[kind]: values})
    return buffer.getvalue()


TRIALS = {(1, 1, 1): 0, (22, 2, 3): 1, (6, 3, 1): 2}


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """The three archives: inertial of all trials, skeleton of all but one, depth of the first."""
    source = tmp_path / "source"
    source.mkdir()
    for kind, keep in (("inertial", list(TRIALS)), ("skeleton", list(TRIALS)[:2]), ("depth", list(TRIALS)[:1])):
        with tarfile.open(source / f"{kind}.tar.xz", "w:xz") as file:
            for a, s, t in keep:
                data = mat(kind, raw(TRIALS[a, s, t])[kind])
                info = tarfile.TarInfo(f"{kind.title()}/a{a}_s{s}_t{t}_{kind}.mat")
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
            note = tarfile.TarInfo(f"{kind.title()}/Skeleton_joint_order.txt")
            file.addfile(note, io.BytesIO(b""))
    return source


def samples(source: Path, cache: Path, **options) -> dict[str, tuple[str, Sample]]:
    cache.mkdir(exist_ok=True)
    found = {}
    for recording in utd_mhad.plan(files(source, (".mat",), cache), **options):
        for item in utd_mhad.samples_of(recording):
            assert not isinstance(item, Dropped)
            validate(item[1])
            found[item[1].id] = item
    return found


def test_values_units_clocks_and_frames(archives: Path, tmp_path: Path) -> None:
    split, sample = samples(archives, tmp_path / "cache")["a01_s1_t1"]
    given = raw(0)
    assert (split, sample.subject, sample.labels) == ("train", "s1", {"activity": "swipe_left"})
    assert sample.duration_s == 2.4

    imu, entry = sample.arrays["imu"], sample.streams["imu"]
    np.testing.assert_allclose(imu[0, :, :3], given["inertial"][:, :3] * 9.80665, rtol=1e-6)
    np.testing.assert_allclose(imu[0, :, 3:], np.deg2rad(given["inertial"][:, 3:]), rtol=1e-6)
    assert (entry["rate_hz"], entry["start_s"], entry["length"]) == (50.0, 0.01, N)
    assert entry["sensors"][0]["placement"] == "right wrist"
    assert entry["sensors"][0]["range"] == pytest.approx([78.4532, 17.4533], rel=1e-5)

    # 45 frames in 2.4 s: 18.75 a second, the first in the middle of its share.
    mocap, entry = sample.arrays["mocap"], sample.streams["mocap"]
    assert (entry["rate_hz"], entry["start_s"], entry["skeleton"]) == (18.75, 0.5 / 18.75, "kinect20")
    assert entry["clock_hz"] == 18.7, "speeds go by the camera's own clock, not by the clip's length"
    x, y, z = given["skeleton"][10, :, 7]  # right wrist in frame 7
    np.testing.assert_allclose(mocap[7, SKELETONS["kinect20"].joints.index("right_wrist")], [x, -z, y], rtol=1e-6)
    pose, camera = sample.arrays["pose2d"], sample.streams["pose2d"]["camera"]
    u, v = 160 + 275 * x / z, 116 - 275 * y / z
    np.testing.assert_allclose(pose[7, 10], [u, v, 1], rtol=1e-5)
    assert camera == {"width": 320, "height": 240, "fx": 275.0, "fy": 275.0, "cx": 160.0, "cy": 116.0}

    frames = decode_frames(sample.arrays["video_depth"], np.arange(T) / sample.streams["video_depth"]["rate_hz"])
    expected = 255 - np.arange(T) * 50 * 254 / 4000
    np.testing.assert_allclose(frames[:, 60:].mean((1, 2, 3)), expected, atol=2)
    assert frames[:, :32].max() <= 4
    assert sample.streams["video_depth"]["length"] == T


def test_placement_splits_and_absent_streams(archives: Path, tmp_path: Path) -> None:
    found = samples(archives, tmp_path / "cache", val_subjects=[3])
    assert {key: split for key, (split, _) in found.items()} == {
        "a01_s1_t1": "train",
        "a06_s3_t1": "val",
        "a22_s2_t3": "test",
    }
    jog, cross = found["a22_s2_t3"][1], found["a06_s3_t1"][1]
    assert jog.streams["imu"]["sensors"][0]["placement"] == "right thigh"
    assert sorted(jog.arrays) == ["imu", "mocap", "pose2d"]
    assert sorted(cross.arrays) == ["imu"]
    with pytest.raises(ShardError, match="even subjects are the test split"):
        utd_mhad.plan([SourceFile("a1_s1_t1_inertial.mat", Path())], [2])


def test_archives_folders_and_zip_give_the_same_shards(archives: Path, tmp_path: Path) -> None:
    unpacked, zipped = tmp_path / "unpacked", tmp_path / "zipped"
    zipped.mkdir()
    for archive in archives.iterdir():
        with tarfile.open(archive) as file:
            file.extractall(unpacked, filter="data")
    with zipfile.ZipFile(zipped / "all.zip", "w") as file:
        for path in unpacked.rglob("*.mat"):
            file.writestr(str(path.relative_to(unpacked)), path.read_bytes())
    hashes = []
    for source in (archives, unpacked, zipped):
        out = tmp_path / f"out_{source.name}"
        utd_mhad.run(source, out, workers=1)
        hashes.append({p.name: p.read_bytes() for p in out.iterdir()})
    assert hashes[0] == hashes[1] == hashes[2]
    assert {"train-000000.tar", "test-000000.tar", "manifest.json", "README.md"} <= hashes[0].keys()
    with tarfile.open(tmp_path / "out_source" / "test-000000.tar") as file:
        files = [(m.name, file.extractfile(m).read()) for m in file]  # pyright: ignore[reportOptionalMemberAccess]
    np.testing.assert_allclose(
        from_members(files).arrays["imu"][0, :, :3], raw(1)["inertial"][:, :3] * 9.80665, rtol=1e-6
    )


def test_a_trial_without_inertial_file_is_dropped_and_counted(archives: Path, tmp_path: Path) -> None:
    (archives / "inertial.tar.xz").unlink()
    out = files(archives, (".mat",), tmp_path)
    items = [item for recording in utd_mhad.plan(out) for item in utd_mhad.samples_of(recording)]
    assert [type(item) for item in items] == [Dropped, Dropped]


def test_errors_name_place_and_remedy(archives: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"absent does not exist.*--source"):
        utd_mhad.run(tmp_path / "absent", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ShardError, match=r"neither files.*download.*utdallas\.edu"):
        utd_mhad.run(tmp_path / "empty", tmp_path / "out")
    cut = archives / "skeleton.tar.xz"
    cut.write_bytes(cut.read_bytes()[:2000])
    with pytest.raises(ShardError, match=r"skeleton\.tar\.xz is truncated or damaged; download it again"):
        utd_mhad.run(archives, tmp_path / "out")
    bad = tmp_path / "a1_s1_t1_inertial.mat"
    bad.write_bytes(mat("inertial", np.zeros((9, 5))))
    with pytest.raises(ValueError, match=r"a1_s1_t1_inertial\.mat: d_iner has shape \(9, 5\)"):
        utd_mhad.load(SourceFile(bad.name, bad), "d_iner", (None, 6))
    bad.write_bytes(mat("inertial", np.full((9, 6), np.nan)))
    with pytest.raises(ValueError, match="not finite"):
        utd_mhad.load(SourceFile(bad.name, bad), "d_iner", (None, 6))
    bad.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a1_s1_t1_inertial\.mat cannot be read"):
        utd_mhad.load(SourceFile(bad.name, bad), "d_iner", (None, 6))


def test_wordings_are_all_different_and_keep_sides() -> None:
    assert len(ACTIONS) == 27
    texts = [text for a in ACTIONS for text in (a.label, *a.descriptions, *a.paraphrases)]
    assert len(set(texts)) == len(texts)
    for action in ACTIONS:
        said = (*action.descriptions, *action.paraphrases)
        if action.name in ("draw_circle_cw", "draw_circle_ccw"):
            counter = action.name.endswith("ccw")
            assert all(("counter-clockwise" in text or "against" in text) == counter for text in said)
        if action.name in ("swipe_left", "swipe_right"):
            assert all("right" in text for text in said)


@pytest.mark.realdata
def test_real_clips_agree_with_their_own_skeleton(tmp_path: Path) -> None:
    """The wrist's gyroscope and accelerometer against virtual ones from the skeleton, on the shared clock.

    Norms are compared, since the mounting is unknown. The skeleton has 19 frames a second and drops some of them, so
    agreement is far from perfect; on a clock of 30 frames a second it falls apart.
    """
    source = Path(os.environ.get("AURA_DATA", Path(__file__).parents[3] / "shared" / "data")) / "utd_mhad"
    if not source.is_dir():
        pytest.skip(f"{source} is absent: set AURA_DATA to the folder that holds utd_mhad")
    recordings = [r for r in utd_mhad.plan(files(source, (".mat",), tmp_path)) if r.trial == 2]
    assert len(recordings) == 27 * 8
    gyro, force, wrong = [], [], []
    for recording in recordings[:96:3]:
        _, sample = next(iter(utd_mhad.samples_of(recording)))  # pyright: ignore[reportGeneralTypeIssues]
        validate(sample)
        real = sample.arrays["imu"][0]
        times = sample.streams["imu"]["start_s"] + np.arange(len(real)) / 50
        clock, joints = sample.streams["mocap"], sample.arrays["mocap"].astype(float)
        place = from_joints(joints, SKELETONS["kinect20"], "right wrist")
        virtual, _ = virtual_imu(*place, clock["rate_hz"], out_rate_hz=50.0, low_pass_hz=4.0)

        def agreement(channels: slice, rate: float, virtual=virtual, real=real, times=times, clock=clock) -> float:
            at = clock["start_s"] + np.arange(len(virtual)) / 50 * clock["rate_hz"] / rate
            norm = np.interp(times, at, np.linalg.norm(virtual[:, channels], axis=1))
            return float(np.corrcoef(norm, np.linalg.norm(real[:, channels], axis=1))[0, 1])

        gyro.append(agreement(slice(3, 6), clock["rate_hz"]))
        force.append(agreement(slice(0, 3), clock["rate_hz"]))
        wrong.append(agreement(slice(3, 6), 30.0))
    print(
        f"median correlation: gyro {np.median(gyro):.2f}, force {np.median(force):.2f}, at 30/s {np.median(wrong):.2f}"
    )
    assert np.median(gyro) > 0.7
    assert np.median(force) > 0.35
    assert np.median(wrong) < np.median(gyro) - 0.25

"""EgoHumans: a tree in the published layout, made here, against its shards."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aura.body.virtual_imu import GRAVITY
from aura.data.sample import Sample
from aura.data.writer import ShardError
from shards import egohumans
from tests.shards import fixtures_egohumans as made
from tests.shards.reading import array, contents, dropped, samples_in

PLACES = {
    "left forearm": "left_forearm", "right forearm": "right_forearm", "left shank": "left_shin", "right shank": "right_shin",
    "head": "head",
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("egohumans")
    made.write_tree(root)
    return root


@pytest.fixture(scope="module")
def out(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "egohumans"
    egohumans.run(source, folder, split="mobind")
    return folder


def of(folder: Path) -> list[tuple[str, Sample]]:
    return [one for _, one in sorted(samples_in(folder).items())]


def frames_of(sample: Sample, stream: str) -> np.ndarray:
    """Numbers (from 1) of the frames of a stream's items."""
    entry = sample.streams[stream]
    return 1 + round((sample.start_s + entry["start_s"]) * made.RATE) + np.arange(entry["length"])


def test_everybody_is_a_recording_of_one_group(out: Path) -> None:
    assert [(split, s.recording, s.group, s.start_s, s.duration_s, s.labels["activity"]) for split, s in of(out)] == [
        ("test", "01_tagging_001_aria01", "01_tagging_001", 0.1, 7.8, "playing tag"),
        ("test", "01_tagging_001_aria02", "01_tagging_001", 0.1, 2.3, "playing tag"),
        ("test", "01_tagging_001_aria02", "01_tagging_001", 4.6, 3.3, "playing tag"),
        ("val", "03_fencing_005_aria01", "03_fencing_005", 0.1, 2.8, "fencing"),
        ("train", "06_badminton_020_aria03", "06_badminton_020", 0.1, 3.8, "playing badminton"),
    ]
    assert {s.subject for _, s in of(out)} == {
        "01_tagging_aria01", "01_tagging_aria02", "03_fencing_aria01", "06_badminton_aria03",
    }  # fmt: skip


def test_synthetic_sensors_measure_gravity_in_their_own_frame(out: Path) -> None:
    for _, sample in of(out):
        frames, person = frames_of(sample, "imu"), sample.recording[-6:]
        imu, orientation = array(sample, "imu"), array(sample, "orientation")
        sensors = sample.streams["imu"]["sensors"]
        assert [sensor["placement"] for sensor in sensors] == list(PLACES)
        assert all(sensor["virtual"] and sensor["channels"] == ["acc", "gyro"] for sensor in sensors)
        inner = slice(4, -4)  # smoothing has an effect near the ends
        fine = np.arange(len(frames) * 50 + 1) / 50 + frames[0]
        for i, sensor in enumerate(sensors):
            vertex, joint = made.SENSORS[PLACES[sensor["placement"]]]
            turn = made.orientation(person, joint, frames)
            off = turn.inv() * Rotation.from_quat(orientation[i], scalar_first=True)
            assert off.magnitude()[inner].max() < 2e-3
            path = made.vertex(person, vertex, fine)
            moved = np.gradient(np.gradient(path, 1 / made.RATE / 50, axis=0), 1 / made.RATE / 50, axis=0)[:-1:50]
            force = turn.apply(moved + np.array([0, 0, GRAVITY]), inverse=True)
            np.testing.assert_allclose(imu[i, inner, :3], force[inner], atol=0.1)
            steps = made.orientation(person, joint, fine)
            spin = (steps[:-1].inv() * steps[1:]).as_rotvec()[::50] * made.RATE * 50
            np.testing.assert_allclose(imu[i, inner, 3:], spin[inner], atol=0.03)


def test_poses_of_the_right_person(out: Path) -> None:
    seen = 0
    for _, sample in of(out):
        person = sample.recording[-6:]
        if "mocap" in sample.streams:
            frames = frames_of(sample, "mocap")
            expected = made.pose3d(person, frames)[..., :3]
            gone = frames == 120  # nobody is seen: filled by a straight line
            np.testing.assert_allclose(array(sample, "mocap")[~gone], expected[~gone], atol=1e-5)
            np.testing.assert_allclose(array(sample, "mocap")[gone], expected[gone], atol=1e-2)
        if "pose2d" in sample.streams:
            frames, points = frames_of(sample, "pose2d"), array(sample, "pose2d")
            gone = frames == 120
            np.testing.assert_allclose(points[~gone], made.image_points(person, frames[~gone]), rtol=1e-6, atol=1e-4)
            assert sample.streams["pose2d"]["camera"] == {"width": 3840, "height": 2160}
            seen += 1
    assert seen == 3  # tagging alone has cam03


def test_cameras_and_points_that_are_not_valid(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source / "data" / "06_badminton", tmp_path / "in" / "06_badminton")
    egohumans.run(tmp_path / "in", tmp_path / "out", cameras=("cam03", "cam05"))
    ((split, sample),) = of(tmp_path / "out")
    assert split == "train"
    frames, points = frames_of(sample, "pose2d_cam05"), array(sample, "pose2d_cam05")
    valid = frames != 25  # a gap of one frame: filled by a straight line
    np.testing.assert_allclose(points[valid], made.image_points("aria03", frames)[valid], rtol=1e-6, atol=1e-4)
    middle = (points[frames == 24] + points[frames == 26]) / 2
    np.testing.assert_allclose(points[frames == 25], middle, rtol=1e-5)
    assert "pose2d" not in sample.streams


def test_what_is_wrong_is_named_and_nothing_runs(out: Path) -> None:
    reasons = {reason: about["count"] for reason, about in dropped(out).items()}
    assert not Path(made.PWNED).exists()
    for words in (
        "smpl/00040.npy is refused: it wants io.open",
        "smpl/00070.npy is truncated or damaged",
        "03_fencing_005: no 2D poses of cam03",
    ):
        assert sum(words in reason for reason in reasons) == 1, words
    # Frames 70 (both are there, aria02 is not seen) and 120 of tagging, 40 of badminton.
    assert reasons["frames without a fit: gaps of up to 0.1 s filled by a cubic"] == 4


def test_same_bytes_of_archives_and_of_two_workers(out: Path, tmp_path: Path) -> None:
    made.write_tree(tmp_path / "packed", archive=True)
    egohumans.run(tmp_path / "packed", tmp_path / "out", split="mobind", workers=2)
    tars = {name: data for name, data in contents(out).items() if name.endswith((".tar", ".idx.json"))}
    assert {name: data for name, data in contents(tmp_path / "out").items() if name in tars} == tars


def test_archives_are_opened_when_their_sequence_is_converted(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.write_tree(tmp_path / "packed", archive=True)
    tagging, fencing, _ = sorted((tmp_path / "packed").rglob("*.tar.gz"))
    whole = fencing.read_bytes()
    fencing.write_bytes(whole[: len(whole) // 2])
    temporary, real, seen = tmp_path / "tmp", egohumans.read_frames, []
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def read_frames(recording: egohumans.Recording, *rest):
        seen.append({re.sub(r".*/(\w+)/processed_data/([^.]+)/.*", r"\1 \2", str(p)) for p in temporary.rglob("*.npy")})
        return real(recording, *rest)

    monkeypatch.setattr(egohumans, "read_frames", read_frames)
    egohumans.run(tmp_path / "packed", tmp_path / "one", limit=1)
    assert seen.pop() == {"001_tagging smpl", "001_tagging refine_poses3d", "001_tagging poses2d/cam03/rgb"}
    with pytest.raises(ShardError, match=r"005_fencing\.tar\.gz is truncated or damaged; download it again"):
        egohumans.run(tmp_path / "packed", tmp_path / "all", split="mobind")
    assert seen[-1] == {"020_badminton smpl", "020_badminton refine_poses3d"}, "none of cameras that are not read"
    assert not list(temporary.iterdir()), "nothing stays"
    fencing.write_bytes(whole)
    tagging.write_bytes(b"")  # is done
    egohumans.run(tmp_path / "packed", tmp_path / "all", split="mobind", resume=True)
    tars = {name: data for name, data in contents(out).items() if name.endswith(".tar")}
    assert {name: data for name, data in contents(tmp_path / "all").items() if name in tars} == tars


def test_archives_that_are_not_what_their_name_says(source: Path, tmp_path: Path) -> None:
    made.write_tree(tmp_path / "in", archive=True)
    tagging, fencing, badminton = sorted((tmp_path / "in").rglob("*.tar.gz"))
    shutil.copy(tagging, fencing)
    with pytest.raises(ShardError, match=r"005_fencing\.tar\.gz holds 01_tagging_001, not 03_fencing_005"):
        egohumans.run(fencing, tmp_path / "out")
    shutil.copytree(source / "data" / "01_tagging", tmp_path / "in" / "01_tagging")
    with pytest.raises(ShardError, match=r"01_tagging_001 is there twice, as archive and unpacked"):
        egohumans.run(tmp_path / "in", tmp_path / "out")
    badminton.rename(tmp_path / "in" / "all.zip")
    with pytest.raises(ShardError, match=r"all\.zip is not named as the publisher's archives"):
        egohumans.run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(ShardError, match="absent does not exist"):
        egohumans.run(tmp_path / "absent", tmp_path / "out")


def test_splits() -> None:
    def split(number: str, activity: str, take: str, by: str) -> str:
        return egohumans.split_of(egohumans.Recording(number, activity, take), by)

    assert [split(n, a, "002", "publisher") for n, a in (("01", "tagging"), ("06", "badminton"), ("07", "tennis"))] == [
        "test", "train", "val",
    ]  # fmt: skip
    counts = {
        "tagging": 14,
        "legoassemble": 6,
        "fencing": 14,
        "basketball": 14,
        "volleyball": 11,
        "badminton": 61,
        "tennis": 13,
    }
    splits = [
        split(f"{i:02d}", a, f"{take:03d}", "mobind")
        for i, a in enumerate(counts, 1)
        for take in range(1, counts[a] + 1)
    ]
    assert {name: splits.count(name) for name in ("test", "val", "train")} == {"test": 24, "val": 6, "train": 103}


def test_another_world_fails(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(source / "data" / "03_fencing", tmp_path / "in" / "03_fencing")
    real = egohumans.fit_of

    def y_up(fit: dict) -> tuple:
        return real({**fit, "global_orient": np.zeros(3)})

    monkeypatch.setattr(egohumans, "fit_of", y_up)
    with pytest.raises(
        ShardError, match=r"03_fencing_005.*trunks of the SMPL fits point along \[0.0, 1.0, 0.0\], not up"
    ):
        egohumans.run(tmp_path / "in", tmp_path / "out")


def test_fits_that_are_not_as_published_and_empty_sources(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "03_fencing" / "005_fencing" / "processed_data" / "smpl"
    shutil.copytree(source / "data" / "03_fencing" / "005_fencing" / "processed_data" / "smpl", folder)
    for number in range(1, 61):
        np.save(folder / f"{number:05d}.npy", np.array({"aria01": {"vertices": np.zeros((10, 3))}}, dtype=object))
    with pytest.raises(ShardError, match="aria01 is not as published: KeyError: 'global_orient'"):
        egohumans.run(tmp_path / "in", tmp_path / "out")
    (tmp_path / "none").mkdir()
    with pytest.raises(ShardError, match=r"smpl/00001\.npy: download"):
        egohumans.run(tmp_path / "none", tmp_path / "out2")

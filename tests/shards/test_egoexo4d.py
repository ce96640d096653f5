"""Ego-Exo4D: shards of a small tree in the published layout, against what the tree says."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aura.body.skeletons import SKELETONS
from aura.data.sample import Sample
from aura.data.video import decode_frames
from aura.data.writer import ShardError
from shards import aria_vrs, egoexo4d, egoexo4d_imu
from shards.egoexo4d import Settings
from shards.egoexo4d_texts import PREFIX, Wanted
from tests.shards.fixtures_egoexo4d import (
    Take,
    Truth,
    camera_colour,
    camera_matrix,
    imu,
    read_frame,
    uid,
    write_tree,
)
from tests.shards.fixtures_egoexo4d_annotations import DANCE, FIRST, JOINTS, TEST
from tests.shards.fixtures_vrs import read_vrs
from tools.verify_shards import read_tar, verify

REPLACED = not aria_vrs.installed()
UNITS = {"right temple": "imu-right", "left temple": "imu-left"}


@pytest.fixture(scope="module", autouse=True)
def reader() -> Iterator[None]:
    """Without projectaria-tools the reading of VRS files is replaced, and nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        if REPLACED:
            patch.setattr(egoexo4d_imu, "read_imu", read_vrs)
            patch.setattr(aria_vrs, "installed", lambda: True)
        yield


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    root = tmp_path_factory.mktemp("egoexo4d")
    return root, write_tree(root)


@pytest.fixture(scope="module")
def shards(truth: tuple[Path, Truth], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "shards"
    egoexo4d.run(truth[0], out)
    return out


@pytest.fixture
def tree(truth: tuple[Path, Truth], tmp_path: Path) -> Path:
    """A copy of the tree, to be damaged."""
    return shutil.copytree(truth[0], tmp_path / "tree")


def samples(folder: Path) -> dict[str, list[Sample]]:
    """Samples by take, in order of time."""
    found = defaultdict(list)
    for tar in sorted(folder.glob("*.tar")):
        for one in read_tar(tar, tar.name.split("-")[0], []):
            assert one.sample is not None
            found[one.sample.recording].append(one.sample)
    return {name: sorted(here, key=lambda s: s.start_s) for name, here in found.items()}


def times(sample: Sample, stream: str) -> np.ndarray:
    """Take times of a stream's items."""
    about = sample.streams[stream]
    return sample.start_s + about["start_s"] + np.arange(about["length"]) / about["rate_hz"]


def array(sample: Sample, stream: str) -> np.ndarray:
    value = sample.arrays[stream]
    assert isinstance(value, np.ndarray)
    return value


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def dropped(folder: Path) -> dict[str, dict]:
    return json.loads((folder / "manifest.json").read_text())["dropped"]


def test_splits_people_and_labels(shards: Path, truth: tuple[Path, Truth]) -> None:
    manifest = json.loads((shards / "manifest.json").read_text())
    assert {split: about["subjects"] for split, about in manifest["splits"].items()} == {
        "train": ["901"],
        "val": ["902"],
        "test": ["901"],
    }
    found = samples(shards)
    assert set(found) == set(truth[1].takes)
    for name, take in truth[1].takes.items():
        for sample in found[name]:
            assert (sample.session, sample.subject, sample.group) == (take.capture, str(take.participant), "")
            about = {key: sample.labels.get(key) for key in ("scenario", "task", "university", "proficiency")}
            assert list(about.values()) == [
                take.task[3], take.task[1], take.university, truth[1].proficiency.get(name)
            ]  # fmt: skip
            where = take.best_exo or take.first_exo, "best_exo" if take.best_exo else "first localised"
            assert (sample.labels["camera"], sample.labels["camera_choice"]) == where
            assert sample.labels["pose"] == ("manual" if take.manual else "automatic")
    assert dropped(shards)["take that the publisher dropped (is_dropped)"]["count"] == 1
    assert dropped(shards)["uid of splits.json or the annotations that takes.json lacks"]["count"] == 1
    card = (shards / "README.md").read_text()
    assert "In train and in test: 1 participant (901)." in card
    assert "In train and in test: 1 capture (cmu_bike91)." in card


def test_samples_are_all_of_a_take(shards: Path, truth: tuple[Path, Truth]) -> None:
    for name, here in samples(shards).items():
        ends = [s.start_s + s.duration_s for s in here]
        assert np.allclose([0.0, *ends], [*(s.start_s for s in here), truth[1].takes[name].duration_s], atol=1e-5)
        assert all(1 <= s.duration_s <= 20 for s in here)
    # The IMU goes on at 12.6 s, the pose at 16 s.
    assert [s.start_s for s in samples(shards)[DANCE]] == [0.0, 12.6, 16.0]


def test_imu_is_what_the_units_measured_at_take_time(shards: Path, truth: tuple[Path, Truth]) -> None:
    seen = defaultdict(list)
    for name, here in samples(shards).items():
        for sample in here:
            assert sample.streams["imu"]["rate_hz"] == 200
            t = times(sample, "imu")
            seen[name].append((t[0], t[-1]))
            for sensor, values in zip(sample.streams["imu"]["sensors"], array(sample, "imu")):
                label = UNITS[sensor["placement"]]
                assert label in truth[1].takes[name].units
                assert (sensor["virtual"], sensor["channels"]) == (False, ["acc", "gyro"])
                # Beside a gap the filter sees one side alone.
                assert np.abs(values - imu(label, t))[16:-16].max() < 2e-3
                assert np.abs(values - imu(label, t)).max() < 0.1
    places = {
        name: [s["placement"] for s in here[0].streams["imu"]["sensors"]] for name, here in samples(shards).items()
    }
    assert places == {FIRST: list(UNITS), DANCE: list(UNITS), TEST: ["left temple"]}
    assert np.allclose(seen[FIRST], [(0, 2.995)], atol=1e-6)
    assert np.allclose(seen[DANCE], [(0, 11.995), (12.605, 15.995), (16, 22.995)], atol=6e-3)
    assert np.allclose(seen[TEST], [(0, 2.4)], atol=6e-3)
    lost = dropped(shards)
    assert lost["imu-left: gaps of up to 0.1 s filled by interpolation"]["seconds"] == pytest.approx(
        1 / 798.2, rel=0.01
    )
    assert lost["imu-right: seconds of the take that it does not cover"]["seconds"] == pytest.approx(0.6, abs=0.01)
    assert lost["imu-left: seconds of the take that it does not cover"]["seconds"] == pytest.approx(0.6, abs=0.01)
    assert lost["rows of timesync.csv without a stamp: the line through the others"]["count"] == 2


def test_video_frames_are_at_their_take_times(shards: Path, truth: tuple[Path, Truth]) -> None:
    for name, here in samples(shards).items():
        take, last = truth[1].takes[name], -1.0
        for sample in here:
            about = sample.streams["video"]
            assert (about["rate_hz"], about["start_s"]) == (10, 0)
            video = sample.arrays["video"]
            assert isinstance(video, bytes)
            frames = decode_frames(video, np.arange(about["length"]) / 10)
            camera = sample.labels["camera"]
            for t, image in zip(times(sample, "video"), frames):
                number, colour = read_frame(image)
                assert number == round(t * 30)
                assert np.abs(colour - camera_colour(camera)).max() < 15
                last = t
            scale = 64 / 3840
            assert (about["camera"]["width"], about["camera"]["height"]) == (64, 36)
            assert about["camera"]["fx"] == pytest.approx(1761.2 * scale)
            assert about["camera"]["cx"] == pytest.approx(1920.5 * scale - 0.5)
        assert last == pytest.approx(take.duration_s - 0.1, abs=0.04)


def joint_columns(names: list[str]) -> list[int]:
    return [JOINTS.index(name.replace("_", "-")) for name in names]


def test_poses_have_their_own_rates_and_values(shards: Path, truth: tuple[Path, Truth]) -> None:
    coco = list(SKELETONS["coco17"].joints)
    assert joint_columns(coco) == list(range(17))
    spans = defaultdict(list)
    for name, here in samples(shards).items():
        take = truth[1].takes[name]
        for sample in here:
            for stream in ("mocap", "mocap_auto"):
                if stream not in sample.streams:
                    continue
                manual = bool(take.manual) and stream == "mocap"
                assert sample.streams[stream]["rate_hz"] == (10 if manual else 30)
                frames = np.rint(times(sample, stream) * 30).astype(int)
                assert set(frames) <= set(take.manual if manual else take.automatic)
                kept = joint_columns(sample.streams[stream]["skeleton"]["joints"])
                error = np.abs(array(sample, stream) - take.joints(frames)[:, kept])
                there = ~take.missing(frames)[:, kept]
                assert error[there].max() < 1e-6
                assert error.max() < 0.05  # straight lines between the neighbours of a missing joint
                spans[name, stream].append((frames[0], frames[-1], 17 - len(kept)))
    assert list(spans) == [(TEST, "mocap"), (FIRST, "mocap"), (FIRST, "mocap_auto"), (DANCE, "mocap")]
    # The wrist that is lost from frame 300 to 399 is given up in the samples of that time alone.
    assert [(lost >= 1) for _, _, lost in spans[DANCE, "mocap"]] == [True, True, False]
    assert "right_wrist" not in samples(shards)[DANCE][1].streams["mocap"]["skeleton"]["joints"]
    assert dropped(shards)["manual pose: gaps between frames longer than 0.35 s: cut there"]["count"] == 2


def test_image_points_are_those_of_the_camera(shards: Path, truth: tuple[Path, Truth], tmp_path: Path) -> None:
    found = samples(shards)
    assert not any("pose2d" in s.streams for name in (FIRST, TEST) for s in found[name])  # of cam01, cam02 alone
    take = truth[1].takes[DANCE]
    k, _ = camera_matrix("gp02")
    for sample in found[DANCE]:
        about = sample.streams["pose2d"]
        assert (about["rate_hz"], about["skeleton"]) == (10, "coco17")
        assert about["camera"] == {"width": 3840, "height": 2160, "fx": k[0, 0], "fy": k[1, 1], "cx": 1920, "cy": 1080}
        frames = np.rint(times(sample, "pose2d") * 30).astype(int)
        values = array(sample, "pose2d")
        there = ~take.missing(frames) & (frames != take.manual[0])[:, None]  # the first record is empty
        assert np.array_equal(values[..., 2] == 1, there)
        assert np.abs(values[there][:, :2] - take.image_points("gp02", frames)[there]).max() < 1e-3
        assert not values[~there].any()


def test_texts_of_all_annotators_are_at_their_times(shards: Path, truth: tuple[Path, Truth]) -> None:
    for name, here in samples(shards).items():
        take = truth[1].takes[name]
        expected = set()
        for text in truth[1].texts:
            if text.take == name and text.usable and text.subject in ("", "C"):
                span = (text.time_s,) * 2 if text.kind == "description" else (max(text.time_s - 5, 0), text.time_s)
                expected.add((text.kind, text.written.strip(), *span))
        for step in (s for s in truth[1].keysteps if s.take == name):
            expected.add(("label", step.name, step.start_s, step.end_s))
            expected.add(("description", step.description, step.start_s, step.end_s))
        spans = defaultdict(list)
        for sample in here:
            for text in sample.texts:
                key = text["kind"], text["text"]
                spans[key].append((sample.start_s + text["start_s"], sample.start_s + text["end_s"]))
        assert spans.pop(("label", take.task[1]))[-1][1] == pytest.approx(take.duration_s)
        assert spans.pop(("label", take.task[3]))[0][0] == 0
        if name == DANCE:  # over the cut at 12.6 s only the half that holds more than a second stays
            assert np.allclose(spans["commentary", "Good posture through the turn."], [(10.5, 12.6), (12.6, 15.5)])
            expected -= {("commentary", "Good posture through the turn.", 10.5, 15.5)}
            del spans["commentary", "Good posture through the turn."]
        whole = sorted((*key, *(round(x, 4) for x in span)) for key, found in spans.items() for span in found)
        assert whole == sorted((*key, round(a, 4), round(b, 4)) for *key, a, b in expected)
    lost = dropped(shards)
    assert lost["atomic descriptions of a rejected annotation"]["count"] == 1
    assert lost["atomic descriptions of what somebody else does"]["count"] == sum(
        text.usable and text.subject not in ("", "C") for text in truth[1].texts
    )
    assert lost["comments whose speech was not understood (error)"]["count"] == 2
    assert lost["description text whose time is not in the take"]["count"] == 1


def test_offset_of_imu_and_pose_is_written_down(shards: Path) -> None:
    for sample in samples(shards)[DANCE]:
        assert float(sample.labels["imu_pose_offset_s"]) == pytest.approx(5 / 30, abs=0.01)
        assert float(sample.labels["imu_pose_correlation"]) > 0.9
    assert any(DANCE in reason and "+0.17 s" in reason for reason in dropped(shards))


def test_the_folder_is_sound_and_the_same_after_a_stop(
    shards: Path, truth: tuple[Path, Truth], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, found, _ = verify(shards)
    assert not faults
    assert len(found) == 5
    real = egoexo4d.samples_of

    def stopped(take: Take, *more: object, **options: object) -> object:
        if take.id == DANCE:
            raise KeyboardInterrupt
        return real(take, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(egoexo4d, "samples_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        egoexo4d.run(truth[0], tmp_path / "killed")
    monkeypatch.setattr(egoexo4d, "samples_of", real)
    egoexo4d.run(truth[0], tmp_path / "killed", resume=True)
    assert digests(tmp_path / "killed") == digests(shards)


@pytest.mark.skipif(REPLACED, reason="processes of their own need projectaria-tools: pip install -e '.[egoexo4d]'")
def test_two_workers_give_the_same_bytes(shards: Path, truth: tuple[Path, Truth], tmp_path: Path) -> None:
    words = f"-m shards.egoexo4d --source {truth[0]} --out {tmp_path / 'two'} --workers 2"
    done = subprocess.run([sys.executable, *words.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "pose late to IMU: median 0.16" in done.stdout
    assert digests(tmp_path / "two") == digests(shards)


def test_all_cameras_one_unit_and_other_wordings(truth: tuple[Path, Truth], tmp_path: Path) -> None:
    texts = Wanted(("atomic", "commentary"), "both", first=True, wearer="the person", others=True)
    settings = Settings(cameras=("all",), units=("left",), imu_hz=50, min_views=3, texts=texts)
    egoexo4d.run(truth[0], tmp_path / "out", settings=settings, split="take-random")
    found = samples(tmp_path / "out")
    (first,) = found[FIRST]
    assert [s["placement"] for s in first.streams["imu"]["sensors"]] == ["left temple"]
    assert np.abs(array(first, "imu")[0] - imu("imu-left", times(first, "imu")))[8:-8].max() < 5e-3
    assert {name: camera for name, camera in first.labels.items() if name.startswith("camera")} == {
        "camera": "cam04", "camera_choice": "best_exo", "camera_exo2": "cam01", "camera_exo3": "cam02", "camera_exo4": "cam03"
    }  # fmt: skip
    for stream, camera in (("video", "cam04"), ("video_exo2", "cam01"), ("video_exo4", "cam03")):
        video = first.arrays[stream]
        assert isinstance(video, bytes)
        assert np.abs(read_frame(decode_frames(video, [0])[0])[1] - camera_colour(camera)).max() < 15
        assert ("fx" in first.streams[stream]["camera"]) == (camera != "cam03")  # not localised
    assert {"pose2d_exo2", "pose2d_exo3"} <= set(first.streams)
    (test,) = found[TEST]
    assert ("video_exo2" in test.streams, "video_exo4" in test.streams) == (True, False)
    assert dropped(tmp_path / "out")["video: no file of cam04"]["count"] == 1
    assert dropped(tmp_path / "out")["manual pose: joints that fewer than 3 cameras saw"]["count"] > 10
    said = [t["text"] for s in found[FIRST] for t in s.texts]
    comment = "Our mechanic holds the wrench well."
    assert {"the person picks a wrench with his right hand.", "The man X hands the person a tire.", comment} <= set(
        said
    )
    assert PREFIX.format(task="Remove a Wheel", at=1.4) + comment in said
    assert not any("takes the wrench" in text or "stand is too low" in text for text in said)


@pytest.mark.parametrize(
    ("remove", "lost", "reason"),
    [
        (f"takes/{FIRST}/aria01_noimagestreams.vrs", {"imu"}, "IMU: no VRS file"),
        (
            "captures/cmu_bike91/timesync.csv",
            {"imu"},
            "IMU: timesync.csv is not there: the time of the IMU is not known",
        ),
        (f"annotations/ego_pose/train/body/annotation/{uid(FIRST)}.json", {"mocap_auto"}, ""),
        (f"takes/{FIRST}/frame_aligned_videos", {"video"}, "video: no file of the camera"),
        (f"takes/{FIRST}/frame_aligned_videos/downscaled", set(), ""),
    ],
)
def test_a_take_that_lacks_a_part_keeps_the_rest(
    tree: Path, tmp_path: Path, shards: Path, remove: str, lost: set[str], reason: str
) -> None:
    path = tree / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    egoexo4d.run(tree, tmp_path / "out", limit=1 if remove.startswith("takes") or not reason else None)
    (before,), (after,) = samples(shards)[FIRST], samples(tmp_path / "out")[FIRST]
    assert set(before.streams) - set(after.streams) == lost
    if reason:
        assert reason in dropped(tmp_path / "out")


@pytest.mark.parametrize(
    ("damage", "lost", "reason"),
    [
        (f"takes/{FIRST}/aria01_noimagestreams.vrs", {"imu"}, "IMU: aria01_noimagestreams.vrs cannot be read"),
        (f"takes/{FIRST}/frame_aligned_videos/downscaled/448/cam04.mp4", {"video"}, "video: cam04.mp4 cannot be read"),
        (
            f"annotations/ego_pose/train/body/annotation/{uid(FIRST)}.json",
            {"mocap_auto"},
            "manual pose: cannot be read",
        ),
        (f"takes/{FIRST}/trajectory/gopro_calibs.csv", set(), "cameras: gopro_calibs.csv is not as documented"),
    ],
)
def test_a_damaged_file_costs_its_stream_alone(
    tree: Path, tmp_path: Path, shards: Path, damage: str, lost: set[str], reason: str
) -> None:
    path = tree / damage
    path.write_bytes(path.read_bytes()[:150])
    egoexo4d.run(tree, tmp_path / "out", limit=1 if "cmu_bike91_2" in damage or "annot" in damage else None)
    (before,), (after,) = samples(shards)[FIRST], samples(tmp_path / "out")[FIRST]
    assert set(before.streams) - set(after.streams) == lost
    assert any(found.startswith(reason) for found in dropped(tmp_path / "out"))


def test_what_is_needed_and_not_there_is_an_error(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ShardError, match="egoexo -o DIR"):
        egoexo4d.run(tmp_path / "nowhere", tmp_path / "out")
    broken = tree / "annotations" / "atomic_descriptions_train.json"
    content = broken.read_text()
    broken.write_text(content[:50])
    with pytest.raises(ShardError, match=r"atomic_descriptions_train.json cannot be read, download it again"):
        egoexo4d.run(tree, tmp_path / "out")
    broken.write_text('{"annotations": [1, 2]}')
    with pytest.raises(ShardError, match=r"atomic_descriptions_train.json is not as documented"):
        egoexo4d.run(tree, tmp_path / "out")
    broken.write_text(content)
    monkeypatch.setattr("shards.aria_vrs.installed", lambda: False)
    with pytest.raises(ShardError, match=r"pip install projectaria-tools.*--units none"):
        egoexo4d.run(tree, tmp_path / "out")
    egoexo4d.run(tree, tmp_path / "plain", settings=Settings(units=()), limit=1)
    (tree / "annotations" / "splits.json").unlink()
    with pytest.raises(ShardError, match=r"splits.json is not there"):
        egoexo4d.run(tree, tmp_path / "out")
    shutil.rmtree(tree / "takes")
    shutil.rmtree(tree / "annotations" / "ego_pose")
    with pytest.raises(ShardError, match="of no take there is an IMU, a video or a pose"):
        egoexo4d.run(tree, tmp_path / "out", split="take-random")

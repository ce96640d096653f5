"""What converters of mocap share: mending of faults, cutting, cameras, tables, splits, archives."""

import argparse
import io
import shutil
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from aura.body import kinematics as kin
from aura.body.skeletons import SKELETONS
from aura.data.sample import Sample, validate
from aura.data.writer import Dropped, ShardError
from shards.archives import files, files_within
from shards.mocap import Motion, Settings, mend, samples
from shards.mocap_job import settings_of
from shards.smpl_body import average_joints, move
from shards.tables import Facts, assign, read_tables

RATE = 120.0


def walk(frames: int = 1200, rate: float = RATE) -> Motion:
    """A walk of the average body along x, z up, with arms that swing."""
    t = np.arange(frames) / rate
    poses = np.zeros((frames, 22, 3))
    poses[:, 0] = [np.pi / 2, 0, 0]
    for joint, turn in ((16, 0.5), (17, -0.5), (18, 0.3), (1, -0.4), (2, 0.4)):
        poses[:, joint, 0] = turn * np.sin(2 * np.pi * 0.9 * t + 0.1)
    trans = np.stack([1.2 * t, 0.02 * np.sin(t), 0.95 + 0.02 * np.sin(2 * np.pi * 1.8 * t)], -1)
    joints = average_joints()
    upright = kin.from_axis_angle([1, 0, 0], np.pi / 2)
    rest = kin.rotate(upright, joints), np.tile(upright, (22, 1))
    return Motion("smpl22", rate, *move(joints, poses, trans), rest)


def pieces(motion: Motion) -> tuple[list[tuple[int, Motion]], Counter]:
    drops: Counter = Counter()
    kept = []
    for begin, piece in mend(motion):
        if isinstance(piece, Dropped):
            drops[piece.reason] += piece.count
        else:
            kept.append((begin, piece))
    return kept, drops


def test_a_good_motion_is_left_alone() -> None:
    motion = walk()
    ((begin, piece),), drops = pieces(motion)
    assert begin == 0
    assert not drops
    np.testing.assert_array_equal(piece.positions, motion.positions)


def test_calibration_pose_in_front_is_cut_off_with_what_blends_into_it() -> None:
    motion = walk(600)
    motion.positions[0] += [0, 0, 0.7]
    ((begin, piece),), drops = pieces(motion)
    assert drops == {"calibration pose before the motion, cut off": 1, "frames beside a cut: left out": 12}
    assert begin == 13
    np.testing.assert_array_equal(piece.positions, motion.positions[13:])


def test_swapped_markers_are_filled_in_along_the_way() -> None:
    motion = walk(600)
    true = motion.positions.copy(), motion.orientations.copy()  # pyright: ignore[reportOptionalMemberAccess]
    motion.positions[300:304, 20] += [0.4, 0, 0.3]
    motion.orientations[300:304, 20] = kin.IDENTITY  # pyright: ignore[reportOptionalSubscript]
    ((begin, piece),), drops = pieces(motion)
    assert begin == 0
    # The frames between the jumps, and five more on either side.
    assert drops == {"frames between two jumps: filled by interpolation": 14}
    np.testing.assert_allclose(piece.positions, true[0], atol=0.01)
    same = np.abs((piece.orientations * true[1]).sum(-1))
    assert same.min() > 0.999


def test_a_jump_that_stays_cuts_and_a_fast_motion_does_not() -> None:
    motion = walk(600)
    motion.positions[400:] += [0, 2.0, 0]
    found, drops = pieces(motion)
    assert [(begin, len(piece.positions)) for begin, piece in found] == [(0, 388), (412, 188)]
    assert drops == {"frames beside a cut: left out": 24}
    kick = walk(600)  # 15 m/s, reached and left within 0.1 s each
    speed = 15 * np.exp(-0.5 * ((np.arange(600) - 300) / 6) ** 2)
    kick.positions[:, 10, 0] += np.cumsum(speed) / RATE
    assert len(pieces(kick)[0]) == 1


@pytest.mark.parametrize(("length", "cut"), [(5, False), (60, True)])
def test_frozen_and_missing_frames(length: int, cut: bool) -> None:
    for fault in ("equal to the one before", "not finite"):
        motion = walk(600)
        true = motion.positions.copy()
        motion.positions[200 : 200 + length] = true[199] if fault.startswith("equal") else np.nan
        found, drops = pieces(motion)
        if cut:
            assert [(begin, len(p.positions)) for begin, p in found] == [(0, 188), (272, 328)]
            assert drops == {f"frames {fault}: cut out": 60, "frames beside a cut: left out": 24}
        else:
            assert drops == {f"frames {fault}: filled by interpolation": 5}
            np.testing.assert_allclose(found[0][1].positions, true, atol=0.005)


def made(motion: Motion, facts: Facts | None = None, settings: Settings | None = None) -> list[Sample]:
    facts = facts or Facts(split="train")
    found = [
        item[1] for item in samples(motion, "d", "r", facts, "x", settings or Settings()) if isinstance(item, tuple)
    ]
    for sample in found:
        validate(sample)
    return found


def test_long_motions_become_equal_samples_with_their_own_texts() -> None:
    """50 s of 120 Hz: three samples; no item is lost or there twice; texts are in each sample's seconds."""
    texts = (
        {"text": "all", "start_s": 0.0, "end_s": None, "kind": "label"},
        {"text": "some", "start_s": 30.0, "end_s": 40.0, "kind": "description"},
    )
    found = made(walk(6000), Facts(split="train", texts=texts))
    assert [s.id for s in found] == ["r_0000000", "r_0016667", "r_0033333"]
    assert [s.streams["imu"]["length"] for s in found] == [1000, 1000, 1000]
    x = np.concatenate([s.arrays["mocap"][:, 0, 0] for s in found])
    np.testing.assert_allclose(x[20:-20], 1.2 * np.arange(3000)[20:-20] / 60, atol=1e-3)
    assert [[t["text"] for t in s.texts] for s in found] == [["all"], ["all", "some"], ["all", "some"]]
    span = found[1].texts[1]
    assert (span["start_s"], span["end_s"]) == pytest.approx((30 - 16.6667, 16.6667), abs=1e-3)
    # Sensors go on over the border: no end effects between samples.
    whole = made(walk(6000), settings=Settings(sample_s=60.0))[0]
    np.testing.assert_array_equal(np.concatenate([s.arrays["imu"] for s in found], axis=1), whole.arrays["imu"])


@pytest.mark.parametrize(
    ("rate", "imu", "pose"),
    [(120, 60, 30), (100, 50, 25), (60, 60, 30), (30, 30, 30), (59.94, 59.94, 29.97), (250, 50, 25)],
)
def test_rates_are_the_recording_divided_never_raised(rate: float, imu: float, pose: float) -> None:
    (sample,) = made(walk(300, rate))
    assert sample.streams["imu"]["rate_hz"] == pytest.approx(imu)
    assert sample.streams["mocap"]["rate_hz"] == pytest.approx(imu)
    assert sample.streams["pose2d"]["rate_hz"] == pytest.approx(pose)
    assert sample.streams["pose2d"]["length"] / pose == pytest.approx(sample.duration_s, abs=1 / pose)


def test_short_clips_are_dropped_with_their_seconds() -> None:
    (item,) = samples(walk(40), "d", "r", Facts(split="train"), "x", Settings())
    assert item == Dropped("clip or piece between faults shorter than 0.5 s or 6 frames", 40 / 120)


def test_random_cameras_see_everything_and_depend_on_seed_and_sample_alone() -> None:
    motion = walk(600)
    several = [made(motion, settings=Settings(cameras=3, seed=seed))[0] for seed in (0, 0, 1)]
    names = ["pose2d", "pose2d_cam2", "pose2d_cam3"]
    for name in names:
        pose = several[0].arrays[name]
        assert isinstance(pose, np.ndarray)
        assert pose[..., 2].min() == 1
        np.testing.assert_array_equal(pose, several[1].arrays[name])
        assert np.abs(pose - several[2].arrays[name]).max() > 5
        size = np.ptp(pose[..., 1], axis=1).max()
        assert 60 < size < 480
    head, foot = SKELETONS["smpl22"].joints.index("head"), SKELETONS["smpl22"].joints.index("left_foot")
    assert (several[0].arrays["pose2d"][:, head, 1] < several[0].arrays["pose2d"][:, foot, 1]).all(), "y is down"
    assert not [name for name in made(motion, settings=Settings(cameras=0))[0].streams if name.startswith("pose2d")]


def test_cameras_from_a_file_project_by_hand(tmp_path: Path) -> None:
    """A camera 5 m to the right of a walk along x: u grows with x; focal length from the angle of view."""
    path = tmp_path / "cameras.yaml"
    path.write_text("- {eye: [3, -5, 1], target: [3, 0, 1], width: 640, height: 480, fov_deg: 90}\n")
    args = {"placements": "left_wrist", "cameras": str(path), "seed": 0}
    settings = settings_of(argparse.Namespace(**args))
    assert settings.placements == ("left wrist",)
    (sample,) = made(walk(600), settings=settings)
    joints, pose = sample.arrays["mocap"][::2, 15].astype(float), sample.arrays["pose2d"][:, 15]
    depth = joints[:, 1] + 5
    np.testing.assert_allclose(pose[:, 0], 319.5 + 320 * (joints[:, 0] - 3) / depth, atol=0.01)
    np.testing.assert_allclose(pose[:, 1], 239.5 - 320 * (joints[:, 2] - 1) / depth, atol=0.01)
    path.write_text("- {eye: [3, -5, 1]}\n")
    with pytest.raises(ShardError, match=r"--cameras .*target"):
        settings_of(argparse.Namespace(**args))
    with pytest.raises(ShardError, match="--cameras many: give a number"):
        settings_of(argparse.Namespace(**{**args, "cameras": "many"}))


def test_tables_add_up_and_match_by_the_end_of_the_path(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("file,subject,label,description,style\nx/1.bvh,94?,wave_hand,waves,calm\ny/1.bvh,,walk,walks,\n")
    second.write_text("my_file,subject,start_s,end_s,exercise\ny/1.bvh,12,0.5,2,Squat\n1.bvh,,,,\n")
    table = read_tables([first, second])
    facts = table.facts("archive/x/1.bvh")
    assert facts is not None
    assert (facts.subject, facts.labels) == ("94", {"activity": "wave_hand", "style": "calm"})
    assert [t["text"] for t in facts.texts] == ["wave hand", "waves"]
    facts = table.facts("y/1.bvh")
    assert facts is not None
    assert (facts.subject, facts.labels) == ("12", {"activity": "walk"})
    assert facts.texts[-1] == {"text": "Squat", "start_s": 0.5, "end_s": 2.0, "kind": "label"}
    assert table.facts("z/2.bvh") is None
    assert table.unused(["y/1.bvh"]) == ["x/1"]
    first.write_text("name,text\na,b\n")
    with pytest.raises(ShardError, match=r"a\.csv has no column 'file' \(its columns: name, text\)"):
        read_tables([first])
    first.write_text("file,text,start_s\na,b,soon\n")
    with pytest.raises(ShardError, match=r"a\.csv, line 2: start_s 'soon' is no number"):
        read_tables([first])


def test_splits_keep_people_sessions_and_partners_together() -> None:
    rng = np.random.default_rng(0)
    facts = {
        f"r{i:03d}": Facts(subject=f"s{rng.integers(30)}" if i % 9 else "", session=f"m{i // 4}" if i % 5 == 0 else "")
        for i in range(300)
    }
    done = assign(facts, together=[("s1", "s2", "s3")])
    counts = Counter(f.split for f in done.values())
    assert 15 <= counts["test"] <= 30
    assert 15 <= counts["val"] <= 30
    for mark in ("subject", "session"):
        seen: dict[str, set[str]] = {}
        for f in done.values():
            seen.setdefault(getattr(f, mark), set()).add(f.split)
        assert all(len(splits) == 1 for who, splits in seen.items() if who)
    assert {f.split for f in done.values() if not f.subject and not f.session} == {"train"}
    assert len({f.split for f in done.values() if f.subject in ("s1", "s2", "s3")}) == 1
    assert assign(dict(sorted(facts.items(), reverse=True)), together=[("s1", "s2", "s3")]) == done
    few = assign({"a": Facts(subject="1"), "b": Facts(subject="2"), "c": Facts()}, test=1.0, val=0.0)
    assert [f.split for f in few.values()] == ["test", "test", "train"]
    asked = assign(facts, subjects={"test": ["s4"], "val": ["s5"]})
    assert {f.split for f in asked.values() if f.subject == "s4"} == {"test"}
    given = assign({"a": Facts(split="test"), "b": Facts()})
    assert [f.split for f in given.values()] == ["test", "train"]
    alone = assign({f"r{i}": Facts() for i in range(50)})
    assert Counter(f.split for f in alone.values()) == {"train": 40, "test": 5, "val": 5}


def test_archives_are_read_in_place_and_damage_is_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    data = {f"d/{i}.bvh": bytes([i]) * 5000 for i in range(4)}
    (source / "sub" / "4.BVH").write_bytes(b"plain")
    loose = tmp_path / "loose"
    for name, content in data.items():
        (loose / name).parent.mkdir(parents=True, exist_ok=True)
        (loose / name).write_bytes(content)
    with zipfile.ZipFile(source / "a.zip", "w") as archive:
        archive.write(loose / "d/0.bvh", "d/0.bvh")
        archive.writestr("note.txt", "no")
    for mode, name, member in (
        ("w", "b.tar", "d/1.bvh"),
        ("w:gz", "c.tar.gz", "d/2.bvh"),
        ("w:bz2", "d.tar.bz2", "d/3.bvh"),
    ):
        with tarfile.open(source / name, mode) as archive:  # pyright: ignore
            archive.add(loose / member, f"../{member}")
    cache = tmp_path / "cache"
    found = files(source, (".bvh",), cache)
    assert not cache.exists(), "nothing is unpacked to list it"
    assert found[2].read() == data["d/2.bvh"]
    assert [p.name for p in cache.rglob("*.bvh")] == ["2.bvh"], "nor what is in another archive"
    assert {f.name: f.read() for f in found} == {**data, "sub/4.BVH": b"plain"}
    assert sorted(p.name for p in cache.rglob("*.bvh")) == ["2.bvh", "3.bvh"], "only compressed tars are unpacked"
    assert not list(tmp_path.glob("d/*")), "nothing is written outside of the cache"
    for name in ("b.tar", "c.tar.gz", "a.zip"):
        whole = (source / name).read_bytes()
        (source / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises((ShardError, ValueError), match=rf"{name}.*download it again"):
            [f.read() for f in files(source, (".bvh",), cache)]
        (source / name).unlink()
    with zipfile.ZipFile(source / "e.zip", "w") as archive:
        archive.write(loose / "d/3.bvh", "d/3.bvh")
    with pytest.raises(ShardError, match=r"d/3\.bvh is there twice"):
        files(source, (".bvh",), cache)


def test_what_is_no_archive_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ShardError, match=r"a\.tar\.gz is truncated or damaged; download it again: [^\n:]+$"):
        files(tmp_path, (".bvh",), tmp_path / "cache")


def test_tars_of_one_name_stay_apart_and_are_unpacked_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "source" / name).mkdir(parents=True)
        with tarfile.open(tmp_path / "source" / name / "all.tar.gz", "w:gz") as archive:
            for number in range(2):
                info = tarfile.TarInfo(f"{name}{number}.bvh")
                info.size = 1
                archive.addfile(info, io.BytesIO(name.encode()))
    cache = tmp_path / "cache"
    (cache / "a" / "all.tar.gz.part").mkdir(parents=True)  # of a worker that was ended
    found = files(tmp_path / "source", (".bvh",), cache)
    assert found[0].read() == b"a"
    shutil.rmtree(tmp_path / "source" / "a")
    assert [file.read() for file in found] == [b"a", b"a", b"b", b"b"]
    assert not list(cache.rglob("*.part"))


def test_zips_of_one_name_inside_of_zips_stay_apart(tmp_path: Path) -> None:
    for outer in ("one", "two"):
        (tmp_path / outer).mkdir()
        with zipfile.ZipFile(tmp_path / outer / "all.zip", "w") as archive:
            for folder in ("a", "b"):
                inner = io.BytesIO()
                with zipfile.ZipFile(inner, "w") as packed:
                    packed.writestr(f"{outer}_{folder}.bvh", f"{outer} {folder}")
                archive.writestr(f"{folder}/data.zip", inner.getvalue())
    found = files_within(tmp_path, (".bvh",), tmp_path / "cache")
    assert {file.name: file.read() for file in found} == {
        f"{outer}_{folder}.bvh": f"{outer} {folder}".encode() for outer in ("one", "two") for folder in ("a", "b")
    }


def test_damage_inside_of_a_zip_is_named_without_its_place(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d/0.bvh", np.random.default_rng(0).integers(0, 99, 3000).astype(str).tobytes())
    whole = path.read_bytes()
    (file,) = files(path, (".bvh",), tmp_path)
    for at in range(45, 400, 20):
        path.write_bytes(whole[:at] + bytes(255 - byte for byte in whole[at : at + 8]) + whole[at + 8 :])
        with pytest.raises(ValueError, match=r"data\.zip: d/0\.bvh cannot be read, download it again") as found:
            file.read()
        assert str(tmp_path) not in str(found.value)

"""Shards of AMC/ASF: poses against matrices by scipy and against BVH of the same motion; samples; real files."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aura.body import kinematics as kin
from aura.body.skeletons import SKELETONS
from aura.data.writer import ShardError
from shards import amc, bvh
from shards.amc_file import kinematics, read_amc, read_asf
from shards.archives import SourceFile
from shards.bvh_file import read_bvh
from shards.mocap import Settings
from shards.mocap_job import CMU_SUBJECTS, Job, Recording
from shards.mocap_units import Reading
from shards.tables import Facts
from tests.shards import bvh_writer
from tests.shards.amc_writer import human, motion, truth, write_amc, write_asf
from tests.shards.collect import collect, real_data
from tests.shards.reading import array, contents, dropped, samples_in

CMU = 0.0254 / 0.45
JOINTS = {
    "pelvis": "root", "spine1": "upperback", "spine2": "thorax", "neck": "lowerneck", "neck1": "upperneck",
    "head": "head", "left_shoulder": "lhumerus", "left_elbow": "lradius", "left_wrist": "lwrist",
    "left_hand": "lfingers", "right_hip": "rfemur", "right_knee": "rtibia", "right_ankle": "rfoot",
    "right_foot": "rtoes", "right_wrist": "rwrist",
}  # fmt: skip
Y_TO_Z = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


@pytest.mark.parametrize("radians", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_pose_is_that_of_the_formula(newline: str, radians: bool) -> None:
    """Bones with axes and lists of angles in several orders, some without angles; metres, z up, frames of the bones."""
    bones = human(seed=1)
    values = motion(bones, 30, 120.0, CMU)
    asf = read_asf(write_asf(bones, CMU, newline=newline, radians=radians))
    found, left_out = amc.motion_of(asf, read_amc(write_amc(values, newline=newline, radians=radians)))
    expected = truth(bones, values, CMU)
    assert found.skeleton == "cmu22"
    assert found.rate_hz == 120
    assert found.about == {"unit_m": pytest.approx(CMU)}
    assert "lclavicle" in left_out
    assert found.orientations is not None
    for ours, theirs in JOINTS.items():
        at = SKELETONS["cmu22"].joints.index(ours)
        places, turns = expected[theirs]
        np.testing.assert_allclose(found.positions[:, at], places @ Y_TO_Z.T, atol=1e-6)
        np.testing.assert_allclose(kin.to_matrix(found.orientations[:, at]), Y_TO_Z @ turns, atol=1e-6)


def test_the_same_motion_in_bvh_gives_the_same_samples(tmp_path: Path) -> None:
    """A clip without axes is a BVH file with offsets of the bones' ends: joints, virtual IMU and 2D poses agree."""
    bones = human(seed=None)
    values = motion(bones, 240, 120.0, CMU)
    names = [bone.name for bone in bones]
    joints, numbers = [], []
    for bone in bones:
        parent = names.index(bone.parent) if bone.parent else -1
        offset = tuple(x / CMU for x in bones[parent].end) if bone.parent else (0.0, 0.0, 0.0)
        joints.append(bvh_writer.Joint(bone.name, parent, offset, "xyzZYX" if parent < 0 else "ZYX"))
        angles = {word: values[bone.name][:, i] for i, word in enumerate(bone.dof)}
        turns = Rotation.from_euler(
            "xyz", np.stack([angles.get(w, np.zeros(240)) for w in ("rx", "ry", "rz")], 1), True
        )
        if bone.dof == ("rz", "ry", "rx"):
            turns = Rotation.from_euler("zyx", values[bone.name], True)
        place = values["root"][:, :3] if parent < 0 else np.zeros((240, 0))
        numbers.append(np.concatenate([place, turns.as_euler("ZYX", True)], 1))
    found, _ = amc.motion_of(read_asf(write_asf(bones, CMU)), read_amc(write_amc(values)))
    other, _ = bvh.motion_of(read_bvh(bvh_writer.write(joints, numbers, number="{:.9f}", frame_time="0.008333333")))
    assert other.skeleton == found.skeleton
    np.testing.assert_allclose(found.positions, other.positions, atol=1e-7)
    made = []
    for content in (found, other):
        job = Job("d", "x", Settings(), Reading())
        recording = Recording("clip", SourceFile("clip", tmp_path), Facts(split="train"))
        [(_, sample)], _ = collect(job.samples(recording, content, (), ()))
        made.append(sample)
    for name in ("mocap", "imu", "orientation", "pose2d"):
        np.testing.assert_allclose(array(made[0], name), array(made[1], name), atol=2e-3, rtol=1e-4)


def folder_of(folder: Path, clips: int = 5) -> Path:
    """Clips of two subjects with a skeleton each, two in one folder; one clip whose skeleton is absent; texts."""
    rows = []
    for i in range(clips):
        subject = f"{i % 2 + 1:02d}"
        at = folder / ("both" if i < 4 else "lone")
        at.mkdir(parents=True, exist_ok=True)
        bones = human(seed=i % 2)
        (at / f"{subject}.asf").write_bytes(write_asf(bones, CMU))
        (at / f"{subject}_{i:02d}.amc").write_bytes(write_amc(motion(bones, 150, 120.0, CMU, i)))
        rows.append(f"{at.name}/{subject}_{i:02d}.amc,{subject},move,someone moves (take {i})")
    (folder / "both" / "77_01.amc").write_bytes(write_amc(motion(human(), 150, 120.0, CMU)))
    (folder / "texts.csv").write_text("\n".join(["file,subject,label,description", *rows]))
    return folder


def test_shards_of_a_folder_and_of_its_archive(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "mine")
    amc.run(source, tmp_path / "out", licence="x", subjects={"val": ["02"]})
    found = samples_in(tmp_path / "out")
    assert {key: (split, s.subject) for key, (split, s) in found.items()} == {
        f"{'both' if i < 4 else 'lone'}-{i % 2 + 1:02d}_{i:02d}_0000000": (("train", "val")[i % 2], f"{i % 2 + 1:02d}")
        for i in range(5)
    }
    assert [t["text"] for t in found["both-02_03_0000000"][1].texts] == ["move", "someone moves (take 3)"]
    bones = human(seed=1)
    places = truth(bones, motion(bones, 150, 120.0, CMU, 3), CMU)["lradius"][0] @ Y_TO_Z.T
    mocap = array(found["both-02_03_0000000"][1], "mocap")
    # 60 Hz of 120: what is filtered is slow. The person's own skeleton was taken, of two in the folder.
    elbow = SKELETONS["cmu22"].joints.index("left_elbow")
    np.testing.assert_allclose(mocap[5:-5, elbow], places[::2][5:-5], atol=1e-3)
    reasons = list(dropped(tmp_path / "out"))
    assert any("both/77_01.amc: no .asf file in its folder" in reason and "both/01.asf" in reason for reason in reasons)
    packed = tmp_path / "packed" / "mine"
    packed.mkdir(parents=True)
    (packed / "texts.csv").write_bytes((source / "texts.csv").read_bytes())
    with tarfile.open(packed / "all.tar.xz", "w:xz") as file:
        for path in sorted(source.rglob("*.a?[cf]")):
            file.add(path, path.relative_to(source).as_posix())
    command = [sys.executable, "-m", "shards.amc", "--source", packed, "--out", tmp_path / "two", "--licence", "x"]
    done = subprocess.run([*command, "--val-subjects", "02", "--workers", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "two") == contents(tmp_path / "out")


def test_known_subjects_are_in_the_same_split_in_amc_and_bvh(tmp_path: Path) -> None:
    rows = ["file,subject"]
    for subject in ("05", "08", "16"):
        (tmp_path / "more_mocap").mkdir(exist_ok=True)
        (tmp_path / "more_mocap" / "all.asf").write_bytes(write_asf(human(), CMU))
        (tmp_path / "more_mocap" / f"{subject}_01.amc").write_bytes(write_amc(motion(human(), 150, 120.0, CMU)))
        rows.append(f"{subject}_01.amc,{subject}?")
    (tmp_path / "more_mocap" / "texts.csv").write_text("\n".join(rows))
    amc.run(tmp_path / "more_mocap", tmp_path / "out")
    assert {s.subject: split for split, s in samples_in(tmp_path / "out").values()} == {
        "05": "test", "08": "val", "16": "train",
    }  # fmt: skip
    for known in (amc.KNOWN["more_mocap"], bvh.KNOWN["more_mocap"], bvh.KNOWN["cmu_bvh"]):
        assert known.subjects == CMU_SUBJECTS


def without(text: bytes, *parts: bytes) -> bytes:
    for part in parts:
        assert part in text
        text = text.replace(part, b"", 1)
    return text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda asf: without(asf, b":hierarchy"), "no section :hierarchy"),
        (
            lambda asf: asf.replace(b"    lfemur ltibia", b"    lfemur lshin"),
            "hierarchy has a bone 'lshin' that :bonedata",
        ),
        (
            lambda asf: asf.replace(b"dof rx ry rz", b"dof rx ry l", 1),
            "bone 'lowerback': dof 'rx ry l' has other words",
        ),
        (lambda asf: asf.replace(b"0  XYZ", b"0", 1), "axis '0 0 0' is not three angles and their order"),
        (lambda asf: asf.replace(b"length 2", b"length x", 1), "length of bone 'lowerback': 'x.* is not 1 number"),
    ],
)
def test_skeletons_that_cannot_be_read(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_asf(change(write_asf(human(seed=None), CMU)))


def test_motions_that_cannot_be_read() -> None:
    bones = human()
    asf, data = read_asf(write_asf(bones, CMU)), write_amc(motion(bones, 20, 120.0, CMU))
    assert len(read_amc(data).values["root"]) == 20
    cut = read_amc(data[: data.index(b"\n20\n") + 200])
    assert (len(cut.values["root"]), cut.warnings) == (19, ("its last frame is cut off",))
    start, end = data.index(b"\n8\n"), data.index(b"\n9\n")
    with pytest.raises(ValueError, match=r"frame 7 \(from 0\) is missing"):
        read_amc(data[:start] + data[end:])
    with pytest.raises(ValueError, match=r"frame 7 \(from 0\) .* lists other bones"):
        read_amc(data[:start] + data[start:].replace(b"ltibia", b"rtibia", 1))
    with pytest.raises(ValueError, match=r"bone 'ltibia': .*'up'"):
        read_amc(with_word(data))
    with pytest.raises(ValueError, match="it has no frames"):
        read_amc(data[: data.index(b"\n1\n")])
    with pytest.raises(ValueError, match=r"bone 'ltibia' has 1 numbers, 3 in the skeleton"):
        kinematics(read_asf(write_asf(bones, CMU).replace(b"dof rx\n", b"dof rx ry rz\n", 1)), read_amc(data), [0])
    with pytest.raises(ValueError, match="its frames do not move the root"):
        kinematics(asf, read_amc(data.replace(b"root", b"base")), [0])


def with_word(data: bytes) -> bytes:
    """The file with a word in place of a number of the eighth frame."""
    start = data.index(b"\nltibia ", data.index(b"\n8\n")) + 8
    return data[:start] + b"up" + data[data.index(b"\n", start) :]


def test_errors_of_the_command_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.asf").write_bytes(write_asf(human(), CMU))
    with pytest.raises(ShardError, match=r"neither \.amc files nor archives"):
        amc.run(tmp_path / "mine", tmp_path / "out", licence="x")
    with pytest.raises(ShardError, match="--licence"):
        amc.run(tmp_path / "mine", tmp_path / "out")


def real_members(wanted: set[str]) -> dict[str, bytes]:
    with tarfile.open(real_data("more_mocap") / "more_mocap.tar.xz") as file:
        found = {m.name: file.extractfile(m) for m in file if m.name.removeprefix("more_mocap/amc/") in wanted}
        return {name.removeprefix("more_mocap/amc/"): data.read() for name, data in found.items() if data}


@pytest.mark.realdata
def test_real_files_have_the_places_and_accelerations_of_their_readme() -> None:
    """Reference positions to a tenth of a millimetre; wrists of the labels within what smoothing and the end differ."""
    places = {
        ("14/14_04", 0): ((0.0471, 1.0158, -0.0458), (-0.1998, 1.2777, 0.1856)),
        ("14/14_04", 758): ((0.0157, 1.0145, -0.0203), (-0.1939, 1.2031, 0.1349)),
        ("16/16_03", 0): ((0.0610, 1.0063, -0.9592), (-0.1530, 0.8351, -0.8547)),
        ("127/127_23", 348): ((0.0689, 0.8996, -2.8110), (0.3250, 0.7477, -2.7928)),
    }
    norms = {"14/14_04": (10.0, 20.0), "16/16_03": (10.3, 56.0)}
    folders = {name.split("/")[0] for name, _ in places}
    found = real_members({f"{n}.amc" for n, _ in places} | {f"{n}/{n}.asf" for n in folders})
    for (name, frame), (root, wrist) in places.items():
        asf = read_asf(found[f"{name.split('/')[0]}/{name.split('/')[0]}.asf"])
        clip = read_amc(found[f"{name}.amc"])
        positions, _ = kinematics(asf, clip, [asf.names.index("root"), asf.names.index("rhand")])
        np.testing.assert_allclose(positions[frame] * CMU, [root, wrist], atol=1e-4)
        moved, _ = amc.motion_of(asf, clip)
        assert moved.about == {"unit_m": pytest.approx(CMU)}
        if frame == 0 and name in norms:
            recording = Recording("clip", SourceFile("clip", Path()), Facts(split="train"))
            job = Job("d", "x", Settings(placements=("right wrist",)), Reading())
            made, _ = collect(job.samples(recording, moved, (), ()))
            norm = np.concatenate([np.linalg.norm(array(s, "imu")[0, :, :3], axis=-1) for _, s in made])
            usual, most = norms[name]
            assert np.median(norm) == pytest.approx(usual, abs=2.5)
            assert norm.max() < 1.3 * most

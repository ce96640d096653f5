"""Shards of BVH: names, units, axes; values of samples; real files."""

import csv
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aura.body import kinematics as kin
from aura.body.skeletons import SKELETONS, skeleton
from aura.body.virtual_imu import GRAVITY
from aura.data.sample import Sample, from_members, validate
from aura.data.writer import Dropped, ShardError
from shards import bvh
from shards.bvh import motion_of
from shards.bvh_file import read_bvh
from shards.bvh_names import match_joints
from shards.mocap import Settings, samples
from shards.mocap_units import Reading
from shards.tables import Facts
from tests.shards.bvh_writer import Joint, human, motion, truth, write

SMPL = SKELETONS["smpl22"].joints


def file_of(names: list[str], parents: list[int]) -> tuple[list[str], list[str], list[int]]:
    paths: list[str] = []
    for name, parent in zip(names, parents):
        paths.append(f"{paths[parent]}/{name}" if parent >= 0 else name)
    return names, paths, parents


@pytest.mark.parametrize("prefix", ["", "mixamorig:", "Character1_", "Rig:hero_"])
def test_names_with_prefixes(prefix: str) -> None:
    joints = human(prefix=prefix)
    names, paths, parents = file_of([j.name for j in joints], [j.parent for j in joints])
    matched = match_joints([*names, f"{prefix}Tail"], [*paths, "tail"], [*parents, 0])
    assert matched.skeleton == "smpl22"
    chosen = [names[i].removeprefix(prefix) for i in matched.joints]
    assert chosen[SMPL.index("left_wrist")] == "LeftHand"
    assert chosen[SMPL.index("right_collar")] == "RightShoulder"
    assert matched.left_out == (f"{prefix}Tail",)


def test_joints_of_one_name_are_told_apart_by_their_place() -> None:
    joints = human()
    names, paths, parents = file_of(
        ["Head", *(j.name for j in joints)], [-1, *(j.parent + 1 if j.parent >= 0 else -1 for j in joints)]
    )
    matched = match_joints(names, paths, parents)
    assert paths[matched.joints[SMPL.index("head")]] == "Hips/Spine/Spine1/Spine2/Neck/Head"
    twins = file_of([*names[1:], "Head"], [p - 1 if p > 0 else -1 for p in parents[1:]] + [names.index("Neck") - 1])
    with pytest.raises(ValueError, match=r"several joints may be head: .*Neck/Head, .*Neck/Head"):
        match_joints(*twins)


def test_unknown_names_are_listed_and_a_table_helps() -> None:
    names, paths, parents = file_of(
        ["root", *(f"b{i}" for i in range(1, 22))], [human()[i].parent for i in range(len(human()))]
    )
    with pytest.raises(ValueError, match=r"it lacks .*Hips.*It has root, b1.*--joints"):
        match_joints(names, paths, parents)
    ours = [j.name for j in human()]
    called = {"pelvis": "Hips", "neck": "Neck", "head": "Head"}
    for side in ("left", "right"):
        for joint, theirs in (("shoulder", "Arm"), ("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot")):
            called[f"{side}_{joint}"] = side.title() + theirs
    table = {joint: names[ours.index(theirs)] for joint, theirs in called.items()}
    matched = match_joints(names, paths, parents, table)
    tree = skeleton(matched.skeleton)
    assert tree.joints == tuple(table)
    assert tree.joints[tree.parents[tree.joints.index("left_knee")]] == "left_hip"
    assert tree.joints[tree.parents[tree.joints.index("neck")]] == "pelvis"
    with pytest.raises(ValueError, match="the table of joints lacks neck"):
        match_joints(names, paths, parents, {k: v for k, v in table.items() if k != "neck"})


UP = {
    "y": np.eye(3),
    "z": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "-y": np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
    "x": np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
}


@pytest.mark.parametrize(("unit", "up"), [(1, "y"), (0.01, "y"), (0.001, "z"), (0.0254, "-y"), (0.0254 / 0.45, "x")])
def test_unit_and_up_axis_are_told_from_the_body(unit: float, up: str) -> None:
    """The same walk in any unit and world: metres, z up, head over feet, feet on the floor."""
    joints = human(1 / unit)
    values = motion(joints, 60, 30.0, 1 / unit)
    turn = UP[up]
    for i, joint in enumerate(joints):
        joint.offset = tuple(turn @ np.array(joint.offset))
        if joint.parent < 0:
            values[i][:, :3] = values[i][:, :3] @ turn.T
        # The frames of joints turn with the world, as an exporter turns them.
        columns = [c for c, kind in enumerate(joint.channels) if kind.isupper()]
        order = "".join(joint.channels[c] for c in columns)
        own = turn @ Rotation.from_euler(order, values[i][:, columns], degrees=True).as_matrix() @ turn.T
        values[i][:, columns] = Rotation.from_matrix(own).as_euler(order, degrees=True)
    found, _ = motion_of(read_bvh(write(joints, values, frame_time="0.0333333")))
    assert found.about == {"unit_m": pytest.approx(unit)}
    head, toe = found.positions[:, SMPL.index("head")], found.positions[:, SMPL.index("left_foot")]
    assert 1.3 < np.median(head[:, 2] - toe[:, 2]) < 1.6
    expected = truth(human(), motion(human(), 60, 30.0))[0]
    names = [j.name for j in human()]
    arm = found.positions[:, SMPL.index("left_wrist")] - found.positions[:, SMPL.index("left_elbow")]
    true = expected[:, names.index("LeftHand")] - expected[:, names.index("LeftForeArm")]
    np.testing.assert_allclose(np.linalg.norm(arm, axis=1), np.linalg.norm(true, axis=1), atol=1e-4)
    np.testing.assert_allclose(arm[:, 2], true[:, 1], atol=1e-4)


def test_bodies_of_no_human_height_and_lying_ones_are_refused_and_can_be_overridden() -> None:
    joints = human(3.3)
    read = read_bvh(write(joints, motion(joints, 20, 30, 3.3)))
    with pytest.raises(ValueError, match=r"its body is 5\.\d+ m high.*--unit"):
        motion_of(read)
    assert motion_of(read, Reading(unit_m=1 / 3.3))[0].about == {"unit_m": 1 / 3.3}
    folded = human()
    for joint in folded:
        # At angles 0 all bones lie on one line, as some exporters have it, and here the head lies beside the feet.
        shorter = 0.55 if joint.name.endswith(("Leg", "Foot")) else 1.0
        joint.offset = (shorter * float(np.linalg.norm(joint.offset)), 0.0, 0.0)
    values = motion(folded, 20, 30)
    values[0][:, 3:] = 0
    with pytest.raises(ValueError, match="--up"):
        motion_of(read_bvh(write(folded, values)))
    assert motion_of(read_bvh(write(folded, values)), Reading(up="y"))[0].rate_hz == 120


def test_values_of_a_sample_are_those_of_the_file(tmp_path: Path) -> None:
    """120 frames/s in centimetres: streams of 60 and 30 Hz whose joints are the file's, sensors that rest at gravity."""
    joints = human(100)
    values = motion(joints, 600, 120.0, 100)
    for own in values:  # the last 2 s stand still but for tiny trembling, so that no frame is frozen
        own[360:] = own[360] + 1e-4 * np.sin(np.arange(240))[:, None]
    found, left_out = motion_of(read_bvh(write(joints, values)))
    assert left_out == ()
    facts = Facts(
        split="train", subject="7", texts=({"text": "a walk", "start_s": 1.0, "end_s": None, "kind": "label"},)
    )
    made = list(samples(found, "d", "r", facts, "free", Settings(placements=("left wrist", "pelvis"), cameras=2)))
    ((split, sample),) = [item for item in made if not isinstance(item, Dropped)]
    assert split == "train"
    validate(sample)
    assert {n: (s["rate_hz"], s["start_s"], s["length"]) for n, s in sample.streams.items()} == {
        "imu": (60, 0, 300), "mocap": (60, 0, 300), "pose2d": (30, 0, 150), "pose2d_cam2": (30, 0, 150)
    }  # fmt: skip
    assert sample.texts == [{"text": "a walk", "start_s": 1.0, "end_s": 5.0, "kind": "label"}]
    assert [s["virtual"] for s in sample.streams["imu"]["sensors"]] == [True, True]
    x, y, z = np.moveaxis(truth(joints, values)[0], -1, 0)
    world = np.stack([x, -z, y], -1)[::2] / 100
    names = [j.name for j in joints]
    order = [names.index(n) for n in ("Hips", "LeftHand", "RightFoot")]
    ours = [SMPL.index(n) for n in ("pelvis", "left_wrist", "right_ankle")]
    np.testing.assert_allclose(sample.arrays["mocap"][10:170, ours], world[10:170, order], atol=2e-3)
    imu = sample.arrays["imu"]
    assert np.linalg.norm(imu[:, 210:290, :3], axis=-1) == pytest.approx(GRAVITY, abs=0.05)
    # Up in the sensor's frame, turned to the world by the orientation, is up.
    up = kin.rotate(sample.arrays["orientation"][:, 250], imu[:, 250, :3])
    np.testing.assert_allclose(up, np.tile([0, 0, GRAVITY], (2, 1)), atol=0.1)
    # The wrist's acceleration by differences of the file's own positions.
    wrist = world[:, names.index("LeftHand")]
    acceleration = np.diff(wrist, 2, axis=0) * 60**2
    measured = kin.rotate(sample.arrays["orientation"][0], imu[0, :, :3]) - np.array([0, 0, GRAVITY])
    np.testing.assert_allclose(measured[11:170], acceleration[10:169], atol=0.06)
    assert sample.arrays["pose2d"][..., 2].min() == 1


def folder_of(root: Path, clips: int = 5) -> Path:
    """A source of small clips with a table, one file with unknown names, one that is broken."""
    root.mkdir()
    joints = human(100)
    with open(root / "texts.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "subject", "description", "label", "fps"])
        for i in range(clips):
            path = root / f"s{i % 3}" / f"clip {i}.bvh"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(write(joints, motion(joints, 90 + i, 30.0, 100, seed=i), frame_time="0.0333333"))
            table.writerow([f"s{i % 3}/clip {i}.bvh", f"s{i % 3}", f"someone moves, take {i}", "move_about", "30"])
        table.writerow(["s0/lost.bvh", "s0", "never", "never", "30"])
    (root / "s0" / "odd.bvh").write_bytes(write([Joint("x", -1, (0, 0, 0), "xyzZXY")], [np.zeros((9, 6))]))
    (root / "s0" / "cut.bvh").write_bytes(b"HIERARCHY\nROOT Hips\n{\n")
    return root


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def shard_samples(out: Path) -> dict[str, Sample]:
    members: dict[str, list[tuple[str, bytes]]] = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as file:
            for m in file:
                members.setdefault(m.name.split(".")[0], []).append((m.name, file.extractfile(m).read()))  # pyright: ignore
    return {key: from_members(found) for key, found in members.items()}


def test_shards_of_a_folder(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "mine")
    manifest = bvh.run(source, tmp_path / "out", licence="mine, free")
    found = shard_samples(tmp_path / "out")
    assert sorted(found) == sorted(f"s{i % 3}-clip_{i}_0000000" for i in range(5))
    sample = found["s1-clip_1_0000000"]
    assert (sample.subject, sample.labels, sample.licence) == ("s1", {"activity": "move_about"}, "mine, free")
    assert [(t["kind"], t["text"]) for t in sample.texts] == [
        ("label", "move about"),
        ("description", "someone moves, take 1"),
    ]
    assert sample.streams["mocap"]["unit_m"] == 0.01
    people = [set(split["subjects"]) for split in manifest["splits"].values()]
    assert sum(map(len, people)) == len(set().union(*people)) == 3, "no subject in two splits"
    dropped = list(manifest["dropped"])
    assert any(reason.startswith("s0/odd.bvh: its joints have other names") for reason in dropped)
    assert any(reason.startswith("s0/cut.bvh: there is no line MOTION") for reason in dropped)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "mine, free" in text
    assert "files that are not there: 1, such as s0/lost" in text
    done = subprocess.run([sys.executable, "tools/verify_shards.py", tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# The command, killed when the tar of the second part is whole and what makes the part so is not.
KILLED = """
import os, signal
from shards import bvh

replace, tars = os.replace, []

def once(source, target):
    replace(source, target)
    tars.extend([target] if str(target).endswith(".tar") else [])
    if len(tars) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = once
bvh.main()
"""


def test_same_bytes_from_folder_archives_workers_and_after_a_kill(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "mine", clips=12)
    bvh.run(source, tmp_path / "a", licence="x")
    whole = contents(tmp_path / "a")
    packed = tmp_path / "packed" / "mine"
    packed.mkdir(parents=True)
    for kind, suffix in (("w:xz", "tar.xz"), ("w", "tar")):
        for path in packed.iterdir():
            path.unlink()
        (packed / "texts.csv").write_bytes((source / "texts.csv").read_bytes())
        with tarfile.open(packed / f"all.{suffix}", kind) as file:  # pyright: ignore
            for path in sorted(source.rglob("*.bvh")):
                file.add(path, path.relative_to(source).as_posix())
        bvh.run(packed, tmp_path / suffix, licence="x", workers=1)
        assert contents(tmp_path / suffix) == whole
    bvh.run(source, tmp_path / "b", licence="x", workers=2)
    assert contents(tmp_path / "b") == whole

    words = ["--source", str(source), "--out", str(tmp_path / "c"), "--licence", "x"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "c" / ".parts").glob("*.tar"))) == 2
    assert not (tmp_path / "c" / "manifest.json").exists()
    with pytest.raises(ShardError, match="resume"):
        bvh.run(source, tmp_path / "c", licence="x")
    again = [sys.executable, "-m", "shards.bvh", *words, "--resume"]
    done = subprocess.run(again, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "c") == whole


def test_errors_of_the_command_say_what_to_do(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "mine", 1)
    with pytest.raises(ShardError, match="--licence"):
        bvh.run(source, tmp_path / "o")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ShardError, match=r"neither \.bvh files"):
        bvh.run(tmp_path / "empty", tmp_path / "o", licence="x")
    with pytest.raises(ShardError, match="does not exist"):
        bvh.run(tmp_path / "absent", tmp_path / "o", licence="x")
    with pytest.raises(ShardError, match="no recording has the subject s9"):
        bvh.run(source, tmp_path / "o", licence="x", subjects={"val": ["s9"]})
    (source / "s0" / "clip 0.bvh").unlink()
    with pytest.raises(ShardError, match=r"absent does not exist: give the folder with the \.bvh files"):
        bvh.run(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(ShardError, match=r"no samples: all was dropped: .*MOTION"):
        bvh.run(source, tmp_path / "o", licence="x")
    command = [
        sys.executable,
        "-m",
        "shards.bvh",
        "--source",
        str(source),
        "--out",
        str(tmp_path / "p"),
        "--licence",
        "x",
    ]
    done = subprocess.run([*command, "--placements", "left_wirst"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the nearest known one is 'left wrist'" in done.stderr


def real(name: str) -> Path:
    folder = Path(os.environ.get("AURA_DATA", Path(__file__).parents[3] / "shared" / "data")) / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: set AURA_DATA to the folder that holds {name}")
    return folder


def members(folder: Path, wanted) -> dict[str, bytes]:
    with tarfile.open(next(folder.glob("*.tar.xz"))) as file:
        return {m.name: file.extractfile(m).read() for m in file if m.isfile() and wanted(m.name)}  # pyright: ignore


def facing(positions: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Cosine between where the body faces and where it goes, over the ground, per frame."""
    left, right = names.index("left_hip"), names.index("right_hip")
    side = positions[:-1, left, :2] - positions[:-1, right, :2]
    forward = np.stack([side[:, 1], -side[:, 0]], -1)
    step = np.diff(positions[:, names.index("pelvis"), :2], axis=0)
    going = np.linalg.norm(step, axis=1) > 1e-4
    unit = [v[going] / np.linalg.norm(v[going], axis=1, keepdims=True) for v in (forward, step)]
    return (unit[0] * unit[1]).sum(1)


@pytest.mark.realdata
def test_real_walks_go_forward_at_human_height() -> None:
    """CMU and Bandai Namco: units, axes, skeletons; people walk where they face, heads and hips at their heights."""
    walks = members(real("cmu_bvh"), lambda n: "seq8/walking/walking_1" in n or "jackson_walk/131_01" in n)
    walks |= members(real("bandai_namco"), lambda n: n.startswith("dataset2/walk_") and n.endswith("_normal_010.bvh"))
    walks |= members(real("bandai_namco"), lambda n: n.startswith("dataset1/walk_"))
    assert len(walks) > 30
    cosines = []
    for name, data in walks.items():
        found, _ = motion_of(read_bvh(data))
        names = skeleton(found.skeleton).joints
        places = found.positions[2:]
        head, hips = (np.median(places[:, names.index(n), 2]) for n in ("head", "pelvis"))
        assert 1.1 < head < 1.6, name
        assert 0.75 < hips < 1.05, name
        feet = np.minimum(places[:, names.index("left_foot"), 2], places[:, names.index("right_foot"), 2])
        assert abs(np.median(feet)) < 0.12, name
        cosines.append(np.median(facing(places, names)))
    assert np.median(cosines) > 0.95


@pytest.mark.realdata
def test_real_bandai_namco_has_the_figures_of_its_readme() -> None:
    files = members(real("bandai_namco"), lambda n: n.endswith(".bvh"))
    assert len(files) == 1014
    heads, hips, hands = [], [], []
    for name in sorted(files)[::12]:
        found, _ = motion_of(read_bvh(files[name]))
        assert found.rate_hz == 30
        assert found.about == {"unit_m": 0.01}
        names = SKELETONS["bandai21"].joints
        heads.append(np.median(found.positions[:, names.index("head"), 2]))
        hips.append(np.median(found.positions[:, names.index("pelvis"), 2]))
        steps = np.diff(found.positions[:, names.index("right_wrist")], axis=0)
        hands.append(30 * np.linalg.norm(steps, axis=-1).max())
    assert np.quantile(heads, [0.05, 0.5, 0.95]) == pytest.approx([1.31, 1.37, 1.41], abs=0.04)
    assert np.median(hips) == pytest.approx(0.91, abs=0.03)
    assert np.quantile(hands, [0.5, 0.9]) == pytest.approx([2.3, 5.2], abs=0.4)
    assert max(hands) == pytest.approx(7.9, abs=0.5)


@pytest.mark.realdata
def test_real_cmu_wrist_has_the_figures_of_its_readme() -> None:
    """Virtual right wrist of clips smoothed at 15 Hz: 9.8 at rest, peaks by activity; faults are found where listed."""
    folder = real("cmu_bvh")
    listed = {row["file"]: row for row in csv.DictReader(io.StringIO((folder / "texts.csv").read_text()))}
    wanted = {
        "seq8/basketball_signal/basketball_signal_1_train.bvh": (11, 40),
        "seq8/walking/walking_2_train.bvh": (13, 25),
        "seq8/running/running_2_train.bvh": (30, 60),
        "seq8/jumping/jumping_2_train.bvh": (50, 75),
        "exercise6/13_29.bvh": (45, 60),
        "seq8/walking/walking_24_trainx.bvh": (0, 100),
        "seq8/basketball/basketball_1_train.bvh": (20, 50),
        "dance_salsa/04.bvh": (20, 60),
    }
    for name, data in members(folder, lambda n: n in wanted).items():
        found, _ = motion_of(read_bvh(data))
        assert found.rate_hz == float(listed[name]["fps"])
        made = list(samples(found, "d", "r", Facts(split="train"), "x", Settings(placements=("right wrist",))))
        drops = Counter({d.reason: d.count for d in made if isinstance(d, Dropped)})
        mended = sum(n for reason, n in drops.items() if reason.startswith(("frames between", "frames equal")))
        faults = int(listed[name]["spike_steps"]) + int(listed[name]["frozen_steps"])
        assert ("calibration pose before the motion, cut off" in drops) == (not name.startswith("exercise6")), name
        assert (mended > 0) == (faults > 0), name
        norms = np.concatenate(
            [np.linalg.norm(s[1].arrays["imu"][0, :, :3], axis=-1) for s in made if isinstance(s, tuple)]
        )
        assert wanted[name][0] < norms.max() < wanted[name][1], (name, norms.max())
        assert 8.5 < np.median(norms) < 16, name
        if "signal_1" in name:
            gyro = np.concatenate(
                [np.linalg.norm(s[1].arrays["imu"][0, :, 3:], axis=-1) for s in made if isinstance(s, tuple)]
            )
            still = norms[gyro < np.quantile(gyro, 0.1)]
            assert still.mean() == pytest.approx(9.8, abs=0.15)
            assert still.std() < 0.8

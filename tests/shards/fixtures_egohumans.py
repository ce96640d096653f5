"""A small tree in the layout of EgoHumans, with what it says as functions of the frame number (from 1, 20 Hz).

01_tagging/001_tagging     test: aria01 all along; aria02 leaves and comes back; a frame with nobody; a file cut short
03_fencing/005_fencing     val: one person; SMPL alone
06_badminton/020_badminton train: one person, 2D points of another camera than cam03 and one frame not valid;
                           a file that would run code when unpickled (it would create the file PWNED)
02_legoassemble/006_legoassemble   empty folders
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

RATE = 20.0
SIZE = (3840, 2160)  # width, height
PWNED = "pwned"
VERTICES = 6890
# Vertex and SMPL joint of each synthetic sensor.
SENSORS = {
    "left_forearm": (1961, 18), "right_forearm": (5424, 19), "left_shin": (1176, 4), "right_shin": (4662, 5),
    "head": (411, 15),
}  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
BENT = {16: (0, 0, 0.3), 17: (0, 0, -0.25), 18: (0, 0.4, 0), 19: (0, -0.3, 0), 1: (0.25, 0, 0), 2: (-0.25, 0, 0),
        4: (0.3, 0, 0), 5: (0.2, 0, 0), 7: (0.2, 0, 0), 8: (0.1, 0, 0), 20: (0.2, 0, 0), 21: (0, 0, 0.2), 12: (0.1, 0, 0), 15: (0, 0.2, 0)}  # fmt: skip
COCO = 17


@dataclass(frozen=True)
class Sequence:
    """One sequence: `people` maps a person to the frames (first and last, both inclusive) in which it is seen."""

    activity: str
    number: int
    split: str
    frames: int
    people: dict[str, tuple[tuple[int, int], ...]]
    camera: str | None = "cam03"
    empty: tuple[int, ...] = ()  # frames with an empty list
    cut: tuple[int, ...] = ()  # frames whose SMPL file is truncated
    bombs: tuple[int, ...] = ()  # frames whose SMPL file must be refused
    invalid: dict[str, int] = field(default_factory=dict)  # person -> frame whose 2D pose is marked not valid

    @property
    def folder(self) -> str:
        name = self.activity.partition("_")[2]
        return f"{self.activity}/{self.number:03d}_{name}"

    def seen(self, person: str, frame: int) -> bool:
        return any(a <= frame <= b for a, b in self.people[person]) and frame not in self.empty


SEQUENCES = (
    Sequence("01_tagging", 1, "test", 160, {"aria01": ((1, 160),), "aria02": ((1, 50), (91, 160))}, empty=(120,),
             cut=(70,)),
    Sequence("03_fencing", 5, "val", 60, {"aria01": ((1, 60),)}, camera=None),
    Sequence("06_badminton", 20, "train", 80, {"aria03": ((1, 80),)}, camera="cam05", bombs=(40,),
             invalid={"aria03": 25}),
)  # fmt: skip
EMPTY = "02_legoassemble/006_legoassemble"


@dataclass(frozen=True)
class Truth:
    """What the tree says."""

    sequences: dict[str, Sequence]  # by folder


def _phase(person: str) -> float:
    return 0.7 * int(person[-2:])


def root_path(person: str, frame: np.ndarray) -> np.ndarray:
    """`transl` (n, 3) in metres, in the data set's world: that of the first person's glasses, z up."""
    t, p = np.asarray(frame) / RATE, _phase(person)
    return np.stack([0.5 * np.sin(0.6 * t + p), 0.4 * np.cos(0.5 * t + p), 0.1 * np.sin(1.7 * t)], 1) + 2.0 * p


def vertex(person: str, index: int, frame: np.ndarray) -> np.ndarray:
    """Path (n, 3) in metres of a mesh vertex: the root's, and a wave of its own."""
    t = np.asarray(frame) / RATE
    f = 0.3 + (index % 7) * 0.1
    place = np.array([index % 13, index % 17, index % 19]) / 20
    wave = np.stack([np.sin(2 * np.pi * f * t + k) for k in range(3)], 1)
    return root_path(person, frame) + place + 0.04 * wave


def local_rotations(person: str, frame: np.ndarray) -> np.ndarray:
    """Axis-angle (n, 24, 3): global_orient, then body_pose."""
    t = np.asarray(frame) / RATE
    out = np.zeros((len(t), 24, 3))
    turn = Rotation.from_euler("z", 0.5 * np.sin(0.4 * t + _phase(person))[:, None])
    out[:, 0] = (turn * Rotation.from_euler("x", 90, degrees=True)).as_rotvec()  # y of the body is up, z of the world
    for joint, axis in BENT.items():
        out[:, joint] = np.array(axis) * (1 + np.sin(1.1 * t + joint))[:, None]
    return out


def orientation(person: str, joint: int, frame: np.ndarray) -> Rotation:
    """Joint to the data set's world: the chain of rotations down the tree."""
    local = local_rotations(person, frame)
    chain = [joint]
    while PARENTS[chain[0]] >= 0:
        chain.insert(0, PARENTS[chain[0]])
    out = Rotation.from_rotvec(local[:, 0])
    for step in chain[1:]:
        out = out * Rotation.from_rotvec(local[:, step])
    return out


def pose3d(person: str, frame: np.ndarray) -> np.ndarray:
    """3D pose (n, 17, 4): COCO-17 in metres and a score; standing, shoulders over hips."""
    j = np.arange(COCO)
    height = np.where(j < 5, 0.6, np.where(j < 11, 0.4, np.where(j < 13, 0.0, -0.5)))
    still = np.stack([np.where(j % 2, 0.15, -0.15), 0.0 * j, height], 1)
    points = root_path(person, frame)[:, None] + still
    return np.concatenate([points, np.ones((len(points), COCO, 1))], -1)


def image_points(person: str, frame: np.ndarray) -> np.ndarray:
    """2D pose (n, 17, 3): x, y in pixels, confidence; one joint is not seen now and then."""
    t = np.asarray(frame)[:, None] / RATE
    j = np.arange(COCO)
    x = 1200 + 600 * (_phase(person) - 0.7) + 40 * (j % 3) + 60 * np.sin(0.8 * t + j / 5)
    y = 500 + 70 * j + 30 * np.cos(1.3 * t + j / 3)
    seen = (j * 5 + np.asarray(frame)[:, None]) % 31 != 0
    return np.stack([x, y, np.where(seen, 0.9, 0.05)], -1)


class _Bomb:
    """Unpickled freely it creates a file; a reader that allows arrays and plain containers alone refuses it."""

    def __reduce__(self):
        return open, (PWNED, "w")


def write_tree(root: Path, *, archive: bool = False) -> Truth:
    """Writes `root/data/<activity>/<sequence>/...`, or with `archive` a tar.gz per sequence as it is downloaded."""
    for sequence in SEQUENCES:
        files = _files(sequence)
        if archive:
            _write_archive(root / "data" / f"{sequence.folder}.tar.gz", sequence, files)
        else:
            for name, data in files.items():
                path = root / "data" / sequence.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    if not archive:
        for name in ("processed_data/smpl", "processed_data/poses2d/cam03/rgb", "ego/aria01"):
            (root / "data" / EMPTY / name).mkdir(parents=True)
    return Truth({sequence.folder: sequence for sequence in SEQUENCES})


def _write_archive(path: Path, sequence: Sequence, files: dict[str, bytes]) -> None:
    """Members lie eight folders deep, as published."""
    deep = f"media/rawalk/disk1/rawalk/datasets/ego_exo/camera_ready/{sequence.folder}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as out:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{deep}/{name}")
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))


def _files(sequence: Sequence) -> dict[str, bytes]:
    files = {}
    frames = np.arange(1, sequence.frames + 1)
    bodies = {person: _bodies(person, frames) for person in sequence.people}
    points = {person: image_points(person, frames) for person in sequence.people}
    poses = {person: pose3d(person, frames) for person in sequence.people}
    for i, frame in enumerate(frames.tolist()):
        here = [person for person in sequence.people if sequence.seen(person, frame)]
        smpl = _npy(np.array({person: bodies[person][i] for person in here}, dtype=object))
        if frame in sequence.cut:
            smpl = smpl[: len(smpl) // 2]
        if frame in sequence.bombs:
            smpl = _npy(np.array({"aria03": _Bomb()}, dtype=object))
        files[f"processed_data/smpl/{frame:05d}.npy"] = smpl
        if sequence.camera:
            solid = {person: poses[person][i] for person in here}
            files[f"processed_data/refine_poses3d/{frame:05d}.npy"] = _npy(np.array(solid, dtype=object))
            people = [
                {
                    "bbox": np.array([*points[person][i, :, :2].min(0), *points[person][i, :, :2].max(0), 1.0]),
                    "human_name": person, "human_id": k, "keypoints": points[person][i],
                    "is_valid": sequence.invalid.get(person) != frame,
                }
                for k, person in enumerate(reversed(here))
            ]  # fmt: skip
            listed = np.empty(len(people), dtype=object)
            listed[:] = people
            files[f"processed_data/poses2d/{sequence.camera}/rgb/{frame:05d}.npy"] = _npy(listed)
    return files


def _bodies(person: str, frames: np.ndarray) -> list[dict]:
    """The SMPL record of each frame. Of the mesh only the sensors' vertices move on their own, to keep files quick."""
    local = local_rotations(person, frames).astype(np.float32)
    path = root_path(person, frames)
    vertices = np.zeros((len(frames), VERTICES, 3), np.float32)
    for index, _ in SENSORS.values():
        vertices[:, index] = vertex(person, index, frames)
    return [
        {
            "global_orient": local[i, 0], "body_pose": local[i, 1:].reshape(69), "transl": path[i].astype(np.float32),
            "betas": np.full(10, 0.1, np.float32), "vertices": vertices[i], "epoch_loss": 0.01,
            "joints": np.zeros((45, 3), np.float32),
        }
        for i in range(len(frames))
    ]  # fmt: skip


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()

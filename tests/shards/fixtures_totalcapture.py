"""A small tree in the layout of TotalCapture, with what it says as functions of the frame number.

s1 walking1     train: plain sensor file, Vicon, calibration files, one short video
s4 rom3         val: sensor file with gyroscope and magnetometer; a run of NaN in a sensor; Vicon 6 frames short
s5 acting2      test: header says 20 frames more than there are; one frame lacks a sensor; two frames out of order
s2 freestyle1   the sensor file is cut in the middle of a line; no Vicon
s3 walking2     empty folders
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

RATE = 60.0
INCH = 0.0254
G = 9.81
SENSORS = ("Head", "Sternum", "Pelvis", "L_UpArm", "R_UpArm", "L_LowArm", "R_LowArm", "L_UpLeg", "R_UpLeg")
SENSORS += ("L_LowLeg", "R_LowLeg", "L_Foot", "R_Foot")
# Vicon's joints and where they are on a standing person, metres: x to the left, y up, z forward.
JOINTS = {
    "Hips": (0, 0.95, 0), "Spine": (0, 1.05, 0), "Spine1": (0, 1.15, 0), "Spine2": (0, 1.25, 0), "Spine3": (0, 1.35, 0),
    "Neck": (0, 1.5, 0), "Head": (0, 1.6, 0.02),
    **{
        f"{side}{name}": (sign * x, y, z)
        for side, sign in (("Right", -1), ("Left", 1))
        for name, (x, y, z) in (("Shoulder", (0.05, 1.45, 0)), ("Arm", (0.18, 1.45, 0)), ("ForeArm", (0.2, 1.17, 0)),
                                ("Hand", (0.2, 0.92, 0)))
    },
    **{
        f"{side}{name}": (sign * 0.1, y, z)
        for side, sign in (("Right", -1), ("Left", 1))
        for name, (y, z) in (("UpLeg", (0.9, 0)), ("Leg", (0.5, 0)), ("Foot", (0.08, 0)))
    },
}  # fmt: skip
BONES = ("Head", "Spine3", "Hips", "LeftArm", "RightArm", "LeftForeArm", "RightForeArm", "LeftUpLeg", "RightUpLeg")
BONES += ("LeftLeg", "RightLeg", "LeftFoot", "RightFoot")  # the bone under each sensor
FOLLOWED = dict(zip(SENSORS, BONES))
# The sensors' world (z up) to Vicon's (y up), with another heading.
REFERENCE = Rotation.from_euler("y", 25, degrees=True) * Rotation.from_euler("x", -90, degrees=True)


@dataclass(frozen=True)
class Sequence:
    """One sequence. `header`: frames that the first line of the sensor file says, `frames`: those that are there."""

    subject: int
    name: str
    split: str
    frames: int
    header: int
    vicon: int = 0  # frames of Vicon
    aux: bool = False  # gyroscope and magnetometer too
    nan: tuple[str, int, int] | None = None  # sensor, first frame, the one after the last
    lacking: tuple[str, int] | None = None  # sensor and the frame without its line
    swapped: tuple[int, int] | None = None  # frames written in the other's place
    cut: int = 0  # bytes missing at the end of the sensor file


SEQUENCES = (
    Sequence(1, "walking1", "train", 240, 240, vicon=240),
    Sequence(4, "rom3", "val", 200, 200, vicon=194, aux=True, nan=("L_LowArm", 50, 56)),
    Sequence(5, "acting2", "test", 180, 200, vicon=180, lacking=("Head", 70), swapped=(100, 101)),
    Sequence(2, "freestyle1", "train", 60, 60, cut=500),
)


@dataclass(frozen=True)
class Truth:
    """What the tree says."""

    sequences: dict[str, Sequence]
    cameras: dict[str, np.ndarray]  # name -> projection (3, 4) of metres with y up to pixels of 1920 x 1080


def _wave(sensor: int, t: np.ndarray, derivative: int = 0) -> np.ndarray:
    """Common path (n, 3) in metres of a sensor and its joint, or its second derivative."""
    f = 0.4 + 0.05 * sensor
    size = np.array([0.06, 0.04, 0.08]) * (-((2 * np.pi * f) ** 2) if derivative else 1.0)
    return size * np.sin(2 * np.pi * f * t + np.array([[0.0], [1.0], [2.0]])).T


def positions(frame: np.ndarray) -> np.ndarray:
    """Joints (n, 21, 3) in metres, y up, in the order of JOINTS."""
    t = np.asarray(frame) / RATE
    out = np.repeat(np.array(list(JOINTS.values()), float)[None], len(t), 0)
    for sensor, bone in enumerate(BONES):
        out[:, list(JOINTS).index(bone)] += _wave(sensor, t)
    return out


def _spin(sensor: str) -> tuple[np.ndarray, float]:
    """Axis in the sensor's frame, rad/s: each sensor turns steadily."""
    k = SENSORS.index(sensor)
    axis = np.array([1.0, 0.3 * k, -0.2 * k])
    return axis / np.linalg.norm(axis), 0.2 + 0.05 * k


def orientation(sensor: str, frame: np.ndarray) -> Rotation:
    """Sensor to the sensors' world, z up."""
    axis, speed = _spin(sensor)
    start = Rotation.from_euler("xyz", [7 * SENSORS.index(sensor), 20, 5], degrees=True)
    return start * Rotation.from_rotvec(axis * (speed * np.asarray(frame) / RATE)[:, None])


def acceleration(sensor: str, frame: np.ndarray) -> np.ndarray:
    """Specific force (n, 3) in m/s^2, sensor's frame."""
    moved = _wave(SENSORS.index(sensor), np.asarray(frame) / RATE, derivative=2)
    return orientation(sensor, frame).apply(REFERENCE.inv().apply(moved) + np.array([0, 0, G]), inverse=True)


def angular_velocity(sensor: str, frame: np.ndarray) -> np.ndarray:
    """(n, 3) rad/s, sensor's frame."""
    axis, speed = _spin(sensor)
    return np.repeat((axis * speed)[None], len(np.asarray(frame)), 0)


def mounting(sensor: str) -> Rotation:
    """calib_imu_bone: bone orientation = REFERENCE * orientation * mounting^-1."""
    return Rotation.from_euler("z", 10 + 3 * SENSORS.index(sensor), degrees=True)


def write_tree(root: Path) -> Truth:
    """Writes s1, S1, ... and calibration.cal at `root`."""
    for sequence in SEQUENCES:
        _write_sequence(root, sequence)
    for empty in ("s3", "S3/walking2"):
        (root / empty).mkdir(parents=True, exist_ok=True)
    cameras = _write_cameras(root / "calibration.cal")
    return Truth({f"s{s.subject}_{s.name}": s for s in SEQUENCES}, cameras)


def _write_sequence(root: Path, sequence: Sequence) -> None:
    prefix = f"s{sequence.subject}_{sequence.name}"
    folder = root / f"s{sequence.subject}"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{prefix}_Xsens_AuxFields.sensors" if sequence.aux else f"{prefix}_Xsens.sensors"
    data = _sensors(sequence).encode()
    (folder / name).write_bytes(data[: len(data) - sequence.cut])
    for what, rotation in (("bone", mounting), ("ref", lambda _: REFERENCE)):
        lines = [str(len(SENSORS))]
        lines += [f"{s} " + " ".join(f"{v:.6f}" for v in rotation(s).as_quat()) for s in SENSORS]
        (folder / f"{prefix}_calib_imu_{what}.txt").write_text("\n".join(lines) + "\n")
    if sequence.vicon:
        folder = root / f"S{sequence.subject}" / sequence.name
        folder.mkdir(parents=True, exist_ok=True)
        frame = np.arange(sequence.vicon)
        _write_vicon(folder / "gt_skel_gbl_pos.txt", positions(frame) / INCH)
        turned = [_bone(joint, frame).as_quat() for joint in JOINTS]  # x y z w
        _write_vicon(folder / "gt_skel_gbl_ori.txt", np.stack(turned, 1))


def _bone(joint: str, frame: np.ndarray) -> Rotation:
    if joint not in BONES:
        return Rotation.from_quat(np.repeat([[0, 0, 0, 1.0]], len(frame), 0))
    sensor = SENSORS[BONES.index(joint)]
    return REFERENCE * orientation(sensor, frame) * mounting(sensor).inv()


def _write_vicon(path: Path, values: np.ndarray) -> None:
    """Header of joints; then a line a frame, joints parted by tabs, numbers by spaces; lines end with a tab."""
    rows = ["\t".join(" ".join(f"{v:.5f}" for v in joint) for joint in frame) for frame in values]
    path.write_text("".join(line + "\t\n" for line in ["\t".join(JOINTS), *rows]))


def _sensors(sequence: Sequence) -> str:
    frame = np.arange(sequence.frames)
    columns = {}
    for sensor in SENSORS:
        parts = [orientation(sensor, frame).as_quat(scalar_first=True), acceleration(sensor, frame)]
        if sequence.aux:
            parts += [angular_velocity(sensor, frame), np.full((len(frame), 3), 0.5)]
        columns[sensor] = np.concatenate(parts, 1)
    if sequence.nan:
        sensor, first, end = sequence.nan
        columns[sensor][first:end] = np.nan
    order = list(range(sequence.frames))
    if sequence.swapped:
        a, b = sequence.swapped
        order[a], order[b] = b, a
    lines = [f"{len(SENSORS)} {sequence.header}"]
    for i in order:
        lines.append(str(i + 1))
        for sensor in SENSORS:
            if (sensor, i) != sequence.lacking:
                lines.append(f"{sensor} " + " ".join(f"{v:.6f}" for v in columns[sensor][i]))
    return "\n".join(lines) + "\n"


def _write_cameras(path: Path) -> dict[str, np.ndarray]:
    """Count and distortion order; a camera: image limits, fx fy cx cy, distortion, rotation, translation in metres."""
    lines, out = ["8 1"], {}
    for i in range(8):
        back = np.array([np.sin(np.pi * i / 4), 0, np.cos(np.pi * i / 4)])
        down = np.array([0, -1.0, 0])
        rotation = np.stack([np.cross(down, -back), down, -back])
        shift = -rotation @ (4 * back + [0, 1, 0])
        k = np.array([[1000.0, 0, 959.5], [0, 1000.0, 539.5], [0, 0, 1]])
        lines += ["0 1079 0 1919", "1000.0 1000.0 959.5 539.5", "0.0"]
        lines += [" ".join(f"{v:.9f}" for v in row) for row in rotation] + [" ".join(f"{v:.9f}" for v in shift)]
        out[f"cam{i + 1}"] = k @ np.concatenate([rotation, shift[:, None]], 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return out

"""A small tree in the layout of mRI's release, with what it says as functions of the frame number.

subject1    train: all six sensors; a run of NaN in one file; unix times as floats
subject15   test: no IMU5.csv; IMU4.csv a row short of imu_avail_frames; unix times as an object array, two swapped
subject16   val: pose labels alone, no folder of IMU files
subject2    a `.cpl` that would run code when unpickled (it would create the file PWNED)
subject3    a `.cpl` cut in the middle
subject4    an empty IMU folder and no labels
"""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

G = 9.80665
FPS = 10.1  # true rate of the cameras; the MP4 header would say 30
SIZE = (1920, 1080)  # width, height of the images
PWNED = "pwned"  # what unpickling subject2 would create in the working directory
COLUMNS = "address,axg,ayg,azg,AngleXdeg,AngleYdeg,AngleZdeg,hx,hy,hz,q0,q1,q2,q3"
# Placement of the files that the data set's users agree on, and the joint of COCO-17 that the sensor follows here.
SENSORS = {
    "IMU1": ("right_wrist", 10),
    "IMU2": ("left_wrist", 9),
    "IMU4": ("right_shin", 14),
    "IMU5": ("left_shin", 13),
}
OTHERS = {"IMU0": 0, "IMU3": 5}  # placement unknown
# Standing and facing the camera, metres: x to the image's left (the person's right), y up, z away; COCO-17.
STANCE = np.array(
    [(0, 1.6, 2.5), (-0.03, 1.64, 2.52), (0.03, 1.64, 2.52), (-0.07, 1.6, 2.6), (0.07, 1.6, 2.6)]
    + [(s * x, y, 2.6) for x, y in ((0.2, 1.4), (0.45, 1.38), (0.7, 1.35)) for s in (-1, 1)]
    + [(s * 0.1, y, 2.6) for y in (0.9, 0.5, 0.1) for s in (-1, 1)]
)
SWAY = {  # joint -> metres of (x, y, z) and Hz
    9: ((0.05, 0.20, 0.02), 0.6), 10: ((0.04, 0.16, 0.03), 0.8), 13: ((0.02, 0.06, 0.05), 0.5),
    14: ((0.01, 0.05, 0.06), 0.7), 0: ((0.02, 0.01, 0.01), 0.4), 5: ((0.01, 0.02, 0.01), 0.45),
}  # fmt: skip
CAMERA = np.array([[1000.0, 0, 960], [0, 1000.0, 540], [0, 0, 1]])
UP = Rotation.from_euler("x", 90, degrees=True)  # y up -> z up: the frame of the sensors' orientation


@dataclass(frozen=True)
class Subject:
    """One subject: `imu` and `gt` are the first and last frame with IMU rows and 3D poses, both inclusive."""

    number: int
    split: str
    frames: int
    imu: tuple[int, int]
    gt: tuple[int, int]
    labels: dict[str, tuple[int, int]]  # action -> first and last frame
    sensors: tuple[str, ...] = ()
    short: dict[str, int] = field(default_factory=dict)  # sensor -> rows that it lacks at the end
    nan: dict[str, tuple[int, int]] = field(default_factory=dict)  # sensor -> first row, and the one after the last
    object_times: bool = False

    @property
    def name(self) -> str:
        return f"subject{self.number}"

    def unix(self) -> np.ndarray:
        """Unix time of each camera frame in s, (frames,), as stored."""
        out = 1.651e9 + self.number * 1000 + np.arange(self.frames) / FPS
        out += np.random.default_rng(self.number).normal(0, 0.002, self.frames)
        if self.object_times:
            out[[30, 31]] = out[[31, 30]]
        return out


def joints(frame: np.ndarray) -> np.ndarray:
    """3D pose (n, 17, 3) in metres at frames (n,): x to the image's left, y up, z away from the camera."""
    t = np.asarray(frame) / FPS
    out = np.repeat(STANCE[None], len(t), 0)
    for joint, (amplitude, f) in SWAY.items():
        out[:, joint] += np.array(amplitude) * np.sin(2 * np.pi * f * t)[:, None]
    return out


def orientation(sensor: str, frame: np.ndarray) -> Rotation:
    """Sensor to a world with z up, at frames (n,)."""
    t, k = np.asarray(frame) / FPS, int(sensor[-1])
    turn = Rotation.from_euler("zyx", np.stack([0.4 * np.sin(0.9 * t + k), 0.2 * np.cos(0.7 * t), 0 * t], 1))
    return turn * Rotation.from_euler("xyz", (10 * k, -15 * k, 25 * k), degrees=True)


def acceleration(sensor: str, frame: np.ndarray) -> np.ndarray:
    """Specific force (n, 3) in m/s^2 in the sensor's frame: 9.80665 up at rest."""
    t = np.asarray(frame) / FPS
    joint = SENSORS[sensor][1] if sensor in SENSORS else OTHERS[sensor]
    amplitude, f = SWAY[joint]
    moved = -np.array(amplitude) * (2 * np.pi * f) ** 2 * np.sin(2 * np.pi * f * t)[:, None]
    return orientation(sensor, frame).apply(UP.apply(moved) + np.array([0, 0, G]), inverse=True)


def image_points(frame: np.ndarray, side: str) -> np.ndarray:
    """2D pose (n, 17, 2) in pixels; the second camera stands 0.3 m beside the first."""
    points = joints(frame) * (-1, -1, 1) + (0.3 if side == "r" else 0.0, 0.9, 0)
    return (points @ CAMERA.T)[..., :2] / points[..., 2:]


LABELS = {
    "T pose": (12, 30), "both upper limb extension": (31, 60), "squat": (61, 85), "null": (86, 88), "T pose 2": (89, 95),
    "free form": (96, 120), "walk": (121, 140),
}  # fmt: skip
SUBJECTS = (
    Subject(1, "train", 160, (12, 140), (10, 150), LABELS, (*SENSORS, *OTHERS), nan={"IMU2": (40, 43)}),
    Subject(15, "test", 150, (12, 140), (14, 139), LABELS, ("IMU0", "IMU1", "IMU2", "IMU3", "IMU4"), short={"IMU4": 1},
            object_times=True),
    Subject(16, "val", 60, (12, 55), (5, 55), {"T pose": (12, 30), "walk": (31, 55)}),
)  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """What the tree says."""

    subjects: dict[int, Subject]
    refused: tuple[int, ...] = (2, 3)  # labels that must not be read
    empty: tuple[int, ...] = (4,)


class _Bomb:
    """Unpickled freely it creates a file; a reader that allows arrays and plain containers alone refuses it."""

    def __reduce__(self):
        return open, (PWNED, "w")


def write_tree(root: Path, *, archive: bool = False) -> Truth:
    """Writes `root/dataset_release`, or with `archive` the same as `root/mri.zip`, a zip in a zip as published."""
    files = {}
    for subject in SUBJECTS:
        times = subject.unix()
        files[f"raw_data/unixtime/{subject.name}_unix.npy"] = _npy(
            times.astype(object) if subject.object_times else times
        )
        files[f"aligned_data/pose_labels/{subject.name}_all_labels.cpl"] = pickle.dumps(_labels(subject))
        files[f"aligned_data/pose_labels/{subject.name}.cpl"] = pickle.dumps({"frame_total": subject.frames})
        for sensor in subject.sensors:
            files[f"aligned_data/imu/{subject.name}/{sensor}.csv"] = _csv(subject, sensor).encode()
    files["aligned_data/pose_labels/subject2_all_labels.cpl"] = pickle.dumps({"refined_gt_kps": _Bomb()})
    files["aligned_data/pose_labels/subject3_all_labels.cpl"] = pickle.dumps(_labels(SUBJECTS[0]))[:5000]
    if archive:
        inner = _zip({f"dataset_release/{name}": data for name, data in files.items()})
        root.mkdir(parents=True, exist_ok=True)
        (root / "mri.zip").write_bytes(_zip({"dataset_release.zip": inner}))
    else:
        for name, data in files.items():
            path = root / "dataset_release" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (root / "dataset_release" / "aligned_data" / "imu" / "subject4").mkdir(parents=True)
    return Truth({subject.number: subject for subject in SUBJECTS})


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _labels(subject: Subject) -> dict:
    """As the release builds it: arrays over all frames, (frames, 2 or 3, 17), zero outside the available ones."""

    def padded(values: np.ndarray, first: int, last: int) -> np.ndarray:
        out = np.zeros((subject.frames, values.shape[2], 17))
        out[first : last + 1] = values[first : last + 1].transpose(0, 2, 1)
        return out

    frame = np.arange(subject.frames)
    refined = padded(joints(frame), *subject.gt)
    return {
        "naive_gt_kps": refined + 0.01, "refined_gt_kps": refined, "rgb_est_kps": refined, "radar_est_kps": refined,
        "imu_est_kps": refined, "rgb_avail_frames": [*subject.gt], "radar_avail_frames": [*subject.imu],
        "imu_avail_frames": [*subject.imu], "gt_avail_frames": [*subject.gt], "2d_l_avail_frames": [*subject.gt],
        "2d_r_avail_frames": [*subject.gt], "pose_2d_l": padded(image_points(frame, "l"), *subject.gt),
        "pose_2d_r": padded(image_points(frame, "r"), *subject.gt),
        "video_label": {action: [*ends] for action, ends in subject.labels.items()}, "camera_matrix": {"cam1_intrinsic": CAMERA, "cam2_intrinsic": CAMERA},
    }  # fmt: skip


def _csv(subject: Subject, sensor: str) -> str:
    frame = np.arange(subject.imu[0], subject.imu[1] + 1 - subject.short.get(sensor, 0))
    acc = acceleration(sensor, frame) / G
    quaternion = orientation(sensor, frame).as_quat(scalar_first=True)
    if sensor in subject.nan:
        acc[slice(*subject.nan[sensor])] = np.nan
    angles = orientation(sensor, frame).as_euler("xyz", degrees=True)
    rows = np.concatenate([acc, angles, np.zeros((len(frame), 3)), quaternion], 1)
    address = f"0x{int(sensor[-1]) + 80:02x}"
    return "\n".join([COLUMNS, *(",".join([address, *(f"{v:.6f}" for v in row)]) for row in rows)]) + "\n"

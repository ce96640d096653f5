"""Files of TotalCapture: sensors, their calibration, Vicon's joints, cameras."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from aura.body.cameras import Camera, project

INCH_M = 0.0254
# y up -> z up: (x, y, z) -> (x, -z, y).
UPRIGHT = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
LONGEST = 10**6  # frames: more than any file has


@dataclass(frozen=True, eq=False)
class Sensors:
    """Rows of a `.sensors` file by frame number, from the lowest one on.

    values   sensor -> (n, 7) or, of an AuxFields file, (n, 13): w x y z, acceleration, angular velocity, magnetic field;
             NaN where the file has no line
    said     frames that its first line says; lines: those that are no row of the file
    late     frames that stand behind a later one
    """

    values: dict[str, np.ndarray]
    said: int
    frames: int
    bad_lines: int
    late: int


def read_sensors(text: str) -> Sensors:
    """A `.sensors` file: `sensors frames`, then for each frame its number and a line `name numbers...` of each sensor.

    Cut and damaged lines are left out and counted. ValueError where it is no such file.
    """
    lines = text.split("\n")
    cut = bool(lines.pop())  # what follows the last newline: a line that was cut
    head = lines[0].split() if lines else []
    if len(head) != 2 or not all(re.fullmatch(r"\d+", word) for word in head):
        raise ValueError(f"begins with {lines[0][:40] if lines else ''!r}, not with the numbers of sensors and frames")
    rows: OrderedDict[str, tuple[list[int], list[list[float]]]] = OrderedDict()
    frame, seen, bad, late, width = -1, set(), int(cut), 0, 0
    for line in lines[1:]:
        words = line.split()
        if len(words) == 1 and words[0].isdigit() and int(words[0]) < LONGEST:
            late += int(words[0]) < frame
            frame = int(words[0])
            seen.add(frame)
            continue
        try:
            numbers = [float(word) for word in words[1:]]
        except ValueError:
            numbers = []
        width = width or len(numbers)
        if len(numbers) != width or width not in (7, 13) or frame < 0:
            bad += bool(words)
            continue
        index, values = rows.setdefault(words[0], ([], []))
        index.append(frame)
        values.append(numbers)
    if not rows:
        raise ValueError("holds no line such as `Head 1.0 0.0 0.0 0.0 0.1 0.2 9.8`")
    first = min(seen)
    count = max(seen) - first + 1
    found = {}
    for name, (index, values) in rows.items():
        found[name] = np.full((count, width), np.nan)
        found[name][np.array(index) - first] = values
    return Sensors(found, int(head[1]), count, bad, late)


def read_calibration(text: str) -> dict[str, np.ndarray]:
    """Sensor -> unit quaternion w x y z, of a file of `name x y z w` after a line of their number. ValueError otherwise."""
    lines = [line.split() for line in text.split("\n")[1:] if line.strip()]
    found = {}
    for words in lines:
        try:
            x, y, z, w = (float(word) for word in words[1:])
        except ValueError:
            raise ValueError(f"has the line {' '.join(words)!r}, not `name x y z w`") from None
        q = np.array([w, x, y, z])
        if not abs(np.linalg.norm(q) - 1) < 0.01:
            raise ValueError(f"{words[0]} has a quaternion of length {np.linalg.norm(q):.3g}")
        found[words[0]] = q / np.linalg.norm(q)
    if not found:
        raise ValueError("holds no quaternion")
    return found


def read_joints(text: str, names: tuple[str, ...]) -> tuple[np.ndarray, int]:
    """Joints (n, J, 3), metres, z up, in the order of `names`, of `gt_skel_gbl_pos.txt`; and how many lines were cut.

    The file: a header of joints, then of each frame x y z of each joint in inches, y up. ValueError for other joints.
    """
    lines = text.split("\n")
    cut = bool(lines.pop())
    header = lines[0].split() if lines else []
    if sorted(header) != sorted(names):
        raise ValueError(f"has the joints {', '.join(header[:30])}: expected {', '.join(names)}")
    rows = [line.split() for line in lines[1:] if line.strip()]
    whole = [row for row in rows if len(row) == 3 * len(names)]
    try:
        values = np.array(whole, dtype=np.float64).reshape(len(whole), len(names), 3)
    except ValueError as error:
        raise ValueError(f"holds what is no number: {error}") from error
    order = [header.index(name) for name in names]
    return values[:, order] @ UPRIGHT.T * INCH_M, len(rows) - len(whole) + cut


@dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """A camera in the world, z up, with radial distortion of the first order: r -> r (1 + k r^2)."""

    pinhole: Camera
    k: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in metres to x, y, confidence; points beyond where the distortion turns back are unknown."""
        camera = self.pinhole
        local = (points - camera.position) @ camera.rotation.T
        with np.errstate(divide="ignore", invalid="ignore"):
            r2 = (local[..., 0] ** 2 + local[..., 1] ** 2) / local[..., 2] ** 2
        good = np.isfinite(r2) & (1 + 3 * self.k * r2 > 0)
        local[..., :2] *= (1 + self.k * np.where(good, r2, 0.0))[..., None]
        eye = Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy, np.eye(3), np.zeros(3))
        return project(np.where(good[..., None], local, -1.0), eye)


def read_cameras(text: str) -> list[CalibratedCamera]:
    """The cameras of `calibration.cal`, in order.

    `cameras order`, then of each camera: first and last row and column; fx fy cx cy; k; three rows of the rotation R; the
    translation t: R x + t is a point of Vicon's world (metres, y up) in the camera's frame. ValueError for another file.
    """
    lines = [line.split() for line in text.split("\n") if line.strip()]
    try:
        count, order = (int(word) for word in lines[0])
        if order != 1 or len(lines) < 1 + 7 * count:
            raise ValueError(f"says {count} cameras with distortion of order {order}, and has {len(lines)} lines")
        found = []
        for i in range(count):
            limits, inner, k, *pose = lines[1 + 7 * i : 8 + 7 * i]
            top, bottom, left, right = (int(word) for word in limits)
            fx, fy, cx, cy = (float(word) for word in inner)
            matrix = np.array(pose[:3], dtype=float)
            if matrix.shape != (3, 3) or np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-3:
                raise ValueError(f"camera {i + 1} has no rotation matrix")
            rotation = matrix @ UPRIGHT.T
            position = -rotation.T @ np.array(pose[3], dtype=float)
            size = right - left + 1, bottom - top + 1
            found.append(CalibratedCamera(Camera(*size, fx, fy, cx, cy, rotation, position), float(k[0])))
    except (ValueError, IndexError) as error:
        raise ValueError(f"is not as TotalCapture's calibration.cal: {error}") from error
    return found

"""A small tree of files in the layout of Ego-Exo4D, with what they say as functions of time.

Three takes in two captures, one a split, and what breaks readers:

    cmu_bike91_2           train, aria01, cam01-04: all parts; left unit at 807.4 Hz; cam02 lacks a frame; cam03 is not
                           localised; manual and automatic body poses; two annotators and one who wrote nothing
    upenn_0629_Dance_2_7   val, aria02, gp01-04 and gp05 on the head: 23 s, best_exo null, gp01 not localised, IMU with
                           a gap and a NaN sample, headset clock 0.05 % fast, body poses 5 frames late with a gap,
                           downscaled video alone
    cmu_bike91_3           test, aria01: no right unit (libraries name its stream all the same, with no data), the left
                           one ends 0.6 s early in a truncated file; automatic poses alone; video of full size alone,
                           cam04 missing; participant of the first take
    cmu_bike91_4           dropped, nullable fields null, no files
    a uid of splits.json that takes.json lacks
"""

from __future__ import annotations

import io
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from tests.shards.fixtures_egoexo4d_annotations import JOINTS, Step, Text, camera_matrix, write_annotations
from tests.shards.fixtures_vrs import Unit, write_vrs

FPS = 30
FRAMES = {"exo": (36, 64), "ego": (48, 48)}  # height, width
BITS = 10  # of a frame's index, as bars in its upper half
GRAVITY = 9.81
WAVES = ((0.05, 0.7, 0.0), (0.03, 1.3, 1.0), (0.02, 0.31, 2.0))  # head: metres, Hz, phase
SPEED = (0.6, -0.25)  # of the wearer in x and y: how far a sway goes, against up and down


def uid(name: str) -> str:
    """A stable UUID of a name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def head(t: np.ndarray) -> np.ndarray:
    """Path of the head (n, 3) in metres, world z up, at times t (n,) s."""
    wave = sum(a * np.sin(2 * np.pi * f * t + p) for a, f, p in WAVES)
    return np.stack([SPEED[0] * wave, SPEED[1] * wave, wave], 1)


def head_acceleration(t: np.ndarray) -> np.ndarray:
    """Second derivative of `head`, (n, 3) m/s^2."""
    wave = sum(-a * (2 * np.pi * f) ** 2 * np.sin(2 * np.pi * f * t + p) for a, f, p in WAVES)
    return np.stack([SPEED[0] * wave, SPEED[1] * wave, wave], 1)


def imu(label: str, t: np.ndarray) -> np.ndarray:
    """What a unit measures at take times t (n,) s: (n, 6) m/s^2 with gravity, rad/s, float64.

    The head does not turn in the world, so that acceleration and body pose agree; at rest the right unit shows -9.81 on
    x, the left one -9.81 on y. The angular velocity is a label of each channel, not of that motion.
    """
    felt = head_acceleration(t) + np.array([0, 0, GRAVITY])
    axes = {"imu-right": ((2, -1), (1, 1), (0, 1)), "imu-left": ((0, 1), (2, -1), (1, 1))}[label]
    acc = np.stack([sign * felt[:, k] for k, sign in axes], 1)
    shift = 0.0 if label == "imu-right" else 0.5
    gyro = np.stack([0.2 * (k + 1) * np.sin(2 * np.pi * 0.5 * (k + 1) * t + shift) for k in range(3)], 1)
    return np.concatenate([acc, gyro], 1)


# A person who stands, metres from the head; in the order of JOINTS. x forward, y left, z up.
STANCE = np.array(
    [(0.1, 0, 0), (0.08, 0.03, 0.04), (0.08, -0.03, 0.04), (0, 0.08, 0.02), (0, -0.08, 0.02)]
    + [(0, s * y, z) for y, z in ((0.2, -0.25), (0.28, -0.5), (0.3, -0.75)) for s in (1, -1)]
    + [(0, s * 0.1, z) for z in (-0.8, -1.2, -1.6) for s in (1, -1)]
)
MOVING = {"left-wrist": 1.0, "right-wrist": -1.0}  # beside the head's motion they go forward and back


@dataclass(frozen=True)
class Take:
    """One take. `row` is its first row of timesync.csv, there the headset's clock shows `clock_ns`."""

    name: str
    capture: str
    split: str
    headset: str
    exo: tuple[str, ...]
    frames: int
    row: int
    clock_ns: int
    participant: int
    task: tuple[int, str, int, str]  # task id and name, parent id and name
    university: str = "cmu"
    best_exo: str | None = None
    step_ns: float = 1e9 / FPS  # between frames, by the headset's clock
    pose_late: int = 0  # frames by which the body poses lag
    units: dict[str, float] = field(default_factory=dict)  # label -> true rate in Hz
    imu_s: tuple[float, float] = (0.0, 0.0)  # first and last take time of the VRS file
    sizes: tuple[str, ...] = ("full", "448")  # of the video files
    absent: tuple[str, ...] = ()  # cameras that takes.json names and that are not there
    extra: dict[str, int] = field(default_factory=dict)  # camera -> frames that it has more or fewer
    unlocalised: str = ""
    first_exo: str = ""  # first localised one
    manual: tuple[int, ...] = ()  # frame numbers with a manual body pose
    automatic: tuple[int, ...] = ()
    gap_s: tuple[float, float] | None = None  # of the right unit
    nan_s: float | None = None  # take time of the sample that is NaN
    lost: tuple[str, int, int] | None = None  # joint, first and last frame without it

    @property
    def uid(self) -> str:
        return uid(self.name)

    @property
    def duration_s(self) -> float:
        return self.frames / FPS

    def clock(self, t: np.ndarray | float) -> np.ndarray:
        """Take time in s -> the headset's clock in ns."""
        return np.round(self.clock_ns + np.asarray(t) * FPS * self.step_ns).astype(np.int64)

    def time(self, ns: np.ndarray) -> np.ndarray:
        """The headset's clock in ns -> take time in s."""
        return (ns - self.clock_ns) / (FPS * self.step_ns)

    def joints(self, frame: np.ndarray) -> np.ndarray:
        """3D pose (n, 17, 3) in metres that is stored for these frame numbers, missing joints included."""
        t = (np.asarray(frame) - self.pose_late) / FPS
        out = head(t)[:, None] + STANCE
        for name, sign in MOVING.items():
            out[:, JOINTS.index(name), 0] += sign * 0.2 * np.sin(2 * np.pi * 0.4 * t)
        return out

    def missing(self, frame: np.ndarray) -> np.ndarray:
        """Which joints (n, 17) a frame's record lacks: single ones, now and then, and the `lost` one."""
        frame = np.asarray(frame)[:, None]
        out = (np.arange(17) * 7 + frame // 3) % 23 == 0
        if self.lost:
            name, first, last = self.lost
            out[:, JOINTS.index(name)] |= ((frame >= first) & (frame <= last))[:, 0]
        return out

    def views(self, frame: np.ndarray) -> np.ndarray:
        """num_views_for_3d (n, 17): 2 (not reliable) here and there, else 4."""
        return np.where((np.arange(17) * 5 + np.asarray(frame)[:, None] // 3) % 29 == 0, 2, 4)

    def image_points(self, camera: str, frame: np.ndarray) -> np.ndarray:
        """2D pose (n, 17, 2) in pixels of the undistorted image of 3840 x 2160."""
        k, extrinsics = camera_matrix(camera)
        points = self.joints(frame) @ extrinsics[:, :3].T + extrinsics[:, 3]
        return (points @ k.T)[..., :2] / points[..., 2:]


TAKES = (
    Take(
        "cmu_bike91_2", "cmu_bike91", "train", "aria01", ("cam01", "cam02", "cam03", "cam04"), 90, 40, 183_000_123_456,
        901, (4001, "Remove a Wheel", 4000, "Bike Repair"), best_exo="cam04",
        units={"imu-right": 1000.0, "imu-left": 807.4}, imu_s=(-0.37, 3.5), extra={"cam02": -1}, unlocalised="cam03",
        first_exo="cam01", manual=(*range(3, 45, 3), *range(63, 90, 3)), automatic=tuple(range(90)),
    ),
    Take(
        "upenn_0629_Dance_2_7", "upenn_0629_Dance_2", "val", "aria02", ("gp01", "gp02", "gp03", "gp04"), 690, 25,
        9_871_000_000_777, 902, (9001, "Performing the basic choreography", 9000, "Dance"), university="upenn",
        step_ns=1.0005e9 / FPS, pose_late=5, units={"imu-right": 1000.0, "imu-left": 798.2}, imu_s=(-0.11, 23.4),
        sizes=("448",), extra={"gp03": 1}, unlocalised="gp01", first_exo="gp02", gap_s=(12.0, 12.6), nan_s=4.0,
        manual=(*range(12, 420, 3), *range(480, 690, 3)), lost=("right-wrist", 300, 399),
    ),
    Take(
        "cmu_bike91_3", "cmu_bike91", "test", "aria01", ("cam01", "cam02", "cam03", "cam04"), 90, 180, 187_666_790_123,
        901, (4002, "Install a Wheel", 4000, "Bike Repair"), best_exo="cam01", units={"imu-left": 807.4},
        imu_s=(-0.2, 2.4), sizes=("full",), absent=("cam04",), unlocalised="cam03", first_exo="cam01",
        automatic=tuple(range(90)),
    ),
)  # fmt: skip
DROPPED = "cmu_bike91_4"  # in takes.json with is_dropped
UNKNOWN = uid("gone")  # in splits.json and the annotations, not in takes.json
HEAD_CAMERA = "gp05"  # a GoPro on the head: is_ego


@dataclass(frozen=True)
class Truth:
    """What the tree says."""

    takes: dict[str, Take]
    texts: list[Text]
    keysteps: list[Step]
    proficiency: dict[str, str]  # take name -> level


def write_tree(root: Path) -> Truth:
    """Writes the download folder at `root`."""
    cameras = {}
    for take in TAKES:
        cameras.setdefault(take.capture, _capture_cameras(take))
    _json(root / "takes.json", [*[_take(take, cameras[take.capture]) for take in TAKES], _dropped()])
    _json(root / "captures.json", [_capture(name, cameras[name]) for name in cameras])
    _json(root / "participants.json", _participants())
    _json(root / "metadata.json", {"tasks": {str(take.task[0]): take.task[1] for take in TAKES}})
    _json(root / "physical_setting.json", [])
    _json(root / "visual_objects.json", {})
    for take in TAKES:
        folder = root / "takes" / take.name
        _write_vrs(folder, take)
        _write_videos(folder, take, cameras[take.capture])
        _write_calibration(folder, take)
    for name in cameras:
        _write_timesync(root / "captures" / name / "timesync.csv", name)
    texts, steps, levels = write_annotations(root / "annotations", TAKES, uid(DROPPED), UNKNOWN)
    return Truth({take.name: take for take in TAKES}, texts, steps, levels)


def _json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _capture_cameras(take: Take) -> list[dict]:
    def camera(name: str, ego: bool, device: str) -> dict:
        folder = {"cam_id": name, "is_ego": ego, "has_walkaround": ego, "includes_audio": True, "device_type": device}
        ending = "vrs" if device == "aria" else "mp4"
        return {**folder, "relative_path": f"videos/{name}.{ending}", "video_artifact_uid": uid(take.capture + name)}

    out = [camera(take.headset, True, "aria")] + [camera(name, False, "hero10") for name in take.exo]
    out.append(camera("mobile", False, "hero9"))
    return [*out, camera(HEAD_CAMERA, True, "hero9")] if take.university == "upenn" else out


def _capture(name: str, cameras: list[dict]) -> dict:
    university = name.partition("_")[0]
    return {
        "root_dir": f"captures/{name}", "capture_name": name, "capture_uid": uid(name), "timesync_uid": uid(name + "t"),
        "university_name": university, "physical_setting_uid": 97, "ds_recorded": 1689793200, "has_trajectory": True,
        "has_gaze": True, "has_postsurvey": True, "timesync_validated": True, "validated": True, "cameras": cameras,
    }  # fmt: skip


def _take(take: Take, cameras: list[dict]) -> dict:
    def entry(camera: str, stream: str, word: str, path: str | None) -> dict:
        ids = {"cam_id": camera, "stream_id": stream, "readable_stream_id": word}
        return {**ids, "clip_uid": uid(take.name + path) if path else None, "relative_path": path}

    streams = (("rgb", "214-1"), ("slam-left", "1201-1"), ("slam-right", "1201-2"), ("et", "211-1"))
    videos = {
        take.headset: {
            word: entry(take.headset, stream, word, f"frame_aligned_videos/{take.headset}_{stream}.mp4")
            for word, stream in streams
        },
        **{name: {"0": entry(name, "0", "0", f"frame_aligned_videos/{name}.mp4")} for name in _gopros(take)},
        "collage": {"0": entry("collage", "0", "0", "ego_preview.mp4")},
        "best_exo": {
            "0": entry("best_exo", "0", "0", take.best_exo and f"frame_aligned_videos/{take.best_exo}.mp4")
        },
    }  # fmt: skip
    task_id, task, parent_id, parent = take.task
    gaze = "has_trimmed_eye_gaze" if take.university == "cmu" else "has_trimmed_gaze"
    return {
        "root_dir": f"takes/{take.name}", "take_name": take.name, "take_uid": take.uid, "capture_uid": uid(take.capture),
        "participant_uid": take.participant, "is_dropped": False, "objects": [], "task_id": task_id, "task_name": task,
        "parent_task_id": parent_id, "parent_task_name": parent, "take_idx": int(take.name.rpartition("_")[2]),
        "duration_sec": take.duration_s, "best_exo": take.best_exo, "task_start_sec": 0.28, "task_end_sec": None,
        "task_timing_annotation_uid": uid(take.name + "timing"), "is_narrated": False, "take_timing_uid": None,
        "timesync_uid": uid(take.capture + "t"), "timesync_start_idx": take.row,
        "timesync_end_idx": take.row + take.frames, "has_trimmed_vrs": True, "has_trimmed_trajectory": True, gaze: True,
        "vrs_relative_path": f"{take.headset}_noimagestreams.vrs",
        "vrs_all_streams_relative_path": f"{take.headset}.vrs", "university_id": f"ego4d-{take.university}",
        "university_name": take.university, "physical_setting_uid": 97, "validated": True,
        "frame_aligned_videos": videos, "capture": _capture(take.capture, cameras),
    }  # fmt: skip


def _dropped() -> dict:
    nulls = ("best_exo", "task_id", "task_start_sec", "task_end_sec", "vrs_relative_path", "timesync_start_idx")
    return {
        "root_dir": f"takes/{DROPPED}", "take_name": DROPPED, "take_uid": uid(DROPPED), "participant_uid": 903,
        "capture_uid": uid("cmu_bike91"), "is_dropped": True, "task_name": "", "parent_task_name": "Unknown",
        "take_idx": 4, "duration_sec": 2.0, "timesync_end_idx": None, "frame_aligned_videos": {}, "capture": None,
        **dict.fromkeys(nulls),
    }  # fmt: skip


def _participants() -> list[dict]:
    said = {901: '{"experience": "10 years", "pre-survey": {"age": "31"}}', 902: "{}", 903: ""}
    return [
        {"participant_uid": p, "university_name": "cmu", "collection_date": "2023-06-29", "metadata": text}
        for p, text in said.items()
    ]


def _gopros(take: Take) -> list[str]:
    return [*take.exo, HEAD_CAMERA] if take.university == "upenn" else [*take.exo]


def _write_vrs(folder: Path, take: Take) -> None:
    begin, end = (int(ns) for ns in take.clock(np.array(take.imu_s)))
    gap = tuple(int(ns) for ns in take.clock(np.array(take.gap_s))) if take.gap_s else None
    units = {
        label: Unit(
            lambda ns, label=label: imu(label, take.time(ns)),
            1e9 / rate,
            jitter_ns=30_000 if label == "imu-right" else 20,
            gap_ns=gap if label == "imu-right" else None,  # type: ignore[arg-type]
            nan_ns=int(take.clock(take.nan_s)) if take.nan_s and label == "imu-left" else None,
        )
        for label, rate in take.units.items()
    }
    cut = 70 if take.split == "test" else 0
    write_vrs(folder / f"{take.headset}_noimagestreams.vrs", units, begin, end, cut_bytes=cut)


def _write_timesync(path: Path, capture: str) -> None:
    """One row each 1/30 s of the capture, past its takes. Cells are empty where a camera gave nothing."""
    takes = [take for take in TAKES if take.capture == capture]
    rows = takes[-1].row + takes[-1].frames + 20
    first = takes[0]
    stamps = np.round(first.clock_ns + (np.arange(rows) - first.row) * first.step_ns).astype(np.int64)
    columns: dict[str, list[str]] = {}
    for i, name in enumerate(_gopros(first)):
        empty = set(range(5 + i)) | ({first.row + 31} if i == 1 else set())  # cameras start one after another
        if first.university == "upenn":
            columns[f"{name}_global_time"] = ["" if r in empty else f"{100 + r / FPS:.6f}" for r in range(rows)]
        columns[f"{name}_pts"] = ["" if r in empty else str(3003 * r + i) for r in range(rows)]
        columns[f"{name}_frame_number"] = ["" if r in empty else str(2 * r + i) for r in range(rows)]
    # The frame at 1 s of the first take has no stamp of the RGB camera; eye images come at 10 Hz.
    for stream, empty in (("214-1", {first.row + 30}), ("1201-1", {3}), ("1201-2", set()), ("211-1", None)):
        lacks = empty if empty is not None else {r for r in range(rows) if r % 3}
        end = ".0" if lacks else ""  # a column with holes went through floats
        texts = ["" if r in lacks else f"{ns}{end}" for r, ns in enumerate(stamps.tolist())]
        columns[f"{first.headset}_{stream}_capture_timestamp_ns"] = texts
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(columns), *(",".join(cells) for cells in zip(*columns.values()))]
    path.write_text("\n".join(lines) + "\n")


def _write_calibration(folder: Path, take: Take) -> None:
    head_line = "cam_uid,graph_uid," + ",".join(f"{a}_world_cam" for a in ("tx", "ty", "tz", "qx", "qy", "qz", "qw"))
    head_line += ",image_width,image_height,intrinsics_type," + ",".join(f"intrinsics_{i}" for i in range(8))
    lines = [head_line + ",start_frame_idx,end_frame_idx,quality"]
    for i, name in enumerate(take.exo):
        place = f"{uid(take.name)},1.69,0.54,-0.11,-0.437056,-0.661141,0.501553,0.346871,3840,2160,KANNALABRANDTK3"
        quality = 0 if name == take.unlocalised else 1
        row = f"{name},{place},1761.2,1761.2,1920.0,1080.0,0.0369,0.0571,-0.0571,0.0184,-1,-1,{quality}"
        lines.append(f" {row}" if i == 1 else row)
    path = folder / "trajectory" / "gopro_calibs.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def frame_image(camera: str, index: int, height: int, width: int) -> np.ndarray:
    """Frame `index` of a camera, (height, width, 3) uint8: its number in bars above, the camera's colour below."""
    bars = np.array([255 * (index >> bit & 1) for bit in range(BITS)], np.uint8)
    out = np.empty((height, width, 3), np.uint8)
    out[: height // 2] = bars[np.arange(width) * BITS // width][None, :, None]
    out[height // 2 :] = camera_colour(camera)
    return out


def camera_colour(camera: str) -> tuple[int, int, int]:
    """RGB of a camera: names differ by more than what encoding changes."""
    number = int(camera[-2:]) if camera[-2:].isdigit() else 7
    return 40 + 40 * (number % 5), (60, 200)[camera.startswith("gp")], (220, 30)[camera.startswith("aria")]


def read_frame(image: np.ndarray) -> tuple[int, np.ndarray]:
    """The number of a decoded frame of any size, and the camera's colour in it, (3,)."""
    height, width = image.shape[:2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    lit = image[height // 8 : height // 3, centres].mean((0, 2)) > 127
    return int((lit * 2 ** np.arange(BITS)).sum()), image[-height // 3 : -2].mean((0, 1))


def _write_videos(folder: Path, take: Take, cameras: list[dict]) -> None:
    ego = {camera["cam_id"] for camera in cameras if camera["is_ego"]}
    files = {f"{take.headset}_214-1": take.headset, **{name: name for name in _gopros(take)}}
    for name, camera in files.items():
        if camera in take.absent:
            continue
        height, width = FRAMES["ego" if camera in ego else "exo"]
        count = take.frames + take.extra.get(camera, 0)
        encoded = _mp4(np.stack([frame_image(camera, i, height, width) for i in range(count)]))
        for size, at in (("full", ""), ("448", "downscaled/448/")):
            if size in take.sizes:
                path = folder / "frame_aligned_videos" / f"{at}{name}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded)


def _mp4(frames: np.ndarray) -> bytes:
    """H.264 as the data set's: preset slow, crf 24, B frames, key frames 250 apart."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "slow", "crf": "24"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.codec_context.thread_count = 1
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()

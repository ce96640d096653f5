"""Shards of UTD-MHAD (Chen, Jafari, Kehtarnavaz, ICIP 2015) from its raw `.mat` files.

    python -m shards.utd_mhad --source DIR --out DIR [--val-subjects 3,7] [--limit N] [--workers N] [--resume]

DIR holds the publisher's archives (`Inertial`, `Skeleton`, `Depth`, as .zip or .tar.xz) or the `.mat` files unpacked.

- IMU: one sensor at 50 Hz, on the right wrist (actions 1 to 21) or the right thigh (22 to 27); g and deg/s become m/s^2
  and rad/s. It was set to 8 g and 1000 deg/s and clips there.
- Skeleton: the camera's rate is not 30 frames/s but about 19, and differs from clip to clip: both devices start and stop
  together, so T frames in N samples are T / (N / 50) a second. Item j of either stream is in the middle of its share of
  the clip: at (j + 0.5) / rate.
- World: the Kinect's frame (x to the sensor's left, y up, z forward, right-handed) turned by 90 degrees about x:
  (x, y, z) -> (x, -z, y). Then z is up, the camera at the origin looks along -y, and people look along +y. Heights count
  from the camera, not from the floor.
- 2D pose: u = 160 + 275 x / z, v = 116 - 275 y / z in the Kinect's frame, on 320 x 240. The published images are mirrored
  (the right hand appears on the right), and so is this projection, in step with the depth.
- Depth (54 clips): grey = 255 up to 1 m, falling linearly to 1 at 5 m and beyond; 0 where the camera had no reading.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from aura.body.cameras import Camera, project
from aura.body.virtual_imu import GRAVITY
from aura.data.sample import Sample
from aura.data.video import encode_h264
from aura.data.writer import Dropped, ShardError
from shards.archives import SourceFile, files
from shards.common import convert, exit_on_fault, how_of, numbers_of, parser
from shards.utd_mhad_texts import ACTIONS
from shards.wordings import spoken

DATASET = "utd_mhad"
PAGE = "https://www.utdallas.edu/~kehtar/UTD-MHAD.html"
LICENCE = "public domain dataset, by the authors' abstract; cite Chen, Jafari, Kehtarnavaz, ICIP 2015"
IMU_HZ = 50.0
CAMERA_HZ = 18.7  # frames a second of the camera over all clips
ACC_RANGE, GYRO_RANGE = 8 * GRAVITY, float(np.radians(1000))
MATS = re.compile(r"a(\d+)_s(\d+)_t(\d+)_(inertial|skeleton|depth)\.mat")
# World to camera; the left-handed axes (right, down, forward) are what mirrors the image.
CAMERA = Camera(320, 240, 275.0, 275.0, 160.0, 116.0, np.array([[1, 0, 0], [0, 0, -1], [0, -1, 0]], float), np.zeros(3))

CARD = f"""# UTD-MHAD

27 actions, 8 subjects, 4 trials each: one inertial sensor, Kinect skeleton, its 2D projection, depth video of some clips,
text. Written by `shards/utd_mhad.py` of aura.

Source: {PAGE}. Licence: {LICENCE}.
C. Chen, R. Jafari, N. Kehtarnavaz, "UTD-MHAD: A multimodal dataset for human action recognition utilizing a depth camera
and a wearable inertial sensor", ICIP 2015.

Splits: subjects 1, 3, 5, 7 train (or val, as asked for), subjects 2, 4, 6, 8 test.

Known: the sensor reads gravity about 4 % high; some clips touch its range of 8 g and 1000 deg/s; the camera drops frames
unevenly and unrecorded, so both clocks agree at the ends of a clip only; images and 2D poses are mirrored as published.
The last two wordings of each action have kind `paraphrase`: kept apart for prompts.
"""


@dataclass(frozen=True)
class Recording:
    """One trial and its files; `skeleton` and `depth` may be absent."""

    action: int
    subject: int
    trial: int
    split: str
    inertial: SourceFile | None
    skeleton: SourceFile | None
    depth: SourceFile | None

    @property
    def id(self) -> str:
        return f"a{self.action:02d}_s{self.subject}_t{self.trial}"


def samples_of(recording: Recording) -> Iterator[tuple[str, Sample] | Dropped]:
    """The trial as one sample, or why it is none."""
    if recording.inertial is None:
        yield Dropped("no inertial file: its length gives the clock of the clip")
        return
    action = ACTIONS[recording.action - 1]
    raw = load(recording.inertial, "d_iner", (None, 6))
    duration = len(raw) / IMU_HZ
    imu = raw * np.array([GRAVITY] * 3 + [np.pi / 180] * 3)
    sensor = {
        "placement": "right wrist" if recording.action <= 21 else "right thigh",
        "channels": ["acc", "gyro"],
        "virtual": False,
        "range": [ACC_RANGE, GYRO_RANGE],
    }
    streams: dict[str, dict] = {
        "imu": {"rate_hz": IMU_HZ, "start_s": 0.5 / IMU_HZ, "length": len(imu), "sensors": [sensor]}
    }
    arrays: dict[str, np.ndarray | bytes] = {"imu": imu[None].astype(np.float32)}
    if recording.skeleton is not None:
        joints = world(load(recording.skeleton, "d_skel", (20, 3, None)))
        clock = camera_clock(len(joints), duration)
        streams["mocap"] = {**clock, "skeleton": "kinect20"}
        arrays["mocap"] = joints.astype(np.float32)
        streams["pose2d"] = {**clock, "skeleton": "kinect20", "camera": CAMERA.intrinsics()}
        arrays["pose2d"] = project(joints, CAMERA).astype(np.float32)
    if recording.depth is not None:
        frames = grey(load(recording.depth, "d_depth", (240, 320, None)))
        streams["video_depth"] = {**camera_clock(len(frames), duration), "camera": CAMERA.intrinsics()}
        arrays["video_depth"] = encode_h264(frames, streams["video_depth"]["rate_hz"])
    yield (
        recording.split,
        Sample(
            id=recording.id,
            dataset=DATASET,
            recording=recording.id,
            session=f"s{recording.subject}",
            subject=f"s{recording.subject}",
            duration_s=duration,
            licence=LICENCE,
            labels={"activity": action.name},
            texts=spoken(action, 0.0, duration),
            streams=streams,
            arrays=arrays,
        ),
    )


def camera_clock(frames: int, duration_s: float) -> dict:
    """Clock of a stream of the camera, which starts and ends with the clip.

    The rate is fitted to the clip's length by the IMU's clock. `clock_hz` keeps the camera's own count: a model that is
    given speeds by it learns nothing of the other device's clip length, which alone would find a third of the clips.
    """
    rate = frames / duration_s
    return {"rate_hz": rate, "start_s": 0.5 / rate, "length": frames, "clock_hz": CAMERA_HZ}


def world(d_skel: np.ndarray) -> np.ndarray:
    """Joints (T, 20, 3) in the world, z up, of the file's (20, 3, T) in the Kinect's frame."""
    x, y, z = d_skel.transpose(1, 2, 0)
    return np.stack([x, -z, y], axis=-1)


def grey(d_depth: np.ndarray) -> np.ndarray:
    """Frames (T, 240, 320, 3) uint8 of depth (240, 320, T) in millimetres; 0 stays 0."""
    depth = d_depth.transpose(2, 0, 1).astype(np.float32)
    level = np.clip(np.rint(255 - (depth - 1000) * (254 / 4000)), 1, 255)
    return np.repeat(np.where(depth == 0, 0, level).astype(np.uint8)[..., None], 3, axis=-1)


def load(file: SourceFile, variable: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """A variable of a `.mat` file; ValueError, naming the file, where it is absent, of another shape or not finite."""
    data = io.BytesIO(file.read())
    try:
        found = scipy.io.loadmat(data, variable_names=[variable])
    except Exception as error:  # scipy raises many kinds for damaged files
        raise ValueError(f"{file.name} cannot be read as a .mat file: {error}") from error
    if variable not in found:
        raise ValueError(f"{file.name} has no variable {variable!r}")
    values = np.asarray(found[variable])
    fits = values.ndim == len(shape) and all(s in (None, n) for s, n in zip(shape, values.shape)) and values.size
    if not fits:
        raise ValueError(f"{file.name}: {variable} has shape {values.shape}, expected {shape} (None: any length)")
    if not np.isfinite(values).all():
        raise ValueError(f"{file.name}: {variable} holds values that are not finite")
    return values


def plan(found: Iterable[SourceFile], val_subjects: Iterable[int] = ()) -> list[Recording]:
    """Recordings in order, with their splits: odd subjects train or val, even subjects test.

    ShardError where there are none, a file is there twice, or a subject cannot be in val.
    """
    trials: dict[tuple[int, int, int], dict[str, SourceFile]] = {}
    for file in found:
        parts = MATS.fullmatch(file.name.rpartition("/")[2])
        if parts is None:
            continue
        action, subject, trial, kind = parts.groups()
        if not 1 <= int(action) <= len(ACTIONS):
            raise ShardError(f"{file.name}: there is no action {action}, only 1 to {len(ACTIONS)}")
        kinds = trials.setdefault((int(action), int(subject), int(trial)), {})
        if kind in kinds:
            raise ShardError(f"{file.name} is there twice, also as {kinds[kind].name}: keep one of them")
        kinds[kind] = file
    if not trials:
        raise ShardError(
            "the source holds neither files such as a1_s1_t1_inertial.mat nor archives of them: download the archives"
            f" Inertial, Skeleton and (if wanted) Depth of UTD-MHAD from {PAGE} and give their folder as --source"
        )
    val = set(val_subjects)
    if any(subject % 2 == 0 for subject in val):
        raise ShardError(f"validation subjects {sorted(val)}: even subjects are the test split, choose odd ones")
    return [
        Recording(
            *key,
            split="test" if key[1] % 2 == 0 else "val" if key[1] in val else "train",
            inertial=kinds.get("inertial"),
            skeleton=kinds.get("skeleton"),
            depth=kinds.get("depth"),
        )
        for key, kinds in sorted(trials.items())
    ]


def run(source: Path, out: Path, *, val_subjects: tuple[int, ...] = (), limit: int | None = None, **how) -> dict:
    """Converts a folder as the publisher ships it; `how` goes to `shards.common.convert`. Gives the manifest."""
    with tempfile.TemporaryDirectory(prefix="utd_mhad_") as cache:
        recordings = plan(files(source, (".mat",), Path(cache)), val_subjects)[:limit]
        arguments = {"val_subjects": list(val_subjects), "limit": limit}
        return convert(DATASET, recordings, samples_of, out, card=CARD, arguments=arguments, **how)


def main() -> None:
    p = parser(DATASET, "Shards of UTD-MHAD from its raw .mat files or the archives of them.")
    p.add_argument("--val-subjects", default="", help="odd subjects to put into the val split, such as 3,7")
    args = p.parse_args()
    if args.source is None:
        p.error(f"--source: give the folder with the archives of UTD-MHAD; they are at {PAGE}")
    val = numbers_of(p, "--val-subjects", args.val_subjects)
    with exit_on_fault(p):
        run(args.source, args.out, val_subjects=val, limit=args.limit, **how_of(args))


if __name__ == "__main__":
    main()

"""Shards of a synthetic human: every stream, exact ground truth, nothing to download.

    python -m shards.synthetic --out DIR [--subjects 24] [--val-subjects 8] [--test-subjects 1]
        [--clips-per-activity 2] [--seconds 5] [--seed 0] [--no-video] [--wide] [--workers 2]

A body of random size moves by joint-angle curves of an activity (`synthetic_activities`), in the tempo, size and habits of
its subject. From that one motion come mocap, the IMUs (`aura.body.virtual_imu`, with a mounting of each clip's own, bias
and noise), 2D pose and drawn video through the clip's camera, and text. Each subject is in one split only. Everything
about a clip is drawn from (seed, subject, repetition, activity): the bytes do not depend on the number of workers.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from aura.body import kinematics as kin
from aura.body.cameras import Camera, look_at, project
from aura.body.virtual_imu import GRAVITY, imperfect, virtual_imu
from aura.data.sample import Sample
from aura.data.video import encode_h264
from shards.common import convert, exit_on_fault, how_of, parser
from shards.synthetic_body import (
    SENSORS,
    WIDE_SENSORS,
    Pose,
    Sensors,
    Subject,
    draw,
    make_subject,
    pose,
    wall_colour,
)
from shards.synthetic_everyday_words import EVERYDAY
from shards.synthetic_motions import Motion, idle, pauses, react
from shards.synthetic_words import ACTIVITIES, Activity

DATASET = "synthetic"
SIMULATED_HZ, IMU_HZ, MOCAP_HZ, POSE_HZ, VIDEO_FPS = 100, 50, 50, 25, 10
POSE_PIXELS = 480
ACC_RANGE, GYRO_RANGE = 16 * GRAVITY, float(np.radians(2000))
TEMPO = {"slow": (0.72, "slowly"), "normal": (1.0, "at a normal pace"), "fast": (1.35, "quickly")}

CARD = """# A synthetic human: {activities} activities

Made by `shards/synthetic.py` of aura: a procedural body, no recording of anyone. Licence: CC0-1.0.

Streams: `imu` ({sensors} virtual sensors: specific force and angular velocity, mounted anew in each clip, with bias and
noise), `mocap` (`kinect20`), `pose2d` (`coco17`, noise of half a pixel), `video` (the drawn body) and text.
Subjects differ in size, tempo, size of movement, habits and handedness; each is in one split only.
"""


@dataclass(frozen=True)
class Settings:
    """What decides the shards, with the seed.

    without  names of activities that are left out; the clips of the others stay as they are
    wide    all activities and sensors, in clips of any length from 2 s (changes of posture: 1.5 s) to `seconds`, in which a
            movement may begin late, end early or pause
    """

    seed: int = 0
    seconds: float = 5.0
    video: bool = True
    orientation: bool = False
    video_pixels: int = 96
    wide: bool = False
    without: tuple[str, ...] = ()

    @property
    def sensors(self) -> Sensors:
        return WIDE_SENSORS if self.wide else SENSORS

    @property
    def activities(self) -> dict[str, Activity]:
        known = ACTIVITIES | EVERYDAY if self.wide else ACTIVITIES
        return {name: activity for name, activity in known.items() if name not in self.without}


@dataclass(frozen=True)
class Recording:
    """All activities once, by one subject."""

    subject: int
    repetition: int
    split: str

    @property
    def id(self) -> str:
        return f"s{self.subject:03d}_r{self.repetition}"


def plan(train: int, val: int, test: int, repetitions: int) -> list[Recording]:
    """Recordings of all subjects, the splits' subjects one after another."""
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    return [Recording(subject, r, split) for subject, split in enumerate(splits) for r in range(repetitions)]


def samples_of(recording: Recording, settings: Settings) -> Iterator[tuple[str, Sample]]:
    """One sample for each activity."""
    person = make_subject(f"s{recording.subject:03d}", np.random.default_rng([settings.seed, recording.subject]))
    for name, activity in settings.activities.items():
        # By the activity's name, so that a new activity changes no clip of the others.
        key = [settings.seed, recording.subject, recording.repetition, zlib.crc32(name.encode())]
        yield (
            recording.split,
            clip(f"{recording.id}_{name}", person, name, activity, np.random.default_rng(key), settings),
        )


def clip(
    key: str, subject: Subject, name: str, activity: Activity, rng: np.random.Generator, settings: Settings
) -> Sample:
    """One sample: `subject` doing `activity` for `settings.seconds`, or, with `settings.wide`, for less."""
    if settings.wide:
        seconds = rng.uniform(1.5 if activity.once else 2.0, settings.seconds)
        settings = replace(settings, seconds=math.floor(seconds * VIDEO_FPS) / VIDEO_FPS)
    tempo = list(TEMPO)[rng.integers(3)]
    usual, other = ("right", "left") if subject.right_handed else ("left", "right")
    side = usual if rng.random() < 0.75 else other
    # Simulated a little longer at both ends: the ends of smoothed curves and of splines are less exact.
    margin = 0.25
    t = np.arange(round((settings.seconds + 2 * margin) * SIMULATED_HZ)) / SIMULATED_HZ
    motion = Motion(
        t, rng, subject.tempo * TEMPO[tempo][0] * rng.uniform(0.93, 1.07), subject.amp * rng.uniform(0.85, 1.15)
    )
    if settings.wide:  # few do things with vigour when they are told to
        motion.tempo *= rng.uniform(0.65, 1.1)
        motion.amp *= rng.uniform(0.7, 1.15)
    idle(motion)
    motion.add(**subject.habit)
    standing = dict(motion.curves)
    activity.move(motion)
    if settings.wide:
        if not activity.once:
            pauses(motion, standing)
        react(motion)
    give_s = rng.uniform(0.05, 0.08) if settings.wide else 0.0
    body = pose(subject, motion, side, heading_deg=rng.uniform(0, 360), give_s=give_s)
    start, length = round(margin * SIMULATED_HZ), round(settings.seconds * SIMULATED_HZ)

    imu, orientation = measure(body, rng, settings.sensors)
    cut = slice(round(margin * IMU_HZ), round((margin + settings.seconds) * IMU_HZ))
    streams: dict[str, dict] = {}
    arrays: dict[str, np.ndarray | bytes] = {"imu": imu[:, cut]}
    sensors = [
        {"placement": p, "channels": ["acc", "gyro"], "virtual": True, "range": [ACC_RANGE, GYRO_RANGE]}
        for p in settings.sensors
    ]
    streams["imu"] = {"rate_hz": IMU_HZ, "start_s": 0.0, "length": imu[:, cut].shape[1], "sensors": sensors}
    if settings.orientation:
        arrays["orientation"] = orientation[:, cut]

    def frames(rate: int) -> Pose:
        index = slice(start, start + length, SIMULATED_HZ // rate)
        return Pose(body.positions[index], body.orientations[index], body.height)

    joints = frames(MOCAP_HZ).kinect20()
    arrays["mocap"] = (joints + 0.002 * rng.standard_normal(joints.shape)).astype(np.float32)
    streams["mocap"] = {"rate_hz": MOCAP_HZ, "start_s": 0.0, "length": len(joints), "skeleton": "kinect20"}

    camera = viewpoint(body, rng, POSE_PIXELS)
    arrays["pose2d"] = seen(frames(POSE_HZ).coco17(), camera, rng)
    entry = {"rate_hz": POSE_HZ, "start_s": 0.0, "length": len(arrays["pose2d"])}
    streams["pose2d"] = {**entry, "skeleton": "coco17", "camera": camera.intrinsics()}
    background = wall_colour(rng)
    if settings.video:
        small = resized(camera, settings.video_pixels)
        images = draw(frames(VIDEO_FPS), subject, small, background)
        arrays["video"] = encode_h264(images, VIDEO_FPS)
        entry = {"rate_hz": VIDEO_FPS, "start_s": 0.0, "length": len(images)}
        streams["video"] = {**entry, "camera": small.intrinsics()}

    labels = {"activity": name, "side": side if activity.sided else "both", "tempo": tempo}
    return Sample(
        id=key,
        dataset=DATASET,
        recording=key,
        session=subject.name,
        subject=subject.name,
        duration_s=settings.seconds,
        licence="CC0-1.0",
        labels=labels,
        texts=[
            {"text": s, "start_s": 0.0, "end_s": settings.seconds, "kind": k} for k, s in words(activity, side, tempo)
        ],
        streams=streams,
        arrays=arrays,
    )


def measure(body: Pose, rng: np.random.Generator, worn: Sensors) -> tuple[np.ndarray, np.ndarray]:
    """IMU (S, T, 6) and orientation (S, T, 4), float32 at `IMU_HZ`, of all sensors, mounted at random.

    A sensor is turned about its limb by any angle (a strap is put on somehow) and tilted by some 20 degrees.
    """
    place, segments, axes, lever = body.sensors(worn)
    count = len(axes)
    strap = kin.from_axis_angle([1, 0, 0], rng.uniform(-np.pi, np.pi, count))
    tilt = kin.from_rotation_vector(np.radians(20) * rng.standard_normal((count, 3)))
    slip = lever + 0.01 * rng.standard_normal((count, 3))
    mounting = kin.multiply(axes, kin.multiply(strap, tilt))
    imu, orientation = virtual_imu(place, segments, SIMULATED_HZ, mounting=mounting, lever_m=slip, out_rate_hz=IMU_HZ)
    imu = imperfect(
        imu,
        rng,
        acc_noise=0.08,
        gyro_noise=0.01,
        acc_bias=0.15 * rng.standard_normal((count, 3)),
        gyro_bias=0.02 * rng.standard_normal((count, 3)),
        acc_range=ACC_RANGE,
        gyro_range=GYRO_RANGE,
    )
    return imu.swapaxes(0, 1).astype(np.float32), orientation.swapaxes(0, 1).astype(np.float32)


def viewpoint(body: Pose, rng: np.random.Generator, pixels: int) -> Camera:
    """A camera that looks at the body from its front half, a few metres away."""
    pelvis = body.positions[:, 0].mean(0)
    forward = kin.rotate(body.orientations[0, 0], [1.0, 0, 0])
    azimuth = np.arctan2(forward[1], forward[0]) + np.radians(rng.uniform(-25, 25))
    elevation, distance = np.radians(rng.uniform(2, 10)), rng.uniform(3.3, 3.7)
    direction = [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
    target = pelvis + np.array([*rng.uniform(-0.05, 0.05, 2), 0.08])
    return look_at(target + distance * np.array(direction), target, width=pixels, height=pixels, fov_deg=40)


def resized(camera: Camera, pixels: int) -> Camera:
    """The same view in an image of another size (pixel centres at whole numbers)."""
    scale = pixels / camera.width
    cx, cy = ((c + 0.5) * scale - 0.5 for c in (camera.cx, camera.cy))
    return Camera(pixels, pixels, camera.fx * scale, camera.fy * scale, cx, cy, camera.rotation, camera.position)


def seen(points: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """pose2d (T, J, 3) float32 as a detector gives it: half a pixel of noise, less sure of some points."""
    found = project(points, camera)
    noise = 0.5 * rng.standard_normal(found[..., :2].shape)
    sure = np.clip(0.95 - np.abs(0.05 * rng.standard_normal(found.shape[:2])), 0.5, 1)
    known = found[..., 2] > 0
    found[..., :2] = np.where(known[..., None], found[..., :2] + noise, 0)
    found[..., 2] = np.where(known, sure, 0)
    return found.astype(np.float32)


def words(activity: Activity, side: str, tempo: str) -> list[tuple[str, str]]:
    """(kind, text): the label, then sentences, some of which name side and tempo."""
    first, second, third = (say.format(side=side) for say in activity.says)
    plain = activity.says[0].format(side="one").replace("the one", "one")
    pace = TEMPO[tempo][1]
    return [
        ("label", activity.label),
        ("description", f"A person {first}."),
        ("description", f"A person {first} {pace}."),
        ("paraphrase", f"Someone {second}."),
        ("paraphrase", f"The subject {third}, {pace}."),
        *([("paraphrase", f"Somebody {plain}.")] if activity.sided else []),
    ]


def main() -> None:
    p = parser("synthetic", "Shards of a synthetic human: nothing to download (--source is not used).")
    p.add_argument("--subjects", type=int, default=24, help="of the training split")
    p.add_argument("--val-subjects", type=int, default=8)
    p.add_argument("--test-subjects", type=int, default=1)
    p.add_argument("--clips-per-activity", type=int, default=1, help="of each subject")
    p.add_argument("--seconds", type=float, default=5.0, help="of each clip (with --wide, of the longest), at most 60")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--video", action=argparse.BooleanOptionalAction, default=True, help="drawn video")
    p.add_argument(
        "--wide",
        action="store_true",
        help=f"{len(ACTIVITIES | EVERYDAY)} activities instead of {len(ACTIVITIES)}, {len(WIDE_SENSORS)} sensors instead of"
        f" {len(SENSORS)}, clips from 1.5 s on, and movements that pause",
    )
    p.add_argument(
        "--without", nargs="+", default=[], metavar="ACTIVITY", help="leave these out, to ask for words never seen"
    )
    p.add_argument("--orientation", action="store_true", help="orientation of the sensors beside imu")
    args = p.parse_args()
    if not 2 <= args.seconds <= 60:
        p.error(f"--seconds {args.seconds:g}: a clip lasts 2 to 60 seconds")
    if args.source is not None:
        p.error("--source: the synthetic human has no source; leave it out")
    settings = Settings(
        seed=args.seed,
        seconds=args.seconds,
        video=args.video,
        orientation=args.orientation,
        wide=args.wide,
        without=tuple(args.without),
    )
    if unknown := sorted({*args.without} - (ACTIVITIES | EVERYDAY).keys()):
        p.error(f"--without {' '.join(unknown)}: the activities are {', '.join(sorted(ACTIVITIES | EVERYDAY))}")
    recordings = plan(args.subjects, args.val_subjects, args.test_subjects, args.clips_per_activity)
    with exit_on_fault(p):
        convert(
            DATASET,
            recordings[: args.limit],
            partial(samples_of, settings=settings),
            args.out,
            **how_of(args),
            card=CARD.format(sensors=len(settings.sensors), activities=len(settings.activities)),
            arguments={
                **asdict(settings),
                "subjects": [args.subjects, args.val_subjects, args.test_subjects],
                "clips_per_activity": args.clips_per_activity,
            },
        )


if __name__ == "__main__":
    main()

"""Shards of TotalCapture (Trumble et al., BMVC 2017): 13 Xsens IMUs, Vicon skeleton, eight cameras, five subjects.

    python -m shards.totalcapture --source DIR --out DIR [--cameras all|none|1,3] [--limit N] [--workers N] [--resume]

DIR holds what the publisher sends, unpacked or as archives: `.sensors` files with or without gyroscope (`AuxFields`),
`calib_imu_ref.txt`, Vicon's `gt_skel_gbl_pos.txt`, `calibration.cal`, videos.

- Clock: 60 rows a second everywhere, and row i of every file is the same moment.
- IMU: acceleration in m/s^2 with gravity, in the sensor's frame: checked by its length, since no document says so. The
  gyroscope's unit is measured against the turning of the orientations.
- World: Vicon's, inches and y up become metres and z up: (x, y, z) -> (x, -z, y). Orientations are brought there by
  `calib_imu_ref` (reference * measured); the mounting on the bone (`calib_imu_bone`) is not applied: they are the sensors'.
- 2D poses are Vicon's joints projected by `calibration.cal` with its distortion, not what a detector would see: their
  streams have `projected: true`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from aura.body import kinematics as kin
from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.archives import SourceFile, files_within, on_disk
from shards.clips import look
from shards.common import convert, exit_on_fault, how_of, parser
from shards.films import Film
from shards.takes import Imu, Points, Span, Take, check_upright, force_up, samples
from shards.totalcapture_files import (
    UPRIGHT,
    CalibratedCamera,
    read_calibration,
    read_cameras,
    read_joints,
    read_sensors,
)

DATASET = "totalcapture"
PAGE = "https://cvssp.org/data/totalcapture/"
LICENCE = "on request, for research alone, no redistribution; cite Trumble et al., BMVC 2017"
RATE_HZ = 60.0
SKELETON = "vicon21"
PLACEMENTS = {
    "Head": "head", "Sternum": "chest", "Pelvis": "pelvis", "L_UpArm": "left upper arm", "R_UpArm": "right upper arm",
    "L_LowArm": "left forearm", "R_LowArm": "right forearm", "L_UpLeg": "left thigh", "R_UpLeg": "right thigh",
    "L_LowLeg": "left shank", "R_LowLeg": "right shank", "L_Foot": "left foot", "R_Foot": "right foot",
}  # fmt: skip
JOINTS = (
    "Hips", "Spine", "Spine1", "Spine2", "Spine3", "Neck", "Head", "RightShoulder", "RightArm", "RightForeArm", "RightHand",
    "LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand", "RightUpLeg", "RightLeg", "RightFoot", "LeftUpLeg", "LeftLeg",
    "LeftFoot",
)  # fmt: skip
SPLITS = {4: "val", 5: "test"}
TEXTS = {
    "acting": ("a person acts out scenes of daily life",),
    "freestyle": ("a person moves freely and varied",),
    "rom": ("a person moves all joints through their range of motion",),
    "walking": ("a person walks around",),
}
LABELS = {"rom": "range of motion"}
SEQUENCE = r"(acting|freestyle|rom|walking|running)(\d+)"
# By kind: a pattern of (subject, activity, number and, for videos, camera); the subject's folder may be any above.
NAMES = {
    "aux": re.compile(rf"(?:^|/)s(\d)/(?:.*/)?(?:s\d_)?{SEQUENCE}_xsens_auxfields\.sensors"),
    "sensors": re.compile(rf"(?:^|/)s(\d)_{SEQUENCE}_xsens\.sensors"),
    "reference": re.compile(rf"(?:^|/)s(\d)_{SEQUENCE}_calib_imu_ref\.txt"),
    "vicon": re.compile(rf"(?:^|/)s(\d)/(?:.*/)?{SEQUENCE}/gt_skel_gbl_pos\.txt"),
    "video": re.compile(rf"(?:^|/)tc_s(\d)_{SEQUENCE}_cam(\d)\.mp4"),
}
NORM = (8.5, 12.0)  # m/s^2: median force on a sensor of a person who moves
TURNING = 0.1  # rad/s: orientations that turn by less do not tell the gyroscope's unit
RATE_OFF = 0.002  # share by which a video's rate may differ: 59.94 is 60
UNIT_OFF = 0.25  # share by which the gyroscope may differ from the turning of orientations

CARD = f"""# TotalCapture

Five subjects, acting, freestyle, range of motion and walking: 13 inertial sensors at 60 Hz, skeleton by Vicon, its
projections to the calibrated cameras, video where it was given, text. Written by `shards/totalcapture.py` of aura.

Source: {PAGE}. Licence: {LICENCE}.
M. Trumble, A. Gilbert, C. Malleson, A. Hilton, J. Collomosse, "Total Capture: 3D Human Pose Estimation Fusing Video and
Inertial Sensors", BMVC 2017.

Splits: by subject, as in MoBind: S1 to S3 train, S4 val, S5 test. The publisher's protocol for pose estimation is another
one: trained on rom1-3, walking1, walking3, freestyle1, freestyle2, acting1 and acting2 of S1 to S3, tested on walking2,
freestyle3 and acting3 of all subjects, seen (S1 to S3) and unseen (S4, S5); choose by the label `sequence` to follow it.

Streams: `imu`, `orientation`, `mocap`, `pose2d` (camera 1), `pose2d_cam2` ... (`projected: true`: confidence 1 inside the
image, whatever is in the way), `video`, `video_cam2` ... at 10 frames a second. A `camera` tells the pinhole part of a
calibration: the radial distortion of the pictures is in `calibration.cal` alone.

Not taken over: magnetic field, Vicon's joint orientations, mountings on the bones, foreground masks, BVH copies.
"""

T = TypeVar("T")


@dataclass(frozen=True)
class Recording:
    """One sequence of one subject and its files: by kind, videos by camera."""

    subject: int
    activity: str
    number: str
    files: dict[str, SourceFile] = field(default_factory=dict)
    video: dict[int, SourceFile] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"s{self.subject}_{self.activity}{self.number}"


def samples_of(
    recording: Recording, cameras: dict[int, CalibratedCamera] | None
) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of one sequence, of what is there of it; `cameras` None: there is no calibration.

    ValueError where units or axes are not those that this converter knows.
    """
    imu, notes = read_imu(recording)
    yield from notes
    mocap, notes = read_mocap(recording)
    yield from notes
    lengths = [0 if mocap is None else len(mocap), 0 if imu is None else imu.values.shape[1]]
    frames = max(lengths)
    if not frames:
        yield Dropped(f"{recording.id}: neither sensors nor Vicon could be read")
        return
    if 0 < min(lengths) < frames:
        seconds = (frames - min(lengths)) / RATE_HZ
        yield Dropped(
            f"{recording.id}: Vicon has {lengths[0]} frames, the sensors {lengths[1]}; taken to begin together", seconds
        )
    label = LABELS.get(recording.activity, recording.activity)
    texts = (("label", label), *(("description", text) for text in TEXTS.get(recording.activity, ())))
    if imu is not None:
        turns = None if imu.orientation is None else _longer(imu.orientation, 1, frames)
        imu = replace(imu, values=_longer(imu.values, 1, frames), orientation=turns)
    poses = {}
    if mocap is not None:
        mocap = _longer(mocap, 0, frames)
        if cameras is None:
            yield Dropped("sequences without 2D poses: there is no calibration.cal")
        for number, camera in (cameras or {}).items():
            about = {"skeleton": SKELETON, "camera": camera.pinhole.intrinsics(), "projected": True}
            poses[_stream("pose2d", number)] = Points(camera.project(mocap), about)
    with tempfile.TemporaryDirectory(prefix="totalcapture_") as folder:
        films = {}
        for number, file in sorted(recording.video.items()):
            inner = cameras[number].pinhole.intrinsics() if cameras and number in cameras else {}
            try:
                path = on_disk(file, Path(folder))
                found = look(path)
            except ValueError as error:
                yield Dropped(f"{recording.id}: video left out: {error}")
                continue
            if abs(found.rate_hz / RATE_HZ - 1) > RATE_OFF:
                rate = f"{path.name} has {found.rate_hz:.4g} frames a second, not {RATE_HZ:g}"
                yield Dropped(f"{recording.id}: video left out: {rate}: nothing says which frame is of which row")
                continue
            if found.frames != frames:
                yield Dropped(
                    f"{recording.id}: {path.name} has {found.frames} frames for {frames} rows; taken to begin together",
                    abs(found.frames - frames) / RATE_HZ,
                )
            films[_stream("video", number)] = Film(path, intrinsics=inner)
        yield from samples(
            Take(
                split=SPLITS.get(recording.subject, "train"),
                times=np.arange(frames) / RATE_HZ,
                rate_hz=RATE_HZ,
                about={
                    "dataset": DATASET,
                    "recording": recording.id,
                    "session": f"s{recording.subject}",
                    "subject": f"s{recording.subject}",
                    "licence": LICENCE,
                },
                imu=imu,
                mocap=None if mocap is None else Points(mocap, {"skeleton": SKELETON}),
                poses=poses,
                films=films,
                spans=[
                    Span(0, frames, {"activity": label, "sequence": f"{recording.activity}{recording.number}"}, texts)
                ],
            )
        )


def _stream(kind: str, camera: int) -> str:
    return kind if camera == 1 else f"{kind}_cam{camera}"


def _longer(values: np.ndarray, axis: int, count: int) -> np.ndarray:
    """NaN after the end."""
    widths = [(0, 0)] * values.ndim
    widths[axis] = (0, count - values.shape[axis])
    return np.pad(values, widths, constant_values=np.nan)


def _read(recording: Recording, kind: str, read: Callable[[str], T]) -> tuple[T | None, list[Dropped]]:
    """A file of a sequence, None with the reason where it is absent or damaged."""
    if kind not in recording.files:
        return None, []
    file = recording.files[kind]
    try:
        return read(file.read().decode("ascii")), []
    except (ValueError, ShardError) as error:
        return None, [Dropped(f"{file.name}: left out: {error}")]


def read_mocap(recording: Recording) -> tuple[np.ndarray | None, list[Dropped]]:
    """Joints (n, 21, 3), metres, z up. ValueError where people do not stand upright in them."""
    found, notes = _read(recording, "vicon", lambda text: read_joints(text, JOINTS))
    if "vicon" not in recording.files:
        notes.append(Dropped(f"{recording.id}: no Vicon file, used without"))
    if found is None:
        return None, notes
    joints, cut = found
    if cut:
        notes.append(Dropped("Vicon lines that are cut or damaged", cut / RATE_HZ, cut))
    if not len(joints):
        return None, notes
    check_upright(joints, SKELETON)
    return joints, notes


def read_imu(recording: Recording) -> tuple[Imu | None, list[Dropped]]:
    """The sensors of a sequence, orientation in Vicon's world (z up), and what was left out. The file with gyroscope first.

    ValueError where accelerations are not in m/s^2 with gravity, or the gyroscope's unit is none.
    """
    notes: list[Dropped] = []
    found = None
    for kind in ("aux", "sensors"):
        if found is None:
            found, more = _read(recording, kind, read_sensors)
            notes += more
    if found is None:
        what = "no sensor file could be read" if notes else "no sensor file"
        return None, [*notes, Dropped(f"{recording.id}: {what}, used without")]
    if found.said != found.frames:
        notes.append(
            Dropped(
                f"{recording.id}: the sensor file says {found.said} frames and has {found.frames}",
                max(found.said - found.frames, 0) / RATE_HZ,
            )
        )
    if found.bad_lines:
        notes.append(Dropped("lines of sensor files that are cut or damaged", count=found.bad_lines))
    if found.late:
        notes.append(Dropped("frames of sensor files out of order: put in order", count=found.late))
    names = [name for name in PLACEMENTS if name in found.values]
    absent = [name for name in PLACEMENTS if name not in found.values]
    strange = sorted(set(found.values) - set(PLACEMENTS))
    if absent or strange:
        notes.append(Dropped(f"{recording.id}: sensors missing: {absent}, unknown and left out: {strange}"))
    if not names:
        return None, notes
    rows = np.stack([found.values[name] for name in names])
    norm = float(np.nanmedian(np.linalg.norm(rows[..., 4:7], axis=-1)))
    if not NORM[0] < norm < NORM[1]:
        raise ValueError(
            f"the median length of the accelerations is {norm:.3g}: not m/s^2 with gravity, as they are known to be"
        )
    gyro, note = gyroscope(rows)
    notes += [Dropped(f"{recording.id}: {note}")] if note else []
    channels = ["acc"] if gyro is None else ["acc", "gyro"]
    sensors = [
        {"placement": PLACEMENTS[name], "channels": channels, "virtual": False, "range": [0.0, 0.0]} for name in names
    ]
    values = np.concatenate([rows[..., 4:7], np.zeros_like(rows[..., :3]) if gyro is None else gyro], axis=-1)
    imu = Imu(values, sensors)
    reference, more = _read(recording, "reference", read_calibration)
    notes += more
    if reference is None or not set(names) <= set(reference):
        return imu, [*notes, Dropped(f"{recording.id}: no orientation: calib_imu_ref lacks sensors or is not there")]
    to_world = kin.multiply(kin.from_matrix(UPRIGHT), np.stack([reference[name] for name in names]))
    turned = replace(imu, orientation=kin.multiply(to_world[:, None], rows[..., :4]))
    up = force_up(turned)
    if not (up > 0.8).all():
        cosines = ", ".join(f"{name} {cosine:.2f}" for name, cosine in zip(names, up))
        return imu, [*notes, Dropped(f"{recording.id}: orientation left out, it does not turn gravity up ({cosines})")]
    return turned, notes


def gyroscope(rows: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Angular velocity (S, n, 3) in rad/s of rows (S, n, 13), or None and why.

    Its unit is that in which it is as fast as the orientations turn. ValueError where that is neither radians nor degrees.
    """
    if rows.shape[-1] < 13:
        return None, ""
    step = kin.multiply(kin.conjugate(rows[:, :-1, :4]), rows[:, 1:, :4])
    turning = 2 * np.arctan2(np.linalg.norm(step[..., 1:], axis=-1), np.abs(step[..., 0])) * RATE_HZ
    speed = np.linalg.norm(rows[:, 1:, 7:10] + rows[:, :-1, 7:10], axis=-1) / 2
    good = np.isfinite(turning) & np.isfinite(speed) & (turning > TURNING)
    if good.sum() < RATE_HZ:
        return None, "gyroscope left out: hardly anything turns, so its unit cannot be measured"
    ratio = float(np.median(speed[good] / turning[good]))
    for scale in (1.0, np.pi / 180):
        if abs(ratio * scale - 1) < UNIT_OFF:
            return rows[..., 7:10] * scale, ""
    raise ValueError(f"the gyroscope is {ratio:.3g} times as fast as the orientations turn: neither rad/s nor deg/s")


def plan(found: Sequence[SourceFile]) -> list[Recording]:
    """Recordings in order. ShardError where there are none, or a file is there twice."""
    recordings: dict[str, Recording] = {}
    for file in found:
        for kind, pattern in NAMES.items():
            parts = pattern.search(file.name.lower())
            if not parts:
                continue
            subject, activity, number, *camera = parts.groups()
            made = Recording(int(subject), activity, number)
            recording = recordings.setdefault(made.id, made)
            here: dict = recording.video if camera else recording.files
            key = int(camera[0]) if camera else kind
            if key in here:
                raise ShardError(f"{file.name} is there twice, also as {here[key].name}: keep one of them")
            here[key] = file
            break
    if not recordings:
        raise ShardError(
            "the source holds no files such as s1/s1_walking1_Xsens.sensors or S1/walking1/gt_skel_gbl_pos.txt: ask for"
            f" TotalCapture at {PAGE} and give its folder as --source"
        )
    return [recordings[name] for name in sorted(recordings)]


def calibrated(found: Sequence[SourceFile], cameras: str) -> dict[int, CalibratedCamera] | None:
    """The chosen cameras by number, None where there is no calibration. ShardError where it or the choice cannot be."""
    files = [file for file in found if file.name.lower().endswith("calibration.cal")]
    if not files:
        return None
    if len(files) > 1:
        raise ShardError(f"{files[1].name} is there twice, also as {files[0].name}: keep one of them")
    try:
        known = dict(enumerate(read_cameras(files[0].read().decode("ascii")), 1))
    except ValueError as error:
        raise ShardError(f"{files[0].name} {error}") from error
    wanted = list(known) if cameras == "all" else _numbers(cameras)
    absent = [number for number in wanted if number not in known]
    if absent:
        raise ShardError(f"--cameras {cameras}: there is no camera {absent[0]}, only {', '.join(map(str, known))}")
    return {number: known[number] for number in wanted}


def _numbers(cameras: str) -> list[int]:
    words = [] if cameras == "none" else [word.strip() for word in cameras.split(",")]
    if not all(word.isdigit() for word in words):
        raise ShardError(f"--cameras {cameras}: give all, none, or numbers such as 1,3")
    return sorted({int(word) for word in words})


def run(source: Path, out: Path, *, cameras: str = "all", limit: int | None = None, **how) -> dict:
    """Converts the data set as its publisher ships it; `how` goes to `shards.common.convert`. Gives the manifest.

    cameras   whose 2D poses and videos are written: all, none, or numbers such as "1,3"
    """
    with tempfile.TemporaryDirectory(prefix="totalcapture_") as cache:
        endings = (".sensors", "_calib_imu_ref.txt", "gt_skel_gbl_pos.txt", "calibration.cal", ".mp4")
        found = files_within(source, endings, Path(cache))
        known = calibrated(found, cameras)
        chosen = set(range(1, 10)) if cameras == "all" else set(_numbers(cameras))
        recordings = [replace(r, video={n: f for n, f in r.video.items() if n in chosen}) for r in plan(found)[:limit]]
        arguments = {"cameras": cameras, "limit": limit}
        return convert(
            DATASET, recordings, partial(samples_of, cameras=known), out, card=CARD, arguments=arguments, **how
        )


def main() -> None:
    p = parser(DATASET, "Shards of TotalCapture from the publisher's archives or their folders.")
    p.add_argument("--cameras", default="all", help="cameras of 2D poses and videos: all, none, or numbers such as 1,3")
    args = p.parse_args()
    if args.source is None:
        p.error(f"--source: give the folder of TotalCapture; ask for it at {PAGE}")
    with exit_on_fault(p):
        run(args.source, args.out, cameras=args.cameras, limit=args.limit, **how_of(args))


if __name__ == "__main__":
    main()

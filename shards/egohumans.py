"""Shards of EgoHumans (Khirodkar et al., ICCV 2023): several people at once, synthetic IMUs of their SMPL fits, poses.

    python -m shards.egohumans --source DIR --out DIR [--cameras cam03] [--split publisher|mobind] [--limit N]
        [--workers N] [--resume]

DIR holds `01_tagging/001_tagging.tar.gz` ... as downloaded, or unpacked with `--strip-components=8`. An archive is known by its
name and opened when its sequence is converted: what is read of it (no image) lies in the temporary folder (TMPDIR) until then.

- Clock: frames from 1 on, 20 a second as MoBind takes them; no document of the data set says so.
- World: that of the first person's glasses, metres, z up: checked by the bodies' trunks.
- IMU: there are no devices. Sensors are vertices of the fitted mesh, which carry the frame of their SMPL joint
  (`virtual: true`). Ours are what an ideal device would measure there: specific force, with gravity, in the sensor's own frame,
  and angular velocity, of a motion smoothed at 5 Hz. MoBind's are accelerations in the world without gravity, second
  differences over 4 frames; its orientations are ours turned to y up.
- Someone who is not seen for over 0.1 s leaves a gap on their own clock, and others go on.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from aura.body import kinematics as kin
from aura.body.skeletons import SKELETONS
from aura.body.virtual_imu import virtual_imu
from aura.data.sample import Sample
from aura.data.writer import Dropped
from shards.common import convert, exit_on_fault, how_of, parser
from shards.egohumans_files import ACTIVITIES, PAGE, POSES3D, RATE_HZ, Recording, plan, read_frames, unpacked
from shards.signals import Settings, on_grid, runs
from shards.takes import UPRIGHT, Imu, Points, Span, Take, check_upright, samples, signed

DATASET = "egohumans"
LICENCE = "unknown: the code is Apache-2.0, the data's terms are not stated; ask the authors before use"
LOW_PASS_HZ = 5.0  # fits are made frame by frame: their jitter is blown up by the second derivative
SETTLE = 2  # frames at an end of a piece, where smoothing has no motion on one side
FEWEST = 6 + 2 * SETTLE  # frames of a piece of motion
# Placement -> vertex of the SMPL mesh, and the joint whose frame it is given.
SENSORS = {
    "left forearm": (1961, "left_elbow"),
    "right forearm": (5424, "right_elbow"),
    "left shank": (1176, "left_knee"),
    "right shank": (4662, "right_knee"),
    "head": (411, "head"),
}
TREE = SKELETONS["smpl24"]
SIZE = (3840, 2160)  # of the exo cameras' pictures
PUBLISHER = {"01": "test", "02": "test", "03": "test", "07": "val"}
SPLITS = ("publisher", "mobind")
CARD = f"""# EgoHumans

Tag, lego, fencing, basketball, volleyball, badminton and tennis of two to four people at once: synthetic IMUs at the forearms,
shins and head from the SMPL fits (`virtual: true`), orientation, 3D poses, 2D poses of exo cameras, text. Each person of a
sequence is a recording; those of a sequence share a group. Written by `shards/egohumans.py` of aura.

Source: {PAGE}. Licence: {LICENCE}. SMPL itself needs a registration; no part of it is here.
R. Khirodkar et al., "EgoHumans: An Egocentric 3D Multi-Human Benchmark", ICCV 2023.

Synthetic sensors are ideal (no noise, bias, drift, mounting) and come of the very videos whose 2D poses stand beside them: what
is learnt of this pairing says little about devices. They are specific force (gravity is in it) and angular velocity in the
sensor's frame, of a motion smoothed at {LOW_PASS_HZ:g} Hz; MoBind's are accelerations in the world, without gravity.

Known: the rate of {RATE_HZ:g} frames a second is MoBind's, not the publisher's. Nobody says who wore which glasses: a subject is a pair
of glasses in all sequences of an activity, and the same people may be in several activities. 2D poses come with confidence;
those that the publisher marks as not valid are unknown here. 3D poses are those of the first that a sequence has of
{", ".join(POSES3D)}. Not taken over: images, calibration, boxes, vertices and shapes.
"""
BY_SPLIT = {
    "publisher": "Splits: by activity; tagging, legoassemble, fencing test, as in the publisher's benchmark, tennis val.",
    "mobind": "Splits: MoBind's, by sequence: 001 to 004 of each activity but legoassemble test, 005 val, the rest train. The same"
    " activities, places and most likely people are in all of them: only to compare with MoBind.",
}


def split_of(recording: Recording, by: str) -> str:
    """The split of a sequence, by one of `SPLITS`."""
    if by == "publisher":
        return PUBLISHER.get(recording.number, "train")
    if recording.activity == "legoassemble" or int(recording.take) > 5:
        return "train"
    return "val" if int(recording.take) == 5 else "test"


def samples_of(recording: Recording, cameras: tuple[str, ...], by: str) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of everybody in a sequence, or why there are none.

    ValueError where its archive is damaged or holds another sequence, or the world is not z up.
    """
    if recording.archive is None:
        yield from _of_files(recording, cameras, by)
        return
    with tempfile.TemporaryDirectory(prefix="egohumans_") as folder:
        yield from _of_files(unpacked(recording, cameras, Path(folder)), cameras, by)


def _of_files(recording: Recording, cameras: tuple[str, ...], by: str) -> Iterator[tuple[str, Sample] | Dropped]:
    smpl, notes = read_frames(recording, "smpl", fit_of)
    yield from notes
    if not smpl:
        yield Dropped(f"{recording.id}: no SMPL fit could be read, left out")
        return
    first, last = min(smpl), max(smpl)
    frames = last - first + 1
    where, found = next(((f, recording.files[f]) for f in POSES3D if f in recording.files), ("", {}))
    poses3d, notes = (
        read_frames(recording, where, joints_of) if found else ({}, [Dropped(f"{recording.id}: no 3D poses")])
    )
    yield from notes
    poses2d = {}
    for camera in cameras:
        folder = f"poses2d/{camera}/rgb"
        if folder not in recording.files:
            yield Dropped(f"{recording.id}: no 2D poses of {camera}")
            continue
        poses2d[camera], notes = read_frames(recording, folder, points_of)
        yield from notes
    name, description = ACTIVITIES.get(recording.activity, (recording.activity, ""))
    texts = (("label", name), *([("description", description)] if description else []))
    for person in sorted({str(who) for people in smpl.values() for who in people}):
        imu, notes = sensors_of(smpl, person, first, frames)
        yield from notes
        if imu is None:
            continue
        mocap = None
        if poses3d:
            mocap = np.full((frames, 17, 3), np.nan)
            for frame, people in poses3d.items():
                if person in people and first <= frame <= last:
                    mocap[frame - first] = people[person]
            check_upright(mocap, "coco17")
        yield from samples(
            Take(
                split=split_of(recording, by),
                times=np.arange(frames) / RATE_HZ,
                rate_hz=RATE_HZ,
                about={
                    "dataset": DATASET,
                    "recording": f"{recording.id}_{person}",
                    "session": f"{recording.number}_{recording.activity}",
                    "subject": f"{recording.number}_{recording.activity}_{person}",
                    "group": recording.id,
                    "licence": LICENCE,
                },
                imu=imu,
                mocap=None if mocap is None else Points(mocap, {"skeleton": "coco17"}),
                poses=dict(_points(poses2d, cameras, person, first, frames)),
                spans=[Span(0, frames, {"activity": name}, texts)],
            )
        )


def sensors_of(
    smpl: Mapping[int, Mapping[str, tuple]], person: str, first: int, frames: int
) -> tuple[Imu | None, list[Dropped]]:
    """The synthetic sensors of a person on all frames, NaN where there is no motion of them, and what was filled or cut.

    smpl   frame -> person -> `fit_of` that
    ValueError where the trunk does not point up in the world.
    """
    places = np.full((len(SENSORS), frames, 3), np.nan)
    turns = np.full((len(SENSORS), frames, 4), np.nan)
    trunk = []
    for frame, people in smpl.items():
        if person in people:
            places[:, frame - first], turns[:, frame - first], root = people[person]
            trunk.append(kin.rotate(root, [0.0, 1.0, 0.0]))
    up = np.median(trunk, axis=0)
    if up[2] < UPRIGHT:
        raise ValueError(
            f"{person}: the trunks of the SMPL fits point along {up.round(2).tolist()}, not up (0, 0, 1): the world's axes are"
            " not those that this converter knows"
        )
    settings, notes = Settings(), []
    times, longest = np.arange(frames) / RATE_HZ, settings.gap_s + 1.1 / RATE_HZ
    rows = np.stack([np.concatenate([place, signed(turn)], axis=1) for place, turn in zip(places, turns)])
    known = np.flatnonzero(np.isfinite(rows).all((0, 2)))
    there = np.full((frames, 1), np.nan)
    there[known] = 1.0
    _, live, filled = on_grid(times, there, times, RATE_HZ, longest)
    filled &= live
    if filled.any():
        count = int(filled.sum())
        notes.append(
            Dropped(
                f"frames without a fit: gaps of up to {settings.gap_s:g} s filled by a cubic", count / RATE_HZ, count
            )
        )
    motion = np.full((frames, len(SENSORS), 7), np.nan)
    if len(known) >= FEWEST:
        # A cubic: a straight line has corners, at which the second derivative jumps.
        motion[live] = CubicSpline(known, np.swapaxes(rows, 0, 1)[known])(np.flatnonzero(live))
    force = np.full((len(SENSORS), frames, 6), np.nan)
    frame_of = np.full((len(SENSORS), frames, 4), np.nan)
    ends = 0
    for begin, end in runs(live):
        if not live[begin]:
            continue
        if end - begin < FEWEST:
            notes.append(Dropped(f"motion of fewer than {FEWEST} frames", (end - begin) / RATE_HZ, end - begin))
            continue
        piece = motion[begin:end]
        imu, q = virtual_imu(piece[..., :3], kin.normalise(piece[..., 3:]), RATE_HZ, low_pass_hz=LOW_PASS_HZ)
        inner = slice(begin + SETTLE, end - SETTLE)
        force[:, inner] = imu[SETTLE:-SETTLE].swapaxes(0, 1)
        frame_of[:, inner] = q[SETTLE:-SETTLE].swapaxes(0, 1)
        ends += 2 * SETTLE
    if not np.isfinite(force).any():
        return None, [*notes, Dropped(f"{person}: no piece of motion is long enough")]
    notes.append(
        Dropped("frames at the ends of motion: no synthetic sensors, smoothing ends there", ends / RATE_HZ, ends)
    )
    sensors = [
        {"placement": name, "channels": ["acc", "gyro"], "virtual": True, "range": [0.0, 0.0]} for name in SENSORS
    ]
    return Imu(force, sensors, frame_of), notes


def fit_of(fit: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one SMPL fit the sensors' places (S, 3), metres, their frames (S, 4) and the pelvis's (4,), joint to world."""
    vertices = np.asarray(fit["vertices"], float).reshape(-1, 3)
    pose = np.concatenate([np.ravel(fit["global_orient"]), np.ravel(fit["body_pose"])]).astype(float)
    local = kin.from_rotation_vector(pose.reshape(len(TREE.joints), 3))
    still = np.zeros((len(TREE.joints), 3))
    _, turns = kin.forward_kinematics(TREE.parents, still, local[None], np.zeros((1, 3)))
    joints = [TREE.joints.index(joint) for _, joint in SENSORS.values()]
    return vertices[[vertex for vertex, _ in SENSORS.values()]], turns[0, joints], turns[0, 0]


def joints_of(pose: Any) -> np.ndarray:
    """Joints (17, 3) in metres of one 3D pose, (17, 3) or with a score (17, 4)."""
    joints = np.asarray(pose, float)
    if joints.shape not in ((17, 3), (17, 4)):
        raise ValueError(f"a 3D pose has shape {joints.shape}")
    return joints[:, :3]


def points_of(pose: Mapping[str, Any]) -> np.ndarray:
    """Points (17, 3) of one 2D pose: pixels and confidence; all 0 where the publisher marks it as not valid."""
    keypoints = np.asarray(pose["keypoints"], float)
    if keypoints.ndim != 2 or len(keypoints) < 17 or keypoints.shape[1] not in (2, 3):
        raise ValueError(f"keypoints have shape {keypoints.shape}")
    sure = keypoints[:17, 2].clip(0, 1) if keypoints.shape[1] == 3 else np.ones(17)
    sure = np.where(np.isfinite(keypoints[:17]).all(1) & bool(pose.get("is_valid", True)), sure, 0.0)
    return np.where(sure[:, None] > 0, np.c_[keypoints[:17, :2], sure], 0.0)


def _points(
    poses2d: Mapping[str, Mapping[int, Mapping[str, np.ndarray]]],
    cameras: Sequence[str],
    person: str,
    first: int,
    frames: int,
) -> Iterator[tuple[str, Points]]:
    """Per camera the name of its stream and a person's 2D poses (n, 17, 3)."""
    for camera, by_frame in poses2d.items():
        values = np.zeros((frames, 17, 3))
        for frame, people in by_frame.items():
            if person in people and 0 <= frame - first < frames:
                values[frame - first] = people[person]
        about = {"skeleton": "coco17", "camera": {"width": SIZE[0], "height": SIZE[1]}}
        yield "pose2d" if camera == cameras[0] else f"pose2d_{camera}", Points(values, about)


def run(
    source: Path,
    out: Path,
    *,
    cameras: tuple[str, ...] = ("cam03",),
    split: str = "publisher",
    limit: int | None = None,
    **how,
) -> dict:
    """Converts sequences as downloaded; `how` goes to `shards.common.convert`. Gives the manifest.

    cameras   exo cameras whose 2D poses are written: the first as `pose2d`, others as `pose2d_camNN`
    split     one of `SPLITS`
    """
    return convert(
        DATASET,
        plan(source)[:limit],
        partial(samples_of, cameras=cameras, by=split),
        out,
        card=f"{CARD}\n{BY_SPLIT[split]}\n",
        arguments={"cameras": list(cameras), "split": split, "limit": limit},
        **how,
    )


def main() -> None:
    p = parser(DATASET, "Shards of EgoHumans from its archives or unpacked sequences.")
    p.add_argument(
        "--cameras", default="cam03", help="exo cameras of the 2D poses, such as cam03,cam05 (cam03, as MoBind)"
    )
    p.add_argument("--split", choices=SPLITS, default="publisher", help="by activity, or MoBind's by sequence")
    args = p.parse_args()
    if args.source is None:
        p.error(f"--source: give the folder of the activities; sequences are at {PAGE}")
    cameras = tuple(word.strip() for word in args.cameras.split(",") if word.strip())
    if not cameras or not all(re.fullmatch(r"cam\d\d", camera) for camera in cameras):
        p.error(f"--cameras {args.cameras}: give names such as cam03,cam05")
    with exit_on_fault(p):
        run(
            args.source,
            args.out,
            cameras=cameras,
            split=args.split,
            limit=args.limit,
            **how_of(args),
        )


if __name__ == "__main__":
    main()

"""Shards of mRI (An, Li, Ogras, NeurIPS 2022): rehabilitation exercises with six IMUs, two cameras, 3D poses.

    python -m shards.mri --source DIR --out DIR [--limit N] [--workers N] [--resume]

DIR holds the release (`dataset_release.zip`, the zip around it, or its folders `aligned_data` and `raw_data`) and, if wanted,
the blurred videos (`...subjectN_color0.mp4`, `...color1.mp4`).

- Clock: a row of every aligned file is one camera frame. The frame rate is measured from `raw_data/unixtime` (one time a
  frame): about 10 a second, whatever the videos' headers say. A recording without these times is left out.
- IMU: acceleration in g, quaternion w x y z. Row 0 is frame `imu_avail_frames[0]`. There is no gyroscope in the release.
- World: the frame of the right camera (colour 0: x to its left, y up, z forward) turned by 90 degrees about x, (x, y, z)
  -> (x, -z, y). The sensors' world has z up too, but north is not known in the camera's frame.
- `.cpl` files are pickles: `shards/pickles.py` reads arrays and plain containers, and refuses the rest.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aura.body.virtual_imu import GRAVITY
from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards.archives import SourceFile, files_within, on_disk
from shards.clips import look
from shards.columns import Layout, open_source, read_columns
from shards.common import convert, exit_on_fault, how_of, parser
from shards.films import Film
from shards.frame_clock import Stretch, stretches
from shards.mri_texts import ACTIONS, POSES
from shards.pickles import read_array, read_pickle
from shards.takes import Imu, Points, Span, Take, check_upright, force_up, samples

DATASET = "mri"
PAGE = "https://sizhean.github.io/mri"
LICENCE = "unknown: the release names none; ask the authors before use"
# Sensor -> placement, of the users who published theirs; no source says where IMU0 and IMU3 (or IMU6) are.
PLACEMENTS = {"IMU1": "right wrist", "IMU2": "left wrist", "IMU4": "right shank", "IMU5": "left shank"}
# Pairs of sensors and, for each, the joints of COCO-17 that move with it.
SIDES = {"wrists": (("IMU1", [10]), ("IMU2", [9])), "shanks": (("IMU4", [14, 16]), ("IMU5", [13, 15]))}
ACC, TURN = ("axg", "ayg", "azg"), ("q0", "q1", "q2", "q3")
TEST, VAL = (15, 17, 19, 20), (16, 18)
WIDTH, HEIGHT = 1920, 1080
# Stream suffix -> array of 2D poses, frames that have them, number of the video, intrinsics.
CAMERAS = {
    "": ("pose_2d_r", "2d_r_avail_frames", "0", "cam1_intrinsic"),
    "_left": ("pose_2d_l", "2d_l_avail_frames", "1", "cam2_intrinsic"),
}
NAMES = {
    "imu": re.compile(r"(?:^|/)aligned_data/imu/subject(\d+)/(IMU\d)\.csv"),
    "labels": re.compile(r"(?:^|/)subject(\d+)_all_labels\.()cpl"),
    "times": re.compile(r"(?:^|/)unixtime/subject(\d+)_unix\.()npy"),
    "video": re.compile(r"(?:^|/)[^/]*subject(\d+)_color([01])\.mp4"),
    "raw": re.compile(r"(?:^|/)raw_data/imu/(?:.*/)?subject(\d+)(?:/|_)([^/]+)\.(?:csv|txt)"),
}
G_NORM = (0.7, 1.4)  # median norm of an accelerometer in g, of a person who exercises
ROWS_OFF = 10  # rows (1 s) by which a sensor may differ from the frames: more, and its clock is not the cameras'
SWAPPED = 0.2  # correlation with the other side's joints, and by how much it must be the better one, to be reported

CARD = f"""# mRI

Rehabilitation exercises of 20 subjects: six inertial sensors (acceleration and orientation), 2D poses of two cameras, 3D
poses, text; video where the blurred files were given. Written by `shards/mri.py` of aura.

Source: {PAGE}. Licence: {LICENCE}.
S. An, Y. Li, U. Ogras, "mRI: Multi-modal 3D Human Pose Estimation Dataset using mmWave, RGB-D, and Inertial Sensors",
NeurIPS 2022, Datasets and Benchmarks.

Streams: `imu` (acceleration alone), `orientation`, `mocap` (`refined_gt_kps`), `pose2d` and `video` of the right camera
(colour 0), `pose2d_left` and `video_left` of the left one. 2D poses have no confidence in the release: 1 where there is one.
Samples end where an action does; frames between actions are kept without a label.

Splits: by subject, as in MoBind: {", ".join(map(str, TEST))} test, {", ".join(map(str, VAL))} val, the others train.

Known: the aligned IMU has one row a camera frame, so nothing above half the frame rate is in it; the raw files' layout and
clock are not published, and they are not used. Placements are those of MoBind's release; the two sensors of which no source
says where they are worn have the placement `unknown`. The world of the orientations has another heading than the camera's.
The exercises' names are those of MARS, by the same authors, whose ten exercises these are. Not taken over: radar, depth,
estimated poses, `naive_gt_kps`, angles and magnetic field of the sensors.
"""


@dataclass(frozen=True)
class Recording:
    """One subject. `imu`: sensor -> file; `video`: camera's number -> file."""

    subject: int
    split: str
    labels: SourceFile | None = None
    times: SourceFile | None = None
    imu: Mapping[str, SourceFile] = field(default_factory=dict)
    video: Mapping[str, SourceFile] = field(default_factory=dict)
    raw: Mapping[str, SourceFile] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"subject{self.subject:02d}"


def samples_of(recording: Recording) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of one subject, or why there are none. ValueError where the source is not what this converter knows."""
    try:
        if recording.labels is None:
            raise ValueError("no pose labels (_all_labels.cpl)")
        labels = read_pickle(recording.labels.read(), recording.labels.name)
        if recording.times is None:
            raise ValueError("no times of frames (raw_data/unixtime): its rate cannot be measured")
        times = read_array(recording.times.read(), recording.times.name)
        check_labels(labels, len(times))
        parts, notes = stretches(times)
    except ValueError as error:
        yield Dropped(f"{recording.id}: {error}")
        return
    yield from notes
    imu, notes = read_imu(recording, len(times), labels["imu_avail_frames"])
    yield from notes
    mocap = world(np.asarray(labels["refined_gt_kps"], float), labels["gt_avail_frames"])
    check_upright(mocap, "coco17")
    if imu is not None:
        yield from (Dropped(f"{recording.id}: {note}") for note in swapped_sides(imu, mocap, recording))
    spans, notes = read_spans(labels["video_label"], len(times))
    yield from notes
    with tempfile.TemporaryDirectory(prefix="mri_") as folder:
        take = Take(
            split=recording.split,
            times=np.arange(len(times), dtype=float),
            rate_hz=1.0,
            about={
                "dataset": DATASET,
                "recording": recording.id,
                "session": recording.id,
                "subject": recording.id,
                "licence": LICENCE,
            },
            imu=imu,
            mocap=Points(mocap, {"skeleton": "coco17"}),
            poses=dict(poses_of(labels)),
            spans=spans,
        )
        films: dict[str, Film] = {}
        for suffix, (_, _, number, matrix) in CAMERAS.items():
            if number in recording.video:
                try:
                    path = on_disk(recording.video[number], Path(folder))
                    frames = look(path).frames
                    if frames != len(times):
                        raise ValueError(f"{path.name} has {frames} frames for {len(times)} times: nothing says which")
                    films[f"video{suffix}"] = Film(path, intrinsics=intrinsics(labels.get("camera_matrix"), matrix))
                except ValueError as error:
                    yield Dropped(f"{recording.id}: video left out: {error}")
        for number, part in enumerate(parts):
            yield from samples(_part(replace(take, films=films), part, number))


def _part(take: Take, part: Stretch, number: int) -> Take:
    """The take's frames of one stretch of the clock, on its clock."""
    name = take.about["recording"] + (f"_clock{number + 1}" if number else "")
    part_of = take.between(part.begin, part.begin + len(part.times))
    return replace(part_of, times=part.times, rate_hz=part.rate_hz, about={**take.about, "recording": name})


def check_labels(labels: Any, frames: int) -> None:
    """ValueError where a content of a labels file is not as published, for this number of frames."""
    if not isinstance(labels, dict):
        raise ValueError(f"labels are a {type(labels).__name__}, not a dict")
    shapes = {"refined_gt_kps": 3, "pose_2d_l": 2, "pose_2d_r": 2}
    needed = (*shapes, "imu_avail_frames", "gt_avail_frames", "2d_l_avail_frames", "2d_r_avail_frames", "video_label")
    if missing := [key for key in needed if key not in labels]:
        raise ValueError(f"labels lack {', '.join(missing)}: is it the file _all_labels.cpl of the release?")
    for key, dims in shapes.items():
        shape = np.shape(labels[key])
        if shape != (frames, dims, 17):
            raise ValueError(f"{key} has shape {shape}, and {frames} frames have times: expected {(frames, dims, 17)}")
    spans = {key: labels[key] for key in needed if key.endswith("frames")} | dict(labels["video_label"])
    for name, ends in spans.items():
        if np.shape(ends) != (2,) or not np.issubdtype(np.asarray(ends).dtype, np.number):
            raise ValueError(f"frames of {name!r} are {ends!r}, not the first and the last one")


def world(kps: np.ndarray, frames: Sequence[int]) -> np.ndarray:
    """Joints (n, 17, 3), z up, of (n, 3, 17); NaN outside the available frames and where there are zeros alone."""
    x, y, z = kps[:, 0], kps[:, 1], kps[:, 2]
    out = np.stack([x, -z, y], axis=-1)
    there = _within(len(kps), frames) & (kps != 0).any((1, 2))
    out[~there] = np.nan
    return out


def _within(count: int, frames: Sequence[int]) -> np.ndarray:
    index = np.arange(count)
    return (index >= int(frames[0])) & (index <= int(frames[1]))


def poses_of(labels: dict) -> Iterator[tuple[str, Points]]:
    """Per camera the name of its stream and its 2D poses (n, 17, 3)."""
    for suffix, (key, frames, _, matrix) in CAMERAS.items():
        points = np.asarray(labels[key], float).transpose(0, 2, 1)
        known = np.isfinite(points).all(-1) & (points != 0).any(-1) & _within(len(points), labels[frames])[:, None]
        values = np.where(known[..., None], np.concatenate([points, np.ones((*known.shape, 1))], axis=-1), 0.0)
        camera = {"width": WIDTH, "height": HEIGHT, **intrinsics(labels.get("camera_matrix"), matrix)}
        yield f"pose2d{suffix}", Points(values, {"skeleton": "coco17", "camera": camera})


def intrinsics(cameras: Any, name: str) -> dict[str, float]:
    """fx, fy, cx, cy of a matrix of `camera_matrix`; {} where it is not there."""
    matrix = np.asarray(cameras[name], float) if isinstance(cameras, dict) and name in cameras else np.zeros(0)
    if matrix.shape != (3, 3):
        return {}
    return {"fx": matrix[0, 0], "fy": matrix[1, 1], "cx": matrix[0, 2], "cy": matrix[1, 2]}


def read_imu(recording: Recording, frames: int, there: Sequence[int]) -> tuple[Imu | None, list[Dropped]]:
    """The sensors on the recording's frames, None where there is none, and what was left out.

    ValueError where the rows cannot be one a frame, and where no sensor reads gravity as 1: then units are not known.
    """
    first, wanted = int(there[0]), int(there[1]) - int(there[0]) + 1
    types = {name: pa.float64() for name in (*ACC, *TURN)}
    notes, tables = [], {}
    for name, file in sorted(recording.imu.items()):
        try:
            with open_source(file) as stream:
                found, skipped = read_columns(stream, types, Layout(), threads=False)
        except (ValueError, ShardError) as error:
            notes.append(Dropped(f"{file.name}: left out: {error}"))
            continue
        if skipped:
            notes.append(Dropped("IMU rows with another number of cells than the header", count=skipped))
        tables[name] = np.stack([found[column] for column in types], axis=1)
    if not tables:
        return None, [*notes, Dropped(f"{recording.id}: no IMU files, used without")]
    counts = {name: len(table) for name, table in tables.items()}
    for name in [name for name, count in counts.items() if abs(count - wanted) > ROWS_OFF]:
        notes.append(
            Dropped(
                f"{recording.id}: {name} left out: {counts[name]} rows for {wanted} frames, so it is not on their clock"
            )
        )
        del tables[name]
    if not tables:
        raise ValueError(
            f"the aligned IMU files have {counts} rows for the {wanted} frames of imu_avail_frames: they are not on the"
            " cameras' clock, and their own is not known"
        )
    norms = {name: float(np.nanmedian(np.linalg.norm(table[:, :3], axis=1))) for name, table in tables.items()}
    good = [name for name in tables if G_NORM[0] < norms[name] < G_NORM[1]]
    if not good:
        raise ValueError(f"the accelerations' median norms are {norms}: not g with gravity, as known of this data set")
    kept, sensors = [], []
    for name, table in tables.items():
        if name not in good:
            notes.append(
                Dropped(f"{recording.id}: {name} left out: the median norm of its acceleration is not near 1 g")
            )
            continue
        if len(table) != wanted:
            notes.append(Dropped(f"{recording.id}: {name} has {len(table) - wanted:+d} rows beside its frames"))
        rows = np.full((frames, 10), np.nan)
        count = min(len(table), frames - first)
        rows[first : first + count, :3] = table[:count, :3] * GRAVITY
        rows[first : first + count, 3:6] = 0.0
        rows[first : first + count, 6:] = table[:count, 3:]
        kept.append(rows)
        placement = PLACEMENTS.get(name, "unknown")
        sensors.append({"placement": placement, "channels": ["acc"], "virtual": False, "range": [0.0, 0.0]})
    values = np.stack(kept)
    imu = Imu(values[..., :6], sensors, values[..., 6:])
    up = force_up(imu)
    if not (up > 0.8).all():
        cosines = ", ".join(f"{name} {cosine:.2f}" for name, cosine in zip(good, up))
        notes.append(Dropped(f"{recording.id}: orientation left out, it does not turn gravity up ({cosines})"))
        imu = replace(imu, orientation=None)
    return imu, notes


def swapped_sides(imu: Imu, mocap: np.ndarray, recording: Recording) -> Iterator[str]:
    """Says of which pair of sensors the movement goes with the joints of the other side: placements are a third party's."""
    rows = dict(zip(sorted(recording.imu), imu.values))
    if len(rows) != len(imu.values):
        return
    for what, ((a, joints_a), (b, joints_b)) in SIDES.items():
        if a not in rows or b not in rows:
            continue
        felt = [_moving(np.abs(np.linalg.norm(rows[name][:, :3], axis=-1) - GRAVITY)) for name in (a, b)]
        step = np.linalg.norm(np.diff(mocap, axis=0, prepend=mocap[:1]), axis=-1)
        seen = [_moving(step[:, joints].mean(1)) for joints in (joints_a, joints_b)]
        good = np.isfinite(felt).all(0) & np.isfinite(seen).all(0)
        if good.sum() < 100:
            continue
        c = np.corrcoef([x[good] for x in (*felt, *seen)])[:2, 2:]
        if min(c[0, 1], c[1, 0]) > SWAPPED and c[0, 1] + c[1, 0] > c[0, 0] + c[1, 1] + 2 * SWAPPED:
            yield f"{what}: left and right go better with the poses when swapped ({c.round(2).tolist()}); kept as published"


def _moving(x: np.ndarray) -> np.ndarray:
    """Mean over 31 frames, about three seconds: how much a part moves, not where in a swing it is."""
    return np.convolve(x, np.ones(31) / 31, "same")


def read_spans(labels: Any, frames: int) -> tuple[list[Span], list[Dropped]]:
    """What is done from frame to frame, of `video_label`: action -> first and last frame."""
    spans, notes, done = [], [], 0
    for name, ends in sorted(dict(labels).items(), key=lambda item: (int(item[1][0]), item[0])):
        begin, end = max(int(ends[0]), done), int(ends[1]) + 1
        known = re.sub(r"\s+", " ", str(name).replace("_", " ")).strip()
        if known.lower() == "null":
            continue
        if not 0 <= begin < end <= frames:
            notes.append(Dropped("labels of frames that are not there, or of another action", count=1))
            continue
        action = POSES.get(known.lower(), known)
        texts = [("label", action)]
        texts += [("description", text) for text in ACTIONS.get(action.lower(), ())]
        spans.append(Span(begin, end, {"activity": action}, tuple(texts)))
        done = end
    return spans, notes


def plan(found: Sequence[SourceFile]) -> list[Recording]:
    """Recordings in order of subject, with MoBind's splits. ShardError where there are none, or a file is there twice."""
    by_subject: dict[int, dict[str, dict[str, SourceFile]]] = {}
    for file in found:
        for kind, pattern in NAMES.items():
            parts = pattern.search(file.name)
            if parts:
                here = by_subject.setdefault(int(parts[1]), {}).setdefault(kind, {})
                if parts[2] in here:
                    raise ShardError(f"{file.name} is there twice, also as {here[parts[2]].name}: keep one of them")
                here[parts[2]] = file
                break
    if not by_subject:
        raise ShardError(
            "the source holds no files such as aligned_data/pose_labels/subject1_all_labels.cpl: download the release from"
            f" {PAGE} and give its zip or folder as --source"
        )
    return [
        Recording(
            subject,
            "test" if subject in TEST else "val" if subject in VAL else "train",
            labels=kinds.get("labels", {}).get(""),
            times=kinds.get("times", {}).get(""),
            imu=kinds.get("imu", {}),
            video=kinds.get("video", {}),
            raw=kinds.get("raw", {}),
        )
        for subject, kinds in sorted(by_subject.items())
    ]


def rates(recordings: Sequence[Recording]) -> str:
    """What the card says about measured rates, a line for each recording."""
    lines = [
        "Frame rates, measured as frames over seconds of `raw_data/unixtime`, by a straight line through the times:",
        "",
    ]
    for recording in recordings:
        try:
            assert recording.times is not None
            parts, _ = stretches(read_array(recording.times.read(), recording.times.name))
        except (AssertionError, ValueError):
            continue
        seconds = sum(float(part.times[-1]) for part in parts)
        line = f"- {recording.id}: {' and '.join(f'{part.rate_hz:.4g}' for part in parts)} frames a second"
        raw = []
        for file in recording.raw.values():
            with suppress(ValueError, ShardError), open_source(file) as stream:  # only this line of the card needs it
                raw.append(sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b"")))
        if raw:
            line += (
                f"; its raw IMU files have {np.median(raw):.0f} lines, {np.median(raw) / seconds:.4g} for each second"
            )
        lines.append(line)
    return "\n".join(lines)


def run(source: Path, out: Path, *, limit: int | None = None, **how) -> dict:
    """Converts the release as its publisher ships it; `how` goes to `shards.common.convert`. Gives the manifest."""
    with tempfile.TemporaryDirectory(prefix="mri_") as cache:
        endings = (".csv", ".txt", "_all_labels.cpl", "_unix.npy", "_color0.mp4", "_color1.mp4")
        recordings = plan(files_within(source, endings, Path(cache)))[:limit]
        card = f"{CARD}\n{rates(recordings)}\n"
        return convert(DATASET, recordings, samples_of, out, card=card, arguments={"limit": limit}, **how)


def main() -> None:
    p = parser(DATASET, "Shards of mRI from the release's zip or folder.")
    args = p.parse_args()
    if args.source is None:
        p.error(f"--source: give the zip or folder of mRI's release; it is at {PAGE}")
    with exit_on_fault(p):
        run(args.source, args.out, limit=args.limit, **how_of(args))


if __name__ == "__main__":
    main()

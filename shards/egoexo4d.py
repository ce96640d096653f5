"""Shards of Ego-Exo4D (Grauman et al., CVPR 2024): headset IMU, exo video, body poses, texts.

    python -m shards.egoexo4d --source DIR --out DIR [--split official|take-random] [--cameras best_exo|all|none|cam01,cam02]
        [--units right,left] [--imu-hz 200] [--side 448] [--min-views 2] [--texts label,atomic,commentary,keystep]
        [--commentary plain|prefixed|both] [--first-annotator] [--wearer C] [--others] [--limit N] [--workers N] [--resume]

The source is the folder that the publisher's downloader wrote (`egoexo -o DIR`). Needed are the parts metadata and
annotations; take_vrs_noimagestream and captures give the IMU, downscaled_takes/448 (else takes) the video,
ego_pose_pseudo_gt the automatic poses. A take that lacks a part keeps the rest.

- Time: seconds of the take; frame i of the videos and of the poses is at i / 30. timesync.csv says what the headset's clock
  showed then; a straight line through its rows places the IMU.
- IMU: both units of the headset, found by label (imu-right 1000 Hz, imu-left about 800), as stored, each in its own frame,
  filtered to one even rate. Gaps of up to 0.1 s are filled, at longer ones samples are cut.
- Video: the 448-pixel file, else the full one, copied where it has a key frame in each second, else encoded at 10
  frames/s. The exo lenses are fisheyes: `fx fy cx cy` are of OpenCV's fisheye model.
- Poses: 17 joints of COCO. 3D in metres in the world of the take's trajectory, whose z is up; the floor is not at 0. 2D in
  pixels of the full undistorted image, not of the video. Their rates are measured from the frames' numbers.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from aura.data.sample import Sample
from aura.data.writer import Dropped, ShardError
from shards import aria_vrs
from shards.clips import Clip
from shards.common import convert, exit_on_fault, how_of, parser
from shards.egoexo4d_cameras import View, asked, choose, lens, pieces, pinhole
from shards.egoexo4d_card import card
from shards.egoexo4d_imu import PLACES, Imu, read_units
from shards.egoexo4d_offset import Offset, estimate, told
from shards.egoexo4d_pose import Run, read_poses, skeleton_of, whole
from shards.egoexo4d_takes import LeftOut, Take, read_takes, split_takes, strangers
from shards.egoexo4d_texts import KINDS, Wanted, with_texts

DATASET = "egoexo4d"
LICENCE = "Ego-Exo4D licence agreement, to be signed before download; no redistribution"
SAMPLE_S = 20.0  # longest sample
LEAST_S = 1.0  # shortest sample, and shortest part of a stream that is kept
GAP_S = 0.1  # of the IMU: longest that is filled
VIDEO_HZ = 10.0  # of videos that are encoded anew
EDGE_HZ = 10.0  # samples begin at multiples of 1 / EDGE_HZ
FAR_S = 0.1  # clocks of IMU and pose that are further apart are named in the card


@dataclass(frozen=True)
class Settings:
    """What is taken over; see the command line."""

    cameras: tuple[str, ...] = ("best_exo",)
    units: tuple[str, ...] = ("right", "left")
    imu_hz: float = 200.0
    side: int = 448
    min_views: int = 2
    texts: Wanted = field(default_factory=Wanted)


@dataclass(frozen=True, eq=False)
class Track:
    """A stream of a whole take, in runs without a gap.

    spans   (start in s, rate in Hz, items) of each run
    cut     of a run, its items from begin to end: the first item that is kept, entry of the stream, array, and what was
            left out; None in place of the first three where nothing is kept
    """

    name: str
    spans: list[tuple[float, float, int]]
    cut: Callable[[int, int, int], tuple[tuple[int, dict, np.ndarray] | None, list[Dropped]]]


def samples_of(take: Take | LeftOut, source: Path, settings: Settings) -> Iterator[tuple[str, Sample] | Dropped]:
    """The samples of a take, and what of it was filled, cut or left out."""
    yield from take.notes
    if isinstance(take, LeftOut):
        return
    views, notes = choose(take, source, settings.cameras)
    yield from notes
    imu, notes = None, []
    if settings.units:
        labels = [f"imu-{unit}" for unit in settings.units]
        imu, notes = read_units(take, source, labels, settings.imu_hz, GAP_S)
    yield from notes
    poses: dict[str, list[Run]] = {}
    for kind, path in take.poses(source).items():
        try:
            poses[kind], notes = read_poses(path, settings.min_views, [view.camera for view in views])
            yield from (replace(note, reason=f"{kind} pose: {note.reason}") for note in notes)
        except ValueError as error:
            yield Dropped(f"{kind} pose: {error}", take.duration_s)
    poses = {kind: runs for kind, runs in poses.items() if runs}
    labels = dict(take.labels)
    if views:
        labels |= {"camera": views[0].camera, "camera_choice": views[0].choice}
        labels |= {f"camera_exo{i}": view.camera for i, view in enumerate(views[1:], 2)}
    if poses:
        labels["pose"] = next(iter(poses))
    if imu is not None and poses:
        offset = next((found for runs in poses.values() if (found := estimate(imu, runs))), None)
        yield from _about(take, offset)
        if offset is not None:
            labels |= {
                "imu_pose_offset_s": f"{offset.seconds:.3f}",
                "imu_pose_correlation": f"{offset.correlation:.2f}",
            }
    tracks = [_imu_track(imu)] if imu is not None else []
    for kind, runs in poses.items():
        suffix = "" if kind == labels["pose"] else "_auto"
        tracks.append(_mocap_track(f"mocap{suffix}", runs))
        for number, view in enumerate(views, 1):
            if any(run.images[view.camera].any() for run in runs):
                camera = pinhole(take, source, view)
                if camera is None:
                    yield Dropped("2D pose: the size of the camera's image is not known", take.duration_s)
                else:
                    name = f"pose2d{suffix}" + (f"_exo{number}" if number > 1 else "")
                    tracks.append(_pose_track(name, runs, view.camera, camera))
    yield from _samples(take, replace(take, labels=labels), tracks, views, settings)


def _about(take: Take, offset: Offset | None) -> Iterator[Dropped]:
    if offset is None:
        yield Dropped("take whose offset between IMU and pose could not be estimated: too little of both, or not clear")
    elif abs(offset.seconds) > FAR_S:
        late = f"by {offset.seconds:+.2f} s, correlation {offset.correlation:.2f}"
        yield Dropped(f"{take.id}: the pose is late to the IMU {late}; both are kept as they are")


def _imu_track(imu: Imu) -> Track:
    found = imu.runs()

    def cut(run: int, begin: int, end: int) -> tuple[tuple[int, dict, np.ndarray], list[Dropped]]:
        first = found[run][0]
        units = np.flatnonzero(imu.live[first])
        values = imu.values[first + begin : first + end, units].swapaxes(0, 1)
        sensors = [
            {"placement": PLACES[imu.labels[u]], "channels": ["acc", "gyro"], "virtual": False, "range": [0.0, 0.0]}
            for u in units
        ]
        return (begin, {"sensors": sensors}, np.ascontiguousarray(values)), []

    return Track("imu", [(a / imu.rate_hz, imu.rate_hz, b - a) for a, b in found], cut)


def _mocap_track(name: str, runs: Sequence[Run]) -> Track:
    def cut(run: int, begin: int, end: int) -> tuple[tuple[int, dict, np.ndarray] | None, list[Dropped]]:
        points, rate = runs[run].points[begin:end], runs[run].rate_hz
        first, last, kept = whole(points)
        if (last - first) / rate < LEAST_S - 1e-9:
            return None, [Dropped(f"{name}: parts without a second in which joints are known", len(points) / rate)]
        notes = []
        if len(kept) < 17:
            notes.append(Dropped(f"{name}: joints missing for long, left out of a sample", count=17 - len(kept)))
        if last - first < len(points):
            lost = (len(points) - last + first) / rate
            notes.append(Dropped(f"{name}: time at which a joint is missing for long, cut out", lost))
        return (begin + first, {"skeleton": skeleton_of(kept)}, points[first:last][:, kept]), notes

    return Track(name, [(run.start_s, run.rate_hz, run.length) for run in runs], cut)


def _pose_track(name: str, runs: Sequence[Run], camera: str, about: dict) -> Track:
    def cut(run: int, begin: int, end: int) -> tuple[tuple[int, dict, np.ndarray] | None, list[Dropped]]:
        values = runs[run].images[camera][begin:end]
        if not values.any():
            return None, [Dropped(f"{name}: parts without a joint", len(values) / runs[run].rate_hz)]
        return (begin, {"skeleton": "coco17", "camera": about}, values), []

    return Track(name, [(run.start_s, run.rate_hz, run.length) for run in runs], cut)


def _samples(
    take: Take, labelled: Take, tracks: Sequence[Track], views: Sequence[View], settings: Settings
) -> Iterator[tuple[str, Sample] | Dropped]:
    spans = cut_take(take.duration_s, [start for track in tracks for start in _restarts(track)])
    films = [pieces(view, take, spans, VIDEO_HZ, settings.side) for view in views]
    for begin, end in spans:
        streams: dict[str, dict] = {}
        arrays: dict[str, np.ndarray | bytes] = {}
        for track in tracks:
            found, notes = _part(track, begin, end)
            yield from notes
            if found is not None:
                streams[track.name], arrays[track.name] = found
        for number, (view, film) in enumerate(zip(views, films), 1):
            for item in film:
                if not isinstance(item, Dropped):
                    break
                yield item
            else:
                item = None
            if isinstance(item, Clip):
                name = "video" if number == 1 else f"video_exo{number}"
                clock = {"rate_hz": item.rate_hz, "start_s": round(item.start_s - begin, 6), "length": item.frames}
                streams[name] = {**clock, "camera": lens(view, item.width, item.height)}
                arrays[name] = item.mp4
        if not streams:
            yield Dropped("parts of takes with texts alone", end - begin)
            continue
        yield take.split, _sample(labelled, begin, end, streams, arrays)


def _restarts(track: Track) -> list[float]:
    """When runs begin after a gap; those too short to be kept cut nothing."""
    long = [start for start, rate, items in track.spans if items / rate >= LEAST_S - 1e-9]
    return long[1:]


def cut_take(duration_s: float, restarts: Sequence[float]) -> list[tuple[float, float]]:
    """(begin, end) of the samples of a take, which together are all of it: at most `SAMPLE_S` long, about equal between
    two restarts, at which a stream goes on after a gap. Restarts that would make a sample of under `LEAST_S` are passed
    over."""
    edges = [0.0]
    for restart in sorted(math.floor(start * EDGE_HZ + 1e-6) / EDGE_HZ for start in restarts):
        if restart - edges[-1] >= LEAST_S and duration_s - restart >= LEAST_S:
            edges.append(restart)
    inner = []
    for begin, end in itertools.pairwise([*edges, duration_s]):
        count = math.ceil((end - begin) / SAMPLE_S - 1e-9)
        parts = _equal(begin, end, count)
        inner += parts if max(b - a for a, b in parts) < SAMPLE_S + 1e-9 else _equal(begin, end, count + 1)
    return inner


def _equal(begin: float, end: float, count: int) -> list[tuple[float, float]]:
    """About equal parts, which begin at multiples of 1 / EDGE_HZ."""
    edges = [round((begin + (end - begin) * i / count) * EDGE_HZ) / EDGE_HZ for i in range(1, count)]
    return list(itertools.pairwise([begin, *edges, end]))


def _part(track: Track, begin: float, end: float) -> tuple[tuple[dict, np.ndarray] | None, list[Dropped]]:
    """The longest run of a stream in a span of the take, its entry and array; and what of it was left out."""
    inside = []
    for run, (start, rate, items) in enumerate(track.spans):
        first, last = (min(max(math.ceil((t - start) * rate - 1e-6), 0), items) for t in (begin, end))
        if last > first:
            inside.append(((last - first) / rate, run, first, last))
    if not inside:
        return None, []
    seconds, run, first, last = max(inside, key=lambda part: part[0])
    short = sum(part[0] for part in inside) - (seconds if seconds >= LEAST_S - 1e-9 else 0)
    notes = [Dropped(f"{track.name}: parts between gaps that no sample could hold", short)] if short > 0 else []
    if seconds < LEAST_S - 1e-9:
        return None, notes
    kept, said = track.cut(run, first, last)
    if kept is None:
        return None, notes + said
    item, entry, array = kept
    start, rate, _ = track.spans[run]
    length = array.shape[1] if track.name == "imu" else len(array)
    clock = {"rate_hz": rate, "start_s": round(start + item / rate - begin, 6), "length": length}
    return ({**clock, **entry}, array.astype(np.float32, copy=False)), notes + said


def _sample(
    take: Take, begin: float, end: float, streams: dict[str, dict], arrays: dict[str, np.ndarray | bytes]
) -> Sample:
    key = re.sub(r"[^A-Za-z0-9_-]", "-", take.id)
    return Sample(
        id=f"{key}_{round(begin * 1000):07d}",
        dataset=DATASET,
        recording=take.id,
        session=take.capture,
        subject=take.participant,
        group=take.group,
        start_s=begin,
        duration_s=round(end - begin, 6),
        licence=LICENCE,
        labels=dict(take.labels),
        texts=texts_in(take.texts, begin, end, end >= take.duration_s),
        streams=streams,
        arrays=arrays,
    )


def texts_in(texts: Sequence[dict], begin: float, end: float, last: bool) -> list[dict]:
    """The texts of a span of the take, in its own time: those at a point in it, and those of which it holds half or a
    second. The last span of a take holds its end too."""
    found = []
    for text in texts:
        a, b = max(text["start_s"], begin), min(text["end_s"], end)
        long = text["end_s"] - text["start_s"]
        point = long == 0 and (begin <= text["start_s"] < end or (last and text["start_s"] == end))
        if point or (long > 0 and b - a >= min(LEAST_S, long / 2) - 1e-9):
            found.append({**text, "start_s": round(a - begin, 6), "end_s": round(b - begin, 6)})
    return found


def plan(source: Path, split: str, settings: Settings) -> tuple[list[Take], LeftOut]:
    """The takes to convert in order of name, and the others, counted."""
    if not source.is_dir():
        raise ShardError(f"{source} is no folder: give the one that the downloader wrote (egoexo -o DIR) as --source")
    takes, why = read_takes(source)
    takes, without = split_takes(takes, source, split)
    why += without
    here = [take for take in takes if _anything(take, source, settings)]
    why["take of which no file is here"] += len(takes) - len(here)
    here, named = with_texts(here, source, settings.texts)
    why["uid of splits.json or the annotations that takes.json lacks"] += strangers(source, named)
    if not here:
        raise ShardError(
            f"{source}: of no take there is an IMU, a video or a pose; {', '.join(f'{n} x {w}' for w, n in (+why).items())}"
        )
    return here, LeftOut(tuple(Dropped(reason, count=n) for reason, n in sorted((+why).items())))


def _anything(take: Take, source: Path, settings: Settings) -> bool:
    if (settings.units and take.recording(source)) or take.poses(source):
        return True
    return settings.cameras != ("none",) and any(take.video(source, name) for name, _ in take.exo)


def run(
    source: Path,
    out: Path,
    *,
    split: str = "official",
    settings: Settings | None = None,
    limit: int | None = None,
    **how,
) -> dict:
    """Converts what is there of the data set; `how` goes to `shards.common.convert`. Gives the manifest."""
    settings = settings or Settings()
    takes, left_out = plan(source, split, settings)
    if settings.units and not aria_vrs.installed() and any(take.recording(source) for take in takes):
        raise ShardError(
            "reading the IMU needs projectaria-tools: pip install projectaria-tools, or leave the IMU out by --units none"
        )
    chosen = takes[:limit]
    manifest = convert(
        DATASET,
        [*chosen, left_out],
        partial(samples_of, source=source, settings=settings),
        out,
        card=card(chosen, split, settings.texts),
        arguments={"split": split, "limit": limit, **asdict(settings)},
        **how,
    )
    print(told(manifest))
    return manifest


def main() -> None:
    p = parser(DATASET, "Shards of Ego-Exo4D from the folder that its downloader wrote.")
    p.add_argument(
        "--split", choices=("official", "take-random"), default="official", help="take-random: AURA-MFM's kind"
    )
    p.add_argument("--cameras", default="best_exo", help="best_exo, all, none, or names such as cam01,cam02")
    p.add_argument("--units", default="right,left", help="of the headset: right, left or both; none: no IMU")
    p.add_argument("--imu-hz", type=float, default=Settings.imu_hz, help="rate of the IMU in the shards (200)")
    p.add_argument("--side", type=int, default=Settings.side, help="shorter side of videos at most (448); 0: any")
    p.add_argument("--min-views", type=int, default=Settings.min_views, help="cameras that must see a 3D joint (2)")
    p.add_argument("--texts", default=",".join(KINDS), help=f"some of {','.join(KINDS)}; none: no texts")
    p.add_argument("--commentary", choices=("plain", "prefixed", "both"), default="plain", help="AURA-MFM: prefixed")
    p.add_argument("--first-annotator", action="store_true", help="texts of the first annotator alone, as AURA-MFM")
    p.add_argument("--wearer", default="C", help="what descriptions call the wearer, such as 'the person' (C)")
    p.add_argument("--others", action="store_true", help="also descriptions of what others than the wearer do")
    args = p.parse_args()
    if args.source is None:
        p.error("--source: give the folder that the downloader wrote; see https://docs.ego-exo4d-data.org")
    units, texts = (tuple(w.strip() for w in x.split(",") if w.strip() != "none") for x in (args.units, args.texts))
    for name, words, known in (("--units", units, ("right", "left")), ("--texts", texts, KINDS)):
        if not set(words) <= set(known):
            p.error(f"{name}: give some of {','.join(known)}, or none")
    if not 10 <= args.imu_hz <= 1000 or args.side < 0 or args.min_views < 1:
        p.error("--imu-hz must be 10 to 1000, --side 0 or more, --min-views 1 or more")
    with exit_on_fault(p):
        settings = Settings(
            asked(args.cameras),
            units,
            args.imu_hz,
            args.side,
            args.min_views,
            Wanted(texts, args.commentary, args.first_annotator, args.wearer, args.others),
        )
        run(
            args.source,
            args.out,
            split=args.split,
            settings=settings,
            limit=args.limit,
            **how_of(args),
        )


if __name__ == "__main__":
    main()

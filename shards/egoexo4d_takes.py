"""Takes of Ego-Exo4D: what takes.json, splits.json and the disk say of each."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aura.data.writer import Dropped, ShardError

PAGE = "https://docs.ego-exo4d-data.org"
FPS = 30.0  # of the frame-aligned videos and of timesync.csv; frame i is at i / 30 s of take time
SPLITS = ("train", "val", "test")
# task_id // 1000 * 1000 -> the eight scenarios of the release.
SCENARIOS = {
    1000: "Cooking",
    2000: "Health",
    4000: "Bike Repair",
    5000: "Music",
    6000: "Basketball",
    7000: "Rock Climbing",
    8000: "Soccer",
    9000: "Dance",
}
POSES = {"manual": "annotation", "automatic": "automatic"}  # kind of body pose -> its folder


@dataclass(frozen=True)
class Take:
    """One take: what is known of it, with paths relative to the source.

    rows      first and last row (not included) of its capture's timesync.csv; None: not known
    headset   id of the Aria headset, "" where there is none
    vrs       places where its IMU may be, the best first
    exo       (camera, path of its full video) of the exo cameras, by name
    texts     {text, start_s, end_s, kind} in seconds of the take; notes: what was left out of them
    """

    id: str
    uid: str
    folder: str
    capture: str
    participant: str
    duration_s: float
    rows: tuple[int, int] | None
    headset: str
    vrs: tuple[str, ...]
    exo: tuple[tuple[str, str], ...]
    best_exo: str
    task: str
    labels: Mapping[str, str]
    split: str = ""
    group: str = ""
    texts: tuple[dict, ...] = ()
    notes: tuple[Dropped, ...] = ()

    def timesync(self, source: Path) -> Path:
        return source / "captures" / self.capture / "timesync.csv"

    def calibration(self, source: Path) -> Path:
        return source / self.folder / "trajectory" / "gopro_calibs.csv"

    def recording(self, source: Path) -> Path | None:
        """The VRS file, None where it is not there."""
        return next((path for name in self.vrs if (path := source / self.folder / name).is_file()), None)

    def video(self, source: Path, camera: str) -> Path | None:
        """A camera's video: the 448-pixel one, else the full one; None where neither is there."""
        full = source / self.folder / dict(self.exo)[camera]
        places = (full.parent / "downscaled" / "448" / full.name, full)
        return next((path for path in places if path.is_file()), None)

    def poses(self, source: Path) -> dict[str, Path]:
        """Files of the body's pose by kind, manual before automatic."""
        places = {
            kind: [source / "annotations" / "ego_pose" / s / "body" / folder / f"{self.uid}.json" for s in SPLITS]
            for kind, folder in POSES.items()
        }
        found = {kind: next((path for path in paths if path.is_file()), None) for kind, paths in places.items()}
        return {kind: path for kind, path in found.items() if path is not None}


@dataclass(frozen=True)
class LeftOut:
    """Takes that are not converted, as one recording: `notes` say how many and why."""

    notes: tuple[Dropped, ...]
    id: str = "left out"


def read_json(path: Path) -> Any:
    """The content of a JSON file. ShardError, naming the file, where it is not there or cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ShardError(
            f"{path} is not there: give the folder that the downloader wrote (egoexo -o DIR) as --source; it needs the"
            f" parts metadata and annotations at least, see {PAGE}"
        ) from None
    except ValueError as error:
        raise ShardError(f"{path} cannot be read, download it again: {error}") from error


def read_takes(source: Path) -> tuple[list[Take], Counter[str]]:
    """The takes of takes.json in order of name, and how many are left out, by reason."""
    listed = read_json(source / "takes.json")
    if not isinstance(listed, list):
        raise ShardError(f"{source / 'takes.json'} is no list of takes")
    captures = {}
    if (source / "captures.json").is_file():
        captures = {str(c.get("capture_uid")): c for c in read_json(source / "captures.json")}
    takes, why = [], Counter()
    for entry in listed:
        try:
            if truth(entry.get("is_dropped")):
                why["take that the publisher dropped (is_dropped)"] += 1
                continue
            take = _take(entry, entry.get("capture") or captures.get(str(entry.get("capture_uid"))) or {})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            name = entry.get("take_name") if isinstance(entry, dict) else entry
            raise ShardError(f"{source / 'takes.json'}, take {name!r}: {type(error).__name__} {error}") from error
        if take.duration_s <= 0:
            why["take without a duration"] += 1
        else:
            takes.append(take)
    return _grouped(sorted(takes, key=lambda take: take.id)), why


def truth(value: object) -> bool:
    """A boolean that may be a number or a string, such as "0" or "true"."""
    return value.strip().lower() in ("1", "true", "yes") if isinstance(value, str) else bool(value)


def _take(entry: Mapping, capture: Mapping) -> Take:
    cameras = capture.get("cameras") or []
    ego = {c["cam_id"] for c in cameras if truth(c.get("is_ego"))}
    videos: Mapping = entry.get("frame_aligned_videos") or {}
    headsets = sorted({name for name in (*ego, *videos) if name.startswith("aria")})
    headset = headsets[0] if headsets else ""
    exo = []
    for name in sorted(videos):
        if name.startswith(("cam", "gp")) and name not in ego:
            place = next((v["relative_path"] for v in videos[name].values() if v.get("relative_path")), None)
            exo.append((name, place or f"frame_aligned_videos/{name}.mp4"))
    vrs = [entry.get("vrs_relative_path"), f"{headset}_noimagestreams.vrs" if headset else None]
    vrs += [entry.get("vrs_all_streams_relative_path"), f"{headset}.vrs" if headset else None]
    begin, end = entry.get("timesync_start_idx"), entry.get("timesync_end_idx")
    rows = (int(begin), int(end)) if begin is not None and end is not None else None
    duration = entry.get("duration_sec") or ((rows[1] - rows[0]) / FPS if rows else 0.0)
    name = str(entry["take_name"])
    participant = entry.get("participant_uid")
    return Take(
        id=name,
        uid=str(entry["take_uid"]),
        folder=entry.get("root_dir") or f"takes/{name}",
        capture=str(capture.get("capture_name") or re.sub(r"_\d+$", "", name)),
        participant="" if participant is None else str(participant),
        duration_s=float(duration),
        rows=rows,
        headset=headset,
        vrs=tuple(dict.fromkeys(place for place in vrs if place)),
        exo=tuple(exo),
        best_exo=str(entry.get("best_exo") or ""),
        task=str(entry.get("task_name") or ""),
        labels=_labels(entry),
    )


def _labels(entry: Mapping) -> dict[str, str]:
    number = entry.get("task_id")
    by_id = None if number is None else SCENARIOS.get(int(number) // 1000 * 1000)
    named = entry.get("parent_task_name")
    labels = {
        "scenario": by_id or (named if named in SCENARIOS.values() else ""),
        "task": str(entry.get("task_name") or ""),
        "university": str(entry.get("university_name") or ""),
    }
    return {name: value for name, value in labels.items() if value}


def _grouped(takes: Sequence[Take]) -> list[Take]:
    """Takes with `group` filled in: takes of one capture that overlap in time share one."""
    by_capture = defaultdict(list)
    for take in takes:
        if take.rows is not None:
            by_capture[take.capture].append(take)
    group: dict[str, str] = {}
    for capture, members in by_capture.items():
        together: list[Take] = []
        for take in [*sorted(members, key=lambda t: (t.rows, t.id)), None]:
            if take is not None and together and take.rows[0] < max(t.rows[1] for t in together if t.rows):
                together.append(take)
                continue
            if len(together) > 1 and together[0].rows:
                group.update({t.id: f"{capture}@{together[0].rows[0]}" for t in together})
            together = [take] if take is not None else []
    return [replace(take, group=group.get(take.id, "")) for take in takes]


def split_takes(takes: Sequence[Take], source: Path, how: str) -> tuple[list[Take], Counter[str]]:
    """Takes with their splits, and how many have none, by reason.

    official      of annotations/splits.json
    take-random   80/10/10 over all takes in order of name, whoever and wherever is in them, as AURA-MFM's (its very lists
                  are of another random order); it depends on takes.json alone, not on what was downloaded
    """
    why: Counter[str] = Counter()
    if how == "take-random":
        names = sorted(take.id for take in takes)
        random.Random(42).shuffle(names)
        first, second = round(0.8 * len(names)), round(0.9 * len(names))
        split_of = {name: "train" if i < first else "val" if i < second else "test" for i, name in enumerate(names)}
        return [replace(take, split=split_of[take.id]) for take in takes], why
    path = source / "annotations" / "splits.json"
    content = read_json(path)
    by_uid = content.get("take_uid_to_split") if isinstance(content, dict) else None
    if not isinstance(by_uid, dict):
        raise ShardError(f"{path} has no take_uid_to_split: download it again, or use --split take-random")
    unknown = sorted(set(by_uid.values()) - set(SPLITS))
    if unknown:
        raise ShardError(f"{path}: split {unknown[0]!r} is none of {', '.join(SPLITS)}")
    kept = [replace(take, split=by_uid[take.uid]) for take in takes if take.uid in by_uid]
    why["take without an official split"] += len(takes) - len(kept)
    return kept, +why


def strangers(source: Path, annotated: Collection[str]) -> int:
    """How many uids of splits.json and of the annotations no take of takes.json has."""
    path = source / "annotations" / "splits.json"
    known = {str(entry.get("take_uid")) for entry in read_json(source / "takes.json")}
    listed = set(read_json(path).get("take_uid_to_split", {})) if path.is_file() else set()
    return len((listed | set(annotated)) - known)


def shared(takes: Sequence[Take], what: str) -> dict[tuple[str, str], list[str]]:
    """Values of an attribute (`participant` or `capture`) that are in two splits: {(a, b): values}."""
    where = {s: {getattr(t, what) for t in takes if t.split == s} - {""} for s in SPLITS}
    pairs = [(a, b) for i, a in enumerate(SPLITS) for b in SPLITS[i + 1 :]]
    return {(a, b): sorted(where[a] & where[b]) for a, b in pairs if where[a] & where[b]}

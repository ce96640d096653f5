"""Files of EgoHumans: sequences, unpacked or in their archives, and what a file of a frame holds."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aura.data.writer import Dropped, ShardError
from shards.archives import ARCHIVES, SourceFile, unpack
from shards.pickles import read_array

PAGE = "https://rawalkhirodkar.github.io/egohumans/"
RATE_HZ = 20.0
POSES3D = ("refine_poses3d", "fit_poses3d", "poses3d")  # the first that is there
ACTIVITIES = {
    "tagging": ("playing tag", "people play tag"),
    "legoassemble": ("assembling lego", "people assemble lego bricks"),
    "fencing": ("fencing", "two people fence"),
    "basketball": ("playing basketball", "people play basketball"),
    "volleyball": ("playing volleyball", "people play volleyball"),
    "badminton": ("playing badminton", "people play badminton"),
    "tennis": ("playing tennis", "people play tennis"),
}
FILE = re.compile(
    r"(?:^|/)(\d\d)_([a-z]+)/(\d{3})_\2/processed_data/"
    r"(smpl|poses2d/cam\d+/rgb|" + "|".join(POSES3D) + r")/(\d{5})\.npy"
)
ARCHIVE = re.compile(r"(\d{3})_([a-z]+)\.(?:tar|tar\.gz|tgz)")


@dataclass(frozen=True)
class Recording:
    """One sequence. `files`: folder of `processed_data` -> frame -> file; or `archive`, which holds them."""

    number: str
    activity: str
    take: str
    files: Mapping[str, Mapping[int, SourceFile]] = field(default_factory=dict)
    archive: Path | None = None

    @property
    def id(self) -> str:
        return f"{self.number}_{self.activity}_{self.take}"


def sequences(found: Iterable[SourceFile]) -> list[Recording]:
    """The sequences that files are of, in order. ShardError where a file is there twice."""
    by_name: dict[tuple[str, str, str], dict[str, dict[int, SourceFile]]] = {}
    for file in found:
        parts = FILE.search(file.name)
        if not parts:
            continue
        number, activity, take, folder, frame = parts.groups()
        here = by_name.setdefault((number, activity, take), {}).setdefault(folder, {})
        if int(frame) in here:
            raise ShardError(f"{file.name} is there twice, also as {here[int(frame)].name}: keep one of them")
        here[int(frame)] = file
    return [Recording(*key, files=files) for key, files in sorted(by_name.items())]


def plan(source: Path) -> list[Recording]:
    """The sequences of a source in order, without opening an archive. ShardError where there are none, or one is there twice."""
    if not source.exists():
        raise ShardError(f"{source} does not exist: give the folder of the activities; sequences are at {PAGE}")
    paths = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    recordings = sequences(SourceFile(path.relative_to(source).as_posix(), path) for path in paths)
    for path in paths:
        parts = ARCHIVE.fullmatch(path.name)
        if parts and parts[2] in ACTIVITIES:
            number = f"{list(ACTIVITIES).index(parts[2]) + 1:02d}"
            recordings.append(Recording(number, parts[2], parts[1], archive=path))
        elif path.name.lower().endswith(ARCHIVES):
            raise ShardError(
                f"{path} is not named as the publisher's archives (001_tagging.tar.gz): unpack or remove it"
            )
    recordings.sort(key=lambda recording: recording.id)
    for one, other in itertools.pairwise(recordings):
        if one.id == other.id:
            raise ShardError(f"{one.id} is there twice, as archive and unpacked or in two places: keep one in {source}")
    if not recordings:
        raise ShardError(
            "the source holds neither archives such as 01_tagging/001_tagging.tar.gz nor files such as"
            " 01_tagging/001_tagging/processed_data/smpl/00001.npy: download sequences from"
            f" {PAGE} and give the folder of the activities as --source"
        )
    return recordings


def unpacked(recording: Recording, cameras: tuple[str, ...], folder: Path) -> Recording:
    """The sequence with the files that are read of its archive, in a folder."""
    assert recording.archive is not None

    def wanted(name: str) -> bool:
        parts = FILE.search(name)
        return parts is not None and (not parts[4].startswith("poses2d") or parts[4].split("/")[1] in cameras)

    found = sequences(unpack(recording.archive, wanted, folder / "files"))
    if strange := [one.id for one in found if one.id != recording.id]:
        raise ValueError(f"{recording.archive.name} holds {strange[0]}, not {recording.id}: download it again")
    return found[0] if found else replace(recording, archive=None)


def read_frames(
    recording: Recording, folder: str, keep: Callable[[Any], Any]
) -> tuple[dict[int, dict[str, Any]], list[Dropped]]:
    """Frame -> person -> what a folder's file of the frame says, without files that are refused or damaged.

    keep   what stays of each person in memory; KeyError, TypeError, ValueError or IndexError where it is not as published
    """
    found, wrong = {}, []
    for frame, file in sorted(recording.files.get(folder, {}).items()):
        try:
            content = read_array(file.read(), file.name)
            if content.ndim == 0 and isinstance(content.item(), dict):
                people = content.item()
            elif content.ndim == 1 and all(isinstance(one, dict) and "human_name" in one for one in content):
                people = {one["human_name"]: one for one in content}
            else:
                raise ValueError(f"{file.name} holds neither a dict of people nor a list of dicts with human_name")
        except ValueError as error:
            wrong.append(str(error))
            continue
        found[frame] = {}
        for who, value in people.items():
            try:
                found[frame][str(who)] = keep(value)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                wrong.append(f"{file.name}: {who} is not as published: {type(error).__name__}: {error}")
    notes = []
    if wrong:
        reason = f"{recording.id}: files of {folder} that cannot be used, the first: {wrong[0]}"
        notes.append(Dropped(reason, len(wrong) / RATE_HZ, len(wrong)))
    return found, notes

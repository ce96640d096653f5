"""Writing a folder of shards: parts first, one per recording, then shards of the samples in order of key.

Parts make a conversion parallel and able to go on after a stop, and make the bytes of the shards independent of both.
The manifest is written last: a folder without one is unfinished.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from aura.data.card import card_text
from aura.data.files import END_OF_TAR, FORMAT, atomic, differences, index_bytes, pack, sha256_of, write_json
from aura.data.sample import Sample, metadata, to_members

MANIFEST = "manifest.json"
PARTS = ".parts"
SHARD_BYTES = 256 << 20
HEAD = 5  # samples from which stock `datasets` takes its columns


class ShardError(ValueError):
    """A folder of shards that cannot be written or read as asked; the message names the file and the remedy."""


@dataclass(frozen=True)
class Dropped:
    """What a converter left out, or changed: counted by reason in the card and the manifest."""

    reason: str
    seconds: float = 0.0
    count: int = 1


def encode(split: str, sample: Sample) -> tuple[dict, bytes]:
    """The index entry and the tar blocks of a sample. ValueError where it breaks a rule of the format.

    The entry's offsets of members count from the sample's first byte: `[start of data, bytes]`, and for an array its
    dtype and shape, so that a reader finds any item without parsing the tar or the npy header.
    """
    if not split.isidentifier():
        raise ShardError(f"sample {sample.id!r}: split {split!r} must be a name such as train, val or test")
    files: dict[str, tuple[bytes, list]] = {}
    for name, data in to_members(sample):
        rest = name[len(sample.id) + 1 :]
        array = sample.arrays.get(rest.removesuffix(".npy"))
        files[rest] = data, [array.dtype.str, list(array.shape)] if isinstance(array, np.ndarray) else []
    blocks, members, digests = pack(sample.id, files)
    head = metadata(sample)
    entry = {
        "key": sample.id,
        "offset": 0,
        "size": len(blocks),
        **{name: head[name] for name in ("subject", "session", "group", "recording", "start_s", "duration_s")},
        "streams": sorted(head["streams"]) + (["text"] if sample.texts else []),
        "labels": head["labels"],
        "members": members,
        "sha256": digests,
    }
    return {"split": split, "entry": entry, "head": head}, blocks


class Part:
    """The samples of one recording in one file: `STEM.tar` of tar blocks, then `STEM.json`, which makes it whole."""

    def __init__(self, folder: Path, stem: str, recording: str) -> None:
        self.path = folder / f"{stem}.json"
        self.recording = recording
        self.rows: list[dict] = []
        self.dropped: list[Dropped] = []

    def write(self, file: BinaryIO, split: str, sample: Sample) -> None:
        row, blocks = encode(split, sample)
        row["entry"]["offset"] = file.tell()
        file.write(blocks)
        self.rows.append(row)

    def finish(self) -> None:
        dropped = [[d.reason, float(d.seconds), d.count] for d in self.dropped]
        about = {"recording": self.recording, "dropped": dropped, "rows": self.rows}
        write_json(self.path, about, indent=None, shared=True)


def part_path(folder: Path, recording: str) -> Path:
    """Where the part of a recording is: a file name for any id."""
    return folder / (hashlib.sha256(recording.encode()).hexdigest()[:24] + ".json")


def write_part(folder: Path, recording: str, items: Iterable[tuple[str, Sample] | Dropped]) -> None:
    """Writes the part of one recording; it is whole or absent.

    Two may write it at once, to the same bytes: a cluster that lost sight of a worker starts its task again elsewhere.
    """
    path = part_path(folder, recording)
    part = Part(folder, path.stem, recording)
    with atomic(path.with_suffix(".tar"), shared=True) as file:
        for item in items:
            if isinstance(item, Dropped):
                part.dropped.append(item)
            else:
                part.write(file, *item)
    part.finish()


def open_parts(out: Path, job: dict, *, resume: bool) -> tuple[Path, BinaryIO]:
    """Makes `OUT/.parts` for a job, or goes on with the one that is there; gives it and the lock that keeps others out.

    Raises ShardError where the folder is finished, unfinished without `resume`, of another job, or in use.
    """
    folder = out / PARTS
    if (out / MANIFEST).exists():
        raise ShardError(f"{out} is finished already (it has {MANIFEST}); write into another folder or delete it")
    if out.is_dir() and not resume and any(out.iterdir()):
        hint = "go on with resume (--resume), or delete it" if folder.is_dir() else "write into an empty folder"
        raise ShardError(f"{out} is not empty{' but unfinished' if folder.is_dir() else ''}: {hint}")
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / "lock", "wb")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise ShardError(f"{out} is being written by another process") from error
    about = folder / "job.json"
    if about.exists():
        before = json.loads(about.read_text())
        changed = list(differences(before, job))
        if changed:
            lock.close()
            there = ", ".join(f"{key} {old!r} there, {new!r} here" for key, old, new in changed)
            raise ShardError(f"{out} was begun by another job: {there}; delete it to begin anew, or use another folder")
    else:
        write_json(about, job)
    return folder, lock


def assemble(
    out: Path,
    job: dict,
    *,
    card: str,
    shard_bytes: int = SHARD_BYTES,
    parallel: Callable[..., Iterable] = map,
) -> dict:
    """Copies all parts into shards, writes indexes, card and manifest, deletes the parts. Gives the manifest.

    `parallel` maps a picklable function over shards, in order: `map` or that of a process pool.
    """
    rows, dropped = _read_parts(out / PARTS)
    plans = []
    for split in sorted({row["split"] for row in rows}):
        chosen = _head_first([row for row in rows if row["split"] == split])
        shards = list(_packed(chosen, shard_bytes))
        plans += [(out, f"{split}-{i:06d}", [_copy_of(row) for row in shard]) for i, shard in enumerate(shards)]
    written = list(parallel(_write_shard, plans))
    manifest = {
        "format": FORMAT,
        "name": job["name"],
        "converter": job,
        "splits": {},
        "dropped": {reason: dropped[reason] for reason in sorted(dropped)},
    }
    for split in sorted({row["split"] for row in rows}):
        here = [row for row in rows if row["split"] == split]
        shards = [shard for shard in written if shard["file"].rpartition("-")[0] == split]
        manifest["splits"][split] = {"shards": shards, **totals(row["head"] for row in here)}
    with atomic(out / "README.md") as file:
        file.write(card_text(card, manifest, rows).encode())
    write_json(out / MANIFEST, manifest)
    shutil.rmtree(out / PARTS)
    return manifest


def totals(heads: Iterable[dict]) -> dict:
    """What a manifest says about a split, from the content of its samples' KEY.json."""
    samples, seconds = 0, 0.0
    subjects, sessions, groups, licences = set(), set(), set(), set()
    labels: dict[str, Counter] = {}
    streams: dict[str, dict] = {}
    for head in heads:
        samples += 1
        seconds += head["duration_s"]
        for seen, name in ((subjects, "subject"), (sessions, "session"), (groups, "group"), (licences, "licence")):
            seen.update([head[name]] if head[name] else [])
        for name, value in head["labels"].items():
            labels.setdefault(name, Counter())[value] += 1
        if head["texts"]:
            text = streams.setdefault("text", {"samples": 0, "texts": 0, "kinds": Counter()})
            text["samples"] += 1
            text["texts"] += len(head["texts"])
            text["kinds"].update(t["kind"] for t in head["texts"])
        for name, entry in head["streams"].items():
            total = streams.setdefault(name, {"samples": 0})
            total["samples"] += 1
            for key, found in _facts(entry).items():
                total.setdefault(key, Counter()).update(found)
            if "rate_hz" in entry:
                total["seconds"] = total.get("seconds", 0.0) + entry["length"] / entry["rate_hz"]
    return {
        "samples": samples,
        "seconds": round(seconds, 6),
        "subjects": sorted(subjects),
        "sessions": len(sessions),
        "groups": len(groups),
        "licences": sorted(licences),
        "labels": {name: dict(sorted(labels[name].items())) for name in sorted(labels)},
        "streams": {name: {k: _plain(v) for k, v in streams[name].items()} for name in sorted(streams)},
    }


def _facts(entry: dict) -> dict[str, list[str]]:
    """Values of a stream that a manifest counts over samples."""
    facts = {}
    if "rate_hz" in entry:
        facts["rates_hz"] = [f"{entry['rate_hz']:g}"]
    if "sensors" in entry:
        facts["placements"] = [sensor["placement"] for sensor in entry["sensors"]]
    if "skeleton" in entry:
        facts["skeletons"] = [entry["skeleton"] if isinstance(entry["skeleton"], str) else "in place"]
    if "tower" in entry:
        facts["towers"] = [entry["tower"]]
    return facts


def _plain(value: object) -> object:
    if isinstance(value, Counter):
        return dict(sorted(value.items()))
    return round(value, 6) if isinstance(value, float) else value


def _read_parts(folder: Path) -> tuple[list[dict], dict[str, dict]]:
    """Rows of all parts in order of key, and what was dropped by reason."""
    rows, dropped = [], {}
    for path in sorted(folder.glob("*.json")):
        if path.name == "job.json":
            continue
        part = json.loads(path.read_text())
        for row in part["rows"]:
            rows.append({**row, "part": path.with_suffix(".tar"), "recording": part["recording"]})
        for reason, seconds, count in part["dropped"]:
            total = dropped.setdefault(reason, {"count": 0, "seconds": 0.0})
            total["count"] += count
            total["seconds"] = round(total["seconds"] + seconds, 6)
    rows.sort(key=lambda row: row["entry"]["key"])
    for a, b in itertools.pairwise(rows):
        if a["entry"]["key"] == b["entry"]["key"]:
            raise ShardError(
                f"key {a['entry']['key']!r} is used twice, by recordings {a['recording']!r} and {b['recording']!r};"
                " ids must be unique in the folder"
            )
    if not rows:
        why = "; ".join(f"{reason} ({total['count']})" for reason, total in list(dropped.items())[:3])
        raise ShardError(
            f"no samples: {f'all was dropped: {why}' if why else 'the source gave none, nothing to write'}"
        )
    return rows, dropped


def _head_first(rows: list[dict]) -> list[dict]:
    """Rows of a split in order of key, after the `HEAD` rows that show the most files, fields and labels.

    Stock `datasets` takes its columns from the first five samples: what these lack it drops or refuses.
    """
    shown = [(_fields(row["head"]), row) for row in rows]
    everything = frozenset().union(*(fields for fields, _ in shown))
    order = sorted(
        range(len(rows)),
        key=lambda i: (shown[i][0] != everything, -len(rows[i]["entry"]["members"]), -len(shown[i][0]), i),
    )
    first = order[:HEAD]
    return [rows[i] for i in first] + [row for i, row in enumerate(rows) if i not in set(first)]


def _fields(value: object, path: str = "") -> frozenset[str]:
    """Every path in a JSON value, with its type at the end: what a table would make columns of."""
    if isinstance(value, dict):
        return frozenset().union(*(_fields(inner, f"{path}/{name}") for name, inner in value.items()))
    if isinstance(value, list):
        return frozenset().union(*(_fields(inner, f"{path}[]") for inner in value))
    return frozenset([f"{path}:{type(value).__name__}"])


def _packed(rows: list[dict], shard_bytes: int) -> Iterable[list[dict]]:
    """Rows cut into shards of about `shard_bytes`, at least one row each."""
    shard, size = [], 0
    for row in rows:
        if shard and size + row["entry"]["size"] > shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(row)
        size += row["entry"]["size"]
    yield shard


def _copy_of(row: dict) -> tuple[Path, dict]:
    return row["part"], row["entry"]


def _write_shard(plan: tuple[Path, str, list[tuple[Path, dict]]]) -> dict:
    """Writes one tar and its index; gives their entry of the manifest."""
    out, name, rows = plan
    digest, position, entries = hashlib.sha256(), 0, []
    with atomic(out / f"{name}.tar") as file:
        for part, entry in rows:
            with open(part, "rb") as source:
                blocks = os.pread(source.fileno(), entry["size"], entry["offset"])
            if len(blocks) != entry["size"]:
                raise ShardError(
                    f"{part} is shorter than its index says; delete {part.with_suffix('.json')} and resume"
                )
            file.write(blocks)
            digest.update(blocks)
            entries.append({**entry, "offset": position})
            position += len(blocks)
        file.write(END_OF_TAR)
        digest.update(END_OF_TAR)
    index = out / f"{name}.idx.json"
    with atomic(index) as file:
        file.write(index_bytes(f"{name}.tar", entries))
    return {
        "file": f"{name}.tar",
        "samples": len(entries),
        "bytes": position + len(END_OF_TAR),
        "sha256": digest.hexdigest(),
        "index_sha256": sha256_of(index),
    }


class ShardWriter:
    """Writes samples into a folder of shards: `with ShardWriter(out, name=...) as writer: writer.write("train", sample)`.

    Leaving the block well assembles the shards; an exception leaves no manifest and takes away what was begun. The
    order of writing does not matter: shards are in order of key.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        name: str,
        version: str = "1",
        arguments: dict | None = None,
        card: str = "",
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.out = Path(out)
        self.job = {"name": name, "version": version, "arguments": arguments or {}}
        self.card, self.shard_bytes = card, shard_bytes
        self.manifest: dict | None = None

    def __enter__(self) -> ShardWriter:
        self._made = not self.out.exists()
        folder, self._lock = open_parts(self.out, self.job, resume=False)
        path = part_path(folder, "")
        self._part = Part(folder, path.stem, "")
        self._file = atomic(path.with_suffix(".tar"))
        self._blocks = self._file.__enter__()
        return self

    def write(self, split: str, sample: Sample) -> None:
        """Adds a sample. ValueError, with all faults, where it breaks the format."""
        self._part.write(self._blocks, split, sample)

    def drop(self, dropped: Dropped) -> None:
        """Counts what was left out."""
        self._part.dropped.append(dropped)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.__exit__(kind, error, trace)
            if error is None:
                self._part.finish()
                self.manifest = assemble(self.out, self.job, card=self.card, shard_bytes=self.shard_bytes)
        finally:
            self._lock.close()
            if self.manifest is None:
                shutil.rmtree(self.out if self._made else self.out / PARTS, ignore_errors=True)

"""Whether a model was trained on what it is evaluated on: the same people, sessions, recordings, or the very same bytes.

Only index files are read. Names are compared within a data set: subject "s1" of two data sets are two people. Bytes are
compared whatever they are called: that finds a copy under another name, but not the same recording cut or resampled
otherwise. What a frozen tower from elsewhere has seen is not known.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aura.data.files import atomic
from aura.data.index import Split, open_split
from aura.data.writer import ShardError

FILE = "training_data.npz"  # in a run directory
NAMES = ("subject", "session", "group", "recording")
KINDS = (*NAMES, "content")
EXAMPLES = 5
LISTED = 10_000_000  # samples of a split whose index is read for its names: two minutes and 6 GB
LARGEST = 1 << 31  # bytes of a record: of 50 million names and streams


class LeakError(ValueError):
    """What was trained on is not known; the message says why and what to do."""


@dataclass(frozen=True)
class Contents:
    """What training has read, in 8 bytes a name and stream: no names, but enough to find them again.

    sources    of each split: folder, split, dataset, digest of the manifest, samples, and of these without a subject
    hashes     kind -> sorted uint64: of names with their data set, and the beginnings of the SHA-256 of streams (`content`)
    unknown    what else was learned from, and cannot be compared
    """

    sources: tuple[dict[str, Any], ...]
    hashes: dict[str, np.ndarray]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overlap:
    """Of `of` different subjects (sessions, ...) in the evaluation, `shared` were in training: `samples` samples of it."""

    shared: int
    of: int
    samples: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Leaks:
    """What evaluation shares with training.

    overlaps    by kind: subject, session, group, recording, content (streams of the same bytes)
    samples     of the evaluation; `nameless` of these have no subject, by which they could be compared
    notes       what could not be compared, in words
    """

    overlaps: dict[str, Overlap]
    samples: int
    nameless: int
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people: a line for each kind that overlaps, then the notes; none: nothing was found, all was compared."""
        what = {"content": "streams of the same bytes"}
        found = [
            f"{o.shared} of {o.of} {what.get(kind, kind + 's')} were in training ({o.samples} of {self.samples} samples):"
            f" {', '.join(o.examples)}{' ...' if o.shared > len(o.examples) else ''}"
            for kind, o in self.overlaps.items()
            if o.shared
        ]
        return found + list(self.notes)


def leaks(training: Contents, evaluation: Iterable[Split]) -> Leaks:
    """Compares the splits that are evaluated with what training has read. A million samples take seconds."""
    tables = [_Table(split) for split in evaluation]
    overlaps = {kind: _overlap(kind, training.hashes[kind], tables) for kind in KINDS}
    samples, nameless = sum(t.samples for t in tables), sum(t.nameless for t in tables)
    trained_nameless = sum(source["nameless"] or 0 for source in training.sources)
    notes = [f"not compared: {what}" for what in training.unknown]
    if nameless or trained_nameless:
        notes.append(
            f"people cannot be compared everywhere: {nameless} of {samples} samples, and {trained_nameless} of"
            f" {sum(source['samples'] for source in training.sources)} in training, name no subject"
        )
    notes += [
        f"{t.where}: its index has no hashes of bytes (a folder without manifest)" for t in tables if not t.hashed
    ]
    return Leaks(overlaps, samples, nameless, tuple(notes))


def contents(splits: Iterable[Split]) -> Contents:
    """What is in splits of shards, by their index files; of a split of more than `LISTED` samples the people alone, by the
    manifest."""
    return _merged([_vast(split) if len(split) > LISTED else _listed(_Table(split)) for split in splits])


def _listed(table: _Table) -> Contents:
    return Contents(
        sources=(table.about,),
        hashes={kind: (found := np.unique(x))[found != 0] for kind, x in table.hashes.items()},
        unknown=() if table.hashed else (f"bytes of {table.where}, whose index has no hashes",),
    )


def _vast(split: Split) -> Contents:
    hashes = {kind: np.empty(0, np.uint64) for kind in KINDS}
    hashes["subject"] = np.unique(
        np.array([_hash(f"{split.dataset}\0{name}") for name in split.totals["subjects"]], np.uint64)
    )
    what = f"sessions, groups, recordings, bytes and the nameless of {split.folder}:{split.name}"
    return Contents(
        sources=(_about(split, nameless=None),),
        hashes=hashes,
        unknown=(f"{what}, whose {len(split)} samples are too many to be listed",),
    )


def _about(split: Split, nameless: int | None) -> dict[str, Any]:
    return {
        "folder": split.folder,
        "split": split.name,
        "dataset": split.dataset,
        "digest": split.digest,
        "samples": len(split),
        "nameless": nameless,
    }


def record(run: str | Path, splits: Sequence[Split], init: str | Path | None = None, *, anew: bool = False) -> None:
    """Writes what a run reads to `training_data.npz` in its directory, and what the run or checkpoint `init` had read from
    which its towers start. A run that goes on adds what changed; one that reads the same leaves the file as it is.

    anew    nothing was learned yet: what a start before had written does not count
    """
    known = None if anew else _read(Path(run) / FILE)
    if known is not None:
        digests = {(s["folder"], s["split"], s["digest"]) for s in known.sources}
        if {(s.folder, s.name, s.digest) for s in splits} <= digests:
            return
    parts = [contents(splits)] if known is None else [known, contents(splits)]
    if init is not None and known is None:
        try:
            parts.append(training_contents(init))
        except LeakError:
            parts.append(_unknown(f"what {init} was trained on"))
    _write(run, _merged(parts))


def record_unknown(run: str | Path, what: str) -> None:
    """Writes to `training_data.npz` that a model was trained on something that cannot be compared: an evaluation of it, and
    of runs that start from it, says so."""
    _write(run, _unknown(what))


def stored(run: str | Path) -> Contents | None:
    """What a run has recorded, by its directory or one of its checkpoints; None where it has not."""
    return _read(Path(run) / FILE) or _read(Path(run).parent.parent / FILE)


def publish(run: str | Path, folder: str | Path) -> None:
    """Writes what a run has recorded, where it has, for others to see: of paths on this machine their last names stay."""
    known = stored(run)
    if known is not None:
        sources = tuple(source | {"folder": _last_names(source["folder"])} for source in known.sources)
        _write(folder, Contents(sources, known.hashes, tuple(map(_last_names, known.unknown))))


def _last_names(text: str) -> str:
    return re.sub(r"[^\s,;]*/([^\s,;/]+)/?", r"\1", text)


def training_contents(run: str | Path) -> Contents:
    """What a run was trained on: as it recorded, else by the shards that its environment.json names, where they still are.
    LeakError where it cannot be known.
    """
    found = stored(run)
    if found is not None:
        return found
    folders = [Path(run), Path(run).parent.parent]
    file = next((f / "environment.json" for f in folders if (f / "environment.json").is_file()), None)
    digests = {} if file is None else json.loads(file.read_text()).get("shards", {})
    sources = [tuple(name.rpartition(":")[::2]) for name in digests]
    if not sources:
        raise LeakError(f"{run} has neither {FILE} nor environment.json, which say what it was trained on")
    splits, changed = [], []
    for folder, split in sources:
        try:
            splits.append(open_split(folder, split))
        except (ShardError, OSError) as error:
            raise LeakError(
                f"{run} was trained on {folder}:{split}, which cannot be read, and has no {FILE}: whether the evaluation"
                f" was in training cannot be told ({error}). Put the shards back there"
            ) from error
        if digests.get(f"{folder}:{split}", splits[-1].digest) != splits[-1].digest:
            changed.append(f"{folder}:{split} as it was in training: it was written anew since")
    found = contents(splits)
    return Contents(found.sources, found.hashes, (*found.unknown, *changed))


class _Table:
    """The samples of a split as columns: hashes by kind, 0 for none, and what they are of."""

    def __init__(self, split: Split) -> None:
        self.where, self.keys = f"{split.folder}:{split.name}", []
        self.names: dict[str, list[str]] = {kind: [] for kind in NAMES}
        self.dataset, self.hashed = split.dataset, True
        streams: list[str] = []
        owners: list[int] = []
        for i, entry in enumerate(split.entries()):
            self.keys.append(entry["key"])
            for kind, column in self.names.items():
                column.append(entry.get(kind, ""))
            if "sha256" not in entry:
                self.hashed = False
                continue
            for stream, digest in entry["sha256"].items():
                # The head holds the sample's own name; embeddings of equal texts are equal.
                if stream != "json" and not stream.startswith("text"):
                    streams.append(digest[:16])
                    owners.append(i)
        self.samples = len(self.keys)
        self.nameless = self.names["subject"].count("")
        self.hashes = {kind: self._hashed(column) for kind, column in self.names.items()}
        self.hashes["content"] = np.frombuffer(bytes.fromhex("".join(streams)), ">u8").astype(np.uint64)
        self.owners = np.array(owners, np.int64)
        self.about = _about(split, self.nameless)

    def _hashed(self, names: list[str]) -> np.ndarray:
        known = {name: _hash(f"{self.dataset}\0{name}") if name else 0 for name in set(names)}
        return np.fromiter((known[name] for name in names), np.uint64, len(names))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") or 1


def _overlap(kind: str, trained: np.ndarray, tables: list[_Table]) -> Overlap:
    shared, everything, samples, examples = [], [], 0, {}
    for table in tables:
        hashes = table.hashes[kind]
        hit = np.isin(hashes, trained) & (hashes != 0)
        everything.append(hashes[hashes != 0])
        shared.append(hashes[hit])
        rows = table.owners[hit] if kind == "content" else np.flatnonzero(hit)
        samples += len(np.unique(rows))
        names = table.keys if kind == "content" else table.names[kind]
        for i in rows.tolist():
            if len(examples) == EXAMPLES:
                break
            examples.setdefault(f"{table.dataset} {names[i]}".strip())
    count, of = (len(np.unique(np.concatenate(x))) if x else 0 for x in (shared, everything))
    return Overlap(count, of, samples, tuple(examples))


def _unknown(what: str) -> Contents:
    return Contents((), {kind: np.empty(0, np.uint64) for kind in KINDS}, (what,))


def _write(run: str | Path, known: Contents) -> None:
    with atomic(Path(run) / FILE) as file:
        about = json.dumps({"sources": known.sources, "unknown": known.unknown})
        np.savez(file, about=np.array(about), **known.hashes)  # pyright: ignore


def _merged(parts: Sequence[Contents]) -> Contents:
    return Contents(
        sources=tuple(source for part in parts for source in part.sources),
        hashes={kind: np.unique(np.concatenate([part.hashes[kind] for part in parts])) for kind in KINDS},
        unknown=tuple(dict.fromkeys(what for part in parts for what in part.unknown)),
    )


def _read(path: Path) -> Contents | None:
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as packed:
            if (size := sum(entry.file_size for entry in packed.infolist())) > LARGEST:
                raise ValueError(f"it unpacks to {size} bytes")
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            return Contents(tuple(about["sources"]), {kind: file[kind] for kind in KINDS}, tuple(about["unknown"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise LeakError(f"{path} cannot be read: {error}; delete it, and the shards themselves are compared") from error

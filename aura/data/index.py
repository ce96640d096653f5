"""What is in a folder of shards, and where: samples are found by number, and read without parsing tars.

Opening a folder reads its manifest alone: see `aura.data.shard` for the indexes.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
from pydantic_core import from_json  # three times as fast as json

from aura.data.files import atomic
from aura.data.kept import Kept
from aura.data.manifest import read_manifest
from aura.data.sample import Sample, from_metadata
from aura.data.shard import TABLE_BYTES, Shard, cache_folder, cached
from aura.data.storage import Storage, files_to_keep
from aura.data.tars import index_tar
from aura.data.writer import MANIFEST, PARTS, ShardError, index_bytes
from aura.data.writer import totals as count_totals

WHOLE_BYTES = 128 << 10  # a local sample up to this size is read in one piece
WHOLE_BYTES_REMOTE = 2 << 20
FILES_OF_A_STREAM = 4  # two shards and their indexes
NUMBERS = re.compile(r"[<>|=]?[biuf][0-9]{1,2}")  # dtypes of plain numbers, as `np.dtype.str` writes them


class BadSample(ValueError):
    """One sample that cannot be read as the format says; the message names shard, key and file."""


@dataclass
class Split:
    """The samples of a split in order: `len(split)`, `split.entry(i)`, `split.record(i)`, `split.sample(i)`."""

    folder: str
    name: str
    shards: list[Shard]
    totals: dict  # of the manifest: samples, seconds, subjects, labels, streams
    digest: str = ""  # changes with the content: SHA-256 of the manifest
    dataset: str = ""  # whose recordings and subjects these are, as far as the manifest says
    _last: tuple[int, Record] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(shard.samples for shard in self.shards))

    def __len__(self) -> int:
        return self._ends[-1] if self.shards else 0

    def read_in_turns(self, streams: int, sources: int) -> None:
        """Makes room for a process that reads so many streams of order of this one of some sources in turns: the shards of each
        stream and their indexes stay open, and where the lines of the indexes end stays in memory. A stream reads of two
        shards at once where its block lies in both."""
        storage, tables = self.shards[0].storage, self.shards[0].tables  # of the whole folder
        storage.keep_open(files_to_keep(FILES_OF_A_STREAM * streams, sources + 1))
        copies = cached(cache_folder())  # of all that this process reads
        copies.keep_open(max(copies.kept_open, files_to_keep(2 * streams * sources, sources + 1)))
        tables.limit = max(TABLE_BYTES, 2 * 4 * streams * max(shard.samples for shard in self.shards))

    def locate(self, i: int) -> tuple[Shard, int]:
        """The shard of sample i, and the sample's number in it."""
        at, place = locate(self._ends, i)
        return self.shards[at], place

    def entry(self, i: int) -> dict:
        """Index entry of sample i: key, offset, size, duration_s, labels, streams, members, ..."""
        shard, j = self.locate(i)
        return shard.entry(j)

    def entries(self) -> Iterator[dict]:
        for shard in self.shards:
            yield from shard.entries()

    def record(self, i: int) -> Record:
        """Sample i, to be read piece by piece. The last one is kept: windows of a sample follow each other."""
        if self._last is None or self._last[0] != i:
            self._last = i, self._record(*self.locate(i))
        return self._last[1]

    def _record(self, shard: Shard, i: int) -> Record:
        return Record(shard, shard.entry(i))

    def sample(self, i: int) -> Sample:
        """Sample i, whole."""
        return self.record(i).sample()


def locate(ends: Sequence[int], i: int) -> tuple[int, int]:
    """The number of sample i's shard, and the sample's number in it; `ends`: samples up to the end of each shard."""
    if not 0 <= i < (ends[-1] if ends else 0):
        raise IndexError(f"sample {i} of {ends[-1] if ends else 0}")
    at = bisect.bisect_right(ends, i)
    return at, i - (ends[at - 1] if at else 0)


def read_whole(size: int, local: bool) -> bool:
    """Whether a sample of so many bytes is read in one piece, not window by window."""
    return size <= (WHOLE_BYTES if local else WHOLE_BYTES_REMOTE)


class Record:
    """A sample of which only what is asked for is read. BadSample where it is not what its index says."""

    def __init__(self, shard: Shard, entry: dict) -> None:
        self.shard, self.entry = shard, entry
        self._whole: bytes | None = None
        if read_whole(entry["size"], shard.storage.local):
            self._whole = shard.storage.ranges(shard.file, [(entry["offset"], entry["size"])])[0]

    @property
    def where(self) -> str:
        return f"{self.shard.storage.where(self.shard.file)}: {self.entry['key']}"

    @cached_property
    def head(self) -> dict:
        """The content of KEY.json."""
        start, size = self._member("json")[:2]
        try:
            data = bytes(self._pieces([(start, size)])[0])
            written = self.entry.get("sha256", {}).get("json")
            if written and hashlib.sha256(data).hexdigest() != written:
                raise ValueError("is not what was written: its SHA-256 differs from the index's")
            head = from_json(data)
        except ValueError as error:
            raise BadSample(f"{self.where}.json: {error}") from error
        if not isinstance(head, dict) or head.get("id") != self.entry["key"]:
            raise BadSample(f"{self.where}.json: does not hold the sample of this key")
        return head

    def has(self, array: str) -> bool:
        return f"{array}.npy" in self.entry["members"] or f"{array}.mp4" in self.entry["members"]

    def bytes(self, name: str) -> bytes:
        """A file of the sample by the rest of its name: `video.mp4`."""
        start, size = self._member(name)[:2]
        return bytes(self._pieces([(start, size)])[0])

    def frames(self, video: str, times_s: np.ndarray, fit: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """What `fit` keeps of the frames (H, W, 3) uint8 of a video nearest to times (F,) in seconds since its first one: (F,
        ...)."""
        from aura.data.video import decode_frames  # av, which nothing else here needs

        try:
            return decode_frames(self.bytes(f"{video}.mp4"), times_s, fit)
        except ValueError as error:
            raise BadSample(f"{self.where}.{video}.mp4: {error}") from error

    def shape(self, array: str) -> tuple[int, ...]:
        return tuple(self._layout(array)[2])

    def items(
        self, array: str, start: int, stop: int, rows: list[int] | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Items start to stop of an array along its first axis, or, with `rows`, along the second for these rows.

        For an imu (S, T, 6), rows are sensors: (len(rows), stop - start, 6). Only these bytes are read: into `out`,
        where that is given. The result may be read-only. BadSample where the array has fewer items, or of another shape.
        """
        offset, dtype, shape = self._layout(array)
        axis = 0 if rows is None else 1
        wanted = (stop - start, *shape[1:]) if rows is None else (len(rows), stop - start, *shape[2:])
        if stop > shape[axis]:
            raise BadSample(f"{self.where}.{array}.npy: holds {shape[axis]} items, not {stop} as KEY.json says")
        if out is not None and out.shape != wanted:
            raise BadSample(f"{self.where}.{array}.npy: is {tuple(shape)}, of which {out.shape} cannot be taken")
        if self._whole is None:
            values = out if out is not None and out.dtype == dtype else np.empty(wanted, dtype)
            inner = math.prod(shape[axis + 1 :]) * dtype.itemsize
            at = self.entry["offset"] + offset + start * inner
            parts = [(at, values)] if rows is None else [(at + r * shape[1] * inner, v) for r, v in zip(rows, values)]
            self.shard.storage.read_into(self.shard.file, parts)
        else:
            values = np.frombuffer(self._whole, dtype, math.prod(shape), offset).reshape(shape)
            if rows is None:
                values = values[start:stop]
            elif rows == list(range(shape[0])):  # all of them: nothing to copy
                values = values[:, start:stop]
            else:
                values = values[rows, start:stop]
        if out is None or out is values:
            return values
        out[...] = values
        return out

    def array(self, name: str) -> np.ndarray:
        """A whole array."""
        return self.items(name, 0, self._layout(name)[2][0])

    def sample(self) -> Sample:
        """The whole sample."""
        arrays: dict[str, np.ndarray | bytes] = {}
        for name in self.entry["members"]:
            if name.endswith(".npy"):
                arrays[name.removesuffix(".npy")] = self.array(name.removesuffix(".npy"))
            elif name.endswith(".mp4"):
                arrays[name.removesuffix(".mp4")] = self.bytes(name)
        try:
            return from_metadata(self.head, arrays)
        except (TypeError, ValueError) as error:
            raise BadSample(f"{self.where}: {error}") from error

    def _member(self, name: str) -> list:
        try:
            return self.entry["members"][name]
        except KeyError:
            raise BadSample(f"{self.where}.{name}: there is no such file") from None

    def _layout(self, array: str) -> tuple[int, np.dtype, list[int]]:
        """Where an array's first item is in the sample, its dtype and shape: the data ends where the file does."""
        start, size, dtype, shape = self._member(f"{array}.npy")
        try:  # an index may be a stranger's: read into objects, bytes would be their addresses
            kind = np.dtype(dtype) if isinstance(dtype, str) and NUMBERS.fullmatch(dtype) else None
        except TypeError:  # numbers of a size that numpy does not know
            kind = None
        if kind is None:
            raise BadSample(f"{self.where}.{array}.npy: the index says {dtype!r}, arrays are of plain numbers")
        begin = start + size - math.prod(shape) * kind.itemsize
        if begin <= start:
            raise BadSample(f"{self.where}.{array}.npy: {size} bytes are not an array of {kind} {tuple(shape)}")
        return begin, kind, shape

    def _pieces(self, spans: list[tuple[int, int]]) -> list[memoryview] | list[bytes]:
        if self._whole is not None:
            view = memoryview(self._whole)
            return [view[start : start + size] for start, size in spans]
        offset = self.entry["offset"]
        return self.shard.storage.ranges(self.shard.file, [(offset + start, size) for start, size in spans])


def open_split(path: str, split: str) -> Split:
    """A split of a folder of shards: a local path or a URL.

    With a manifest, that says what is there. Without one, tars of a stranger are indexed once (see `index_tar`): of the
    whole folder, of one tar, or of a pattern with braces (`https://host/train-{000000..000003}.tar`).

    Raises ShardError, naming what to do: an unfinished or empty folder, an unknown split, a missing or truncated shard.
    """
    found = find_split(path, split)
    check_shards(found)
    return found


def find_split(path: str, split: str) -> Split:
    """As `open_split`, but nothing of the shards is touched."""
    splits = open_folder(path)
    if split not in splits:
        raise ShardError(f"{path} has no split {split!r}; it has {', '.join(splits) or 'none'}")
    return splits[split]


def check_shards(split: Split, rank: int = 0, ranks: int = 1) -> None:
    """Raises ShardError where a shard is missing or not as long as the manifest says. Each of several ranks looks at its share:
    a thousand that ask for a million files each are too much for a file system."""
    shards = split.shards[rank::ranks]
    names = [shard.file for shard in shards]
    for shard, size in zip(shards, shards[0].storage.sizes(names) if names else []):
        where = shard.storage.where(shard.file)
        if size is None:
            raise ShardError(f"{where} is missing, though the manifest lists it; copy it again")
        if size != shard.bytes:
            raise ShardError(f"{where} has {size} bytes, the manifest says {shard.bytes}: truncated? copy it again")


def open_folder(path: str) -> dict[str, Split]:
    """All splits of a folder, by name; nothing of their shards is touched. Raises ShardError, see `open_split`."""
    path = str(path)
    if path.endswith(".tar"):
        return _open_strangers(path.rpartition("/")[0] or ".", path.rpartition("/")[2])
    storage = Storage(path)
    if storage.local and not storage.folder.is_dir():
        raise ShardError(
            f"{path} does not exist; data.sources and data.eval name URLs or folders of shards, which a converter writes:"
            f" python -m shards.<dataset> --source DIR --out {path} (see the recipe's header)"
        )
    if not storage.exists(MANIFEST):
        if storage.exists(PARTS):
            raise ShardError(f"{path} is unfinished (no {MANIFEST}, but {PARTS}): resume its converter with --resume")
        return _open_strangers(path, "*.tar")
    content = storage.read(MANIFEST)
    manifest = read_manifest(content, storage.where(MANIFEST))
    splits, tables = {}, Kept(TABLE_BYTES)
    for name, about in manifest["splits"].items():
        shards = [
            Shard(storage, s["file"], s["samples"], s["bytes"], index_name(s["file"]), s["index_sha256"], tables)
            for s in about["shards"]
        ]
        totals = {k: v for k, v in about.items() if k != "shards"}
        splits[name] = Split(path, name, shards, totals, hashlib.sha256(content).hexdigest(), _dataset(manifest))
    return splits


def _dataset(manifest: dict) -> str:
    """The data set's name: its converter's, or one of the converter's arguments, also where embeddings were added since."""
    arguments = manifest["converter"]["arguments"]
    inner = arguments.get("converter")
    if isinstance(inner, dict) and isinstance(inner.get("arguments"), dict):
        arguments = inner["arguments"]
    table = arguments.get("table")
    found = arguments.get("dataset") or (table.get("dataset") if isinstance(table, dict) else None)
    return found if found and isinstance(found, str) else manifest["name"]


def index_name(shard: str) -> str:
    return shard.removesuffix(".tar") + ".idx.json"


def _open_strangers(root: str, pattern: str) -> dict[str, Split]:
    """Splits of tars without a manifest: a split is the start of a name (`train-000001.tar`)."""
    import braceexpand

    storage = Storage(root)
    names = storage.names(pattern) if "*" in pattern else list(braceexpand.braceexpand(pattern))
    if not names:
        raise ShardError(f"{root} has neither {MANIFEST} nor tar files")
    splits: dict[str, Split] = {}
    heads: dict[str, list[dict]] = {}
    seen: dict[str, str] = {}
    tables = Kept(TABLE_BYTES)
    for name in names:
        split = re.sub(r"[-_.]?[0-9]*\.tar$", "", name) or "train"
        path = cache_folder() / f"{hashlib.sha256(storage.fingerprint(name).encode()).hexdigest()}.idx.json"
        beside = path.with_name(path.name.replace(".idx.json", ".head.json"))
        if not (path.exists() and beside.exists()):
            rows = index_tar(storage, name)
            with atomic(beside, shared=True) as file:
                file.write(json.dumps([head for _, head in rows]).encode())
            with atomic(path, shared=True) as file:
                file.write(index_bytes(name, [entry for entry, _ in rows]))
        found = json.loads(beside.read_bytes())
        for head in found:
            if seen.setdefault(head["id"], name) != name:
                raise ShardError(
                    f"{root}: key {head['id']!r} is in {seen[head['id']]} and in {name}; keys must be unique"
                )
        size = storage.sizes([name])[0]
        assert size is not None
        made = splits.setdefault(split, Split(root, split, [], {}))
        made.shards.append(Shard(storage, name, len(found), size, path, tables=tables))
        heads.setdefault(split, []).extend(found)
    for split, made in splits.items():
        made.totals = count_totals(heads[split])
        named = {head.get("dataset", "") for head in heads[split]}
        made.dataset = named.pop() if len(named) == 1 else ""
        made.digest = hashlib.sha256("".join(Path(shard.index).name for shard in made.shards).encode()).hexdigest()
    return splits

"""A shard and its index, which is read line by line.

An index file holds one sample a line, and in its last line where the others end. A line is read and parsed when its sample is:
what stays in memory is where the lines end, 4 bytes a sample, of the shards that were read last. No file stays mapped or open beyond
those that `OpenFiles` keeps.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic_core import from_json  # three times as fast as json

from aura.data.files import LINE_ENDS, atomic, sha256_of
from aura.data.kept import Kept
from aura.data.storage import Storage
from aura.data.writer import ShardError

TABLE_BYTES = 64 << 20  # of the tables of a folder: 16 million samples
HASHED_BYTES = (
    16 << 20
)  # an index up to this size is compared with its hash, once in a process; a larger one by its lines alone
PIECE = 1 << 24  # bytes of an index that are looked through at a time


@dataclass
class Shard:
    """One tar of a split and its index.

    index     its name in the storage, or the path of a cached one
    tables    where the lines of indexes end, of the shards of the folder that were read last
    """

    storage: Storage
    file: str
    samples: int
    bytes: int
    index: str | Path
    index_sha256: str = ""
    tables: Kept = field(default_factory=lambda: Kept(TABLE_BYTES), repr=False)

    def entry(self, i: int) -> dict:
        """The index entry of the shard's i-th sample."""
        ends = self.tables.get(self.file, self._line_ends)
        start = int(ends[i]) + 1
        storage, name = self._index()
        try:
            return from_json(storage.ranges(name, [(start, int(ends[i + 1]) - start)])[0].rstrip(b","))
        except ValueError as error:  # of a file that nothing says the hash of, or that is too large to be hashed
            raise ShardError(
                f"{storage.where(name)}: sample {i}: {error}; copy it again (of the cache: delete it)"
            ) from error

    def entries(self) -> list[dict]:
        """All index entries, parsed at once: half the time of one by one."""
        self._fetch()
        storage, name = self._index()
        found = from_json(storage.read(name))["samples"]
        self._check(len(found))
        return found

    def _line_ends(self) -> np.ndarray:
        """Where the lines of the index end, in bytes: of its head and of each sample."""
        self._fetch()
        storage, name = self._index()
        size = storage.sizes([name])[0] or 0
        found = self._last_line(storage, name, size)
        if found is None:  # an index that was written without it: read once, whole
            ends, read = [], 0
            with storage.open(name) as file:
                while piece := file.read(PIECE):
                    ends.append(np.flatnonzero(np.frombuffer(piece, np.uint8) == ord("\n")) + read)
                    read += len(piece)
            found = np.concatenate(ends)[:-1] if ends else np.empty(0, np.int64)
        self._check(len(found) - 1)
        return found.astype(np.uint32 if size < 2**32 else np.int64)

    def _last_line(self, storage: Storage, name: str, size: int) -> np.ndarray | None:
        """What the last line of the index says; None where there is no such line."""
        longest = min(size, longest_last_line(size, self.samples))
        end = storage.ranges(name, [(size - longest, longest)])[0]
        start = end.find(b"\n" + LINE_ENDS) + 1
        if start == 0:
            return None
        try:
            return np.array(from_json(end[start + len(LINE_ENDS) :].rstrip()[:-1]), np.int64)
        except ValueError:
            return None

    def _check(self, samples: int) -> None:
        if samples != self.samples:
            raise ShardError(
                f"{self.storage.where(str(self.index))}: index of {samples} samples, the manifest says"
                f" {self.samples}; write the folder again, or repair it with tools/verify_shards.py"
            )

    def _index(self) -> tuple[Storage, str]:
        """The index file on this machine: in its own place, or a copy in the cache, named by its hash."""
        if isinstance(self.index, Path):
            return cached(self.index.parent), self.index.name
        if self.storage.local:
            return self.storage, self.index
        return cached(cache_folder()), f"{self.index_sha256}.idx.json"

    def _fetch(self) -> None:
        """Makes sure that the index file is on this machine."""
        storage, name = self._index()
        path = storage.folder / name
        if path.is_file():
            about = path.stat()
            small = 0 < about.st_size <= HASHED_BYTES
            if self.index_sha256 and small and hashed(path, about.st_mtime_ns) != self.index_sha256:
                raise ShardError(
                    f"{path}: SHA-256 differs from the manifest's of {self.storage.root}; copy it again (of the cache: delete it)"
                )
            return
        if self.storage.local:
            raise ShardError(f"{path} is missing; copy it from the source, or repair with tools/verify_shards.py")
        data = self.storage.read(str(self.index))
        if hashlib.sha256(data).hexdigest() != self.index_sha256:
            where = self.storage.where(str(self.index))
            raise ShardError(f"{where}: SHA-256 differs from the manifest's; upload it again")
        with atomic(path, shared=True) as file:
            file.write(data)


def longest_last_line(size: int, samples: int) -> int:
    """Bytes that the last line of an index of so many bytes and samples has at most, with the end of the line before it."""
    return (len(str(size)) + 1) * (samples + 1) + len(LINE_ENDS) + 8


def cache_folder() -> Path:
    """Where indexes of remote folders and of tars without one are kept: AURA_CACHE, or `~/.cache/aura`."""
    folder = Path(os.environ.get("AURA_CACHE") or Path.home() / ".cache" / "aura") / "indexes"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@lru_cache(maxsize=1 << 16)
def hashed(path: Path, changed_ns: int) -> str:
    """SHA-256 of an index, at which a process looks once as long as it does not change."""
    return sha256_of(path)


@lru_cache(maxsize=8)
def cached(folder: Path) -> Storage:
    """The storage of a folder on this machine, the same one each time."""
    return Storage(str(folder))

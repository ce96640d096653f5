"""The reader's order and what it reads, process by process, without reading: for `tools/simulate.py`.

Who reads which row of which sample, where that lies, what stays open and which bytes a window needs are asked of the reader's own
functions (`Order.owned`, `Order.row`, `locate`, `OpenFiles`, `Record`, `Cutter`); here they are only counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

import aura.data.order
from aura.data.index import FILES_OF_A_STREAM, Record, Split, locate, read_whole
from aura.data.kept import Kept
from aura.data.order import Order, Row, even_subset
from aura.data.shard import TABLE_BYTES, Shard, longest_last_line
from aura.data.storage import OpenFiles, Storage, files_to_keep
from aura.data.windows import Cutter, row_key

INDEX = ".idx.json"


@dataclass
class Counts:
    """What a process does: `openings`, `reads` (of `bytes`) and `seeks` are of tars, `index_` of index files; `open_files` is the
    most that it has open of both."""

    samples: int = 0
    openings: int = 0
    reads: int = 0
    bytes: int = 0
    seeks: int = 0
    index_openings: int = 0
    index_bytes: int = 0
    open_files: int = 0
    now_open: int = field(default=0, init=False, repr=False)
    places: dict[str, int] = field(
        default_factory=dict, init=False, repr=False
    )  # of open files: where the last read ended

    def files(self, limit: int) -> OpenFiles:
        """Files of which the openings are counted."""
        return OpenFiles(self._open, self._close, limit)

    def _close(self, handle: int) -> None:
        self.now_open -= 1

    def _open(self, name: str) -> int:
        self.now_open += 1
        self.open_files = max(self.open_files, self.now_open)
        index = name.endswith(INDEX)
        self.openings += not index
        self.index_openings += index
        self.places[name] = 0
        return 0

    def read(self, name: str, offset: int, size: int) -> None:
        if name.endswith(INDEX):
            self.index_bytes += size
        else:
            self.reads, self.bytes = self.reads + 1, self.bytes + size
            self.seeks += offset != self.places[name]
        self.places[name] = offset + size


COUNTED = ("samples", "openings", "reads", "bytes", "seeks", "index_openings", "index_bytes")  # the sum over processes


class Source(Protocol):
    """What is read of: its size, and a function for each process that counts what a row reads."""

    @property
    def samples(self) -> int: ...

    @property
    def shards(self) -> int: ...

    def process(self, counts: Counts, streams: int, sources: int) -> Callable[[int, Row], None]: ...


@dataclass
class Statistics:
    """Samples that are all alike, of which there may be any number."""

    samples: int
    shard_samples: int
    row_bytes: float
    index_line: int

    @property
    def shards(self) -> int:
        return -(-self.samples // self.shard_samples)

    def process(self, counts: Counts, streams: int, sources: int) -> Callable[[int, Row], None]:
        ends = range(self.shard_samples, self.samples + self.shard_samples, self.shard_samples)
        files = counts.files(files_to_keep(FILES_OF_A_STREAM * streams, sources + 1))
        tables = Kept(max(TABLE_BYTES, 8 * streams * self.shard_samples))
        size, line, last = int(self.row_bytes), self.index_line, [-1]

        def table(index: str) -> np.ndarray:
            end = longest_last_line(line * self.shard_samples, self.shard_samples)
            files.get(index)
            counts.read(index, line * self.shard_samples - end, end)
            return np.broadcast_to(np.uint32(0), self.shard_samples + 2)  # its size alone counts

        def read(row: int, at: Row) -> None:
            if at.sample == last[0]:  # of which this is the next window
                return
            last[0] = at.sample
            shard, place = locate(ends, at.sample)
            index, tar = f"{shard}{INDEX}", str(shard)
            tables.get(tar, lambda: table(index))
            for name, each in ((index, line), (tar, size)):
                files.get(name)
                counts.read(name, place * each, each)

        return read


class CountedStorage(Storage):
    """A local folder whose index files and heads of samples are read; of all else it is counted what would be."""

    def __init__(self, root: str, counts: Counts) -> None:
        super().__init__(root)
        self.counts, self._files = counts, counts.files(self._files.limit)

    def ranges(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        found = []
        with open(self.folder / name, "rb") as file:
            for offset, size in spans:
                self.skim(name, offset, size)
                file.seek(offset)
                found.append(file.read(size))
        return found

    def read_into(self, name: str, parts: Sequence[tuple[int, np.ndarray]]) -> None:
        for offset, array in parts:
            self.skim(name, offset, array.nbytes)
            array[...] = 1

    def skim(self, name: str, offset: int, size: int) -> None:
        self._files.get(name)
        self.counts.read(name, offset, size)

    def open(self, name: str) -> Any:
        self.counts.index_bytes += (self.folder / name).stat().st_size
        return super().open(name)


class UnreadRecord(Record):
    """A sample of which KEY.json is read at most."""

    def __init__(self, shard: Shard, entry: dict, side: int) -> None:
        self.shard, self.entry, self.side, self._whole = shard, entry, side, None
        self.whole = not side or read_whole(entry["size"], local=True)
        if self.whole:
            shard.storage.skim(shard.file, entry["offset"], entry["size"])  # pyright: ignore[reportAttributeAccessIssue]

    def frames(self, video: str, times_s: np.ndarray, fit: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        start, size = self._member(f"{video}.mp4")[:2]
        self.shard.storage.skim(self.shard.file, self.entry["offset"] + start, size)  # pyright: ignore[reportAttributeAccessIssue]
        return np.stack([fit(np.zeros((self.side, self.side, 3), np.uint8))] * len(times_s))


class UnreadSplit(Split):
    side: int

    def _record(self, shard: Shard, i: int) -> UnreadRecord:
        return UnreadRecord(shard, shard.entry(i), self.side)


@dataclass
class Folder:
    """A split of a local folder. `cutter` says what a window reads of a large sample; None: all of it."""

    split: Split
    number: int
    seed: int
    cutter: Cutter | None

    @property
    def samples(self) -> int:
        return len(self.split)

    @property
    def shards(self) -> int:
        return len(self.split.shards)

    def process(self, counts: Counts, streams: int, sources: int) -> Callable[[int, Row], None]:
        storage, tables = CountedStorage(self.split.folder, counts), Kept(TABLE_BYTES)
        shards = [replace(shard, storage=storage, tables=tables) for shard in self.split.shards]
        split = UnreadSplit(self.split.folder, self.split.name, shards, self.split.totals)
        split.read_in_turns(streams, sources)
        cutter = self.cutter
        # Frames of the size that is wanted need no scaling; 0: no window is cut.
        split.side = max([1, *(getattr(i, "size", 1) for i in cutter.inputs.values())]) if cutter else 0

        def read(row: int, at: Row) -> None:
            record = split.record(at.sample)
            if cutter is not None and not record.whole:  # pyright: ignore[reportAttributeAccessIssue]
                key = row_key(self.seed, self.number, at.number, record.entry["key"], at.window)
                cutter.training_row(record, row, key)

        return read


@dataclass(frozen=True)
class Run:
    """Which part of a run is simulated; `counters` are those of its position at the step `start`."""

    batch: int
    ranks: int
    workers: int
    steps: int
    start: int
    counters: np.ndarray


@dataclass
class RankCounts(Counts):
    """What all processes of one rank do, `open_files` the most of one; `idle` and `uneven` as `tools/simulate.py` words them."""

    idle: float = 0.0
    uneven: float = 0.0


def walk(
    order: Order, sources: Sequence[Source], run: Run, rank: int, worker: int, visit: Callable[[int, Row], None]
) -> tuple[Counts, np.ndarray, np.ndarray]:
    """One reading process: what it does, and its rows and bytes in each step. `visit` sees each row."""
    counts, counters = Counts(), run.counters.copy()
    streams = order.streams // run.ranks // max(1, run.workers)
    readers = [source.process(counts, streams, len(sources)) for source in sources]
    rows, sizes = np.zeros(run.steps, np.int64), np.zeros(run.steps, np.int64)
    for i, step in enumerate(range(run.start, run.start + run.steps)):
        before = counts.bytes
        for row, stream, source in order.owned(step, run.batch, rank, run.ranks, worker, max(1, run.workers)):
            at = order.row(stream, source, int(counters[stream, source]))
            counters[stream, source] += 1
            readers[source](row, at)
            visit(row, at)
            rows[i] += 1
        sizes[i] = counts.bytes - before
    counts.samples = int(rows.sum())
    counts.places.clear()
    return counts, rows, sizes


def simulate(
    order: Order,
    sources: Sequence[Source],
    run: Run,
    visit: Callable[[int, Row], None] = lambda row, at: None,
    done: Callable[[], Any] = lambda: None,
    some: int | None = None,
) -> list[RankCounts]:
    """What each rank does in the steps of a run, or `some` of them, spread evenly; `done` is called after each."""
    found, in_steps = [], []
    for rank in even_subset(run.ranks, some):
        parts = [walk(order, sources, run, rank, worker, visit) for worker in range(max(1, run.workers))]
        total = {key: sum(getattr(counts, key) for counts, _, _ in parts) for key in COUNTED}
        rows = np.stack([rows for _, rows, _ in parts])
        uneven = float(np.mean(1 - rows.mean(0) / np.maximum(1, rows.max(0))))
        open_files = max(counts.open_files for counts, _, _ in parts)
        found.append(RankCounts(**total, open_files=open_files, uneven=uneven))
        in_steps.append(np.sum([sizes for _, _, sizes in parts], axis=0))
        done()
    waits(found, in_steps)
    return found


def waits(ranks: Sequence[RankCounts], in_steps: Sequence[np.ndarray]) -> None:
    """Sets how long each rank waits, from the bytes of each (ranks) in each step (steps,)."""
    most = np.maximum(1, np.max(in_steps, axis=0))
    for rank, sizes in zip(ranks, in_steps):
        rank.idle = float(np.mean(1 - sizes / most))


def counters_at(order: Order, batch: int, step: int) -> np.ndarray:
    """Rows that each stream has taken of each source before a step: the position that a run would have saved."""
    counters = np.array(order.start(), np.int64)
    if len(order.sizes) == 1:  # rows r below step * batch with r mod streams = v
        counters[:, 0] = [len(range(v, step * batch, order.streams)) for v in range(order.streams)]
        return counters
    for done in range(step):
        order.advance(counters, done, batch)
    return counters


def seconds_to_the_next_row(order: Order, run: Run) -> float:
    """CPU seconds until a process that starts at the run's step knows which samples its streams read next: nothing is read on the way."""
    aura.data.order.ORDERS = Kept(aura.data.order.ORDERS.limit)
    for cache in (aura.data.order._place_of_last, aura.data.order._inside, aura.data.order._source_keys):
        cache.cache_clear()
    started = time.process_time()
    seen: set[int] = set()
    for step in range(run.start, run.start + -(-order.streams // run.batch)):
        for _, stream, source in order.owned(step, run.batch, 0, run.ranks, 0, max(1, run.workers)):
            if stream not in seen:
                seen.add(stream)
                order.row(stream, source, int(run.counters[stream, source]))
    return time.process_time() - started

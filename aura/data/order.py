"""The order of rows: a pure function of seed and sources, the same for any number of ranks and reading processes.

Rows are numbered 0, 1, 2, ... for ever; step k is rows kB to kB+B-1; stream of order v is the rows with r mod V = v, and
rank g reads the rows with r mod R = g. A pass over a source is cut into V runs, and stream v walks its run of pass 0,
then of pass 1, and so on, so that with one source row r belongs to pass r div N.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from aura.data.kept import Kept


class OrderError(ValueError):
    """Numbers of rows, streams and ranks that do not fit; the message names some that do."""


def hash64(*parts: object) -> int:
    """A number of 64 bits that depends on all parts: the same on every machine, in every version."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def check_ranks(batch: int, streams: int, ranks: int) -> None:
    """Raises OrderError unless the number of ranks divides the batch and the streams of order."""
    if batch % ranks == 0 and streams % ranks == 0:
        return
    both = math.gcd(batch, streams)
    fit = [r for r in range(1, both + 1) if both % r == 0]
    up = lambda n: math.ceil(n / ranks) * ranks  # noqa: E731
    raise OrderError(
        f"{ranks} ranks do not divide train.batch={batch} and data.streams={streams}. With these, {_list(fit)} ranks work;"
        f" with {ranks} ranks, train.batch={up(batch)} and data.streams={up(streams)} work"
    )


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:-1])) + (" or " if numbers[1:] else "") + str(numbers[-1])


def fitting_workers(streams: int, ranks: int, workers: int) -> int:
    """The number of reading processes: lowered to one that divides the streams of a rank. 0 stays 0."""
    own = streams // ranks
    return next((w for w in range(min(workers, own), 0, -1) if own % w == 0), 0)


GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(z: np.ndarray) -> np.ndarray:
    """64 bits that depend on all bits of z (the finaliser of SplitMix64, Steele et al. 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _hashes(key: int, start: int, stop: int) -> np.ndarray:
    """A hash of each number from start to stop-1 under a key: no two are equal, since the mixing is one to one."""
    return _mix(np.arange(start + 1, stop + 1, dtype=np.uint64) * GOLDEN + np.uint64(key))


def permutation(key: int, count: int) -> np.ndarray:
    """A permutation of 0 to count-1 that depends on the key alone, not on a library's random generator."""
    return np.argsort(_hashes(key, 0, count), kind="stable")


WHOLE = 1 << 20  # an order of up to so many is made at once; of a longer one, a part
PARTS = 64
CHUNK = 1 << 18  # hashes made at a time: they stay in a core's cache
ORDERS = Kept(256 << 20)


def permuted(key: int, count: int, position: int) -> int:
    """`permutation(key, count)[position]`. Of a long order only the part around the position is made, and kept."""
    size = count if count <= WHOLE else -(-count // PARTS)
    part, place = divmod(position, size)
    return int(ORDERS.get((key, count, part), lambda: _part(key, count, part * size, (part + 1) * size))[place])


def _part(key: int, count: int, first: int, last: int) -> np.ndarray:
    """`permutation(key, count)[first:last]`, in the memory of this part alone, in the time of one pass over the hashes.

    The hashes are spread evenly: those at places `first` to `last` of their order lie in a range that is known but for a
    small margin, and the number of hashes below the range says where it begins in the order.
    """
    kind = np.uint32 if count < 2**32 else np.int64
    ORDERS.limit = max(ORDERS.limit, 8 * count)  # what a process needs in turns must not push itself out
    if count <= WHOLE:
        return permutation(key, count)[first:last].astype(kind)
    last = min(last, count)
    # By the inequality of Dvoretzky, Kiefer and Wolfowitz (Massart 1990) a margin of 8 roots fails once in 2 e^128 orders.
    margin = 8 * math.isqrt(count)
    low = np.uint64(max(0, ((first - margin) << 64) // count))
    high = np.uint64(min(2**64 - 1, ((last + margin) << 64) // count))
    below, values, places = 0, [], []
    for start, stop in _chunks(count):
        hashes = _hashes(key, start, stop)
        below += int(np.count_nonzero(hashes < low))
        inside = np.flatnonzero((hashes >= low) & (hashes <= high))
        values.append(hashes[inside])
        places.append((inside + start).astype(kind))
    order = np.argsort(np.concatenate(values))
    if not below <= first <= last <= below + len(order):
        raise AssertionError(f"order of {count} by the key {key}: the hashes are not spread evenly")
    return np.concatenate(places)[order[first - below : last - below]]


def _chunks(count: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


@lru_cache(maxsize=256)
def _place_of_last(key: int, count: int) -> int:
    """Where count-1 is in `permutation(key, count)`: after all smaller hashes."""
    own = _hashes(key, count - 1, count)[0]
    return sum(int(np.count_nonzero(_hashes(key, *chunk) < own)) for chunk in _chunks(count))


@lru_cache(maxsize=4096)
def _inside(key: int, block: int, size: int) -> np.ndarray:
    return permutation(hash64(key, block), size)


def sample_at(seed: int, source: int, number: int, samples: int, position: int, block: int, streams: int) -> int:
    """The sample at a position of pass `number` over a source: blocks are permuted, then the samples inside each.

    A source of fewer than `streams` x `block` samples is permuted as a whole.
    """
    key = hash64("pass", seed, source, number)
    if samples < streams * block:
        block = 1
    count = -(-samples // block)
    if block == 1:
        return permuted(key, count, position)
    missing = count * block - samples  # by how much the last block is shorter
    at, inside = divmod(position, block)
    short_at = _place_of_last(key, count) if missing else count
    if at > short_at or (at == short_at and inside >= block - missing):
        at, inside = divmod(position + missing, block)
    which = permuted(key, count, at)
    size = block - missing if at == short_at else block
    return which * block + int(_inside(key, which, size)[inside])


def visit(samples: int, streams: int, stream: int, count: int) -> tuple[int, int]:
    """(pass, position in the pass) of a stream's count-th visit of a source of `samples` samples."""
    number = (count * streams + stream) // samples
    # Rows of this stream in the passes before: those r < number * samples with r mod streams = stream.
    before = max(0, -(-(number * samples - stream) // streams))
    return number, run_start(samples, streams, stream, number) + count - before


def run_start(samples: int, streams: int, stream: int, number: int) -> int:
    """Where the run of a stream begins in a pass: after the runs of the streams before it.

    Run v has `samples div streams` positions, plus one if (v - pass * extra) mod streams < extra, with
    `extra = samples mod streams`.
    """
    extra = samples % streams
    first = (number * extra) % streams  # the streams first, first + 1, ... (around) have one more
    longer = max(0, min(stream, first + extra) - first) + min(stream, max(0, first + extra - streams))
    return stream * (samples // streams) + longer


@dataclass(frozen=True)
class Row:
    """What a row reads: sample `sample` of source `source`, in pass `number`, window `window` of this visit."""

    stream: int
    source: int
    number: int
    sample: int
    window: int


@lru_cache(maxsize=4)
def _source_keys(seed: int, streams: int) -> np.ndarray:
    return np.array([hash64("source", seed, v) for v in range(streams)], np.uint64)


@dataclass(frozen=True)
class Order:
    """The order of a run.

    sizes     samples of each source
    weights   shares of the sources
    streams   number of streams of order, V
    windows   consecutive rows of its stream that a visited sample gives
    """

    seed: int
    sizes: tuple[int, ...]
    weights: tuple[float, ...]
    streams: int
    block: int = 16
    windows: int = 1

    def start(self) -> list[list[int]]:
        """Counters at step 0: rows that each stream has taken of each source."""
        return [[0] * len(self.sizes) for _ in range(self.streams)]

    def source_of(self, streams: np.ndarray, q: np.ndarray) -> np.ndarray:
        """The sources of the q-th rows of streams, drawn by weight: (n,) of (n,)."""
        if len(self.sizes) == 1:
            return np.zeros(len(streams), np.int64)
        drawn = _mix(_source_keys(self.seed, self.streams)[streams] + q.astype(np.uint64) * GOLDEN) / 2.0**64
        ends = np.cumsum(self.weights) / np.sum(self.weights)
        return np.minimum(np.searchsorted(ends, drawn, side="right"), len(ends) - 1)

    def step_sources(self, step: int, batch: int) -> np.ndarray:
        """The source of each row of a step, (B,)."""
        rows = np.arange(step * batch, (step + 1) * batch)
        return self.source_of(rows % self.streams, rows // self.streams)

    def owned(
        self, step: int, batch: int, rank: int, ranks: int, worker: int, workers: int
    ) -> list[tuple[int, int, int]]:
        """(row, stream, source) of each row of a step that one reading process of one rank reads, ascending."""
        rows = np.array(owned_rows(step, batch, self.streams, rank, ranks, worker, workers), np.int64)
        streams = rows % self.streams
        return list(zip(rows.tolist(), streams.tolist(), self.source_of(streams, rows // self.streams).tolist()))

    def advance(self, counters: np.ndarray, step: int, batch: int) -> None:
        """Counts the rows of a step, of all ranks, in `counters` (streams, sources), in place."""
        streams = np.arange(step * batch, (step + 1) * batch) % self.streams
        np.add.at(counters, (streams, self.step_sources(step, batch)), 1)

    def row(self, stream: int, source: int, count: int) -> Row:
        """What a stream reads when it has taken `count` rows of a source."""
        visits, window = divmod(count, self.windows)
        number, position = visit(self.sizes[source], self.streams, stream, visits)
        sample = sample_at(self.seed, source, number, self.sizes[source], position, self.block, self.streams)
        return Row(stream, source, number, sample, window)

    def after_bad(self, count: int) -> int:
        """The counter that passes over all windows of the sample that `count` stands at."""
        return (count // self.windows + 1) * self.windows


def owned_rows(step: int, batch: int, streams: int, rank: int, ranks: int, worker: int, workers: int) -> list[int]:
    """Rows of a step that one reading process of one rank reads, ascending."""
    rows = range(step * batch + rank, (step + 1) * batch, ranks)  # a step begins at a multiple of ranks
    return [r for r in rows if (r % streams) // ranks % workers == worker]


def passes(order: Order, rows: int) -> list[float]:
    """Expected passes over each source in a number of rows."""
    total = sum(order.weights)
    return [rows * w / total / n / order.windows for w, n in zip(order.weights, order.sizes)]


def even_subset(count: int, limit: int | None) -> Sequence[int]:
    """`limit` numbers of 0 to count-1, spread evenly; all where there is no limit or it is not smaller."""
    if limit is None or limit >= count:
        return range(count)
    return [i * count // limit for i in range(limit)]

"""Readers: batches of windows for training, for ever, and for evaluation, each window once.

Both read in processes of their own (`data.workers`, 0: here) and give the same batches at any number of these.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from aura.data.batch import Batch
from aura.data.config import DataConfig, Input, Source
from aura.data.cut import evaluation_count
from aura.data.handover import Part, flatten, join, unflatten
from aura.data.index import BadSample, Split, check_shards, find_split
from aura.data.order import Order, check_ranks, even_subset, fitting_workers, passes
from aura.data.processes import ReadError, iterate
from aura.data.windows import Cutter, Rooms, RowData, Tokenize, row_key

log = logging.getLogger(__name__)


class TrainReader:
    """Batches of one rank, step after step, for ever: iterating gives `(batch, position)`.

    batch          rows of a step over all ranks; this rank reads the rows r with r mod ranks = rank
    tokenize       from texts to token ids (B, L); needed for a text stream that is not read as stored embeddings
    precomputed    stream -> hash of the frozen tower whose stored embeddings are read instead of the stream
    position       a position that a reader gave, of any number of ranks and processes: goes on with the very next row

    A position is `{"step": steps done, "counters": rows taken, by stream of order and source}`, JSON-able. Ranks see
    only their own bad samples: `merge_positions` of all ranks' positions is the one to save.

    Raises ReadError, ShardError or OrderError before the first step where the run cannot be read as asked; of missing and
    truncated shards those that this rank looks at (see `check_shards`): what one rank raises all should. Bad samples
    are replaced by the next of their stream, counted in `bad` and logged; past `data.max_bad`, ReadError lists them.
    """

    def __init__(
        self,
        config: DataConfig,
        inputs: Mapping[str, Input],
        *,
        batch: int,
        rank: int = 0,
        ranks: int = 1,
        seed: int = 0,
        tokenize: Tokenize | None = None,
        precomputed: Mapping[str, str] | None = None,
        position: dict[str, Any] | None = None,
    ) -> None:
        check_ranks(batch, config.streams, ranks)
        self.config, self.batch, self.rank, self.ranks, self.seed = config, batch, rank, ranks, seed
        self.workers = fitting_workers(config.streams, ranks, config.workers)
        self.sources = open_sources(config.sources, inputs, precomputed or {}, rank, ranks)
        for split in self.sources:
            split.read_in_turns(config.streams // ranks // max(1, self.workers), len(self.sources))
        self.cutter = make_cutter(config, inputs, self.sources, tokenize, precomputed or {}, training=True)
        sizes = tuple(len(split) for split in self.sources)
        weights = tuple(source.weight for source in config.sources)
        self.order = Order(seed, sizes, weights, config.streams, config.shuffle_block, config.windows)
        self.step, self.counters = _restored(position, self.order)
        self.bad: dict[tuple[int, int], str] = {}

    def shards(self) -> dict[str, str]:
        """What is read: `path:split` -> hash of the folder's manifest."""
        return shard_hashes(self.sources)

    def __iter__(self) -> Iterator[tuple[Batch, dict[str, Any]]]:
        local = self.batch // self.ranks
        parts = iterate(self._parts, self.workers)
        while True:
            batch = self._joined(list(itertools.islice(parts, max(1, self.workers))), local)
            yield batch, self._advance(self.step)

    def _joined(self, parts: list[Part], rows: int) -> Batch:
        for part in parts:
            _note_bad(self.bad, part, self.sources, self.config.max_bad)
            for stream, source, skipped in part.skips:
                self.counters[stream, source] += skipped
        return join(parts, rows)

    def _advance(self, step: int) -> dict[str, Any]:
        """The position after a step."""
        self.order.advance(self.counters, step, self.batch)
        self.step = step + 1
        return {"step": self.step, "counters": self.counters.tolist()}

    def _parts(self, worker: int, workers: int) -> Iterator[Part]:
        """What one reading process hands over: one part a step. Runs in that process."""
        counters, known_bad = self.counters.copy(), set(self.bad)
        for step in itertools.count(self.step):
            places = self.order.owned(step, self.batch, self.rank, self.ranks, worker, workers)
            part = Part([(row - step * self.batch) // self.ranks for row, _, _ in places])
            if places:
                makers = (partial(self._row, *place, counters, part, known_bad) for place in places)
                part.tensors, part.lists = flatten(self.cutter.fill(len(places), makers))
            yield part

    def _row(
        self,
        row: int,
        stream: int,
        source: int,
        counters: np.ndarray,
        part: Part,
        known_bad: set[tuple[int, int]],
        out: Rooms,
    ) -> RowData:
        """The next good row of a stream; what it passes over is noted in the part.

        Each row is tried for itself: one window of a sample may be good and another bad, and what a process remembers
        of earlier ones must not decide, since other workers and a restart remember other things.
        """
        tried: set[int] = set()
        while True:
            at = self.order.row(stream, source, int(counters[stream, source]))
            try:
                record = self.sources[source].record(at.sample)
                key = row_key(self.seed, source, at.number, record.entry["key"], at.window)
                made = self.cutter.training_row(record, row, key, out)
                counters[stream, source] += 1
                return made
            except BadSample as error:
                tried.add(at.sample)
                if (source, at.sample) not in known_bad:
                    known_bad.add((source, at.sample))
                    part.bad.append((source, at.sample, str(error)))
                if len(known_bad) > self.config.max_bad:
                    raise ReadError(too_many(self.config.max_bad, [b[2] for b in part.bad])) from error
                if len(tried) >= self.order.sizes[source]:
                    raise ReadError(f"every sample of {self.sources[source].folder} is bad: {error}") from error
            skipped = self.order.after_bad(int(counters[stream, source])) - int(counters[stream, source])
            counters[stream, source] += skipped
            part.skips.append((stream, source, skipped))


class EvalReader:
    """Every window of the held-out splits once, in order, the same number of batches on all ranks.

    batch    rows of a batch on each rank; rank g reads the windows i with i mod ranks = g
    limit    at most so many windows, spread evenly over all
    some     streams that no source has are missing from all rows; else they are a ReadError

    A row's number is its window's; rows that fill up the last batches have number -1, weight 0 and no stream, and so
    has the row of a bad sample, which is counted in `bad` and logged.
    """

    def __init__(
        self,
        config: DataConfig,
        inputs: Mapping[str, Input],
        *,
        batch: int,
        rank: int = 0,
        ranks: int = 1,
        tokenize: Tokenize | None = None,
        precomputed: Mapping[str, str] | None = None,
        limit: int | None = None,
        some: bool = False,
    ) -> None:
        if not config.eval:
            raise ReadError("data.eval names no source to evaluate on")
        self.config, self.batch, self.rank, self.ranks = config, batch, rank, ranks
        self.sources = open_sources(config.eval, inputs, precomputed or {}, rank, ranks, some=some)
        for split in self.sources:
            split.read_in_turns(1, len(self.sources))
        self.cutter = make_cutter(config, inputs, self.sources, tokenize, precomputed or {}, training=False)
        # (source, sample, window) of every window, in order.
        table = [
            (s, i, w)
            for s, split in enumerate(self.sources)
            for i, entry in enumerate(split.entries())
            for w in range(evaluation_count(config.window, float(entry["duration_s"])))
        ]
        self.table = [(number, *table[number]) for number in even_subset(len(table), limit)]
        self.windows, self.total = len(self.table), len(table)
        self.batches = -(-len(self.table) // (batch * ranks))
        self.workers = min(config.workers, self.batches)
        self.bad: dict[tuple[int, int], str] = {}

    def __len__(self) -> int:
        return self.batches

    def shards(self) -> dict[str, str]:
        """What is read: `path:split` -> hash of the folder's manifest."""
        return shard_hashes(self.sources)

    def __iter__(self) -> Iterator[Batch]:
        for part in iterate(self._parts, self.workers):
            _note_bad(self.bad, part, self.sources, self.config.max_bad)
            yield unflatten(part.tensors, part.lists)

    def read(self, numbers: Sequence[int]) -> Batch:
        """A batch of these windows alone, by their numbers, in this order. KeyError for one that is not among them."""
        part = Part(list(range(len(numbers))))
        rows = [partial(self._row, number, *self._by_number[number], part) for number in numbers]
        return unflatten(*flatten(self.cutter.fill(len(numbers), rows)))

    @cached_property
    def _by_number(self) -> dict[int, tuple[int, int, int]]:
        return {number: (source, sample, window) for number, source, sample, window in self.table}

    def _parts(self, worker: int, workers: int) -> Iterator[Part]:
        mine = self.table[self.rank :: self.ranks]
        for number in range(worker, self.batches, workers):
            part = Part(list(range(self.batch)))
            windows = mine[number * self.batch : (number + 1) * self.batch]
            rows = [partial(self._row, *window, part) for window in windows]
            fillers = [lambda _: self.cutter.filler()] * (self.batch - len(windows))
            part.tensors, part.lists = flatten(self.cutter.fill(self.batch, rows + fillers))
            yield part

    def _row(self, number: int, source: int, sample: int, window: int, part: Part, out: Rooms) -> RowData:
        try:
            return self.cutter.evaluation_row(self.sources[source].record(sample), number, window, out)
        except BadSample as error:
            part.bad.append((source, sample, str(error)))
            return self.cutter.filler()


def merge_positions(positions: list[dict[str, Any]]) -> dict[str, Any]:
    """One position of those that all ranks have after the same step: each knows the bad samples of its own streams."""
    if len({position["step"] for position in positions}) != 1:
        raise ReadError(f"positions of different steps: {[position['step'] for position in positions]}")
    counters = np.max([position["counters"] for position in positions], axis=0)
    return {"step": positions[0]["step"], "counters": counters.tolist()}


def plan(config: DataConfig, batch: int, steps: int, reader: TrainReader) -> list[str]:
    """What a run of `steps` updates of `batch` rows will read, for people: a line for each source."""
    lines = [
        f"data: {steps} steps of {batch} rows, {reader.order.streams} streams of order,"
        f" {reader.workers} reading processes on each of {reader.ranks} ranks"
    ]
    share = np.array(reader.order.weights) / sum(reader.order.weights)
    for source, part, count in zip(reader.sources, share, passes(reader.order, batch * steps)):
        one = len(source) * reader.order.windows / (batch * part)
        lines.append(
            f"  {source.folder} {source.name}: {len(source)} samples, {part:.0%} of the rows, {count:.2f} passes"
            f" ({one:.1f} steps a pass)"
        )
    return lines


def open_sources(
    sources: tuple[Source, ...],
    inputs: Mapping[str, Input],
    towers: Mapping[str, str],
    rank: int = 0,
    ranks: int = 1,
    *,
    some: bool = False,
) -> list[Split]:
    """Opens the splits, and makes sure that together they have what the recipe reads, or at least `some` stream of it (what
    is stored of a frozen tower in any case), and that this rank's share of the shards is there. ReadError, ShardError."""
    splits = [find_split(source.path, source.split) for source in sources]
    for split in splits:
        check_shards(split, rank, ranks)
        if len(split) == 0:
            raise ReadError(f"{split.folder}: split {split.name} is empty")
    for name in inputs:
        array = f"{name}.emb" if name in towers else name
        having = [split for split in splits if array in split.totals["streams"]]
        if not having and some and name not in towers and any(n in s.totals["streams"] for n in inputs for s in splits):
            continue
        if not having:
            there = "; ".join(f"{s.folder} {s.name} has {', '.join(s.totals['streams']) or 'none'}" for s in splits)
            hint = (
                "run tools/precompute.py first"
                if name in towers
                else f"drop inputs.{name} and its pairs, or add a source"
            )
            raise ReadError(f"no source has the stream {array!r} of the recipe: {there}. {hint}")
        for split in having if name in towers else []:
            stored = list(split.totals["streams"][array].get("towers", {}))
            if stored != [towers[name]]:
                raise ReadError(
                    f"{split.folder} {split.name}: the stored embeddings of {name} are of tower {', '.join(stored)}, the"
                    f" recipe's is {towers[name]}; run tools/precompute.py for this recipe"
                )
    return splits


def make_cutter(
    config: DataConfig,
    inputs: Mapping[str, Input],
    sources: list[Split],
    tokenize: Tokenize | None,
    towers: Mapping[str, str],
    *,
    training: bool,
) -> Cutter:
    """The maker of rows. ReadError where texts would need a tokenizer that is not given."""
    for name, settings in inputs.items():
        if settings.kind == "text" and name not in towers and tokenize is None:
            raise ReadError(f"inputs.{name}: texts need a tokenizer, or stored embeddings of the text tower")
    shapes = {name: _embedding_shape(name, inputs[name], sources) for name in inputs if name in towers}
    return Cutter(inputs, config.window, tokenize, towers, shapes, training)


def _embedding_shape(name: str, settings: Input, sources: list[Split]) -> tuple[int, ...]:
    """Shape of a row's stored embeddings: that of the first sample that has them."""
    for split in sources:
        if f"{name}.emb" not in split.totals["streams"]:
            continue
        for i in range(len(split)):
            member = split.entry(i)["members"].get(f"{name}.emb.npy")
            if member is None:
                continue
            width = member[3][-1]
            if settings.kind == "text":
                return (width,)
            clip = "window_s" in split.record(i).head["streams"][f"{name}.emb"]
            return (1 if clip else getattr(settings, "frames"), width)  # noqa: B009
    raise ReadError(f"no sample has stored embeddings of {name}")


def shard_hashes(sources: list[Split]) -> dict[str, str]:
    return {f"{split.folder}:{split.name}": split.digest for split in sources}


def _note_bad(bad: dict[tuple[int, int], str], part: Part, sources: list[Split], limit: int) -> None:
    """Counts and names the bad samples of a part; ReadError with the list past the limit."""
    for source, sample, message in part.bad:
        if (source, sample) not in bad:
            bad[source, sample] = message
            log.warning("bad sample passed over (%d so far): %s", len(bad), message)
    if len(bad) > limit:
        raise ReadError(too_many(limit, list(bad.values())))


def too_many(limit: int, messages: list[str]) -> str:
    """What a run that met more than `limit` bad samples says."""
    shown = "\n  ".join(messages[:20])
    return (
        f"more than data.max_bad={limit} bad samples; repair the shards with tools/verify_shards.py --repair, or raise"
        f" the limit:\n  {shown}"
    )


def _restored(position: dict[str, Any] | None, order: Order) -> tuple[int, np.ndarray]:
    """Step and counters of a position. ReadError where it is of another order."""
    if not position:
        return 0, np.array(order.start(), np.int64)
    counters = np.array(position["counters"], np.int64)
    if counters.shape != (order.streams, len(order.sizes)):
        raise ReadError(
            f"the saved position has {counters.shape[0]} streams of order and {counters.shape[-1]} sources, the recipe"
            f" {order.streams} and {len(order.sizes)}: data.streams and data.sources must be those of the run"
        )
    return int(position["step"]), counters

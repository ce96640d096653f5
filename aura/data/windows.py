"""Rows of a batch, from records and the windows that are cut out of them.

A window is the same seconds of every stream. All random choices about a row come from generators seeded by
(seed, source, pass, sample id, window), one per stream, so that another stream or a gap changes no other choice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from aura.data.batch import Batch, Stream
from aura.data.config import Input, Window
from aura.data.cut import Cut, evaluation_cut, shifted_cut, training_cut
from aura.data.handover import allocate
from aura.data.index import BadSample, Record, ShardError
from aura.data.order import hash64
from aura.data.streams import BLANKS, READERS, Fields, Options

Tokenize = Callable[[list[str]], Tensor]
SHIFTED = ("imu", "mocap", "pose2d")  # kinds of streams that `window.shift_s` moves
Rooms = dict[str, Fields]  # where a row is written: by stream, the fields without the batch dimension


@dataclass
class RowData:
    """One row: fields of each `Stream` without the batch dimension (None: absent), and what the batch lists."""

    streams: dict[str, dict | None]
    number: int
    start_s: float = 0.0
    span_s: float = 0.0
    id: str = ""
    recording: str = ""
    subject: str = ""
    group: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True)
class Cutter:
    """Makes rows and stacks them: the inputs of a recipe and its window.

    tokenize    from texts to token ids (B, L), for text that is not read as embeddings
    towers      stored embeddings asked for: stream -> hash of the tower
    shapes      stream -> shape of a row of these embeddings: text (D,), video (F, D)
    training    rows have random windows and the draws of their augmentation
    """

    inputs: Mapping[str, Input]
    window: Window
    tokenize: Tokenize | None = None
    towers: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    training: bool = False

    def training_row(self, record: Record, number: int, key: int, out: Rooms | None = None) -> RowData:
        """A random window, with the draws of its augmentation; `key` seeds all its choices. BadSample as `Record`."""
        cut = training_cut(self.window, float(record.entry["duration_s"]), key)
        return self._row(record, number, cut, key, out or {})

    def evaluation_row(self, record: Record, number: int, window: int, out: Rooms | None = None) -> RowData:
        """The window-th window of a record, without any random choice."""
        cut = evaluation_cut(self.window, float(record.entry["duration_s"]), window)
        return self._row(record, number, cut, None, out or {})

    def cut_row(self, record: Record, cut: Cut, out: Rooms | None = None) -> RowData:
        """The part of a record that `cut` says, without any random choice."""
        return self._row(record, 0, cut, None, out or {})

    def filler(self) -> RowData:
        """A row of weight 0 without any stream."""
        return RowData(dict.fromkeys(self.inputs), -1, weight=0.0)

    @cached_property
    def _options(self) -> dict[str, Options]:
        stretched = self.window.whole or (self.training and self.window.warp > 0)
        return {
            name: Options(name, config, self.window.min_cover, tower, shape, self.training, stretched)
            for name, config in self.inputs.items()
            for tower, shape in [(self.towers.get(name, ""), self.shapes.get(name, ()))]
        }

    @cached_property
    def _blanks(self) -> dict[str, Fields]:
        blanks = {n: BLANKS[config.kind](self.window.seconds, self._options[n]) for n, config in self.inputs.items()}
        for name in filter(self._shifts, blanks):
            blanks[name] |= {"shift_s": np.zeros((), np.float32), "reach_s": np.zeros((), np.float32)}
        return blanks

    def _shifts(self, name: str) -> bool:
        """Whether a stream is cut at a place of its own."""
        return self.training and self.window.shift_s > 0 and self.inputs[name].kind in SHIFTED

    def _row(self, record: Record, number: int, cut: Cut, key: int | None, out: Rooms) -> RowData:
        entry, streams = record.entry, {}
        latest = cut.start_s
        for name, options in self._options.items():
            try:
                own, reach_s = cut, 0.0
                if key is not None and self._shifts(name):
                    own, reach_s = shifted_cut(self.window, cut, float(entry["duration_s"]), key, name)
                    latest = max(latest, own.start_s)
                streams[name] = fields = READERS[options.config.kind](record, own, options, key, out.get(name))
                if fields is not None and self._shifts(name):
                    fields.setdefault("shift_s", np.zeros((), np.float32))[...] = own.start_s - cut.start_s
                    fields.setdefault("reach_s", np.zeros((), np.float32))[...] = reach_s
            except (BadSample, ShardError):
                raise
            except (KeyError, TypeError, IndexError, ValueError, ArithmeticError) as error:
                raise BadSample(f"{record.where}: {name}: {type(error).__name__}: {error}") from error
        return RowData(
            streams=streams,
            number=number,
            start_s=float(entry["start_s"]) + cut.start_s,
            span_s=latest - cut.start_s + cut.span_s,
            id=entry["key"],
            recording=f"{record.head.get('dataset', '')}/{entry['recording']}",  # sources may use the same names
            subject=entry["subject"],
            group=entry["group"],
            labels=dict(entry["labels"]),
        )

    def stack(self, rows: Collection[RowData]) -> Batch:
        """A batch of the rows, in their order. A stream that a row lacks is blank there."""
        return self.fill(len(rows), (partial(_copied, row) for row in rows))

    def fill(self, count: int, makers: Iterable[Callable[[Rooms], RowData]]) -> Batch:
        """A batch of `count` rows, each made in its place in the batch: a maker fills the fields that it is given."""
        tensors = self._allocate(count)
        columns = {n: {k: tensor.numpy() for k, tensor in fields.items()} for n, fields in tensors.items()}
        words = {name: [""] * count for name, blank in self._blanks.items() if "text" in blank}
        present = {name: np.zeros(count, bool) for name in columns}
        made = []
        for i, make in enumerate(makers):
            rooms = {n: {k: column[i, ...] for k, column in fields.items()} for n, fields in columns.items()}
            row = make(rooms)
            for name, fields in row.streams.items():
                if fields is None:
                    for key, room in rooms[name].items():
                        room[...] = self._blanks[name][key]
                    continue
                present[name][i] = True
                if name in words:
                    words[name][i] = fields["text"]
            row.streams = {}
            made.append(row)
        streams: dict[str, Stream] = {}
        for name, fields in tensors.items():
            there = torch.from_numpy(present[name])
            if name in words and name not in self.towers:
                streams[name] = self._text(words[name], there)
                continue
            draws = {k.removeprefix("draws."): fields.pop(k) for k in list(fields) if k.startswith("draws.")}
            streams[name] = Stream(present=there, draws=draws, **fields)
        return Batch(
            streams=streams,
            row=torch.tensor([row.number for row in made], dtype=torch.int64),
            start_s=torch.tensor([row.start_s for row in made], dtype=torch.float64),
            span_s=torch.tensor([row.span_s for row in made], dtype=torch.float64),
            weight=torch.tensor([row.weight for row in made], dtype=torch.float32),
            ids=[row.id for row in made],
            recordings=[row.recording for row in made],
            subjects=[row.subject for row in made],
            groups=[row.group for row in made],
            texts=next((texts for texts in words.values() if any(texts)), [""] * count),
            labels=[row.labels for row in made],
        )

    def _allocate(self, count: int) -> dict[str, dict[str, Tensor]]:
        """The fields of each stream for `count` rows, with any content."""
        shapes = {
            (name, key): (torch.from_numpy(blank).dtype, (count, *blank.shape))
            for name, fields in self._blanks.items()
            for key, blank in fields.items()
            if key != "text"
        }
        found: dict[str, dict[str, Tensor]] = {name: {} for name in self._blanks}
        for (name, key), tensor in allocate(shapes).items():
            found[name][key] = tensor
        return found

    def _text(self, words: list[str], present: Tensor) -> Stream:
        if self.tokenize is None:
            raise ValueError("a stream of texts needs a tokenizer, or stored embeddings (precomputed)")
        ids = torch.where(present[:, None], self.tokenize(words), 0)
        return Stream(values=ids, present=present, valid=present[:, None].expand(ids.shape).clone())


def _copied(row: RowData, out: Rooms) -> RowData:
    """A row that is made already, in another place."""
    for name, fields in row.streams.items():
        if fields is not None:
            for key, room in out[name].items():
                room[...] = fields[key]
    return replace(row)


def row_key(seed: int, source: int, number: int, sample_id: str, window: int) -> int:
    """What seeds the choices of a row."""
    return hash64("row", seed, source, number, sample_id, window)

"""Rows of a batch, from records and the windows that are cut out of them.

A window is the same seconds of every stream. All random choices about a row come from generators seeded by
(seed, source, pass, sample id, window), one per stream, so that another stream or a gap changes no other choice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from aura.data.batch import Batch, Stream
from aura.data.config import Input, Window
from aura.data.cut import Cut, evaluation_cut, training_cut
from aura.data.index import BadSample, Record
from aura.data.order import hash64
from aura.data.streams import BLANKS, READERS, Options

Tokenize = Callable[[list[str]], Tensor]


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

    def training_row(self, record: Record, number: int, key: int) -> RowData:
        """A random window, with the draws of its augmentation; `key` seeds all its choices. BadSample as `Record`."""
        cut = training_cut(self.window, float(record.entry["duration_s"]), key)
        return self._row(record, number, cut, key)

    def evaluation_row(self, record: Record, number: int, window: int) -> RowData:
        """The window-th window of a record, without any random choice."""
        cut = evaluation_cut(self.window, float(record.entry["duration_s"]), window)
        return self._row(record, number, cut, None)

    def filler(self) -> RowData:
        """A row of weight 0 without any stream."""
        return RowData(dict.fromkeys(self.inputs), -1, weight=0.0)

    def _options(self, name: str, key: int | None = None) -> Options:
        tower, shape = self.towers.get(name, ""), self.shapes.get(name, ())
        stretched = self.window.whole or (self.training and self.window.warp > 0)
        return Options(name, self.inputs[name], self.window.min_cover, tower, shape, self.training, stretched, key)

    def _row(self, record: Record, number: int, cut: Cut, key: int | None) -> RowData:
        entry, streams = record.entry, {}
        for name, config in self.inputs.items():
            options = self._options(name, key)
            try:
                streams[name] = READERS[config.kind](record, cut, options)
            except (KeyError, TypeError, IndexError) as error:
                raise BadSample(f"{record.where}: {name}: {type(error).__name__}: {error}") from error
        return RowData(
            streams=streams,
            number=number,
            start_s=float(entry["start_s"]) + cut.start_s,
            span_s=cut.span_s,
            id=entry["key"],
            recording=entry["recording"],
            subject=entry["subject"],
            group=entry["group"],
            labels=dict(entry["labels"]),
        )

    def stack(self, rows: Collection[RowData]) -> Batch:
        """A batch of the rows, in their order. A stream that a row lacks is blank there."""
        return self.stack_from(rows, len(rows))

    def stack_from(self, rows: Iterable[RowData], count: int) -> Batch:
        """As `stack`, of `count` rows that are made while they are taken.

        A row is copied into the batch at once, so that the memory of one serves the next and stays in the cache.
        """
        blanks = {n: BLANKS[config.kind](self.window.seconds, self._options(n)) for n, config in self.inputs.items()}
        words = {name: [""] * count for name, blank in blanks.items() if "text" in blank}
        columns = {
            name: {k: np.empty((count, *v.shape), v.dtype) for k, v in blank.items() if k != "text"}
            for name, blank in blanks.items()
        }
        present = {name: np.zeros(count, bool) for name in blanks}
        made = []
        for i, row in enumerate(rows):
            for name, fields in row.streams.items():
                present[name][i] = fields is not None
                given = blanks[name] if fields is None else fields
                for key, column in columns[name].items():
                    column[i] = given[key]
                if name in words:
                    words[name][i] = given["text"]
            row.streams = {}
            made.append(row)
        streams: dict[str, Stream] = {}
        for name, arrays in columns.items():
            there = torch.from_numpy(present[name])
            if name in words and name not in self.towers:
                streams[name] = self._text(words[name], there)
                continue
            tensors = {key: torch.from_numpy(values) for key, values in arrays.items()}
            draws = {k.removeprefix("draws."): tensors.pop(k) for k in list(tensors) if k.startswith("draws.")}
            streams[name] = Stream(present=there, draws=draws, **tensors)
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

    def _text(self, words: list[str], present: Tensor) -> Stream:
        if self.tokenize is None:
            raise ValueError("a stream of texts needs a tokenizer, or stored embeddings (precomputed)")
        ids = torch.where(present[:, None], self.tokenize(words), 0)
        return Stream(values=ids, present=present, valid=present[:, None].expand(ids.shape).clone())


def row_key(seed: int, source: int, number: int, sample_id: str, window: int) -> int:
    """What seeds the choices of a row."""
    return hash64("row", seed, source, number, sample_id, window)

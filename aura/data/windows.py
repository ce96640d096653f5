"""Rows of a batch, from records and the windows that are cut out of them.

A window is the same seconds of every stream. All random choices about a row come from generators seeded by
(seed, source, pass, sample id, window), one per stream, so that another stream or a gap changes no other choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

    def stack(self, rows: Sequence[RowData]) -> Batch:
        """A batch of the rows, in their order. A stream that a row lacks is blank there."""
        streams: dict[str, Stream] = {}
        texts = [""] * len(rows)
        for name, config in self.inputs.items():
            found = [row.streams[name] for row in rows]
            present = torch.tensor([fields is not None for fields in found])
            blank = BLANKS[config.kind](self.window.seconds, self._options(name))
            filled = [blank if fields is None else fields for fields in found]
            if config.kind == "text":
                words = [fields["text"] for fields in filled]
                texts = words if not any(texts) else texts
                if name not in self.towers:
                    streams[name] = self._text(words, present)
                    continue
            columns = {k: torch.from_numpy(stacked([f[k] for f in filled])) for k in blank if k != "text"}
            draws = {k.removeprefix("draws."): columns.pop(k) for k in list(columns) if k.startswith("draws.")}
            streams[name] = Stream(present=present, draws=draws, **columns)
        return Batch(
            streams=streams,
            row=torch.tensor([row.number for row in rows], dtype=torch.int64),
            start_s=torch.tensor([row.start_s for row in rows], dtype=torch.float64),
            span_s=torch.tensor([row.span_s for row in rows], dtype=torch.float64),
            weight=torch.tensor([row.weight for row in rows], dtype=torch.float32),
            ids=[row.id for row in rows],
            recordings=[row.recording for row in rows],
            subjects=[row.subject for row in rows],
            groups=[row.group for row in rows],
            texts=texts,
            labels=[row.labels for row in rows],
        )

    def _text(self, words: list[str], present: Tensor) -> Stream:
        if self.tokenize is None:
            raise ValueError("a stream of texts needs a tokenizer, or stored embeddings (precomputed)")
        ids = torch.where(present[:, None], self.tokenize(words), 0)
        return Stream(values=ids, present=present, valid=present[:, None].expand(ids.shape).clone())


def stacked(arrays: list[np.ndarray]) -> np.ndarray:
    """Arrays of one shape as one array (n, ...)."""
    if arrays[0].ndim == 0:
        return np.stack(arrays)
    # As np.stack, at half its cost: that makes a view of every array first.
    return np.concatenate(arrays).reshape(len(arrays), *arrays[0].shape)


def row_key(seed: int, source: int, number: int, sample_id: str, window: int) -> int:
    """What seeds the choices of a row."""
    return hash64("row", seed, source, number, sample_id, window)

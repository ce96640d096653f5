"""What the page asks a model: activities of a recording, windows by words, offsets of two recordings."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from aura.data.config import kind_of
from aura.data.index import BadSample, Split, open_split
from aura.demo.readers import Loaded, from_sample, read_film, without_start
from aura.inference.checks import InputWarning
from aura.inference.model import Aura, Classification, Hit
from aura.inference.reading import Windows
from aura.tasks.recordings import Alignment
from aura.tasks.tracks import Encoder

MOST_SAMPLES = 50
MOST_WORDS, MOST_LETTERS = 60, 200
MOST_WINDOWS = 120  # of a recording that is classified
SLIDES = 8  # windows begin an eighth of their length apart
FOUND = 6
LONGEST_POOLED_S = 120.0
POOLED = 2.0  # windows' lengths from which on an offset by whole windows counts


@dataclass
class Desk:
    """A model, the samples to choose from (key -> number in the split), and the galleries that were embedded, by stream."""

    model: Aura
    split: Split | None = None
    samples: dict[str, int] = field(default_factory=dict)
    max_mb: float = 50.0
    galleries: dict[str, tuple[Windows, list[str]]] = field(default_factory=dict)

    def load(self, key: str) -> Loaded:
        """ValueError for a key that is not there."""
        if self.split is None or key not in self.samples:
            raise ValueError(f"there is no sample {key!r}: choose one")
        return from_sample(self.split.sample(self.samples[key]), self.model)

    @property
    def with_words(self) -> list[str]:
        """Streams of the model that can be compared with words."""
        pairs = self.model.config.objective.pairs
        sides = {side for pair in pairs if "text" in pair.split(":") for side in pair.split(":")} - {"text"}
        return [name for name in self.model.module.towers if name in sides and name in self.model.module.compared]

    @property
    def streams(self) -> list[str]:
        return [name for name in self.model.module.towers if kind_of(name) != "text"]

    @property
    def words(self) -> list[str]:
        """Classes that the model was evaluated on; else the activities of the samples."""
        if self.model.config.prompts is not None:
            return [name.replace("_", " ") for name in self.model.config.prompts.classes]
        labels = self.split.totals.get("labels", {}) if self.split is not None else {}
        values = labels.get("activity") or next(iter(labels.values()), {})
        return [name.replace("_", " ") for name in values][:MOST_WORDS]


def open_desk(model: Aura, samples: str | None, max_mb: float) -> Desk:
    """samples: FOLDER:SPLIT, of which 50 spread over the split are offered. ShardError, StorageError."""
    if samples is None:
        return Desk(model, max_mb=max_mb)
    folder, _, name = samples.rpartition(":")
    if not folder or "/" in name:
        folder, name = samples, "val"
    split = open_split(folder, name)
    numbers = np.unique(np.linspace(0, len(split) - 1, min(MOST_SAMPLES, len(split))).round().astype(int)).tolist()
    return Desk(model, split, {split.entry(i)["key"]: i for i in numbers}, max_mb)


@contextmanager
def input_warnings(into: list[str]) -> Iterator[None]:
    """Collects what the model finds odd of a recording, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    into += [
        text
        for text in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, InputWarning))
        if text not in into
    ]


def words_of(text: str) -> list[str]:
    """Words separated by commas or line ends, each once. ValueError for under two, and too many."""
    found = list(dict.fromkeys(word.strip() for word in re.split(r"[,\n]", text) if word.strip()))
    if len(found) < 2:
        raise ValueError("give two or more activities in words, separated by commas or lines")
    if len(found) > MOST_WORDS:
        raise ValueError(f"{len(found)} activities are given: at most {MOST_WORDS}")
    long = next((word for word in found if len(word) > MOST_LETTERS), None)
    if long is not None:
        raise ValueError(f"the activity {long[:40]!r}... has {len(long)} letters: at most {MOST_LETTERS}")
    return found


def recognise(desk: Desk, loaded: Loaded, stream: str, words: list[str]) -> tuple[Classification, float, float]:
    """Activities of a recording by windows that overlap, the second at which the stream begins, and seconds of a window."""
    _knows_words(desk, stream)
    given = _given(loaded, stream)
    model, about = desk.model, loaded.streams[stream]
    duration = about["length"] / about["rate_hz"]
    prompts = model.config.prompts
    labels: Any = words
    if prompts is not None:  # known classes keep the wordings that they were evaluated with
        known = {name.replace("_", " "): prompts.sentences(name) for name in prompts.classes}
        labels = {word: known.get(word, [word]) for word in words}
    span = min(model.config.window.seconds, duration) if model.config.window.whole else model.config.window.seconds
    stride = max(span / SLIDES, duration / MOST_WINDOWS)
    window = span if model.config.window.whole else None
    return model.classify(labels, window_s=window, stride_s=stride, **given), float(about["start_s"]), span


def _knows_words(desk: Desk, stream: str | None) -> None:
    if not desk.with_words:
        raise ValueError(f"the model {desk.model.config.name} was not trained with words: it can find offsets alone")
    if stream not in desk.with_words:
        raise ValueError(f"{stream} was not trained with words; {', '.join(desk.with_words)} was")


def _given(loaded: Loaded, stream: str) -> dict[str, Any]:
    if stream not in loaded.given:
        there = ", ".join(loaded.given) or "nothing that this model reads"
        raise ValueError(f"{loaded.title} has no stream {stream}; it has {there}")
    return dict(loaded.given[stream])


def gallery(desk: Desk, stream: str, progress: Callable[[int, int], None]) -> tuple[Windows, list[str]]:
    """Windows of all samples that have a stream, embedded at the first call. ValueError where none can be."""
    _knows_words(desk, stream)
    if not desk.samples:
        raise ValueError("there are no samples to search in: start the page with --samples FOLDER:SPLIT")
    if stream in desk.galleries:
        return desk.galleries[stream]
    found: list[Windows] = []
    keys: list[str] = []
    for number, key in enumerate(desk.samples):
        progress(number, len(desk.samples))
        try:
            loaded = desk.load(key)
            if stream in loaded.given:
                with input_warnings([]):
                    found.append(desk.model.embed(by_window=True, **loaded.given[stream]))
                keys.append(key)
        except (BadSample, ValueError):  # too short, or damaged: the others are searched
            continue
    if not found:
        raise ValueError(f"none of the samples has a stream {stream} that can be read")
    joined = Windows(
        stream=stream,
        vectors=torch.cat([w.vectors for w in found]),
        recording=torch.cat([torch.full_like(w.recording, i) for i, w in enumerate(found)]),
        start_s=torch.cat([w.start_s for w in found]),
        span_s=torch.cat([w.span_s for w in found]),
    )
    desk.galleries[stream] = joined, keys
    return joined, keys


def search(desk: Desk, windows: Windows, query: str, count: int = FOUND) -> list[Hit]:
    """The windows nearest to words; of those of a recording that overlap the best."""
    if not query.strip():
        raise ValueError("say in words what to look for")
    if len(query) > MOST_LETTERS:
        raise ValueError(f"{len(query)} letters are given: at most {MOST_LETTERS}")
    span, found = float(windows.span_s[0]), []
    for hit in desk.model.search(query.strip(), windows, len(windows.vectors)):
        if all(hit.recording != other.recording or abs(hit.start_s - other.start_s) >= span for other in found):
            found.append(hit)
        if len(found) == count:
            break
    return found


def offset(desk: Desk, a: Loaded, name_a: str, b: Loaded, name_b: str, cut_s: float) -> tuple[Alignment, str, bool]:
    """Offset of two recordings, in words by what they were compared, and whether it is decided. cut_s: left out of the beginning
    of b.

    ValueError where the model cannot compare them, saying why."""
    model = desk.model
    x, _ = _given(a, name_a), _given(b, name_b)
    y = dict((without_start(b, name_b, cut_s) if cut_s else b).given[name_b])
    if Encoder(model.module, {}, model.config.window.seconds).by_tokens(name_a, name_b):
        how = f"Compared by moments of {model.module.token_s[name_a]:g} s, which the model was trained to align."
        found = model.synchronise(x, y)
        return found, how, found.offset.decided
    window = model.config.window
    blind = [name for name in (name_a, name_b) if name not in model.module.compared]
    if blind:
        raise ValueError(f"this model does not align {name_a} with {name_b}: {blind[0]} has no embedding of windows")
    if window.whole:
        raise ValueError("this model reads recordings as a whole, so that it cannot tell when something happened")
    encoder = Encoder(model.module, {}, window.seconds)
    lengths = _seconds(x, name_a), _seconds(y, name_b)
    for loaded, seconds, name in zip((a, b), lengths, (name_a, name_b)):
        if seconds < window.seconds + 2 * encoder.stride_s:
            raise ValueError(
                f"{loaded.title} gives {seconds:.3g} s of {name}: this model was not trained to align moments of {name_a} and"
                f" {name_b}, so that windows of {window.seconds:g} s are compared, which need a longer recording"
            )
        if seconds > LONGEST_POOLED_S:
            raise ValueError(f"{loaded.title} lasts {seconds:.0f} s: at most {LONGEST_POOLED_S:g} s, cut it")
    how = (
        f"This model was not trained to align moments of {name_a} and {name_b}: whole windows of {window.seconds:g} s, one every"
        f" {encoder.stride_s:g} s, are compared instead, which is coarse."
    )
    enough = POOLED * window.seconds
    if min(lengths) < enough:
        how += f" Recordings of {lengths[0]:.3g} s and {lengths[1]:.3g} s hold too few of them: {enough:g} s or more decide."
    found = model.synchronise(x, y)
    return found, how, found.offset.decided and min(lengths) >= enough


def _seconds(given: dict[str, Any], stream: str) -> float:
    values = given[stream]
    if isinstance(values, bytes):
        frames, rate = read_film(values)
        return len(frames) / rate
    return (values.shape[1] if kind_of(stream) == "imu" and values.ndim == 3 else len(values)) / given["rate_hz"]

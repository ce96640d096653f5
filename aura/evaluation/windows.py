"""The windows that are evaluated: read, embedded, and told who they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from aura.data.config import ImuInput, Input, Source, source_of
from aura.data.index import Split, open_split
from aura.data.reader import EvalReader
from aura.tasks.evaluate import Embedded, embed_windows, keys_of, people_of, whole_samples
from aura.tasks.leaks import LeakError, contents, leaks, training_contents
from aura.towers.tower import Tower
from aura.train.loaded import Loaded


class EvaluationError(Exception):
    """What the user can mend: the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Request:
    """A model, and the shards that it is evaluated on.

    shards    DIR or DIR:SPLIT, local or a URL; workers: reading processes, 0: here
    pool      at most so many windows, spread evenly over all; None: all
    split     of a DIR without one
    per_sample  a row is a whole sample: the mean of its windows
    all_sensors read all sensors of a sample, where the recipe reads some, or those of some places
    """

    loaded: Loaded
    shards: tuple[str, ...]
    workers: int = 0
    pool: int | None = None
    split: str = "val"
    per_sample: bool = False
    all_sensors: bool = False

    def of(self, shards: Sequence[str], split: str) -> Request:
        """The same model, all windows of other shards."""
        return Request(self.loaded, tuple(shards), self.workers, None, split, self.per_sample, self.all_sensors)

    def splits(self) -> list[Split]:
        return [open_split(source.path, source.split) for source in self.sources]

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(source_of(text, self.split) for text in self.shards)


def inputs_of(request: Request, placement: str | None = None) -> dict[str, Input]:
    """How the streams are read: as in the recipe, or of all sensors where asked; `placement`: of the sensors there alone.
    EvaluationError where a tower reads no other number of sensors."""
    inputs = dict(request.loaded.recipe.inputs)
    for name, settings in inputs.items():
        if not isinstance(settings, ImuInput):
            continue
        if placement is not None:
            changed = {"placements": (placement,), "sensors": 1}
        elif not request.all_sensors:
            continue
        elif not cast(Tower, request.loaded.model.towers[name]).any_sensors:
            raise EvaluationError(f"--all-sensors: the tower of {name} reads {settings.sensors} alone")
        else:
            changed = {"placements": (), "sensors": max(settings.sensors, most_sensors(request, name))}
        inputs[name] = ImuInput.model_validate(settings.model_dump() | changed)
    return inputs


def most_sensors(request: Request, stream: str) -> int:
    """Sensors of the sample that has most of them; 0 where no sample has the stream."""
    arrays = (entry["members"].get(f"{stream}.npy") for split in request.splits() for entry in split.entries())
    return max((array[3][0] for array in arrays if array is not None), default=0)


def unread_sensors(request: Request) -> list[str]:
    """In words, of which streams samples have more sensors than are read."""
    lines = []
    for name, settings in inputs_of(request).items():
        if isinstance(settings, ImuInput) and not settings.placements:
            there = most_sensors(request, name)
            if there > settings.sensors:
                lines.append(
                    f"{name}: of up to {there} sensors of a sample {settings.sensors} are read; --all-sensors reads all"
                )
    return lines


def make_reader(request: Request, placement: str | None = None) -> EvalReader:
    """All windows of the shards, read as `inputs_of` says. Texts that are not stored are encoded."""
    loaded, inputs = request.loaded, inputs_of(request, placement)
    config = loaded.recipe.data.model_copy(update={"eval": request.sources, "workers": request.workers})
    splits = request.splits()
    stored = {
        name: tower
        for name, tower in loaded.precomputed.items()
        if inputs[name].kind != "text" or all(f"{name}.emb" in split.totals["streams"] for split in splits)
    }
    return EvalReader(
        config,
        inputs,
        batch=loaded.recipe.eval.batch,
        tokenize=loaded.tokenize,
        precomputed=stored,
        limit=request.pool,
        some=True,
    )


def missing_streams(request: Request) -> list[str]:
    """Streams of the model that no evaluated split has. EvaluationError where there is none but text."""
    there, inputs = streams_there(request), request.loaded.recipe.inputs
    missing = [name for name in inputs if name not in there]
    if not set(inputs) - {"text", *missing}:
        raise EvaluationError(
            f"the shards have none of the streams that recipe {request.loaded.recipe.name} reads"
            f" ({', '.join(name for name in inputs if name != 'text')}); they have {', '.join(sorted(there))}"
        )
    return missing


def streams_there(request: Request) -> set[str]:
    """Streams of the evaluated shards, those among them of which embeddings are stored too."""
    found = {stream for split in request.splits() for stream in split.totals["streams"]}
    return found | {stream.removesuffix(".emb") for stream in found}


def embed(request: Request, sensors: int | None = None, placement: str | None = None) -> Embedded:
    """All windows as embeddings; with so many random sensors of each, or with those of one placement."""
    loaded = request.loaded
    reader = make_reader(request, placement)
    found, _ = embed_windows(reader, loaded.model, alone(loaded), loaded.recipe.objective, sensors=sensors)
    assert found is not None  # nothing stops it
    return whole_samples(found) if request.per_sample else found


def with_window(loaded: Loaded, seconds: float | None, stride_s: float | None) -> Loaded:
    """The model on other windows than it was trained on; None: as in the recipe, with another length one window after
    another. EvaluationError where it cannot read them."""
    window = loaded.recipe.data.window
    if window.whole and (seconds is not None or stride_s is not None):
        raise EvaluationError(f"--window, --stride: {loaded.recipe.name} reads a sample whole, as one window")
    if seconds is not None and seconds != window.seconds:
        towers = {name: cast(Tower, tower) for name, tower in loaded.model.towers.items()}
        for name, tower in towers.items():
            longest = window.seconds if tower.longest_s is None else tower.longest_s
            if not tower.any_length and (tower.longest_s is None or seconds > longest + 1e-6):
                reads = f"windows of {longest:g} s alone" if tower.longest_s is None else f"at most {longest:g} s"
                raise EvaluationError(f"--window {seconds:g}: the tower of {name} reads {reads}")
        if clips := [name for name in loaded.precomputed if loaded.recipe.inputs[name].kind != "text"]:
            raise EvaluationError(
                f"--window {seconds:g}: embeddings of {', '.join(clips)} are stored for windows of {window.seconds:g} s"
            )
        window = window.model_copy(update={"seconds": seconds, "stride_s": None})
    if stride_s is not None:
        window = window.model_copy(update={"stride_s": stride_s})
    data = loaded.recipe.data.model_copy(update={"window": window})
    return replace(loaded, recipe=loaded.recipe.model_copy(update={"data": data}))


def alone(loaded: Loaded) -> Any:
    """What evaluation asks of an accelerator, in one process."""
    return SimpleNamespace(device=loaded.device, num_processes=1)


@dataclass(frozen=True)
class Labelled:
    """Windows of a stream that have a label: vectors (n, D), labels, subjects, keys."""

    vectors: Tensor
    labels: list[str]
    subjects: list[str]
    keys: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, kept: Sequence[bool]) -> Labelled:
        return self.at([i for i, keep in enumerate(kept) if keep])

    def at(self, rows: Sequence[int]) -> Labelled:
        return Labelled(self.vectors[rows], *([x[i] for i in rows] for x in (self.labels, self.subjects, self.keys)))


def joined(parts: Sequence[Labelled]) -> Labelled:
    columns = ([x for part in parts for x in getattr(part, name)] for name in ("labels", "subjects", "keys"))
    return Labelled(torch.cat([part.vectors for part in parts]), *columns)


def labelled(windows: Embedded, vectors: Tensor, present: Tensor, label: str) -> Labelled:
    """Those of the windows that are present (N,), by these vectors (N, D), and have the label."""
    names = [labels.get(label, "") for labels in windows.labels]
    rows = [i for i, name in enumerate(names) if name and bool(present[i])]
    return Labelled(
        vectors[rows],
        [names[i] for i in rows],
        people_of(windows, rows),
        keys_of(windows, rows),
    )


def streams_of(windows: Embedded) -> list[str]:
    """Streams that have embeddings and are no words, in order."""
    return sorted(side for space, side in windows.sides if space == "pooled" and "+" not in side and side != "text")


def check_leaks(request: Request, also: Sequence[str] = (), *, refuse: bool) -> tuple[list[str], list[str]]:
    """Compares what the model was trained on, and `also` (DIR[:SPLIT], split train), with what it is evaluated on: people,
    sessions, recordings, bytes. What they share, and what could not be compared, in words.

    EvaluationError where they share something, unless that is only to be marked.
    """
    evaluated, name = request.splits(), request.loaded.recipe.name
    shared: list[str] = []
    notes: list[str] = []
    trained = {}
    try:
        trained[f"the training of {name}"] = training_contents(request.loaded.checkpoint)
    except LeakError as error:
        notes.append(f"whether {name} was trained on these people is not known: {error}")
    if also:
        trained[" and ".join(also)] = contents(request.of(also, "train").splits())
    for what, known in trained.items():
        found = leaks(known, evaluated)
        shared += [f"shared with {what}: {line}" for line in found.lines() if line not in found.notes]
        notes += [f"{what}: {note}" for note in found.notes]
    if shared and refuse:
        raise EvaluationError(
            "this is no evaluation on unseen data.\n  "
            + "\n  ".join(shared)
            + "\nTake another split or other shards; --leaks mark evaluates all the same, and says so in the results"
        )
    return shared, notes

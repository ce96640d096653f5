"""The baseline without a network, on the very windows that a model reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from aura.body.placements import placement_id
from aura.evaluation.recognition import most, placements_of, told
from aura.evaluation.result import Result
from aura.evaluation.windows import EvaluationError, Labelled, Request, joined, make_reader
from aura.tasks.evaluate import keys_of, people_of
from aura.tasks.forest import by_placement, window_statistics
from aura.tasks.forest import forest as train_forest
from aura.tasks.probe import check_labels


def forest(request: Request, train: Sequence[str], label: str, seed: int = 0) -> Result:
    """The baseline without a network: a random forest on statistics of the very windows that the model reads; of whole
    samples the mean of its probabilities."""
    result, learning = Result(), request.of(train, "train")
    worn = sorted({placement_id(name) for each in (learning, request) for name in placements_of(each, ["each"])})
    learn, test = statistics_of(learning, label, worn), statistics_of(request, label, worn)
    for stream, (rows, samples) in test.items():
        known = learn[stream][0]
        check_labels(known.labels, rows.labels)
        _, sure, names = train_forest(known.vectors.numpy(), known.labels, rows.vectors.numpy(), seed)
        if request.per_sample:
            _, first, row = np.unique(samples, return_index=True, return_inverse=True)
            sure = np.stack([np.bincount(row, column) for column in sure.T], 1) / np.bincount(row)[:, None]
            rows = rows.at(first.tolist())
        found = [names[i] for i in sure.argmax(1)]
        told(result, f"{stream}, random forest", rows, found, names, sure, majority=most(known))
        result.figures[f"{stream}, random forest"]["train"] = float(len(known))
    if not result.figures:
        raise EvaluationError(f"no window of sensors or a skeleton has the label {label!r}")
    return result


def statistics_of(request: Request, label: str, worn: Sequence[int]) -> dict[str, tuple[Labelled, list[str]]]:
    """Statistics of the labelled windows of each stream of sensors or of a skeleton, and the windows' samples.
    Where windows have several sensors, each placement of `worn` (ids) has columns of its own."""
    parts: dict[str, list[Labelled]] = {}
    samples: dict[str, list[str]] = {}
    for batch in make_reader(request):
        names = [labels.get(label, "") for labels in batch.labels]
        for stream, settings in request.loaded.recipe.inputs.items():
            if settings.kind not in ("imu", "mocap", "pose2d"):
                continue
            values = batch.streams[stream]
            there = values.present & (batch.weight > 0)
            rows = [i for i, name in enumerate(names) if name and bool(there[i])]
            if rows:
                if settings.kind == "imu" and values.values.shape[1] > 1:
                    values = by_placement(values, worn)
                found = torch.from_numpy(window_statistics(values, settings.kind)[rows])
                kept = [names[i] for i in rows]
                parts.setdefault(stream, []).append(Labelled(found, kept, people_of(batch, rows), keys_of(batch, rows)))
                samples.setdefault(stream, []).extend(f"{batch.recordings[i]}/{batch.ids[i]}" for i in rows)
    return {stream: (joined(some), samples[stream]) for stream, some in parts.items()}

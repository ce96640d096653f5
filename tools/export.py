"""Writes the IMU tower of a model for devices: ONNX, torch.export, the classes' embeddings, and what they cost.

python tools/export.py runs/quickstart --out edge --labels walking sitting "climbing stairs"
python tools/export.py runs/utd_mhad --out edge --prompts recipes/prompts/utd_mhad.yaml --int8 --shards data/utd_mhad:test
python tools/export.py runs/imu_mocap --out edge --classes classes.npz      a model without text

The model is a run directory (its latest checkpoint), a checkpoint, a released folder or its name on the Hub. The folder holds imu.onnx, imu.pt2, classes.npz, edge.json
(rate, window, inputs), report.md and report.json: how far the files' embeddings are from the model's, sizes, the time of a window
on one thread; with --shards the accuracy of each file on these windows. --int8 adds imu.int8.onnx. aura.streaming reads the folder
without torch. Classes are words (--labels, --prompts, else the recipe's prompts) or embeddings (--classes: names (C,), embeddings
(C, D), as means of windows), and may be changed later without another export. Needs pip install onnx onnxscript onnxruntime (the extra edge).
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from aura.inference.model import Aura
    from aura.train.loaded import Loaded


def load(path: str) -> Aura:
    """The model with its IMU and, where it has one, its text alone. RunError; ValueError for a model without IMU."""
    from aura.inference.model import Aura

    try:
        return Aura.from_pretrained(path, ["imu", "text"])
    except ValueError:  # it lacks one of them
        return Aura.from_pretrained(path, ["imu"])


def labelled_windows(
    loaded: Loaded, stream: str, shards: str, label: str, names: list[str]
) -> tuple[list[dict[str, np.ndarray]], list[str], int]:
    """Batches of the graph's inputs, the class of each window, and how many windows are of no class. ExportError."""
    from aura.evaluation.windows import Request, make_reader
    from aura.export import ExportError

    batches, truth, others = [], [], 0
    for batch in make_reader(Request(loaded, (shards,), split="test")):
        found = batch.streams[stream]
        there = [i for i, labels in enumerate(batch.labels) if bool(found.present[i]) and labels.get(label)]
        rows = [i for i in there if batch.labels[i][label] in names]
        others += len(there) - len(rows)
        if not rows:
            continue
        assert found.sensor_mask is not None
        tensors = {
            "values": found.values,
            "valid": found.valid & found.sensor_mask[:, :, None],
            "placement": found.placement,
            "channel_mask": found.channel_mask,
        }
        if loaded.recipe.data.window.whole:
            tensors["step_s"] = found.step_s
        batches.append({name: x[rows].numpy() for name, x in tensors.items() if x is not None})
        truth += [batch.labels[i][label] for i in rows]
    if not truth:
        raise ExportError(
            f"--shards {shards}: no window has {stream} and one of the classes {', '.join(names)} as its {label!r}"
        )
    return batches, truth, others


def add_accuracy(found: dict[str, Any], out: Path, loaded: Loaded, stream: str, shards: str, label: str) -> None:
    """Puts the accuracy of the model and of each file on labelled windows into the report."""
    import numpy as np
    import torch

    from aura.export_report import embed, programs_of

    programs = programs_of(out)
    edge = next(iter(programs.values()))[0]
    batches, truth, others = labelled_windows(loaded, stream, shards, label, edge.names)
    runs: dict[str, Any] = {name: run for name, (_, run) in programs.items()}
    runs["torch"] = lambda w: embed(loaded.model, stream, {k: torch.from_numpy(x) for k, x in w.items()}).numpy()
    vectors = {name: np.concatenate([run(batch) for batch in batches]) for name, run in runs.items()}
    accuracy, gaps = {}, {}
    for name, x in vectors.items():
        accuracy[name] = float(np.mean([edge.names[i] == t for i, t in zip(edge.probabilities(x).argmax(1), truth)]))
        gaps[name] = float(np.abs(x - vectors["torch"]).max())
    found["accuracy"] = {"shards": shards, "label": label, "n": len(truth), "of_other_classes": others, **accuracy}
    found["max_abs_error_of_these_windows"] = {name: gap for name, gap in gaps.items() if name != "torch"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", metavar="MODEL", help="run directory, checkpoint, released folder, or user/name on the Hugging Face Hub")
    add("--out", required=True, type=Path, help="folder to write, empty or new")
    words = parser.add_mutually_exclusive_group()
    words.add_argument("--labels", nargs="+", help="classes by their words; several wordings of one: --prompts")
    words.add_argument("--prompts", type=Path, help="classes in words, a file as in recipes/prompts")
    words.add_argument("--classes", type=Path, metavar="FILE.npz", help="classes as embeddings")
    add("--stream", help="which IMU stream, where the model has several")
    add("--int8", action="store_true", help="also a graph with 8-bit weights")
    add("--shards", metavar="DIR[:SPLIT]", help="labelled windows on which all files are compared (split: test)")
    options = parser.parse_args(arguments)

    from aura.data.index import BadSample
    from aura.data.reader import ReadError
    from aura.data.storage import StorageError
    from aura.data.writer import ShardError
    from aura.export import check_packages, classes_in_words, classes_of_file, export, exportable
    from aura.export_report import table
    from aura.inference.words import prompts_of
    from aura.tasks.zeroshot import load_prompts
    from aura.train.loaded import load_run
    from aura.train.recipe import RecipeError
    from aura.weights import RunError

    try:
        check_packages()
        model = load(options.run)
        stream, label = exportable(model, options.stream), "activity"
        if options.classes:
            classes = classes_of_file(options.classes, model, stream)
        else:
            prompts = load_prompts(options.prompts) if options.prompts else prompts_of(model.config, options.labels)
            classes, label = classes_in_words(model, stream, prompts), prompts.label
        measure = None
        if options.shards:
            measure = partial(
                add_accuracy, loaded=load_run(options.run), stream=stream, shards=options.shards, label=label
            )
        found = export(options.out, model, classes, stream, int8=options.int8, measure=measure)
    except (RunError, RecipeError, ReadError, ShardError, StorageError, BadSample, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(found))
    print(f"wrote {options.out}; from aura.streaming import StreamingClassifier reads it")
    return 0


if __name__ == "__main__":
    sys.exit(main())

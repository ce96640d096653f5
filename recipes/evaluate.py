"""Evaluates a run on shards, or synchronises two recordings.

python recipes/evaluate.py --checkpoint runs/aura_fine --shards data/mocap:test --task retrieval --out results/retrieval
python recipes/evaluate.py --checkpoint runs/aura_fine --shards data/mocap:test --task retrieval --sensors 1 3 5 --out DIR
python recipes/evaluate.py --checkpoint runs/aura_fine --shards data/mocap:test --task sync --piece 5 --range 1.5 --out DIR
python recipes/evaluate.py --checkpoint runs/aura_fine --shards data/mocap:test --task localize --out DIR
python recipes/evaluate.py --checkpoint runs/utd_mhad --shards data/utd_mhad:test --task probe --train data/utd_mhad:train --out DIR
python recipes/evaluate.py --checkpoint runs/utd_mhad --shards data/utd_mhad:test --task zeroshot --out DIR
python recipes/evaluate.py --checkpoint runs/utd_mhad-finetune --shards data/utd_mhad:test --task finetune --out DIR
python recipes/evaluate.py --checkpoint runs/aura_fine --task sync --out DIR \\
    --a data/utd_mhad:a01_s2_t1:imu --b data/utd_mhad:a01_s2_t1:pose2d --shift 0.35     two recordings

--checkpoint is a run directory (its latest checkpoint) or a checkpoint; KEY is a sample's, or the name of a recording, whose
samples are joined. Results go to results.json in --out, and on the screen:
every figure beside its pool, n and chance. Two recordings give their offset (seconds to add to times of b to get times of
a), their confidence, for long ones the drift of their clocks, and sync.png: the similarity of their moments and the curve.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aura.tasks.evaluate import Embedded
    from aura.tasks.recordings import Recording
    from aura.train.loaded import Loaded

Results = dict[str, dict[str, float]]


class UserError(Exception):
    """What the user can mend; told without a traceback."""


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    import torch

    from aura.data.files import atomic
    from aura.data.index import BadSample
    from aura.data.reader import ReadError
    from aura.data.storage import StorageError
    from aura.data.writer import ShardError
    from aura.train.loaded import load_run
    from aura.train.recipe import RecipeError
    from aura.train.rundir import RunError

    try:
        device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        loaded = load_run(options.checkpoint, device)
        about = {"task": options.task, "checkpoint": str(loaded.checkpoint), "step": loaded.step}
        about |= {"recipe": loaded.recipe.name, "shards": options.shards or [options.a, options.b]}
        options.out.mkdir(parents=True, exist_ok=True)
        found = two_recordings(loaded, options) if options.a else TASKS[options.task](loaded, options)
        with atomic(options.out / "results.json") as file:
            file.write((json.dumps(about | found, indent=1) + "\n").encode())
    except (
        UserError,
        RecipeError,
        RunError,
        ShardError,
        ReadError,
        StorageError,
        BadSample,
        ValueError,
        OSError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if "results" in found:
        print(table(found["results"]))
    for reason, count in found.get("left_out", {}).items():
        print(f"left out: {count} {reason}")
    print(f"wrote {options.out / 'results.json'}")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, help="a run directory, or a checkpoint of one")
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--out", required=True, type=Path, help="folder of the results")
    parser.add_argument("--shards", nargs="+", metavar="DIR[:SPLIT]", help="folders of shards (split: val)")
    parser.add_argument("--device", help="default: cuda where there is one")
    parser.add_argument("--workers", type=int, default=0, help="reading processes (0: here)")
    parser.add_argument("--pool", type=int, help="at most so many windows, spread evenly (default: all)")
    parser.add_argument(
        "--pair", metavar="A:B", help="streams of sync and localize (default: the recipe's first fine pair)"
    )
    parser.add_argument(
        "--sensors", type=int, nargs="+", metavar="K", help="retrieval: with K random sensors of each window"
    )
    parser.add_argument("--prompts", help="zeroshot: file of classes in words (default: the recipe's)")
    parser.add_argument(
        "--people",
        type=int,
        default=4,
        metavar="P",
        help="localize: people in a scene, where shards have no groups (4)",
    )
    parser.add_argument(
        "--train", nargs="+", metavar="DIR[:SPLIT]", help="probe: what the classifiers learn from (split: train)"
    )
    parser.add_argument("--label", default="activity", help="probe: the label to tell (activity)")
    parser.add_argument("--piece", type=float, default=5.0, metavar="S", help="sync: seconds of the pieces (5)")
    parser.add_argument(
        "--range", type=float, default=1.5, metavar="S", help="sync: offsets are within +-S seconds (1.5)"
    )
    parser.add_argument("--draws", type=int, default=4, help="sync: pieces of each sample (4)")
    parser.add_argument("--a", metavar="DIR:KEY:STREAM", help="sync: one recording ...")
    parser.add_argument("--b", metavar="DIR:KEY:STREAM", help="... and the other")
    parser.add_argument(
        "--shift", type=float, default=0.0, metavar="S", help="leave out S seconds of b's beginning (negative: a's)"
    )
    parser.add_argument(
        "--max-offset", type=float, default=float("inf"), metavar="S", help="of two recordings: search +-S seconds"
    )
    parser.add_argument(
        "--min-margin",
        type=float,
        default=0.02,
        metavar="M",
        help="of two recordings: a lower confidence is undecided (0.02)",
    )
    options = parser.parse_args(arguments)
    if bool(options.a) != bool(options.b):
        parser.error("--a and --b go together")
    if options.a and options.task != "sync":
        parser.error("two recordings are for --task sync")
    if not options.a and not options.shards:
        parser.error("--shards is missing (or, for two recordings, --a and --b)")
    if options.sensors and (options.task != "retrieval" or min(options.sensors) < 1):
        parser.error("--sensors is for --task retrieval, of numbers from 1")
    if options.people < 2 or options.draws < 1 or (options.pool is not None and options.pool < 2):
        parser.error("--people and --pool must be at least 2, --draws at least 1")
    return options


def embedded(
    loaded: Loaded, shards: list[str], split: str, options: argparse.Namespace, sensors: int | None = None
) -> Embedded:
    """All windows of the shards."""
    from aura.tasks.evaluate import embed_windows

    found, _ = embed_windows(
        reader(loaded, shards, split, options), loaded.model, alone(loaded), loaded.recipe.objective, sensors=sensors
    )
    assert found is not None
    return found


def reader(loaded: Loaded, shards: list[str], split: str, options: argparse.Namespace) -> Any:
    from aura.data.config import Source
    from aura.data.reader import EvalReader

    sources = tuple(Source(path=path, split=name) for path, name in (split_of(text, split) for text in shards))
    config = loaded.recipe.data.model_copy(update={"eval": sources, "workers": options.workers})
    return EvalReader(
        config,
        loaded.recipe.inputs,
        batch=loaded.recipe.eval.batch,
        tokenize=loaded.tokenize,
        precomputed=loaded.precomputed,
        limit=options.pool,
    )


def split_of(text: str, split: str) -> tuple[str, str]:
    """Folder and split of DIR[:SPLIT]; the colon of a URL is none."""
    folder, colon, name = text.rpartition(":")
    return (folder, name) if colon and name and "/" not in name else (text, split)


def alone(loaded: Loaded) -> Any:
    """What evaluation asks of an accelerator, in one process."""
    return SimpleNamespace(device=next(loaded.model.parameters()).device, num_processes=1)


def retrieval(loaded: Loaded, options: argparse.Namespace) -> dict[str, Any]:
    from aura.tasks.evaluate import all_retrieval

    out: Results = {}
    for count in options.sensors or [None]:
        windows = embedded(loaded, options.shards, "val", options, count)
        prefix = "" if count is None else f"{count} sensors, "
        out |= {
            prefix + name: v
            for name, v in nested(all_retrieval(windows, loaded.recipe.objective), "retrieval/").items()
        }
    return {"results": {name: values | {"n": values["pool"]} for name, values in out.items()}}


def zeroshot(loaded: Loaded, options: argparse.Namespace) -> dict[str, Any]:
    from aura.tasks.evaluate import all_zeroshot
    from aura.tasks.zeroshot import load_prompts

    if loaded.tokenize is None:
        raise UserError(f"recipe {loaded.recipe.name} has no text tower: zero-shot classification goes by words")
    prompts = load_prompts(options.prompts) if options.prompts else loaded.prompts
    windows = embedded(loaded, options.shards, "val", options)
    found = all_zeroshot(windows, loaded.model, loaded.tokenize, prompts, alone(loaded).device)
    if not found:
        raise UserError("no window has the label of the classes: give --prompts for a label that the shards have")
    return {
        "results": {
            name: values | {"pool": 1 / values["chance"]} for name, values in nested(found, "zeroshot/").items()
        }
    }


def probe(loaded: Loaded, options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from aura.tasks.probe import probe as fit

    folders = options.train or [f"{split_of(text, 'val')[0]}:train" for text in options.shards]
    train, test = embedded(loaded, folders, "train", options), embedded(loaded, options.shards, "val", options)

    def labelled(windows: Embedded, stream: str) -> tuple[np.ndarray, list[str]]:
        names = [labels.get(options.label, "") for labels in windows.labels]
        rows = [i for i, name in enumerate(names) if name and bool(windows.present[stream][i])]
        return windows.sides["pooled", stream][rows].numpy(), [names[i] for i in rows]

    out: Results = {}
    for stream in sorted(s for space, s in test.sides if space == "pooled" and "+" not in s and s != "text"):
        (x, x_labels), (y, y_labels) = labelled(train, stream), labelled(test, stream)
        if y_labels:
            out[stream] = fit(x, x_labels, y, y_labels)
    if not out:
        raise UserError(f"no window has the label {options.label!r}")
    return {"results": out, "train": folders}


def finetune(loaded: Loaded, options: argparse.Namespace) -> dict[str, Any]:
    from aura.tasks.evaluate import all_classify

    if loaded.recipe.objective.classify is None:
        raise UserError(
            f"recipe {loaded.recipe.name} has no classifier: train one with recipes/finetune.py --checkpoint"
            f" {options.checkpoint} --train DIR, and give its run directory here; --task probe needs none"
        )
    found = all_classify(embedded(loaded, options.shards, "val", options), loaded.recipe.objective)
    if not found:
        raise UserError(
            f"no window has the label {loaded.recipe.objective.classify.label!r} and a stream of a classifier"
        )
    return {"results": nested(found, "classify/")}


def localize(loaded: Loaded, options: argparse.Namespace) -> dict[str, Any]:
    from aura.tasks.localize import localization
    from aura.tasks.placing import fine_of, part_results, people_scenes

    a, b = pair_of(loaded, options)
    out: Results = {}
    if {a, b} <= set(loaded.model.fine):
        batches = reader(loaded, options.shards, "val", options)
        out |= part_results(batches, loaded.model, a, b, fine_of(loaded.recipe.objective, a, b))
    scenes, kind = people_scenes(
        embedded(loaded, options.shards, "val", options), a, b, loaded.recipe.objective, options.people
    )
    out |= {f"{kind}, {space}": localization(found) for space, found in scenes.items()}
    return {"results": out, "pair": f"{a}:{b}"}


def sync(loaded: Loaded, options: argparse.Namespace) -> dict[str, Any]:
    from aura.data.index import open_split
    from aura.tasks.pieces import Cutting, draw_pieces, sync_on

    a, b = pair_of(loaded, options)
    cutting = Cutting(options.piece, options.range, options.draws)
    pieces, left_out = [], {}
    for path, split in (split_of(text, "val") for text in options.shards):
        found, reasons = draw_pieces(open_split(path, split), a, b, cutting)
        pieces += found
        left_out |= {f"samples of {path} {reason}": count for reason, count in reasons.items()}
    if not pieces:
        reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.items()) or "there are no samples"
        raise UserError(f"no sample gives a piece ({reasons}): take a shorter --piece and --range")
    pieces = pieces[: options.pool]
    return {
        "results": sync_on(encoder(loaded), pieces, a, b, cutting),
        "pair": f"{a}:{b}",
        "cutting": vars(cutting),
        "left_out": left_out,
    }


def pair_of(loaded: Loaded, options: argparse.Namespace) -> tuple[str, str]:
    """The two streams that are compared."""
    objective = loaded.recipe.objective
    plain = [name for name in objective.pairs if "+" not in name and "text" not in name.split(":")]
    pair = options.pair or next(iter([*objective.fine, *plain]), None)
    if pair is None:
        raise UserError(f"recipe {loaded.recipe.name} has no pair of two streams in time: give --pair A:B")
    a, _, b = pair.partition(":")
    for stream in (a, b):
        if stream not in loaded.model.towers or stream == "text":
            raise UserError(
                f"--pair {pair}: recipe {loaded.recipe.name} has no stream {stream!r} in time; it has {', '.join(loaded.model.towers)}"
            )
    return a, b


def encoder(loaded: Loaded) -> Any:
    from aura.tasks.tracks import Encoder

    return Encoder(loaded.model, loaded.recipe.inputs, loaded.recipe.data.window.seconds)


def two_recordings(loaded: Loaded, options: argparse.Namespace) -> dict[str, Any]:
    """Prints the offset, draws sync.png."""
    from aura.tasks.recordings import align, picture

    a, b = (recording(loaded, text) for text in (options.a, options.b))
    found = align(
        encoder(loaded), a, b, shift_s=options.shift, max_offset_s=options.max_offset, min_margin=options.min_margin
    )
    file = options.out / "sync.png"
    names = [f"{text.split(':')[-2]} {side.stream}" for text, side in ((options.a, a), (options.b, b))]
    picture(found, *names).savefig(file, dpi=110)
    offset, drift = found.offset, found.drift
    verdict = "" if offset.decided else f"  UNDECIDED (confidence below {options.min_margin:g})"
    print(f"offset      {offset.offset_s:+.3f} s, to be added to times of b{verdict}")
    print(f"confidence  {offset.confidence:.3f} (correlation above the second peak), over {found.shared} sensors")
    result: dict[str, Any] = {"offset_s": offset.offset_s, "confidence": offset.confidence, "decided": offset.decided}
    if drift is not None:
        print(
            f"drift       {drift.ppm:+.1f} ppm from {drift.start_s:+.3f} s at the start of a, on {drift.used:.0%} of the chunks"
        )
        result["drift"] = {"ppm": drift.ppm, "start_s": drift.start_s, "used": drift.used}
    print(f"picture     {file}")
    return {"sync": finite(result), "shift_s": options.shift}


def finite(value: Any) -> Any:
    """null for numbers that JSON has none for."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and value != value else value


def recording(loaded: Loaded, text: str) -> Recording:
    """The stream of DIR:KEY:STREAM, with the model's stream that reads it."""
    from aura.data.config import kind_of
    from aura.data.index import open_folder
    from aura.tasks.recordings import find_recording

    folder, *rest = text.rsplit(":", 2)
    if len(rest) != 2 or not all((folder, *rest)):
        raise UserError(f"{text!r}: write DIR:KEY:STREAM, such as data/utd_mhad:a01_s2_t1:imu")
    key, stream = rest
    towers = list(loaded.model.towers)
    known = [stream] if stream in towers else [name for name in towers if kind_of(name) == kind_of(stream)]
    if not known or stream == "text":
        raise UserError(f"{text}: recipe {loaded.recipe.name} reads no {stream}; it reads {', '.join(towers)}")
    splits = open_folder(folder)
    found = find_recording(splits.values(), key, known[0], stream)
    if found is None:
        some = [entry["key"] for split in splits.values() for entry, _ in zip(split.entries(), range(3))]
        raise UserError(f"{folder} has neither a sample nor a recording {key!r}; samples are {', '.join(some)} ...")
    return found


def nested(metrics: Mapping[str, float], prefix: str) -> Results:
    """Metrics `<prefix><name>/<key>` by name; keys of chance hold a slash themselves."""
    out: Results = {}
    for key, value in metrics.items():
        name, _, metric = key.removeprefix(prefix).rpartition("/")
        if name.endswith("/chance"):
            name, metric = name.removesuffix("/chance"), f"chance/{metric}"
        out.setdefault(name, {})[metric] = value
    return out


def table(results: Results) -> str:
    """A line for each result: its figures by name, chance beside them."""
    lines = []
    for name, values in results.items():
        counts = [f"{key} {values[key]:.0f}" for key in ("n", "pool", "scenes") if key in values]
        lines.append(f"{name} ({', '.join(counts)})")
        plain = {key: value for key, value in values.items() if key not in ("n", "pool", "scenes")}
        groups: dict[str, list[str]] = {}
        for key, value in plain.items():
            group, _, metric = key.rpartition("/")
            groups.setdefault(group, []).append(f"{metric} {value:.3f}")
        lines += [f"  {group:12} {'  '.join(parts)}" for group, parts in groups.items()]
    return "\n".join(lines)


TASKS: dict[str, Callable[[Any, argparse.Namespace], dict[str, Any]]] = {
    "retrieval": retrieval,
    "zeroshot": zeroshot,
    "sync": sync,
    "localize": localize,
    "probe": probe,
    "finetune": finetune,
}

if __name__ == "__main__":
    sys.exit(main())

"""Evaluates a run on shards, or synchronises two recordings.

python recipes/evaluate.py --checkpoint runs/quickstart --shards data/synthetic --task retrieval --out results/retrieval
python recipes/evaluate.py --checkpoint runs/quickstart --shards data/synthetic --task zeroshot --placements each --out DIR
python recipes/evaluate.py --checkpoint runs/quickstart --shards data/synthetic --task fewshot --k 1 5 --out DIR
python recipes/evaluate.py --checkpoint runs/utd_mhad --shards data/utd_mhad:test --task probe --out DIR
python recipes/evaluate.py --checkpoint runs/aura_fine --shards data/cmu_bvh:test --task retrieval --sensors 1 3 5 --out DIR
python recipes/evaluate.py --checkpoint runs/aura_fine --shards data/cmu_bvh:test --task sync --piece 5 --range 1.5 --out DIR
python recipes/evaluate.py --checkpoint runs/aura_fine --shards data/cmu_bvh:test --task localize --out DIR
python recipes/evaluate.py --checkpoint runs/aura_fine --task sync --out DIR \\
    --a data/cmu_bvh:KEY:imu --b data/cmu_bvh:KEY:pose2d --shift 0.35     two recordings

--checkpoint is a run directory (its latest checkpoint) or a checkpoint; KEY is a sample's, or the name of a recording, whose
samples are joined. Figures go to the screen, to results.json and to report.html in --out, each beside its n, its pool and
chance, with intervals over people; and by window (of sync by piece, of localize by sensor or wearer) to windows.npz, for
recipes/compare.py. What the model or --train was trained on and what it is evaluated on must not share people, recordings or
bytes (--leaks). Two recordings (which are not compared with the training) give their offset (seconds to add to times of b to
get times of a), its confidence, for long ones the drift of their clocks, and sync.png: the similarity of their moments and the
curve.
"""

from __future__ import annotations

import aura.interrupt  # noqa: F401  # first: what follows takes long to import

# isort: split
import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aura.evaluation.result import Result
    from aura.evaluation.windows import Request


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    import torch

    from aura.data.index import BadSample
    from aura.data.reader import ReadError
    from aura.data.storage import StorageError
    from aura.data.writer import ShardError
    from aura.evaluation.result import text, write
    from aura.evaluation.windows import (
        EvaluationError,
        Request,
        check_leaks,
        missing_streams,
        unread_sensors,
        with_window,
    )
    from aura.train.loaded import load_run
    from aura.train.recipe import RecipeError
    from aura.train.rundir import RunError

    try:
        loaded = load_run(options.checkpoint, options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        loaded = with_window(loaded, options.window, options.stride)
        request = Request(
            loaded,
            tuple(options.shards or ()),
            options.workers,
            options.pool,
            per_sample=options.per_sample,
            all_sensors=options.all_sensors,
        )
        options.out.mkdir(parents=True, exist_ok=True)
        shared, notes = [], []
        if options.shards:
            missing = missing_streams(request)
            also = options.train if options.task in LEARNS else ()
            shared, notes = check_leaks(request, also, refuse=options.leaks == "refuse")
            notes = [*unread_sensors(request), *notes]
            if options.per_sample:
                notes = ["what is called a window here is a whole sample: the mean of its windows", *notes]
            if missing:
                notes = [f"the shards have no {', '.join(missing)}: not evaluated", *notes]
        result = TASKS[options.task](request, options)
        result.notes = [*(f"LEAK: {line}" for line in shared), *notes, *result.notes]
        result.facts["leaks"] = shared
        write(result, about(request, options), options.out)
    except (
        EvaluationError,
        RecipeError,
        RunError,
        ShardError,
        ReadError,
        StorageError,
        BadSample,
        ValueError,
        OSError,
    ) as error:
        unnamed = isinstance(error, OSError) and error.errno and not error.filename  # as of a full disk
        print(f"error: {options.out}: {error}" if unnamed else f"error: {error}", file=sys.stderr)
        return 1
    if result.figures:
        print(text(result))
    for reason, count in result.facts.get("left_out", {}).items():
        print(f"left out: {count} {reason}")
    print(f"wrote {options.out / 'results.json'}, {options.out / 'report.html'}")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", required=True, type=Path, help="a run directory, or a checkpoint of one")
    add("--task", required=True, choices=TASKS)
    add("--out", required=True, type=Path, help="folder of the results")
    add("--shards", nargs="+", metavar="DIR[:SPLIT]", help="folders of shards (split: val)")
    add("--device", help="default: cuda where there is one")
    add("--workers", type=int, default=0, help="reading processes (0: here)")
    add("--pool", type=int, help="at most so many windows, spread evenly (default: all)")
    add("--window", type=float, metavar="S", help="seconds of a window (default: as in training)")
    add("--all-sensors", action="store_true", help="all sensors of a sample, where training read some of them")
    add("--stride", type=float, metavar="S", help="seconds from one window to the next (default: its length)")
    add(
        "--leaks",
        choices=("refuse", "mark"),
        default="refuse",
        help="where training and evaluation share people, sessions, recordings or bytes (refuse)",
    )
    learn = parser.add_argument_group("probe, fewshot, forest, transfer")
    add = learn.add_argument
    add(
        "--train",
        nargs="+",
        metavar="DIR[:SPLIT]",
        help="what the classifiers learn from (default: :train of --shards)",
    )
    add("--label", default="activity", help="the label to tell (activity)")
    add("--k", type=int, nargs="+", default=[1, 2, 3, 5, 10], help="fewshot: windows of each class (1 2 3 5 10)")
    add("--times", type=int, default=20, metavar="N", help="fewshot: draws of these windows (20)")
    add("--epochs", type=int, default=100, help="transfer: passes over the training windows (100)")
    add("--lr", type=float, default=1e-3, help="transfer: learning rate (1e-3)")
    add = parser.add_argument_group("zeroshot, transfer").add_argument
    add("--prompts", help="file of classes in words (default: the recipe's, else the label's own values)")
    add(
        "--skip-other-classes", action="store_true", help="leave out windows of classes that the file lacks, and say so"
    )
    add(
        "--fuse",
        nargs="+",
        default=[],
        metavar="A+B",
        help="zeroshot: streams to fuse, of each window those that it has",
    )
    add(
        "--per-sample",
        action="store_true",
        help="zeroshot, probe, fewshot, forest: a whole sample at a time, by the mean of its windows",
    )
    add("--placements", nargs="+", default=[], metavar="P", help="zeroshot: these sensors each alone too; `each`: all")
    add = parser.add_argument_group("retrieval, sync, localize").add_argument
    add("--sensors", type=int, nargs="+", metavar="K", help="retrieval: with K random sensors of each window")
    add("--pair", metavar="A:B", help="streams of sync and localize (default: the recipe's first fine pair)")
    add("--people", type=int, default=4, metavar="P", help="localize: people in a scene of shards without groups (4)")
    add("--piece", type=float, default=5.0, metavar="S", help="sync: seconds of the pieces (5)")
    add("--range", type=float, default=1.5, metavar="S", help="sync: offsets are within +-S seconds (1.5)")
    add("--draws", type=int, default=4, help="sync: pieces of each sample (4)")
    add = parser.add_argument_group("sync of two recordings").add_argument
    add("--a", metavar="DIR:KEY:STREAM", help="one recording ...")
    add("--b", metavar="DIR:KEY:STREAM", help="... and the other")
    add("--shift", type=float, default=0.0, metavar="S", help="leave out S seconds of b's beginning (negative: a's)")
    add("--max-offset", type=float, default=float("inf"), metavar="S", help="search +-S seconds")
    add("--min-margin", type=float, default=0.02, metavar="M", help="a lower confidence is undecided (0.02)")
    options = parser.parse_args(arguments)
    if bool(options.a) != bool(options.b):
        parser.error("--a and --b go together")
    if options.a and options.task != "sync":
        parser.error("two recordings are for --task sync")
    if not options.a and not options.shards:
        parser.error("--shards is missing (or, for two recordings, --a and --b)")
    for name, tasks in OF_TASKS.items():
        if options.task not in tasks and getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} is for --task {', '.join(tasks)}")
    for name in ("window", "stride"):
        if getattr(options, name) is not None and not getattr(options, name) > 0:
            parser.error(f"--{name}: seconds, more than 0")
    if options.sensors and min(options.sensors) < 1:
        parser.error("--sensors: numbers from 1")
    if options.people < 2 or options.draws < 1 or (options.pool is not None and options.pool < 2):
        parser.error("--people and --pool must be at least 2, --draws at least 1")
    if options.train is None and options.shards:
        from aura.data.config import source_of

        options.train = [f"{source_of(text, 'val').path}:train" for text in options.shards]
    return options


def about(request: Request, options: argparse.Namespace) -> dict[str, Any]:
    """What was evaluated on what, so that the figures can be found again."""
    from aura.evaluation.windows import inputs_of
    from aura.train.rundir import environment

    loaded = request.loaded
    found = {
        "task": options.task,
        "recipe": loaded.recipe.name,
        "seed": loaded.recipe.seed,
        "checkpoint": str(loaded.checkpoint),
        "step": loaded.step,
        "recipe_sha256": loaded.recipe_sha256,
        "trained_by": loaded.git,
    }
    digests = {} if options.a else {f"{split.folder}:{split.name}": split.digest for split in request.splits()}
    if options.task in LEARNS:
        digests |= {f"{s.folder}:{s.name}": s.digest for s in request.of(options.train, "train").splits()}
        found["train"] = options.train
    if options.a:
        found |= {"a": options.a, "b": options.b}
    window = loaded.recipe.data.window
    found |= {
        "window_s": window.seconds,
        "stride_s": window.stride_s or window.seconds,
        "per_sample": request.per_sample,
    }
    read = inputs_of(request).items() if options.shards else ()
    found["sensors"] = {name: settings.sensors for name, settings in read if settings.kind == "imu"}
    return found | {"pool": request.pool, **environment(digests)}


def sync(request: Request, options: argparse.Namespace) -> Result:
    from aura.evaluation import alignment, matching
    from aura.tasks.pieces import Cutting

    if not options.a:
        return matching.sync(request, options.pair, Cutting(options.piece, options.range, options.draws))
    result = alignment.align_recordings(
        request, options.a, options.b, options.out, options.shift, options.max_offset, options.min_margin
    )
    print("\n".join([*result.facts.pop("said"), f"picture     {options.out / 'sync.png'}"]))
    return result


def retrieval(request: Request, options: argparse.Namespace) -> Result:
    from aura.evaluation import matching

    return matching.retrieval(request, options.sensors or ())


def localize(request: Request, options: argparse.Namespace) -> Result:
    from aura.evaluation import matching

    return matching.localize(request, options.pair, options.people)


def zeroshot(request: Request, options: argparse.Namespace) -> Result:
    from aura.evaluation import recognition

    return recognition.zeroshot(request, options.prompts, options.fuse, options.placements, options.skip_other_classes)


def probe(request: Request, options: argparse.Namespace) -> Result:
    from aura.evaluation import recognition

    return recognition.probe(request, options.train, options.label)


def fewshot(request: Request, options: argparse.Namespace) -> Result:
    from aura.evaluation import recognition

    return recognition.fewshot(request, options.train, options.label, options.k, options.times)


def transfer(request: Request, options: argparse.Namespace) -> Result:
    from aura.evaluation import recognition

    return recognition.transfer(request, options.train, options.label, options.prompts, options.epochs, options.lr)


def forest(request: Request, options: argparse.Namespace) -> Result:
    from aura.evaluation import forests

    return forests.forest(request, options.train, options.label)


def finetune(request: Request, options: argparse.Namespace) -> Result:
    from aura.evaluation import recognition

    return recognition.finetune(request)


TASKS: dict[str, Callable[[Any, argparse.Namespace], Any]] = {
    "retrieval": retrieval,
    "zeroshot": zeroshot,
    "sync": sync,
    "localize": localize,
    "probe": probe,
    "fewshot": fewshot,
    "forest": forest,
    "transfer": transfer,
    "finetune": finetune,
}
# Options that some tasks alone read.
OF_TASKS = {
    "train": ("probe", "fewshot", "forest", "transfer"),
    "label": ("probe", "fewshot", "forest", "transfer"),
    "k": ("fewshot",),
    "times": ("fewshot",),
    "epochs": ("transfer",),
    "lr": ("transfer",),
    "prompts": ("zeroshot", "transfer"),
    "skip_other_classes": ("zeroshot",),
    "fuse": ("zeroshot",),
    "placements": ("zeroshot",),
    "per_sample": ("zeroshot", "probe", "fewshot", "forest"),
    "sensors": ("retrieval",),
    "pair": ("sync", "localize"),
    "people": ("localize",),
    "piece": ("sync",),
    "range": ("sync",),
    "draws": ("sync",),
}
LEARNS = OF_TASKS["train"]

if __name__ == "__main__":
    sys.exit(main())

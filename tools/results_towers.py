"""Runs and tables of the section `utd_towers` of docs/results.md: other people's towers, and a classifier, on the terms of ours.

The common recipe is `recipes/utd_mhad.yaml` without 2D pose, without the branch of moments and without the sensor's placement,
which only our towers know: IMU, mocap and text, whole clips contrasted with each other, half the steps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from results_runs import ROOT, Run, interval, provenance

from aura.towers.build import build_tower
from aura.train.recipe import load_recipe

RECIPE = "recipes/utd_mhad.yaml"
LR = 1.5e-3  # of the recipe
SHARES = (0.0625, 0.25, 1.0, 2.0, 4.0)  # of it: the same few for every row
STEPS, TUNING_STEPS = 200, 100  # half of the recipe's; tuning has half the clips, so as many epochs
SEEDS = (0, 1, 2)
CLASSIFIED = ("imu", "mocap", "imu+mocap")


@dataclass(frozen=True)
class Row:
    """What is exchanged: a stream's tower, or what it is trained for.

    words     of the table
    stream    whose tower it is; None: both are ours
    lr        share of the recipe's learning rate, the better one on validation (see `tuning`)
    """

    words: str
    stream: str | None = None
    tower: dict[str, Any] | None = None
    rate_hz: float | None = None
    lr: float = 1.0
    classify: bool = False


ROWS = {
    "ours": Row("`imu_transformer`, `motion_transformer`: ours", lr=2),
    "mw2": Row("IMU: `mw2` (IMU2CLIP), at 200 Hz", "imu", {"kind": "mw2"}, 200.0, lr=4),
    "senvt": Row("IMU: `senvt` (AURA-MFM), patches of 0.2 s", "imu", {"kind": "senvt", "patch": 4}),
    "mobind": Row("IMU: `mobind` (MoBind)", "imu", {"kind": "mobind", "signals": "acc+gyro", "pool": "mean"}),
    "mocap_rnn": Row("mocap: `mocap_rnn` (AURA-MFM)", "mocap", {"kind": "mocap_rnn"}, lr=0.25),
    "supervised": Row("ours, trained by a classifier of the 27 labels, without text", classify=True, lr=4),
}


def changes(row: Row, share: float, shards: str, test: str, streams: Sequence[str] = ("imu", "mocap")) -> list[str]:
    """Of the recipe: the two streams and text (none for a classifier), the row's tower, its learning rate."""
    base = yaml.safe_load((ROOT / RECIPE).read_text())
    inputs = {name: base["inputs"][name] for name in streams}
    towers = {name: {k: v for k, v in base["towers"][name].items() if k != "moments"} for name in streams}
    if "imu" in towers:
        towers["imu"]["placements"] = False
    if row.stream in towers and row.tower is not None:
        towers[row.stream] = row.tower
        if row.rate_hz is not None:
            inputs[row.stream] = inputs[row.stream] | {"rate_hz": row.rate_hz}
    if row.classify:
        classes = list(yaml.safe_load((ROOT / "recipes" / "prompts" / "utd_mhad.yaml").read_text())["classes"])
        sides = [side for side in CLASSIFIED if set(side.split("+")) <= set(streams)]
        objective: dict[str, Any] = {"classify": {"classes": classes, "streams": sides, "label_smoothing": 0.1}}
    else:
        inputs["text"] = base["inputs"]["text"] | {"stored": True}
        towers["text"] = base["towers"]["text"]
        pairs = {
            k: v for k, v in base["objective"]["pairs"].items() if set(k.replace(":", "+").split("+")) <= {*towers}
        }
        if "imu:mocap" in pairs:
            pairs["imu:mocap"] = {"weight": pairs["imu:mocap"]["weight"]}
        objective = base["objective"] | {"pairs": pairs}
    steps = STEPS if test == "test" else TUNING_STEPS
    return [
        f"data.sources.0.path={shards}",
        f"data.eval=[{{path: {shards}, split: {test}}}]",
        *(f"{key}={json.dumps(value)}" for key, value in (("inputs", inputs), ("towers", towers))),
        f"objective={json.dumps(objective)}",
        f"train.optimizer.lr={share * LR:g}",
        f"train.steps={steps}",
        f"train.warmup={steps // 12}",
        "eval.every=0",
    ]


def runs_of(name: str) -> list[Run]:
    row = ROWS[name]
    made = changes(row, row.lr, "data/utd_mhad_stored", "test")
    return [Run(f"utd_towers-{name}", seed, RECIPE, made) for seed in SEEDS]


def tuned_streams(row: Row) -> list[str]:
    """The streams that a row is tuned by: its own tower's, of ours the IMU."""
    return ["imu", "mocap"] if row.classify else [row.stream or "imu"]


def tuning(name: str, share: float) -> Run:
    """A run on subjects 1 and 5, validated on 3 and 7."""
    row = ROWS[name]
    streams = tuned_streams(row)
    made = changes(row, share, "data/utd_mhad_val_stored", "val", streams)
    return Run(f"utd_tuning-{name}-{'-'.join(streams)}-{share:g}", 0, RECIPE, made)


def tuning_runs() -> list[Run]:
    return [tuning(name, share) for name in ROWS for share in SHARES]


def runs() -> list[Run]:
    return [*tuning_runs(), *(run for name in ROWS for run in runs_of(name))]


def score(name: str, share: float) -> float:
    """What decides the learning rate: accuracy on the validation clips, the mean over the streams."""
    found, streams = tuning(name, share).last_evaluation(), tuned_streams(ROWS[name])
    return sum(accuracy(found, stream)[0] for stream in streams) / len(streams)


def accuracy(found: dict[str, Any], side: str) -> tuple[float, float]:
    """Accuracy and macro-F1 of a side, by words or by its classifier."""
    kind = "zeroshot" if f"zeroshot/{side}/accuracy" in found else "classify"
    return found[f"{kind}/{side}/accuracy"], found[f"{kind}/{side}/macro_f1"]


def parameters(name: str) -> str:
    """Of the exchanged tower, or of both of ours; without projections."""
    row = ROWS[name]
    recipe = load_recipe(ROOT / RECIPE, changes(row, row.lr, "data/utd_mhad_stored", "test"))
    streams = [row.stream] if row.stream else ["imu", "mocap"]
    towers = (build_tower(recipe.towers[s], recipe.inputs[s], recipe.data.window.seconds) for s in streams)
    return " and ".join(f"{sum(p.numel() for p in tower.parameters()):,}" for tower in towers)


def check_chosen() -> None:
    """SystemExit where a row does not have the learning rate that was best on validation."""
    for name, row in ROWS.items():
        best = max(SHARES, key=lambda share: score(name, share))
        if score(name, row.lr) < score(name, best):
            raise SystemExit(f"{name} has {row.lr:g} x the learning rate, {best:g} x was better on validation: set it")


def tables() -> str:
    check_chosen()
    parts = [comparison(), tuning_table(), provenance([run for name in ROWS for run in runs_of(name)], "run")]
    return "\n\n".join("\n".join(lines) for lines in parts)


def comparison() -> list[str]:
    first = runs_of("ours")[0].last_evaluation()
    pool = first["retrieval/imu:mocap/pool"]
    keys = ("R@1", "R@10", "MRR")
    lines = [
        f"| {STEPS} steps, {first['zeroshot/imu/n']:.0f} clips | seeds | parameters of the exchanged tower | IMU, accuracy"
        f" | macro-F1 | mocap, accuracy | macro-F1 | IMU and mocap, accuracy | IMU finds mocap among {pool:.0f}, R@1 | R@10"
        " | MRR | mocap finds IMU, R@1 | R@10 | MRR |",
        "|---" * 14 + "|",
    ]
    for name, row in ROWS.items():
        found = [run.last_evaluation() for run in runs_of(name)]
        cells = [row.words, f"{len(found)}", parameters(name)]
        for side in CLASSIFIED:
            both = [interval(values) for values in zip(*(accuracy(one, side) for one in found))]
            cells += both[:1] if side == "imu+mocap" else both
        for pair in ("imu:mocap", "mocap:imu"):
            names = [f"retrieval/{pair}/{key}" for key in keys]
            cells += ["-" if key not in found[0] else interval([one[key] for one in found]) for key in names]
        lines.append(f"| {' | '.join(cells)} |")
    blind = [f"{first['zeroshot/imu/chance']:.3f}", "-"]
    chance = ["chance", "-", "-", *blind, *blind, blind[0]]
    chance += [f"{first[f'retrieval/{pair}/chance/{key}']:.3f}" for pair in ("imu:mocap", "mocap:imu") for key in keys]
    return [*lines, f"| {' | '.join(chance)} |"]


def tuning_table() -> list[str]:
    heads = [f"{share * LR:g}" for share in SHARES]
    lines = [
        f"| accuracy on validation, learning rate | {' | '.join(heads)} | taken |",
        "|---" * (len(heads) + 2) + "|",
    ]
    for name, row in ROWS.items():
        values = [f"{score(name, share):.3f}" for share in SHARES]
        words = f"{row.words}: {' and '.join(tuned_streams(row))}"
        lines.append(f"| {' | '.join([words, *values, f'{row.lr * LR:g}'])} |")
    return lines

"""Runs and tables of the sections `fine` and `utd_fine` of docs/results.md: alignment of moments and body parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from results_runs import ROOT, Run, interval, provenance

Figures = dict[str, dict[str, float]]

OURS = "recipes/aura_fine.yaml"
THEIRS = "recipes/mobind.yaml"
PICTURE = ROOT / "docs" / "fine_sensors.png"
SENSORS = (1, 2, 3, 4, 5)

# Changes of aura_fine.yaml to MoBind's terms as published, on the same towers: plain tokens, windows cut at the same place.
NO_SHIFT = "data.window.shift_s=0"
PUBLISHED = "projection: null, centre: false"


def published(terms: str) -> list[str]:
    fine = f"{{imu:pose2d: {{{terms}, {PUBLISHED}}}}}" if terms else "{}"
    return ["objective.pairs={imu:pose2d: 1.0}", f"objective.fine={fine}", NO_SHIFT]


# MoBind's recipe on these shards: its encoders, losses and weights; windows, batch and steps are ours.
MOBIND = ["train.batch=48", "train.steps=400", "train.optimizer.lr=3.0e-4", "data.workers=0"]
MOBIND += ["eval={every: 200, pool: 512}", "checkpoint.every=200"]
MOCAP = [
    "data.sources=[{path: data/bandai_namco, weight: 3}, {path: data/cmu_bvh, weight: 1}]",
    "data.eval=[{path: data/bandai_namco}, {path: data/cmu_bvh}]",
    "data.window={seconds: 3.0}",
    "inputs.imu.placements=[left wrist, right wrist, left ankle, right ankle, head]",
]
# Name of the runs -> row of the table, recipe, changes.
FINE: dict[str, tuple[str, str, list[str]]] = {
    "global": ("global", OURS, published("")),
    "local": ("global + local", OURS, published("local: 1.0")),
    "token": ("global + local + token", OURS, published("local: 1.0, token: 0.5")),
    "masked": ("global + local + token + masked", OURS, published("local: 1.0, token: 0.5, masked: {weight: 0.3}")),
    "mobind": ("`mobind.yaml`: the same terms, its encoders", THEIRS, [*MOCAP, *MOBIND]),
    "aura_fine": ("`aura_fine.yaml`", OURS, []),
}
CLIPS = [
    "data.sources=[{path: data/utd_mhad}]",
    "data.eval=[{path: data/utd_mhad, split: test}]",
]
UTD_OURS = [
    *CLIPS,
    "data.window={seconds: 1.6, shift_s: 0.4, shift_step_s: 0.2}",
    "inputs.imu.placements=[]",
    "inputs.imu.sensors=1",
]
UTD_THEIRS = [
    *CLIPS,
    *MOBIND,
    "data.window={seconds: 1.6}",
    "inputs.imu={rate_hz: 20, sensors: 1}",
    "towers.imu={kind: mobind, projection: none, signals: acc+gyro, pool: mean}",
    "towers.pose2d.pool=mean",
]
UTD: dict[str, tuple[str, str, list[str]]] = {
    "utd-mobind": ("`mobind.yaml`, its encoders; one seed", THEIRS, UTD_THEIRS),
    "utd-aura_fine": ("`aura_fine.yaml`", OURS, UTD_OURS),
}

TEST = ["--shards", "data/bandai_namco:test", "data/cmu_bvh:test"]
UTD_TEST = ["--shards", "data/utd_mhad:test"]


def runs_of(name: str) -> list[Run]:
    _, recipe, changes = (FINE | UTD)[name]
    if name in UTD:
        evaluations = {
            "retrieval": ["--task", "retrieval", *UTD_TEST],
            "sync": ["--task", "sync", *UTD_TEST, "--piece", "1.8", "--range", "0.6"],
        }
    else:
        evaluations = {
            "retrieval": ["--task", "retrieval", *TEST],
            "sensors": ["--task", "retrieval", *TEST, "--sensors", *map(str, SENSORS)],
            "sync": ["--task", "sync", *TEST],
            "localize": ["--task", "localize", *TEST],
        }
    seeds = (0,) if name == "utd-mobind" else (0, 1, 2)
    return [Run(f"fine-{name}", seed, recipe, changes, evaluations) for seed in seeds]


def runs() -> list[Run]:
    return [run for name in FINE for run in runs_of(name)]


def utd_runs() -> list[Run]:
    return [run for name in UTD for run in runs_of(name)]


def best_space(found: Figures, names: Sequence[str]) -> dict[str, float] | None:
    """The first of the figures that the run has."""
    return next((found[name] for name in names if name in found), None)


def retrieval_columns(pair: str) -> list[tuple[str, str, Callable[[Figures], float | None]]]:
    """Header, evaluation, figure: by whole windows, and by moments and parts."""
    by_parts = [f"{pair}/late+local", f"{pair}/late", f"{pair}/local"]
    return [
        ("whole windows", "retrieval", lambda found: found[pair]["R@1"]),
        ("moments, parts", "retrieval", lambda found: (best_space(found, by_parts) or {}).get("R@1")),
    ]


def method(found: Figures, *starts: str) -> dict[str, float] | None:
    return next((values for start in starts for name, values in found.items() if name.startswith(start)), None)


def sync_columns() -> list[tuple[str, str, Callable[[Figures], float | None]]]:
    tokens = ("tokens, five phases", "windows, five phases")

    def of(key: str, *starts: str) -> Callable[[Figures], float | None]:
        return lambda found: (method(found, *starts) or {}).get(key)

    return [
        ("MAE, s", "sync", of("MAE", *tokens)),
        ("Acc@0.1", "sync", of("Acc@0.1", *tokens)),
        ("Acc@0.2", "sync", of("Acc@0.2", *tokens)),
        ("Acc@0.5", "sync", of("Acc@0.5", *tokens)),
        ("Acc@0.75", "sync", of("Acc@0.75", *tokens)),
        ("MAE of votes, s", "sync", of("MAE", "windows, top-5 votes")),
        ("MAE with signals, s", "sync", of("MAE", "tokens and classical", "windows and classical")),
        ("Acc@0.2 with signals", "sync", of("Acc@0.2", "tokens and classical", "windows and classical")),
    ]


def part_columns() -> list[tuple[str, str, Callable[[Figures], float | None]]]:
    def of(key: str) -> Callable[[Figures], float | None]:
        return lambda found: (best_space(found, ["part, late", "part, local"]) or {}).get(key)

    return [
        ("accuracy", "localize", of("argmax/accuracy")),
        ("macro-F1", "localize", of("argmax/macro_f1")),
        ("accuracy, one to one", "localize", of("one_to_one/accuracy")),
    ]


Columns = list[tuple[str, str, Callable[[Figures], float | None]]]


def table(title: str, names: Sequence[str], columns: Columns, baselines: Sequence[Sequence[str]] = ()) -> list[str]:
    """A row for each of the runs, mean and interval over their seeds; `baselines` are rows that are written already."""
    lines = [f"| {title} | {' | '.join(header for header, _, _ in columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = []
        for _, evaluation, figure in columns:
            values = [figure(run.results(evaluation)) for run in runs_of(name)]
            cells.append("-" if None in values else interval([v for v in values if v is not None]))
        lines.append(f"| {(FINE | UTD)[name][0]} | {' | '.join(cells)} |")
    return [*lines, *(f"| {' | '.join(row)} |" for row in baselines)]


def sync_baselines(name: str) -> list[list[str]]:
    """What needs no network: the same for all runs."""
    found = runs_of(name)[0].results("sync")
    any_method = method(found, "tokens", "windows") or {}
    keys = ("MAE", "Acc@0.1", "Acc@0.2", "Acc@0.5", "Acc@0.75")
    rows = [["signals alone, no network", *(f"{found['classical'][key]:.3f}" for key in keys)]]
    for key, words in (("zero", "always zero"), ("grid", "best answer on the grid of tokens")):
        rows.append([words, *(f"{any_method[f'{key}/{metric}']:.3f}" for metric in keys)])
    chance = ["chance: a random offset", f"{any_method['chance/MAE']:.3f}", "-", f"{any_method['chance/Acc@0.2']:.3f}"]
    return [[*row, *["-"] * (9 - len(row))] for row in [*rows, chance]]


def counts(name: str, evaluation: str, what: str) -> str:
    first = method(runs_of(name)[0].results(evaluation), what) or {}
    return f"{first['n']:.0f}"


def tables() -> str:
    names = list(FINE)
    pool = runs_of("aura_fine")[0].results("retrieval")["imu:pose2d"]
    both: Columns = []
    for pair, words in (("imu:pose2d", "IMU finds pose"), ("pose2d:imu", "pose finds IMU")):
        both += [(f"{words}, {header}", task, figure) for header, task, figure in retrieval_columns(pair)]
    chance = ["chance", *[f"{pool['chance']:.3f}"] * 4]
    title = f"R@1 among {pool['pool']:.0f} windows of 3 s"
    lines = table(title, names, both, [chance])
    pieces = counts("aura_fine", "sync", "tokens")
    lines += ["", *table(f"offset of {pieces} pieces of 5 s", names, sync_columns(), sync_baselines("aura_fine"))]
    with_parts = [name for name in names if name != "global"]
    sensors = counts("aura_fine", "localize", "part")
    part = method(runs_of("aura_fine")[0].results("localize"), "part") or {}
    chance = ["chance", *(f"{part[f'chance/{key}']:.3f}" for key in ("accuracy", "macro_f1", "accuracy"))]
    lines += ["", *table(f"body part of {sensors} sensors, of 5", with_parts, part_columns(), [chance])]
    lines += ["", *sensor_table(), "", *provenance(runs(), "run")]
    return "\n".join(lines)


def by_sensors(name: str) -> np.ndarray:
    """(seeds, counts of sensors) R@1, IMU finds pose, by moments and parts where the run compares them."""
    pair = "imu:pose2d"
    out = []
    for run in runs_of(name):
        found = run.results("sensors")
        spaces = [f"{pair}/late+local", f"{pair}/late", f"{pair}/local", pair]
        out.append([(best_space(found, [f"{k} sensors, {s}" for s in spaces]) or {})["R@1"] for k in SENSORS])
    return np.array(out)


def sensor_table() -> list[str]:
    """The table, and the plot of it."""
    names = ["aura_fine", "mobind", "masked", "local", "global"]
    lines = [f"| R@1, IMU finds pose, with so many random sensors | {' | '.join(map(str, SENSORS))} |"]
    lines.append("|---" * (len(SENSORS) + 1) + "|")
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    for name in names:
        values = by_sensors(name)
        lines.append(f"| {FINE[name][0]} | {' | '.join(interval(column) for column in values.T)} |")
        (line,) = axes.plot(SENSORS, values.mean(0), marker="o", label=FINE[name][0].replace("`", ""))
        axes.fill_between(SENSORS, values.min(0), values.max(0), alpha=0.2, color=line.get_color())
    axes.set(xlabel="sensors present", ylabel="R@1, IMU finds pose", xticks=SENSORS, ylim=(0, 1))
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    figure.savefig(PICTURE, dpi=110)
    return lines


def utd_tables() -> str:
    names = list(UTD)
    pool = runs_of("utd-aura_fine")[0].results("retrieval")["imu:pose2d"]
    both: Columns = []
    for pair, words in (("imu:pose2d", "IMU finds pose"), ("pose2d:imu", "pose finds IMU")):
        both += [(f"{words}, {header}", task, figure) for header, task, figure in retrieval_columns(pair)]
    lines = table(f"R@1 among {pool['pool']:.0f} windows", names, both, [["chance", *[f"{pool['chance']:.4f}"] * 4]])
    pieces = counts("utd-aura_fine", "sync", "tokens")
    columns = [c for c in sync_columns() if c[0] != "MAE of votes, s"]
    rows = [row[:8] for row in sync_baselines("utd-aura_fine")]
    lines += ["", *table(f"offset of {pieces} pieces of 1.8 s", names, columns, rows)]
    return "\n".join([*lines, "", *provenance(utd_runs(), "run")])

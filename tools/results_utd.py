"""Runs and tables of the section `utd_mhad` of docs/results.md: classes in words and retrieval of whole clips."""

from __future__ import annotations

from results_runs import Run, interval, provenance

STORED = [
    "data.sources.0.path=data/utd_mhad_stored",
    "data.eval=[{path: data/utd_mhad_stored, split: test}]",
    "inputs.text.stored=true",
]
# The sensor's placement tells wrist actions from thigh actions: with it, and without.
PLACEMENT = {"given": [], "withheld": ["towers.imu.placements=false"]}
# Row of the table, metric of the log, what stands beside it.
FOREST = {"imu": "0.815", "mocap": "0.852", "imu+mocap": "0.902"}
ZERO_SHOT = ("imu", "mocap", "pose2d", "imu+mocap")
RETRIEVAL = (("imu:mocap", "IMU finds mocap"), ("mocap:imu", "mocap finds IMU"))


def runs_of(placement: str) -> list[Run]:
    changes = [*STORED, *PLACEMENT[placement]]
    return [Run(f"utd_mhad-{placement}", seed, "recipes/utd_mhad.yaml", changes) for seed in (0, 1, 2)]


def runs() -> list[Run]:
    return [run for placement in PLACEMENT for run in runs_of(placement)]


def tables() -> str:
    found = {placement: [run.last_evaluation() for run in runs_of(placement)] for placement in PLACEMENT}
    first = found["given"][0]
    lines = [
        f"| 27 actions by text prompt, {first['zeroshot/imu/n']:.0f} clips | placement | accuracy | macro-F1"
        " | random forest (supervised), accuracy | chance |",
        "|---|---|---|---|---|---|",
    ]
    for side in ZERO_SHOT:
        for placement, metrics in found.items():
            if "imu" not in side and placement == "withheld":
                continue
            both = [interval([m[f"zeroshot/{side}/{k}"] for m in metrics]) for k in ("accuracy", "macro_f1")]
            worn = placement if "imu" in side else "-"
            chance = first[f"zeroshot/{side}/chance"]
            lines.append(f"| {side} | {worn} | {both[0]} | {both[1]} | {FOREST.get(side, '-')} | {chance:.3f} |")
    lines += [
        "",
        f"| retrieval, gallery of {first['retrieval/imu:mocap/pool']:.0f} clips | placement | R@1 | R@10 | MRR"
        " | chance R@1, R@10, MRR |",
        "|---|---|---|---|---|---|",
    ]
    for pair, words in RETRIEVAL:
        chance = ", ".join(f"{first[f'retrieval/{pair}/chance/{k}']:.3f}" for k in ("R@1", "R@10", "MRR"))
        for placement, metrics in found.items():
            values = [interval([m[f"retrieval/{pair}/{k}"] for m in metrics]) for k in ("R@1", "R@10", "MRR")]
            lines.append(f"| {words} | {placement} | {' | '.join(values)} | {chance} |")
    return "\n".join([*lines, "", *provenance(runs(), "run")])

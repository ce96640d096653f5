"""Trains the recipes behind docs/results.md with three seeds each, and writes that page from their logs.

    python tools/results.py                 trains what is missing (resumable: a finished run is kept), then writes the page
    python tools/results.py --write         writes the page from the runs that are there

Needs the shards that the recipes name. Test subjects are used once per recipe and seed; what chose the hyper-parameters is
said on the page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "results"
SEEDS = (0, 1, 2)
UTD = {
    "recipe": "recipes/utd_mhad.yaml",
    "overrides": [
        "data.sources.0.path=data/utd_mhad_stored",
        "data.eval=[{path: data/utd_mhad_stored, split: test}]",
        "inputs.text.stored=true",
    ],
}
# Row of the table, metric of the log, what stands beside it.
FOREST = {"imu": "0.815", "mocap": "0.852", "imu+mocap": "0.902"}
ZERO_SHOT = ("imu", "mocap", "pose2d", "imu+mocap")
RETRIEVAL = (("imu:mocap", "IMU finds mocap"), ("mocap:imu", "mocap finds IMU"))


def train(seed: int) -> Path:
    """The run of one seed, trained unless it is finished."""
    folder = RUNS / f"utd_mhad-{seed}"
    command = [sys.executable, "recipes/pretrain.py", "--config", UTD["recipe"], *UTD["overrides"]]
    subprocess.run([*command, f"seed={seed}", f"run_dir={folder}"], cwd=ROOT, check=True)
    return folder


def last_evaluation(folder: Path) -> dict[str, Any]:
    """The last evaluation of a finished run."""
    status = json.loads((folder / "status.json").read_text())
    if status["state"] != "finished":
        raise SystemExit(f"{folder} is {status['state']}, not finished: run tools/results.py without --write")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "eval"][-1]


def interval(values: list[float]) -> str:
    """Mean and 95 % interval of the mean over seeds (Student's t)."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.3f} ± {half:.3f}"


def tables(runs: list[Path]) -> str:
    found = [last_evaluation(folder) for folder in runs]
    n = found[0]["zeroshot/imu/n"]
    lines = [
        f"| 27 actions by text prompt, {n:.0f} clips | accuracy | macro-F1 | random forest (supervised), accuracy | chance |",
        "|---|---|---|---|---|",
    ]
    for side in ZERO_SHOT:
        both = [interval([m[f"zeroshot/{side}/{k}"] for m in found]) for k in ("accuracy", "macro_f1")]
        chance = found[0][f"zeroshot/{side}/chance"]
        lines.append(f"| {side} | {both[0]} | {both[1]} | {FOREST.get(side, '-')} | {chance:.3f} |")
    pool = found[0]["retrieval/imu:mocap/pool"]
    lines += [
        "",
        f"| retrieval, gallery of {pool:.0f} clips | R@1 | R@10 | MRR | chance R@1, R@10, MRR |",
        "|---|---|---|---|---|",
    ]
    for pair, words in RETRIEVAL:
        values = [interval([m[f"retrieval/{pair}/{k}"] for m in found]) for k in ("R@1", "R@10", "MRR")]
        chance = ", ".join(f"{found[0][f'retrieval/{pair}/chance/{k}']:.3f}" for k in ("R@1", "R@10", "MRR"))
        lines.append(f"| {words} | {' | '.join(values)} | {chance} |")
    lines += ["", "| seed | git commit | recipe | shards (hash of the manifest) |", "|---|---|---|---|"]
    for folder in runs:
        made = json.loads((folder / "environment.json").read_text())
        shards = ", ".join(digest[:12] for digest in made["shards"].values())
        lines.append(f"| {folder.name.rpartition('-')[2]} | {made['git'][:12]} | `{UTD['recipe']}` | {shards} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    runs = [RUNS / f"utd_mhad-{seed}" for seed in SEEDS]
    if not arguments.write:
        for seed in tqdm(SEEDS, desc="seeds"):
            train(seed)
    page = ROOT / "docs" / "results.md"
    head, begin, rest = page.read_text().partition("<!-- begin utd_mhad -->")
    _, end, tail = rest.partition("<!-- end utd_mhad -->")
    if not begin or not end:
        raise SystemExit(f"{page} lacks the marks between which the tables stand")
    page.write_text(f"{head}{begin}\n{tables(runs)}\n{end}{tail}")
    print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Trains the recipes behind docs/results.md with three seeds each, and writes that page from their logs.

    python tools/results.py                 trains what is missing (resumable: a finished run is kept), then writes the page
    python tools/results.py --write         writes the page from the runs that are there
    python tools/results.py virtual_imu     one section: utd_mhad (trains), virtual_imu (a minute, trains nothing)

Needs data/utd_mhad (python -m shards.utd_mhad) and its stored texts:

    python tools/precompute.py data/utd_mhad --recipe recipes/utd_mhad.yaml --out data/utd_mhad_stored --streams text

Test subjects are used once per recipe and seed; what chose the hyper-parameters is said on the page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import results_virtual
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
# The sensor's placement tells wrist actions from thigh actions: with it, and without.
PLACEMENT = {"given": [], "withheld": ["towers.imu.placements=false"]}
# Row of the table, metric of the log, what stands beside it.
FOREST = {"imu": "0.815", "mocap": "0.852", "imu+mocap": "0.902"}
ZERO_SHOT = ("imu", "mocap", "pose2d", "imu+mocap")
RETRIEVAL = (("imu:mocap", "IMU finds mocap"), ("mocap:imu", "mocap finds IMU"))


def train(placement: str, seed: int) -> None:
    """One run, trained unless it is finished."""
    command = [sys.executable, "recipes/pretrain.py", "--config", UTD["recipe"], *UTD["overrides"]]
    command += [*PLACEMENT[placement], f"seed={seed}", f"run_dir={run_dir(placement, seed)}"]
    subprocess.run(command, cwd=ROOT, check=True)


def run_dir(placement: str, seed: int) -> Path:
    return RUNS / f"utd_mhad-{placement}-{seed}"


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


def tables() -> str:
    runs = {placement: [run_dir(placement, seed) for seed in SEEDS] for placement in PLACEMENT}
    found = {placement: [last_evaluation(folder) for folder in folders] for placement, folders in runs.items()}
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
    lines += ["", "| placement | seed | git commit | recipe | shards (hash of the manifest) |", "|---|---|---|---|---|"]
    for placement, folders in runs.items():
        for seed, folder in zip(SEEDS, folders):
            made = json.loads((folder / "environment.json").read_text())
            shards = ", ".join(digest[:12] for digest in made["shards"].values())
            lines.append(f"| {placement} | {seed} | {made['git'][:12]} | `{UTD['recipe']}` | {shards} |")
    return "\n".join(lines)


SECTIONS = {"utd_mhad": tables, "virtual_imu": results_virtual.tables}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--write", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    for name in arguments.sections:
        if name not in SECTIONS:
            parser.error(f"no section {name!r}; there are {', '.join(SECTIONS)}")
    sections = arguments.sections or list(SECTIONS)
    if not arguments.write and "utd_mhad" in sections:
        for placement, seed in tqdm(list(product(PLACEMENT, SEEDS)), desc="runs"):
            train(placement, seed)
    page = ROOT / "docs" / "results.md"
    for name in sections:
        made = SECTIONS[name]()
        head, begin, rest = page.read_text().partition(f"<!-- begin {name} -->")
        _, end, tail = rest.partition(f"<!-- end {name} -->")
        if not begin or not end:
            raise SystemExit(f"{page} lacks the marks between which the tables of {name} stand")
        page.write_text(f"{head}{begin}\n{made}\n{end}{tail}")
    print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

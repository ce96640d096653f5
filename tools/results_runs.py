"""Runs behind docs/results.md: trained and evaluated by the commands that a user types, once for each recipe and seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from tqdm import tqdm

from aura.evaluation.result import read_windows
from aura.tasks.scores import mean_intervals
from aura.train.recipe import differences, load_recipe

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "results"


@dataclass(frozen=True)
class Run:
    """A recipe with changes, trained with a seed; and evaluations of it: name -> words for recipes/evaluate.py."""

    name: str
    seed: int
    recipe: str
    overrides: Sequence[str] = ()
    evaluations: dict[str, list[str]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return RUNS / f"{self.name}-{self.seed}"

    def results(self, evaluation: str) -> dict[str, dict[str, float]]:
        """Figures of an evaluation by the name of what was evaluated."""
        file = self.folder / "results" / evaluation / "results.json"
        if not file.exists():
            raise SystemExit(f"{file} is missing: run tools/results.py without --write")
        return json.loads(file.read_text())["results"]

    def last_evaluation(self) -> dict[str, Any]:
        """The metrics of the last evaluation during training."""
        if not self.finished:
            raise SystemExit(f"{self.folder} is not finished: run tools/results.py without --write")
        lines = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        return [line for line in lines if line["kind"] == "eval"][-1]

    @property
    def finished(self) -> bool:
        status = self.folder / "status.json"
        return status.exists() and json.loads(status.read_text())["state"] == "finished"


def make(run: Run) -> None:
    """Trains what is not finished, evaluates what has not been. Output goes to files beside the run."""
    run.folder.mkdir(parents=True, exist_ok=True)
    changes = [*run.overrides, f"seed={run.seed}", f"run_dir={run.folder}"]
    if not run.finished:
        _python(["recipes/pretrain.py", "--config", run.recipe, *changes], run.folder / "train.log")
    elif changed := differences(load_recipe(run.folder / "recipe.yaml"), load_recipe(ROOT / run.recipe, changes)):
        raise SystemExit(f"{run.folder} is of another recipe; delete it, and it is made again. {'; '.join(changed)}")
    for name, words in run.evaluations.items():
        out = run.folder / "results" / name
        if not (out / "results.json").exists():
            out.mkdir(parents=True, exist_ok=True)
            command = ["recipes/evaluate.py", "--checkpoint", str(run.folder), "--out", str(out), *words]
            _python(command, out / "log.txt")


def _python(words: list[str], log: Path) -> None:
    with open(log, "a") as file:
        result = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    if result.returncode:
        raise SystemExit(f"python {' '.join(words)} failed: {log} says why")


def make_all(runs: Sequence[Run], jobs: int) -> None:
    """All runs, `jobs` of them at a time."""
    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(runs), desc="runs") as bar:
        waiting = [pool.submit(make, run) for run in runs]
        try:
            for done in as_completed(waiting):
                done.result()
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval of the mean over seeds (Student's t); of one or two seeds the values."""
    if len(values) < 3:
        return ", ".join(f"{value:.3f}" for value in values)
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.3f} ± {half:.3f}"


def cells(runs: Sequence[Run], evaluation: str, name: str, keys: Sequence[str]) -> list[str]:
    """Mean and interval over seeds of some figures of what was evaluated."""
    found = [run.results(evaluation)[name] for run in runs]
    return [interval([figures[key] for figures in found]) for key in keys]


def people(runs: Sequence[Run], evaluation: str, name: str, key: str) -> str:
    """95 % interval over people of a figure that each window adds to: bootstrap over subjects of its mean over the seeds."""
    found = [read_windows(run.folder / "results" / evaluation)[name] for run in runs]
    if any(list(other.keys) != list(found[0].keys) for other in found):
        raise SystemExit(f"{evaluation} of {runs[0].name}: the seeds were not evaluated on the same windows")
    mean = np.mean([windows.values[key] for windows in found], axis=0)
    over = mean_intervals({key: mean}, found[0].subjects)[key]
    return "-" if over.low is None or over.high is None else f"{over.low:.3f} to {over.high:.3f}"


def provenance(runs: Sequence[Run], what: str) -> list[str]:
    """A table: which commit, recipe and shards each run was made from."""
    lines = [f"| {what} | git commit of each seed | recipe | shards (hash of the manifest) |", "|---|---|---|---|"]
    rows: dict[tuple[str, str, str], list[str]] = {}
    for run in runs:
        made = json.loads((run.folder / "environment.json").read_text())
        shards = ", ".join(digest[:12] for digest in made["shards"].values())
        rows.setdefault((run.name, run.recipe, shards), []).append(f"{run.seed}: {made['git'][:12]}")
    for (name, recipe, shards), seeds in rows.items():
        lines.append(f"| {name} | {', '.join(seeds)} | `{recipe}` | {shards} |")
    return lines

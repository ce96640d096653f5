"""The tables of zero-shot recognition in docs/results.md, from runs that are there."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from aura.evaluation.result import Result, Windows, write
from aura.train.recipe import load_recipe

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # as for a script that lies there
import results_runs
import results_zero
from results_runs import ROOT

PEOPLE = ["s8", "s8", "s9", "s10", "s11"]
BLIND = {"chance/accuracy": 0.091, "majority/accuracy": 0.1, "majority/macro_f1": 0.02, "n": 5}


def evaluated(run, name: str, values: dict[str, dict[str, float]]) -> None:
    """Results as recipes/evaluate.py writes them."""
    result, out = Result(), run.folder / "results" / name
    out.mkdir(parents=True)
    for what, figures in values.items():
        result.add(what, figures, None, Windows(list("abcde"), PEOPLE, {"accuracy": np.array([1.0, 0, 1, 0, 1])}))
    write(result, {}, out)


@pytest.fixture(params=[results_zero.ZERO_SHOT, results_zero.MINI], ids=lambda study: study.name)
def study(request) -> results_zero.Study:
    return request.param


@pytest.fixture
def page(study, tmp_path, monkeypatch) -> str:
    monkeypatch.setattr(results_runs, "RUNS", tmp_path)
    for run in study.runs():
        run.folder.mkdir(parents=True)
        (run.folder / "environment.json").write_text(json.dumps({"git": "a" * 40, "shards": {"x:train": "b" * 64}}))
        base = 0.3 if "short" in run.name else 0.1 if "untrained" in run.name else 0.6 + 0.01 * run.seed
        told = {"accuracy": base, "macro_f1": base - 0.05, **BLIND}
        for name in run.evaluations:
            if name in study.targets:
                sides = {"imu": told} if "short" in run.name else {"imu": told, "imu at the left wrist alone": told}
                evaluated(run, name, sides)
            elif name.endswith("_few"):
                evaluated(
                    run, name, {f"imu, {k} a class, mean": {"accuracy": 0.7, "macro_f1": 0.69, "n": 5} for k in (1, 5)}
                )
            else:
                what = "imu, random forest" if name.endswith("_forest") else "imu, linear"
                evaluated(run, name, {what: {"accuracy": 0.9, "macro_f1": 0.89, "n": 5}})
    return study.tables()


def test_tables_hold_what_the_runs_found(study, page):
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert "| Berkeley MHAD, 11 actions | all | 5 | 0.610 ± 0.025 | 0.000 to 1.000 | 0.560 ± 0.025 | 0.100, 0.050 | 0.091, 0.100 | 0.020 |" in rows  # fmt: skip
    assert sum("| left wrist |" in row for row in rows) == len(study.targets)
    assert "| SP-SW-HAR, 5 activities: random forest on statistics | 5 | 0.900 | 0.890 |" in rows
    assert sum(row.endswith(" | 0.300, 0.250" * len(study.targets) + " |") for row in rows) == len(study.ablations)


def test_every_ablation_is_a_recipe_that_differs(study):
    whole = load_recipe(ROOT / study.recipe, study.short)
    for what, changes in study.ablations.items():
        recipe = load_recipe(ROOT / study.recipe, [*study.short, *changes])
        assert (recipe == whole) == (what == "all ingredients"), what

"""The tables of UTD-MHAD in docs/results.md: figures from runs that are there, and baselines that differ in the tower alone."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from aura.evaluation.result import Result, Windows, write
from aura.tasks.scores import mean_intervals
from aura.train.recipe import differences, load_recipe

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # as for a script that lies there
import results_runs
import results_towers
import results_utd
from results_runs import ROOT, interval, people

PEOPLE = ["s2", "s2", "s4", "s6", "s8"]


def row(page: str, start: str, table: int = 0) -> list[str]:
    lines = [line for line in page.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in lines[table].strip("|").split("|")]


def evaluated(run, task: str, values: dict[str, dict[str, float]]) -> None:
    """Results of a task as recipes/evaluate.py writes them; by window every figure is right where its number is even."""
    result, out = Result(), run.folder / "results" / task
    out.mkdir(parents=True)
    for name, figures in values.items():
        hits = np.array([1.0, 0.0, 1.0, 0.0, 1.0 if run.seed else 0.0])
        by_window = {key: hits for key in ("accuracy", "R@1") if key in figures}
        result.add(name, figures, None, Windows(list("abcde"), PEOPLE, by_window))
    write(result, {}, out)


def finished(run, metrics: dict[str, float]) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "status.json").write_text(json.dumps({"state": "finished"}))
    (run.folder / "metrics.jsonl").write_text(json.dumps({"kind": "eval", **metrics}) + "\n")
    (run.folder / "environment.json").write_text(json.dumps({"git": "a" * 40, "shards": {"x:train": "b" * 64}}))


@pytest.fixture
def utd(tmp_path, monkeypatch):
    monkeypatch.setattr(results_runs, "RUNS", tmp_path)
    blind = {"chance/accuracy": 0.037, "majority/accuracy": 0.04}
    for run in results_utd.runs():
        finished(run, {})
        told: dict[str, float] = {"accuracy": 0.8 + 0.01 * run.seed, "macro_f1": 0.7, "n": 5, **blind}
        evaluated(run, "zeroshot", dict.fromkeys(results_utd.ZERO_SHOT.values(), told))
        found: dict[str, float] = {"R@1": 0.4 + 0.01 * run.seed, "R@10": 0.9, "MRR": 0.6, "pool": 5, "n": 5}
        found |= {f"chance/{key}": 0.2 for key in ("R@1", "R@10", "MRR")}
        sides = ("imu", "mocap", "pose2d", "text")
        emergent = ("imu:pose2d", "pose2d:imu", "mocap:pose2d", "pose2d:mocap")
        pairs = [f"{a}:{b}" for a in sides for b in sides if a != b]
        evaluated(run, "retrieval", {p + ", emergent" * (p in emergent): dict(found) for p in pairs})
        if "probe" in run.evaluations:
            kinds = ("linear", "1nn")
            evaluated(run, "probe", {f"{s}, {k}": told | {"train": 431} for s in results_utd.STREAMS for k in kinds})
            shots = {
                f"{s}, {k} a class, {kind}": told | {"accuracy": 0.1 * k, "accuracy_spread": 0.02}
                for s in results_utd.STREAMS
                for k in results_utd.SHOTS
                for kind in ("linear", "mean")
            }
            evaluated(run, "fewshot", shots)
        if "forest" in run.evaluations:
            evaluated(run, "forest", {"imu, random forest": told | {"accuracy": 0.815}})
    return results_utd.tables()


def test_figures_are_means_over_seeds_and_intervals_over_people(utd):
    seeds = interval([0.8, 0.81, 0.82])
    found = row(utd, "imu")
    assert found[1:3] == ["given", seeds]
    hits = np.array([1.0, 0.0, 1.0, 0.0, 2 / 3])  # of three seeds
    expected = mean_intervals({"x": hits}, PEOPLE)["x"]
    assert found[3] == f"{expected.low:.3f} to {expected.high:.3f}"
    assert found[4:] == [interval([0.7] * 3), "0.815", "0.037, 0.040"]
    assert row(utd, "imu", 1)[1].startswith("withheld")
    assert row(utd, "mocap")[1] == "-"


def test_retrieval_tells_what_was_never_trained_together(utd):
    assert row(utd, "IMU finds 2D pose (emergent)")[2] == interval([0.4, 0.41, 0.42])
    assert row(utd, "text finds IMU")[3] == "-", "words are nobody's"
    names = [line for line in utd.splitlines() if " finds " in line and "withheld" not in line]
    assert len(names) == 12
    assert sum("(emergent)" in line for line in names) == 4


def test_few_labels_stand_beside_all_of_them(utd):
    assert row(utd, "imu", 2)[1:][:6] == ["linear", *(interval([0.1 * k] * 3) for k in results_utd.SHOTS)]
    assert row(utd, "imu", 4)[1:] == ["random forest on statistics", *["-"] * 5, "0.815", row(utd, "imu", 4)[-1]]


def test_people_need_the_same_windows(tmp_path, monkeypatch, utd):
    runs = results_utd.runs_of("given")
    other = Result()
    other.add("imu", {"accuracy": 1.0}, None, Windows(list("abcdX"), PEOPLE, {"accuracy": np.ones(5)}))
    write(other, {}, runs[1].folder / "results" / "zeroshot")
    with pytest.raises(SystemExit, match="not evaluated on the same windows"):
        people(runs, "zeroshot", "imu", "accuracy")


def test_baselines_differ_in_their_tower_alone():
    def recipe(name, share=1.0):
        row = results_towers.ROWS[name]
        return load_recipe(ROOT / results_towers.RECIPE, results_towers.changes(row, share, "data/x", "test"))

    for name, row in results_towers.ROWS.items():
        changed = [line.partition(":")[0] for line in differences(recipe("ours"), recipe(name))]
        if row.classify:
            assert all(key.startswith(("objective.", "inputs.text.", "towers.text.")) for key in changed)
        else:
            allowed = (f"towers.{row.stream}.", f"inputs.{row.stream}.rate_hz")
            assert all(key.startswith(allowed) for key in changed), changed
        assert not any("moments" in line for line in differences(recipe("ours"), recipe(name)))


@pytest.fixture
def towers(tmp_path, monkeypatch):
    monkeypatch.setattr(results_runs, "RUNS", tmp_path)
    for name, kind in results_towers.ROWS.items():
        word = "classify" if kind.classify else "zeroshot"
        for run in results_towers.runs_of(name):
            metrics = {f"{word}/{side}/accuracy": 0.5 + 0.1 * run.seed for side in results_towers.CLASSIFIED}
            metrics |= {f"{word}/{side}/macro_f1": 0.4 for side in results_towers.CLASSIFIED}
            metrics |= {"zeroshot/imu/n": 430, "zeroshot/imu/chance": 0.037} if not kind.classify else {}
            for pair in ("imu:mocap", "mocap:imu") if not kind.classify else ():
                metrics |= {f"retrieval/{pair}/{key}": 0.3 for key in ("R@1", "R@10", "MRR")}
                metrics |= {f"retrieval/{pair}/chance/{key}": 0.01 for key in ("R@1", "R@10", "MRR")}
                metrics |= {f"retrieval/{pair}/pool": 430}
            finished(run, metrics)
        for share in results_towers.SHARES:
            figure = 0.6 if share == kind.lr else 0.5
            streams = results_towers.tuned_streams(kind)
            metrics = {f"{word}/{stream}/{key}": figure for stream in streams for key in ("accuracy", "macro_f1")}
            finished(results_towers.tuning(name, share), metrics)
    return tmp_path


def test_towers_stand_side_by_side(towers):
    page = results_towers.tables()
    ours = results_towers.ROWS["ours"]
    seeds = [0.5 + 0.1 * seed for seed in results_towers.SEEDS]
    found = row(page, ours.words)
    assert found[1] == f"{len(results_towers.SEEDS)}"
    assert found[3] == interval(seeds)
    assert row(page, results_towers.ROWS["mw2"].words)[2] == "850,892"
    assert row(page, results_towers.ROWS["supervised"].words)[-6:] == ["-"] * 6
    assert row(page, "chance")[3] == "0.037"


def test_the_learning_rate_is_the_best_on_validation(towers):
    mw2 = results_towers.ROWS["mw2"]
    worse = next(share for share in results_towers.SHARES if share != mw2.lr)
    finished(results_towers.tuning("mw2", worse), {"zeroshot/imu/accuracy": 0.99, "zeroshot/imu/macro_f1": 0.9})
    with pytest.raises(SystemExit, match=rf"mw2 has {mw2.lr:g} x the learning rate, {worse:g} x was better"):
        results_towers.tables()

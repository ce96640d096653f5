"""The tables of docs/results.md from runs that are there; a run is made once, by the commands of a user."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # as for a script that lies there
import results_fine
import results_runs
from results_runs import Run, interval, make, make_all

from aura.train.recipe import load_recipe, to_yaml


def written(folder: Path, results: dict) -> None:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"results": results}))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three seeds of every run of the section, whose figures tell run, seed and place."""
    monkeypatch.setattr(results_runs, "RUNS", tmp_path)
    monkeypatch.setattr(results_fine, "PICTURE", tmp_path / "sensors.png")
    sync = {"MAE": 0.0, "Acc@0.1": 0.5, "Acc@0.2": 0.6, "Acc@0.5": 0.7, "Acc@0.75": 0.8, "n": 40}
    blind = {f"{kind}/{key}": 0.9 for kind in ("zero", "grid", "chance") for key in sync}
    for i, name in enumerate(results_fine.FINE):
        for run in results_fine.runs_of(name):
            figure = {"R@1": 0.1 * i + 0.01 * run.seed, "pool": 50, "chance": 0.02}
            spaces = {"imu:pose2d": figure, "pose2d:imu": figure}
            if name != "global":
                spaces |= {f"{pair}/late+local": figure | {"R@1": figure["R@1"] + 0.3} for pair in spaces}
            written(run.folder / "results" / "retrieval", spaces)
            counted = {f"{k} sensors, {pair}": v | {"R@1": 0.1 * k} for k in range(1, 6) for pair, v in spaces.items()}
            written(run.folder / "results" / "sensors", counted)
            kind = "windows" if name in ("global", "local") else "tokens"
            found = {f"{kind}, five phases": sync | blind | {"MAE": 0.2 + 0.1 * run.seed}}
            found |= {"classical": sync | blind, f"{kind} and classical": sync | blind | {"MAE": 0.05}}
            written(run.folder / "results" / "sync", found)
            part = {"argmax/accuracy": 0.4, "argmax/macro_f1": 0.3, "one_to_one/accuracy": 0.5, "n": 200}
            part |= {"chance/accuracy": 0.2, "chance/macro_f1": 0.19}
            written(run.folder / "results" / "localize", {"part, late": part})
            (run.folder / "environment.json").write_text(json.dumps({"git": "a" * 40, "shards": {"x:train": "b" * 64}}))


def row(page: str, start: str, table: int = 0) -> list[str]:
    lines = [line for line in page.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in lines[table].strip("|").split("|")]


def test_tables_hold_the_figures_of_the_runs(runs, tmp_path):
    page = results_fine.tables()
    number = list(results_fine.FINE).index("aura_fine")
    expected = interval([0.1 * number + 0.01 * seed for seed in range(3)])
    better = interval([0.1 * number + 0.01 * seed + 0.3 for seed in range(3)])
    assert row(page, "`aura_fine.yaml`")[1:] == [expected, better, expected, better]
    assert row(page, "global")[2] == "-", "no moments or parts were trained"
    assert row(page, "`aura_fine.yaml`", 1)[1:3] == [interval([0.2, 0.3, 0.4]), interval([0.5] * 3)]
    assert row(page, "always zero")[1] == "0.900"
    assert row(page, "`aura_fine.yaml`", 2)[1:] == [interval([x] * 3) for x in (0.4, 0.3, 0.5)]
    assert row(page, "chance", 1)[1:] == ["0.200", "0.190", "0.200"]
    assert row(page, "`aura_fine.yaml`", 3)[1:] == [interval([0.1 * k] * 3) for k in range(1, 6)]
    commits = ", ".join(f"{seed}: {'a' * 12}" for seed in range(3))
    assert f"| fine-aura_fine | {commits} | `recipes/aura_fine.yaml` | {'b' * 12} |" in page
    assert (tmp_path / "sensors.png").read_bytes().startswith(b"\x89PNG")


def test_interval_is_students():
    values = [0.5, 0.6, 0.75]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert interval(values) == f"{np.mean(values):.3f} ± {(high - low) / 2:.3f}"
    assert interval([0.5]) == "0.500"
    assert interval([0.5, 0.6]) == "0.500, 0.600", "an interval of two would be of no use"


def test_a_run_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(results_runs, "RUNS", tmp_path)
    called = []

    run = Run("a", 1, "recipes/aura_fine.yaml", ["train.steps=90"], {"sync": ["--task", "sync"]})
    changes = ["train.steps=90", "seed=1", f"run_dir={run.folder}"]

    def command(words, log):
        called.append(words)
        if "recipes/pretrain.py" in words:
            (run.folder / "recipe.yaml").write_text(to_yaml(load_recipe(results_runs.ROOT / run.recipe, changes)))
            (run.folder / "status.json").write_text(json.dumps({"state": "finished"}))
        else:
            (Path(words[words.index("--out") + 1]) / "results.json").write_text("{}")

    monkeypatch.setattr(results_runs, "_python", command)
    make(run)
    assert called[0] == ["recipes/pretrain.py", "--config", "recipes/aura_fine.yaml", *changes]
    assert called[1][:3] == ["recipes/evaluate.py", "--checkpoint", str(run.folder)]
    make_all([run], jobs=1)
    assert len(called) == 2
    with pytest.raises(SystemExit, match=r"a-1 is of another recipe; delete it.*train\.steps"):
        make(Run("a", 1, "recipes/aura_fine.yaml", ["train.steps=91"]))


def test_a_run_that_fails_names_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(results_runs, "RUNS", tmp_path)
    with pytest.raises(SystemExit, match=r"a-0/train.log says why"):
        make(Run("a", 0, "recipes/none.yaml"))
    assert "no recipe at recipes/none.yaml" in (tmp_path / "a-0" / "train.log").read_text()

"""Checkpoints, run directories and recipes that are damaged at random."""

import json
import shutil

import pytest
import yaml

from aura.train.checkpoint import checkpoint_to_resume
from aura.train.recipe import load_recipe, to_yaml
from aura.train.rundir import RunDir
from aura.weights import find_checkpoint, load_weights, read_state
from tests.faults.guard import guarded
from tests.faults.mutate import mutate_bytes, mutate_file, mutate_value
from tests.faults.tally import Tally, count, draws
from tests.train import resume_worker
from tests.train.batches import tiny_model, tiny_recipe
from tests.train.runs import ROOT, TINY


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run directory with two checkpoints, and its recipe."""
    folder, recipe = tmp_path_factory.mktemp("damaged") / "run", tiny_recipe()
    resume_worker.train(None, folder / "checkpoints", "one", 1)
    resume_worker.train(folder / "checkpoints", folder / "checkpoints", "one", 1)
    (folder / "recipe.yaml").write_text(to_yaml(recipe))
    return folder, recipe


def position(path):
    value = read_state(path)
    return value and {key: value[key] for key in ("step", "position", "metrics", "ranks")}


def test_of_damaged_checkpoints_the_last_whole_one_is_taken(run_dir, tmp_path):
    folder, recipe = run_dir
    good = {path.name: position(path) for path in (folder / "checkpoints").glob("step_*")}
    newest = max(good)
    draw, tally = draws("checkpoints"), Tally("mutated checkpoint, resumed")
    loads, there = Tally("mutated checkpoint, its weights loaded"), tmp_path / "run"

    def resumed():
        found, passed = checkpoint_to_resume(there / "checkpoints")
        return None if found is None else [found.name, position(found), passed]

    def loaded():
        found = find_checkpoint(there)
        module = tiny_model(recipe)
        load_weights(found, module)
        return [found.name, float(sum(p.double().abs().sum() for p in module.state_dict().values()))]

    whole = {}
    for name in good:
        shutil.copytree(folder, there)
        (there / "checkpoints" / "latest").write_text(name)
        whole[name] = guarded(loaded)
        shutil.rmtree(there)
    for number in range(count(12)):
        shutil.copytree(folder, there)
        files = [path for path in sorted((there / "checkpoints" / newest).rglob("*")) if path.is_file()]
        files += [there / "checkpoints" / "latest"]
        how = f"{number}: {mutate_file(draw.choice(files), draw)}"
        state, value = guarded(resumed)
        if state == "value" and value and value[1] == good[value[0]] and (value[0] == newest or value[2]):
            tally.note("the same checkpoint" if value[0] == newest else "passed over and named, the one before taken")
        elif state == "refused" and str(there) in value:
            tally.note("refused, the file named")
        else:
            tally.lose(f"{how}: {state}: {value}")
        state, value = guarded(loaded)
        if state == "value" and ("value", value) == tuple(whole[value[0]]):
            loads.note("the same weights" if value[0] == newest else "those of the checkpoint before")
        elif state == "refused" and str(there) in value:
            loads.note("refused, the file named")
        else:
            loads.lose(f"{how}: {state}: {value}")
        shutil.rmtree(there)
    tally.close()
    loads.close()


def test_a_damaged_run_directory_is_opened_or_refused(run_dir, tmp_path):
    """Lines of metrics have no hash: `not noticed` is lost all the same, docs/reliability.md counts it so."""
    folder, recipe = run_dir
    draw, tally, there = draws("run directory"), Tally("mutated status, metrics or recipe of a run"), tmp_path / "run"
    lines = [{"kind": "train", "step": step, "loss": 1.0 / step} for step in range(1, 6)]
    opening = RunDir(tmp_path)
    opening.status("running", 5)
    status = {key: value for key, value in opening.read_status().items() if key != "sha256"}

    def opened():
        opening = RunDir(there)
        said = {key: value for key, value in opening.read_status().items() if key in status}
        opening.open(recipe)
        opening.cut_metrics(4, evaluated=True)
        opening.close()
        return said, opening.metrics()

    for number in range(count(12)):
        there.mkdir()
        (there / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        shutil.copy(tmp_path / "status.json", there)
        shutil.copy(folder / "recipe.yaml", there)
        name = draw.choice(["metrics.jsonl", "status.json", "recipe.yaml"])
        how = f"{number}: {mutate_file(there / name, draw)}"
        state, value = guarded(opened)
        if state == "refused" and "recipe" in value:
            tally.note("refused, the recipe named")
        elif state != "value":
            tally.lose(f"{how}: {value}")
        else:
            said, read = value
            left = [line for line in lines[:4] if line in read]  # in this order, each once
            if name != "metrics.jsonl" and read != lines[:4]:
                tally.lose(f"{how}: other metrics: {read}")
            elif said not in (status, {}):
                tally.lose(f"{how}: another status: {said}")
            elif read != left:
                tally.note("not noticed: other metrics")
            elif said == {}:
                tally.note("opened as if without the damaged status")
            else:
                tally.note("opened" if left == lines[:4] else "opened without the damaged lines of metrics")
        shutil.rmtree(there)
    tally.close()


def test_lines_that_are_there_twice_are_read_once_and_a_changed_status_not_at_all(tmp_path):
    folder = RunDir(tmp_path)
    lines = [{"kind": "train", "step": 1, "loss": 0.5}, {"kind": "warning", "step": 1, "message": "a"}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(lines[i]) + "\n" for i in (0, 1, 0)))
    assert folder.metrics() == lines
    folder.status("finished", 7)
    assert folder.read_status()["step"] == 7
    path = tmp_path / "status.json"
    path.write_text(path.read_text().replace(": 7", ": 8"))
    assert folder.read_status() == {}
    path.write_text('{"state": "finished", "step": 7}')  # of a run before it had a hash
    assert folder.read_status()["state"] == "finished"


def test_a_damaged_recipe_is_a_recipe_or_refused(tmp_path):
    draw, tally = draws("recipes"), Tally("mutated recipe")
    sources = [TINY, *sorted((ROOT / "recipes").glob("*.yaml"))]
    sources = [path for path in sources if guarded(lambda path=path: bool(load_recipe(path)))[0] == "value"]
    file = tmp_path / "r.yaml"
    for number in range(count(20)):
        source = draw.choice(sources)
        if draw.random() < 0.5:
            data, how = mutate_bytes(source.read_bytes(), draw)
            file.write_bytes(data)
        else:
            value = yaml.safe_load(source.read_text())
            how = mutate_value(value, draw)
            file.write_text(yaml.safe_dump(value))
        state, value = guarded(lambda: bool(load_recipe(file)))
        if state == "lost" or (state == "refused" and str(file) not in value):
            tally.lose(f"{number}: {source.name}: {how}: {value}")
        else:
            tally.note("a recipe" if state == "value" else "refused, file and key named")
    tally.close()

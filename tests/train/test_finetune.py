"""Fine-tuning of a pretrained run: its towers, one loop and one resume with pretraining, and what is refused."""

import json
import shutil
import signal

import pytest
import torch

from aura.data.config import Source
from aura.data.files import sha256_of
from aura.train.build import build
from aura.train.checkpoint import latest_checkpoint
from aura.train.finetune import finetune_recipe
from aura.train.loaded import load_run
from aura.train.recipe import RecipeError
from aura.train.rundir import RunError
from aura.weights import state_digest
from tests.train.runs import ROOT, metrics, status
from tests.train.test_recipes_evaluate import evaluated, script  # noqa: F401
from tests.train.test_runs_bad_input import refused

SCRIPT = ROOT / "recipes" / "finetune.py"
STEPS = 6


def arguments(checkpoint, shards, run_dir, *words):
    settings = ["--checkpoint", checkpoint, "--train", shards, "--eval", f"{shards}:val"]
    settings += ["--streams", "imu", "imu+mocap", f"run_dir={run_dir}", f"train.steps={STEPS}", "train.batch=16"]
    return [str(word) for word in (*settings, "checkpoint.every=2", "eval.every=3", *words)]


@pytest.fixture(scope="module")
def tuned(processes, unbroken, shards, tmp_path_factory):
    """A run directory of fine-tuning that nothing stopped."""
    run_dir = tmp_path_factory.mktemp("tuned") / "run"
    run = processes.run(run_dir, *arguments(unbroken, shards, run_dir), script=SCRIPT)
    assert run.wait() == [0], run.text()
    assert "classify/imu+mocap" in run.text()
    return run_dir


def test_it_logs_each_classifier(tuned):
    train, evaluations = metrics(tuned), metrics(tuned, "eval")
    assert [m["step"] for m in train] == list(range(1, STEPS + 1))
    assert [m["step"] for m in evaluations] == [3, STEPS]
    for side in ("imu", "imu+mocap"):
        for m in train:
            assert m[f"classify_rows/{side}"] == 16
            assert 0 <= m[f"classify_accuracy/{side}"] <= 1
        last = evaluations[-1]
        assert last[f"classify/{side}/chance"] == pytest.approx(1 / 36)
        assert last[f"classify/{side}/n"] == 36 * 5
        assert 0 <= last[f"classify/{side}/macro_f1"] <= 1
    for m in train:
        assert m["loss"] == pytest.approx(m["classify/imu"] + m["classify/imu+mocap"], rel=1e-6)
    state = json.loads((latest_checkpoint(tuned / "checkpoints") / "state.json").read_text())
    accuracy = [evaluations[-1][f"classify/{side}/accuracy"] for side in ("imu", "imu+mocap")]
    assert state["metrics"]["score"] == pytest.approx(sum(accuracy) / 2), "the best checkpoint goes by the accuracy"


def test_killed_it_goes_on_and_also_on_two_ranks(processes, unbroken, tuned, shards, tmp_path):
    run_dir = tmp_path / "run"
    words = arguments(unbroken, shards, run_dir)
    for step in (4, 6):
        run = processes.run(run_dir, *words, script=SCRIPT, environment={"SIGNAL_AT": f"step {step} SIGKILL"})
        assert run.wait() == [-signal.SIGKILL], run.text()
        assert status(run_dir)["state"] == "running"
    run = processes.run(run_dir, *words, script=SCRIPT)
    assert run.wait() == [0], run.text()
    assert metrics(run_dir, "eval") == metrics(tuned, "eval")
    for found, expected in zip(metrics(run_dir), metrics(tuned), strict=True):
        for key in expected.keys() - {"samples_per_s", "data_wait"}:
            assert found[key] == expected[key], key
    both = [load_run(path).model.state_dict() for path in (run_dir, tuned)]
    assert all(torch.equal(both[0][name], both[1][name]) for name in both[1])

    for name in ("metrics.jsonl", "status.json"):
        (run_dir / name).unlink()
    shutil.rmtree(run_dir / "checkpoints" / "step_00000006")
    run = processes.run(run_dir, *words, script=SCRIPT, ranks=2)
    assert run.wait() == [0, 0], run.text()
    assert "going on from step_00000004" in run.text(0)
    for found, expected in zip(metrics(run_dir), metrics(tuned)[4:], strict=True):
        assert found["ids"] == expected["ids"]
        for key in ("loss", "grad_norm", "classify/imu", "classify_rows/imu+mocap"):
            assert found[key] == pytest.approx(expected[key], rel=1e-4), key


def test_it_starts_with_the_towers_of_the_checkpoint_or_from_scratch(unbroken, shards):
    trained = load_run(unbroken).model
    for from_scratch in (False, True):
        recipe = finetune_recipe(unbroken, [Source(path=str(shards))], [], from_scratch=from_scratch)
        assert recipe.objective.classify.streams == ("imu", "mocap")
        assert len(recipe.objective.classify.classes) == 36
        assert recipe.name == ("tiny-scratch" if from_scratch else "tiny-finetune")
        assert recipe.train.warmup == recipe.train.steps // 10
        assert recipe.train.optimizer.lr == 0.5e-3, "half of the checkpoint's"
        model = build(recipe, "no", None)[0]
        for name, tower in model.towers.items():
            same = [torch.equal(p, q) for p, q in zip(tower.parameters(), trained.towers[name].parameters())]
            assert all(same) is not from_scratch
            assert all(p.requires_grad for p in tower.parameters())


def test_a_branch_of_moments_is_left_behind(unbroken, shards, tmp_path):
    """Nothing compares moments here. The checkpoint's tower has more than this one, and fits."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "checkpoint"
    shutil.copytree(latest_checkpoint(unbroken / "checkpoints"), folder)
    file = folder / "towers" / "imu.safetensors"
    save_file(load_file(file) | {"tower.branch.out.weight": torch.ones(2, 2)}, file)
    text = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(text.replace("moments: null", "moments: {width: 8, heads: 2}"))
    state = json.loads((folder / "state.json").read_text())
    for name, about in state["files"].items():
        about |= {"size": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
    (folder / "state.json").write_text(json.dumps(state | {"sha256": state_digest(state)}))
    recipe = finetune_recipe(folder, [Source(path=str(shards))], [], streams=["imu"])
    assert recipe.towers["imu"].moments is None
    build(recipe, "no", None)


def test_evaluation_of_the_classifier(script, tuned, unbroken, shards, tmp_path, capsys):  # noqa: F811
    found = evaluated(script, tuned, tmp_path, "--shards", shards, "--task", "finetune")["results"]
    last = metrics(tuned, "eval")[-1]
    assert set(found) == {"imu", "imu+mocap"}
    for side, values in found.items():
        for key, logged in (("accuracy",) * 2, ("macro_f1",) * 2, ("chance/accuracy", "chance"), ("n",) * 2):
            assert values[key] == pytest.approx(last[f"classify/{side}/{logged}"], abs=1e-6)
    words = ["--out", str(tmp_path), "--shards", str(shards), "--task", "finetune"]
    assert script.main(["--checkpoint", str(unbroken), *words]) == 1
    assert "recipe tiny has no classifier: train one with recipes/finetune.py" in capsys.readouterr().err


def test_what_the_checkpoint_or_the_shards_lack(unbroken, shards, tmp_path):
    train = [Source(path=str(shards))]
    with pytest.raises(RecipeError, match="has no tower of 'pose2d'; it has imu, mocap, text"):
        finetune_recipe(unbroken, train, [], streams=["imu", "imu+pose2d"])
    with pytest.raises(RecipeError, match=r"the label 'mood' has no class in .*:train.*labels there: activity"):
        finetune_recipe(unbroken, train, [], label="mood")
    with pytest.raises(RunError, match="holds no whole checkpoint"):
        finetune_recipe(tmp_path, train, [])
    with pytest.raises(RecipeError, match=r"towers\.imu\.tunning: unknown key"):
        finetune_recipe(unbroken, train, [], overrides=["towers.imu.tunning=frozen"])


def test_what_is_refused_before_the_first_step(processes, unbroken, shards, tmp_path):
    """Classes that the training lacks, a label that the evaluation lacks, shards that are not there."""
    run_dir, other, bare = tmp_path / "run", tmp_path / "other", tmp_path / "bare"
    for folder in (other, bare):
        shutil.copytree(shards, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        labels = manifest["splits"]["val"]["labels"]
        if folder == other:
            labels["activity"]["fly"] = labels["activity"].pop("walk")
        else:
            labels.clear()
        (folder / "manifest.json").write_text(json.dumps(manifest))

    def start(*words, **settings):
        return processes.run(run_dir, *arguments(unbroken, shards, run_dir, *words), script=SCRIPT, **settings)

    refused(
        start("--eval", other, ranks=2), "data.eval has the classes fly of the label 'activity', which no sample of"
    )
    refused(start("--eval", bare), "objective.classify (data.eval) goes by the label 'activity', which no sample has")
    refused(start("objective.classify.classes=[clap, walk]"), "objective.classify.classes lacks arm_circles")
    refused(start("checkpoint.best=accuracy"), "is no metric of the evaluation; take one such as classify/imu/accuracy")
    unheld = tmp_path / "unheld"
    run = processes.run(unheld, *arguments(unbroken, "nowhere", unheld), script=SCRIPT)
    refused(run, "nowhere does not exist", state=None)

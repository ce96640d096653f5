"""A run that starts with the towers of another."""

import shutil

import pytest
import torch

from aura.train.checkpoint import latest_checkpoint, load_towers
from aura.train.recipe import load_recipe
from aura.train.rundir import RunError
from tests.train.batches import tiny_model, tiny_recipe
from tests.train.runs import metrics


def test_towers_are_those_of_the_run(processes, unbroken, tmp_path):
    """Other losses, the same encoders: the second run begins where the first one's towers ended."""
    fresh, warm = tmp_path / "fresh", tmp_path / "warm"
    change = ["train.steps=2", "train.warmup=0", "seed=3"]
    for run_dir, more in ((fresh, []), (warm, [f"init={unbroken}"])):
        run = processes.pretrain(run_dir, *change, *more)
        assert run.wait() == [0], run.text()
    last = metrics(unbroken)[-1]["loss"]
    begin = {run_dir: metrics(run_dir)[0]["loss"] for run_dir in (fresh, warm)}
    assert begin[warm] < begin[fresh], (begin, last)


def test_what_does_not_fit_is_named(unbroken, tmp_path):
    model = tiny_model(tiny_recipe())
    with pytest.raises(RunError, match="neither a checkpoint, nor the folder of a run"):
        load_towers(tmp_path, model)
    with pytest.raises(RunError, match=r"imu\.safetensors: "):
        load_towers(unbroken, model)


def test_every_parameter_of_a_tower_is_taken(unbroken):
    recipe = load_recipe(unbroken / "recipe.yaml")
    models = []
    for seed in (0, 1):
        model = tiny_model(recipe, seed)
        assert load_towers(unbroken, model) == sorted(recipe.towers, key=list(recipe.towers).index)
        models.append(model)
    for a, b in zip(models[0].towers.parameters(), models[1].towers.parameters()):
        assert torch.equal(a, b)
    heads = zip(models[0].heads.parameters(), models[1].heads.parameters())
    assert not all(torch.equal(a, b) for a, b in heads), "projections start anew"
    assert latest_checkpoint(unbroken / "checkpoints") is not None


def test_a_damaged_checkpoint_is_refused(unbroken, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(latest_checkpoint(unbroken / "checkpoints"), folder)
    file = folder / "towers" / "imu.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match=r"init: .* is damaged: towers/imu.safetensors is not what was written"):
        load_towers(folder, tiny_model(load_recipe(unbroken / "recipe.yaml")))


def test_a_released_model_gives_the_same_towers(unbroken, tmp_path):
    """Half precision too; and the one that comes with the library, whose text model is from elsewhere."""
    import aura
    from aura.inference.config import place_of

    recipe = load_recipe(unbroken / "recipe.yaml")
    expected = tiny_model(recipe)
    load_towers(unbroken, expected)
    for half in (False, True):
        folder = aura.from_pretrained(unbroken).save_pretrained(tmp_path / str(half), half=half, phrases=[])
        model = tiny_model(recipe, seed=1)
        load_towers(folder, model)
        for a, b in zip(model.towers.parameters(), expected.towers.parameters()):
            assert torch.equal(a, b.half().float() if half else b)

    mini = aura.from_pretrained("aura-mini", modalities=["imu"])
    module = mini.module
    for parameter in module.parameters():
        parameter.zero_()
    assert load_towers(place_of("aura-mini"), module) == ["imu"]
    assert any(parameter.abs().sum() > 0 for parameter in module.towers["imu"].parameters())

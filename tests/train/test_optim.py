"""Learning rates and decay by tower and layer, in closed form."""

import pytest
import torch

from aura.train.optim import make_optimizer, set_lr
from aura.train.recipe import RecipeError
from tests.train.batches import tiny_model, tiny_recipe


def settings(model, optimizer) -> dict[str, tuple[float, float]]:
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    return {name: found[id(p)] for name, p in model.named_parameters()}


def test_without_towers_there_are_two_groups_as_ever():
    recipe = tiny_recipe()
    optimizer = make_optimizer(tiny_model(recipe), recipe.train.optimizer)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(1e-3, 0.05), (1e-3, 0.0)]


def test_a_tower_has_its_own_rate_and_its_layers_less():
    recipe = tiny_recipe(
        optimizer={"lr": 1e-2, "towers": {"imu": {"lr": 4e-3, "weight_decay": 0.2, "layer_decay": 0.5}}}
    )
    model = tiny_model(recipe)
    optimizer = make_optimizer(model, recipe.train.optimizer)
    found = settings(model, optimizer)
    assert found["heads.imu.weight"] == pytest.approx((4e-3, 0.2))
    assert found["towers.imu.transformer.norm.weight"] == pytest.approx((4e-3, 0.0))  # after the last layer
    assert found["towers.imu.transformer.blocks.0.qkv.weight"] == pytest.approx((2e-3, 0.2))  # the one layer
    assert found["towers.imu.stem.conv1.weight"] == pytest.approx((1e-3, 0.2))  # before it
    assert found["towers.mocap.stem.conv1.weight"] == pytest.approx((1e-2, 0.05))
    assert found["temperature.log_scale"] == pytest.approx((1e-2, 0.0))
    set_lr(optimizer, recipe.train.optimizer, 0.1)
    assert settings(model, optimizer)["towers.imu.stem.conv1.weight"] == pytest.approx((1e-4, 0.2))
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))


def test_the_rate_decides_the_first_step():
    """Adam's first step is the learning rate, whatever the gradient."""
    recipe = tiny_recipe(optimizer={"lr": 1e-2, "weight_decay": 0.0, "towers": {"imu": {"lr": 1e-4}}})
    model = tiny_model(recipe)
    optimizer = make_optimizer(model, recipe.train.optimizer)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = {name: float((p - before[name]).abs().max()) for name, p in model.named_parameters()}
    assert moved["heads.imu.weight"] == pytest.approx(1e-4, rel=1e-2)
    assert moved["heads.text.weight"] == pytest.approx(1e-2, rel=1e-2)


def test_a_tower_that_is_not_there_is_refused():
    with pytest.raises(RecipeError, match=r"train.optimizer.towers.smell: there is no such tower; there are"):
        tiny_recipe(optimizer={"towers": {"smell": {}}})

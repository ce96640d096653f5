"""Gradients of one process: chunks change nothing, invalid entries change nothing, absent towers still get gradients."""

from types import SimpleNamespace

import pytest
import torch

from aura.train.loss import compute_loss
from aura.train.step import forward_backward
from tests.train.batches import OTHER, classify_recipe, random_batch, tiny_model, tiny_recipe


class OneProcess:
    """What the step asks of an accelerator, for one process."""

    num_processes = 1
    gradient_state = SimpleNamespace(_set_sync_gradients=lambda sync: None)

    @staticmethod
    def backward(loss):
        loss.backward()


def gradients(recipe, batch, chunk=None):
    model = tiny_model(recipe)
    stats = forward_backward(
        OneProcess, model, batch, lambda out: compute_loss(out, batch, recipe.objective), chunk, share=1.0, last=True
    )
    return stats, {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def assert_close(found: torch.Tensor, expected: torch.Tensor, name: str, share: float = 1e-5):
    """Equal to a small share of the largest entry: what is left is rounding."""
    bound = share * expected.abs().max().item()
    difference = (found - expected).abs().max().item()
    assert difference <= bound, f"{name}: off by {difference:.2e}, largest entry {expected.abs().max():.2e}"


RECIPES = [tiny_recipe(), tiny_recipe(loss="sigmoid"), tiny_recipe(**OTHER, lean=True), classify_recipe()]


@pytest.mark.parametrize("recipe", RECIPES, ids=["infonce", "sigmoid", "lean", "classifiers"])
@pytest.mark.parametrize("chunk", [5, 8, 1])
def test_chunks_give_the_gradient_of_the_whole_batch(chunk, recipe):
    batch = random_batch()
    whole, expected = gradients(recipe, batch)
    parts, found = gradients(recipe, batch, chunk)
    assert parts == pytest.approx(whole, rel=1e-5)
    for name, grad in expected.items():
        assert grad.abs().max() > 0, f"{name} has no gradient: nothing is tested"
        assert_close(found[name], grad, name)


def test_nan_in_invalid_entries_changes_no_value_and_no_gradient():
    recipe = tiny_recipe()
    clean, dirty = random_batch(), random_batch()
    for batch, filler in ((clean, 0.0), (dirty, float("nan"))):
        for name in ("imu", "mocap", "pose2d"):
            stream = batch.streams[name]
            stream.valid[..., -7:] = False
            stream.valid[stream.present.logical_not()] = False
            stream.values[~stream.valid] = filler
        batch.streams["imu"].values[:, 1][~batch.streams["imu"].sensor_mask[:, 1]] = filler
        batch.streams["mocap"].joint_mask[2:4, 7] = False
        batch.streams["mocap"].values[2:4, :, 7] = filler
    stats, expected = gradients(recipe, clean)
    with_nan, found = gradients(recipe, dirty)
    assert with_nan == stats
    for name, grad in expected.items():
        assert torch.equal(found[name], grad), name


@pytest.mark.parametrize("absent", ["imu", "mocap", "pose2d", "video", "text"])
def test_a_stream_that_no_row_has_gives_zero_gradients_and_finite_losses(absent):
    recipe = tiny_recipe()
    batch = random_batch()
    batch.streams[absent].present[:] = False
    stats, found = gradients(recipe, batch)
    for name in recipe.objective.pairs:
        expected = absent in name.replace("+", ":").split(":")
        assert (stats[f"rows/{name}"] == 0) is expected
    for name in recipe.objective.classify.streams:
        assert (stats[f"classify_rows/{name}"] == 0) is (absent in name.split("+"))
        assert (stats[f"classify/{name}"] == 0) is (absent in name.split("+"))
    for name, grad in found.items():
        assert grad is not None, f"{name} got no gradient: DDP would wait for it"
        assert grad.isfinite().all()
        if name.startswith(f"towers.{absent}."):
            assert not grad.any(), name

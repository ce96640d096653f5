"""What is told of a run's embeddings equals closed forms, whole or in chunks; what goes wrong is told once, after a while."""

import math
import re

import pytest
import torch

from aura.model import Embeddings
from aura.objectives.config import Objective
from aura.train.health import PATIENCE, Watch, effective_rank, gradient_norms, health
from aura.train.loss import compute_loss
from aura.train.step import concat_leaves, split
from tests.train.batches import random_batch, tiny_model, tiny_recipe


def test_effective_rank_counts_directions():
    assert effective_rank(torch.eye(7)) == pytest.approx(7, rel=1e-5)
    assert effective_rank(torch.ones(9, 4)) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.eye(4)[[0, 0, 1, 1]]) == pytest.approx(2, rel=1e-5)


def only(pooled: dict[str, torch.Tensor], present: dict[str, torch.Tensor]) -> Embeddings:
    fields = {field: {} for field in Embeddings._fields}
    fields |= {"pooled": pooled, "present": present, "norm": {k: x.norm(dim=-1) * 3 for k, x in pooled.items()}}
    return Embeddings(**fields | {"log_scale": torch.zeros(1), "bias": torch.zeros(1)})


def test_figures_of_two_streams_in_closed_form():
    objective = Objective.model_validate({"pairs": {"imu:text": 1}})
    right, up = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    imu = torch.stack([right, -right, up, torch.full((2,), math.nan)])
    text = torch.stack([right, right, right, right])
    there = torch.tensor([True, True, True, False])
    found = health(only({"imu": imu, "text": text}, {"imu": there, "text": torch.ones(4).bool()}), objective)
    assert found["share/imu"] == 0.75
    assert found["norm/imu"] == pytest.approx(3)
    # Squared distances of the three points: 4, 2, 2.
    assert found["uniformity/imu"] == pytest.approx(math.log((math.exp(-8) + 2 * math.exp(-4)) / 3), rel=1e-5)
    assert found["uniformity/text"] == pytest.approx(0, abs=1e-6)
    assert found["alignment/imu:text"] == pytest.approx((0 + 4 + 2) / 3)
    assert found["gap/imu:text"] == pytest.approx(math.hypot(1, 1 / 3))
    assert all(map(math.isfinite, found.values()))


def test_rows_that_are_not_finite_are_left_out():
    objective = Objective.model_validate({"pairs": {"imu:text": 1}})
    imu, text = torch.eye(4)[[0, 1, 2]], torch.eye(4)[[0, 1, 1]]
    there = torch.ones(3).bool()
    clean = health(only({"imu": imu, "text": text}, {"imu": there, "text": there}), objective)
    broken = torch.cat([imu, torch.full((1, 4), math.nan)]), torch.cat([text, text[:1]])
    four = torch.ones(4).bool()
    found = health(only(dict(zip(("imu", "text"), broken)), {"imu": four, "text": four}), objective)
    alike = [key for key in clean if not key.endswith("/text")]
    assert {key: found[key] for key in alike} == pytest.approx({key: clean[key] for key in alike})
    assert all(map(math.isfinite, found.values()))


def test_chunks_give_the_figures_of_the_whole_batch():
    recipe = tiny_recipe()
    model, batch = tiny_model(recipe), random_batch()
    with torch.no_grad():
        whole = health(model(batch), recipe.objective)
        parts = health(concat_leaves([model(part) for part in split(batch, 3)])[1], recipe.objective)
    assert whole.keys() == parts.keys()
    assert parts == pytest.approx(whole, rel=1e-4, abs=1e-5)
    assert {key.partition("/")[0] for key in whole} == {"share", "norm", "rank", "uniformity", "alignment", "gap"}


def test_gradients_are_told_by_tower():
    recipe = tiny_recipe()
    model, batch = tiny_model(recipe), random_batch()
    assert gradient_norms(model) == {}
    compute_loss(model(batch), batch, recipe.objective)[0].backward()
    found = gradient_norms(model)
    assert set(found) == {f"grad_norm/{stream}" for stream in model.towers}
    own = (p for n, p in model.named_parameters() if "imu" in n.split(".") and not n.startswith("classifiers"))
    total = sum(p.grad.square().sum() for p in own if p.grad is not None)
    assert found["grad_norm/imu"] == pytest.approx(float(total.sqrt()), rel=1e-5)


@pytest.mark.parametrize(
    ("key", "wrong", "right", "words"),
    [
        ("rank/imu", 1.2, 9.0, "embeddings of imu have collapsed: effective rank 1.20.*lr"),
        ("scale/imu:text", 100.0, 60.0, "temperature of imu:text sits at its bound"),
        ("rows/imu:text", 0.0, 16.0, "pair imu:text has no rows.*min_cover"),
        ("data_wait", 0.5, 0.1, "50% of the time is spent waiting for data: raise data.workers"),
    ],
)
def test_what_goes_wrong_for_some_time_is_told_once(key, wrong, right, words):
    watch = Watch(tiny_recipe(min_temperature=0.01).objective)
    told = []
    for step in range(1, 15):
        told += watch({"step": step, key: wrong})
    told += watch({"step": 15, key: right})  # it was passing
    for step in range(16, 16 + PATIENCE):
        told += watch({"step": step, key: wrong})
        told += watch({"step": step, "loss": 1.0})
    assert told == []
    for step in range(16 + PATIENCE, 99):
        told += watch({"step": step, key: wrong})
    assert len(told) == 1
    assert told[0].startswith("since step 16: ")
    assert re.search(words, told[0])

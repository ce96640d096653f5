"""The loss of a recipe over its pairs."""

import pytest
import torch

from aura.objectives import gather as gather_module
from aura.objectives.rows import Rows, overlapping
from aura.train.loss import compute_loss
from tests.train.batches import random_batch, tiny_model, tiny_recipe

# Of mocap, moments alone are compared; multi_positive compares the pooled embedding of pose2d.
PAIRS = {"imu:text": 1, "imu:mocap": {"space": "moments"}, "video:text": 1}


def test_an_embedding_in_several_pairs_is_gathered_once(monkeypatch):
    recipe = tiny_recipe()
    sides = [(pair.space, side) for name, pair in recipe.objective.pairs.items() for side in name.split(":")]
    assert sides.count(("pooled", "text")) == 2, "nothing is tested"
    sent = []
    real = gather_module.gather
    monkeypatch.setattr(gather_module, "gather", lambda x: sent.append(x) or real(x))
    batch = random_batch(missing=True)
    compute_loss(tiny_model(recipe)(batch), batch, recipe.objective)
    embeddings = [x for x in sent if x.requires_grad]
    assert len(embeddings) == len({id(x) for x in embeddings}) == len(set(sides))


def test_text_that_is_joined_is_text_too():
    """Rows of one text are no negatives of each other, where text stands in a sum as well."""
    recipe = tiny_recipe(
        pairs={"imu+text:mocap": 1, "imu:mocap": {"space": "moments"}, "mocap:video": 1, "imu:pose2d": 1}
    )
    batch = random_batch(missing=False)
    batch.texts = ["the same"] * len(batch)
    _, stats = compute_loss(tiny_model(recipe)(batch), batch, recipe.objective)
    assert stats["loss/imu+text:mocap"] == pytest.approx(0, abs=1e-6)
    assert stats["loss/mocap:video"] > 0.1


def test_windows_that_touch_do_not_overlap():
    for span in (4.8, 0.7, 1.1):
        start = 12.34 + span * torch.arange(200, dtype=torch.float64)
        rows = Rows.of(["take"] * 200, start, torch.full_like(start, span))
        assert torch.equal(overlapping(rows, rows), torch.eye(200, dtype=torch.bool))


def test_a_stream_whose_embedding_no_pair_compares_is_refused():
    with pytest.raises(ValueError, match=r"towers\.mocap: no pair compares its pooled embedding"):
        tiny_model(tiny_recipe(pairs=PAIRS, classify=None))


def test_a_stream_that_is_classified_alone_has_no_projection():
    """Nothing would give one a gradient."""
    model = tiny_model(tiny_recipe(pairs=PAIRS))
    assert not list(model.heads["mocap"].parameters())
    assert list(model.heads["imu"].parameters())

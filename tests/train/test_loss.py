"""The loss of a recipe over its pairs."""

from aura.objectives import gather as gather_module
from aura.train.loss import compute_loss
from tests.train.batches import random_batch, tiny_model, tiny_recipe


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

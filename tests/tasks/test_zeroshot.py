import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch.nn import functional as F

from aura.tasks.zeroshot import class_embeddings, default_prompts, load_prompts, zeroshot


def test_metrics_agree_with_scikit_learn_when_a_class_never_occurs():
    torch.manual_seed(0)
    names = ["a", "b", "c", "d"]
    classes = F.normalize(torch.randn(4, 8), dim=-1)
    truth = [names[i] for i in torch.randint(0, 3, (60,))]  # d never occurs
    x = F.normalize(torch.stack([classes[names.index(t)] for t in truth]) + 0.6 * torch.randn(60, 8), dim=-1)
    found = [names[i] for i in (x @ classes.T).argmax(1)]
    got = zeroshot(x, classes, truth, names)
    assert got["accuracy"] == pytest.approx(accuracy_score(truth, found))
    assert got["macro_f1"] == pytest.approx(f1_score(truth, found, labels=["a", "b", "c"], average="macro"))
    assert (got["n"], got["chance"]) == (60, 0.25)


def test_wordings_are_normalised_averaged_and_normalised_again():
    table = {"long": torch.tensor([10.0, 0.0]), "short": torch.tensor([0.0, 0.1]), "other": torch.tensor([-1.0, 0.0])}
    prompts = default_prompts({"x", "y"}).model_copy(update={"classes": {"x": ["long", "short"], "y": ["other"]}})
    found = class_embeddings(prompts, lambda words: torch.stack([table[w] for w in words]))
    torch.testing.assert_close(found, torch.tensor([[0.5**0.5, 0.5**0.5], [-1.0, 0.0]]))


def test_faults_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"no prompts for the classes \['z'\]"):
        zeroshot(torch.ones(1, 2), torch.ones(2, 2), ["z"], ["x", "y"])
    with pytest.raises(ValueError, match="no prompt file at"):
        load_prompts(tmp_path / "none.yaml")
    (tmp_path / "p.yaml").write_text("classes: {a: [x]}")
    with pytest.raises(ValueError, match=r"(?s)p\.yaml.*at least 2"):
        load_prompts(tmp_path / "p.yaml")

"""Few labelled windows of each class."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler, normalize

from aura.tasks.fewshot import fewshot
from tests.tasks.test_probe import clusters


def test_more_windows_tell_more_and_many_draws_agree():
    train, test = clusters(150, 1, spread=1.0), clusters(90, 2, spread=1.0)
    found = fewshot(*train, *test, ks=(1, 5, 30), draws=12)
    for kind in ("linear", "mean"):
        accuracy = [found.figures[k][f"{kind}/accuracy"] for k in (1, 5, 30)]
        assert accuracy == sorted(accuracy)
        assert found.figures[1][f"{kind}/accuracy_spread"] > found.figures[30][f"{kind}/accuracy_spread"] > 0
        assert found.right[5, kind].mean() == pytest.approx(accuracy[1])
        assert found.right[5, kind].shape == (90,)
    assert (found.figures[1]["n"], found.figures[1]["draws"], found.short) == (90, 12, {})


def test_all_windows_of_each_class_agree_with_scikit_learn():
    x, labels = clusters(60, 1, spread=0.8)
    y, truth = clusters(40, 2, spread=0.8)
    found = fewshot(x, labels, y, truth, ks=(60,), draws=1)
    scaler = StandardScaler().fit(x)
    linear = LogisticRegression(max_iter=2000).fit(scaler.transform(x), labels).predict(scaler.transform(y))
    assert found.figures[60]["linear/macro_f1"] == pytest.approx(f1_score(truth, linear, average="macro"))
    # Nearest by cosine: nearest by distance among centroids of unit norm.
    centroids = NearestCentroid().fit(x, labels)
    unit = NearestCentroid().fit(normalize(centroids.centroids_), centroids.classes_)
    assert found.figures[60]["mean/accuracy"] == pytest.approx(np.mean(unit.predict(y) == truth))
    assert found.figures[60]["mean/accuracy_spread"] == 0
    assert found.short == {60: {name: labels.count(name) for name in sorted(set(labels))}}


def test_draws_are_the_seeds_and_each_has_k_windows_of_each_class(monkeypatch):
    x, labels = clusters(60, 1)
    seen = []

    def spy(train, known):
        seen.append((len(train), sorted(known), train.sum()))
        return real(train, known)

    from aura.tasks import fewshot as module

    real = module.linear
    monkeypatch.setattr(module, "linear", spy)
    first = fewshot(x, labels, x, labels, ks=(2,), draws=3, seed=5)
    assert [s[:2] for s in seen] == [(6, [f"class {i}" for i in (0, 0, 1, 1, 2, 2)])] * 3
    assert len({s[2] for s in seen}) == 3, "draws differ"
    assert fewshot(x, labels, x, labels, ks=(2,), draws=3, seed=5).figures == first.figures
    assert [s[2] for s in seen[:3]] == [s[2] for s in seen[3:]]
    fewshot(x, labels, x, labels, ks=(2,), draws=3, seed=6)
    assert [s[2] for s in seen[:3]] != [s[2] for s in seen[6:]]


def test_a_class_of_few_windows_is_told_and_takes_part():
    x, labels = clusters(60, 1)
    rows = [i for i, name in enumerate(labels) if name != "class 1"]
    rows += [i for i, name in enumerate(labels) if name == "class 1"][:2]
    found = fewshot(x[rows], [labels[i] for i in rows], *clusters(30, 2), ks=(1, 2, 3), draws=2)
    assert found.short == {3: {"class 1": 2}}
    assert found.figures[3]["mean/balanced_accuracy"] > 0.9


def test_what_cannot_be_drawn():
    x, labels = clusters(10, 1)
    with pytest.raises(ValueError, match="at least 1 each"):
        fewshot(x, labels, x, labels, ks=(0, 1))
    with pytest.raises(ValueError, match="none and 20 draws"):
        fewshot(x, labels, x, labels, ks=())
    with pytest.raises(ValueError, match="labels other of the test"):
        fewshot(x, labels, x[:1], ["other"])
    with pytest.raises(ValueError, match="no test window"):
        fewshot(x, labels, x[:0], [])

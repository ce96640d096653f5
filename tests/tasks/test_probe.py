"""Probes of frozen embeddings."""

import numpy as np
import pytest

from aura.tasks.probe import probe


def clusters(count, seed, spread=0.2):
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((3, 8))
    labels = random.integers(0, 3, count)
    x = centres[labels] + spread * random.standard_normal((count, 8))
    return x / np.linalg.norm(x, axis=1, keepdims=True), [f"class {i}" for i in labels]


def test_clusters_are_told_apart():
    found = probe(*clusters(60, 1), *clusters(40, 2))
    assert found["linear/accuracy"] == found["1nn/accuracy"] == found["linear/macro_f1"] == 1
    assert (found["n"], found["pool"], found["classes"]) == (40, 60, 3)
    assert found["chance/accuracy"] == pytest.approx(1 / 3)


def test_chance_and_majority():
    x, _ = clusters(4, 1)
    found = probe(x, ["a", "a", "a", "b"], x, ["a", "b", "b", "b"])
    assert found["majority/accuracy"] == 0.25, "of the most frequent class in training"
    assert found["1nn/accuracy"] == 0.5
    # A random answer: a is right in 1/2 of its share 1/4, b of 3/4.
    assert found["chance/macro_f1"] == pytest.approx((2 * 0.125 / 0.75 + 2 * 0.375 / 1.25) / 2)


def test_labels_that_cannot_be_told():
    x, _ = clusters(4, 1)
    with pytest.raises(ValueError, match="two classes"):
        probe(x, ["a"] * 4, x, ["a"] * 4)
    with pytest.raises(ValueError, match="labels c of the test"):
        probe(x, ["a", "b"] * 2, x, ["a", "b", "c", "a"])

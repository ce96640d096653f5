import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aura.tasks.retrieval import retrieval


def slow_reference(scores: np.ndarray, correct: np.ndarray, k: int, rng: np.random.Generator, draws: int = 4000):
    """Ranks under many random orders of ties."""
    hits, reciprocal = 0.0, 0.0
    for i in range(len(scores)):
        for _ in range(draws):
            order = np.lexsort((rng.random(scores.shape[1]), -scores[i]))
            first = np.flatnonzero(correct[i][order])[0]
            hits += first < k
            reciprocal += 1 / (first + 1)
    return hits / draws / len(scores), reciprocal / draws / len(scores)


def test_ties_and_several_right_answers_match_random_orders():
    rng = np.random.default_rng(0)
    gallery = np.eye(5)[rng.integers(0, 5, 12)]
    queries = np.eye(5)[rng.integers(0, 5, 6)]
    correct = rng.random((6, 12)) < 0.3
    correct[:, 0] = True
    got = retrieval(torch.tensor(queries), torch.tensor(gallery), lambda rows: torch.tensor(correct[rows]), ks=(1, 3))
    for k in (1, 3):
        recall, mrr = slow_reference(queries @ gallery.T, correct, k, rng)
        assert got[f"R@{k}"] == pytest.approx(recall, abs=0.01)
        assert got["MRR"] == pytest.approx(mrr, abs=0.01)


@pytest.mark.parametrize("n", [2, 7, 200])
def test_constant_embeddings_score_chance(n):
    same = torch.ones(n, 3) / 3**0.5
    got = retrieval(same, same)
    assert got["R@1"] == pytest.approx(1 / n)
    assert got["R@5"] == pytest.approx(min(5, n) / n)
    assert got["MRR"] == pytest.approx(sum(1 / i for i in range(1, n + 1)) / n)
    assert got["chance"] == pytest.approx(1 / n)
    assert got["MRR"] == pytest.approx(got["chance/MRR"])


def test_perfect_embeddings_and_blocks():
    x = F.normalize(torch.randn(50, 8, dtype=torch.float64), dim=-1)
    assert retrieval(x, x, block=7)["R@1"] == 1.0
    noisy = F.normalize(x + 0.5 * torch.randn(50, 8, dtype=torch.float64), dim=-1)
    assert retrieval(noisy, x, block=7) == pytest.approx(retrieval(noisy, x, block=1000))


def test_twins_raise_chance():
    x = F.normalize(torch.randn(10, 4), dim=-1)
    group = torch.arange(10) // 5
    got = retrieval(x, x.flip(0), lambda rows: group[rows, None] == group[None, :])
    assert got["chance"] == pytest.approx(0.5)


def test_a_query_without_answer_is_an_error():
    with pytest.raises(ValueError, match="no right answer"):
        retrieval(torch.ones(2, 1), torch.ones(2, 1), lambda rows: torch.zeros(2, 2, dtype=torch.bool)[rows])

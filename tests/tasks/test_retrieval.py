import itertools
import time

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aura.objectives.rows import Rows, overlapping, same_meaning
from aura.tasks.retrieval import Answers, one_to_one, ranks, ranks_by, retrieval, twins


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
    scores = torch.tensor(queries @ gallery.T)
    got = ranks_by(lambda rows: scores[rows], 6, 12, lambda rows: torch.tensor(correct[rows])).figures((1, 3))
    none = torch.full((6,), -1), torch.full((12,), -1)
    assert got == pytest.approx(
        retrieval(torch.tensor(queries), torch.tensor(gallery), Answers(*none, torch.tensor(correct).nonzero()), (1, 3))
    )
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


def first_right(scores, correct):
    """Counts as `Ranks` has them, one query after the other."""
    rows = []
    for s, c in zip(scores, correct):
        best = max(x for x, right in zip(s, c) if right)
        same = [right for x, right in zip(s, c) if abs(x - best) <= 1e-12]
        rows.append((sum(x > best + 1e-12 for x in s), same.count(False), same.count(True), sum(c)))
    return np.array(rows).T


def counts(found):
    return np.stack([found.above, found.wrong, found.right, found.answers])


def lattice(n, rng, dim=8):
    """Unit vectors with many equal products, and some whose products differ by less than float32 can tell."""
    x = np.sign(rng.standard_normal((n, dim))) / dim**0.5
    near = rng.random(n) < 0.3
    x[near] += 1e-9 * rng.standard_normal((int(near.sum()), dim))
    return torch.tensor(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tile", [5, 1024])
def test_counts_are_those_of_a_slow_reference(monkeypatch, dtype, tile):
    monkeypatch.setattr("aura.tasks.retrieval.TILE", tile)
    monkeypatch.setattr("aura.tasks.retrieval.MANY", 3)
    rng = np.random.default_rng(0)
    queries, gallery = lattice(30, rng).to(dtype), lattice(41, rng).to(dtype)
    gallery[:20] = queries[:20]
    codes = torch.tensor(rng.integers(-1, 6, 30)), torch.tensor(rng.integers(-1, 6, 41))
    pairs = torch.tensor(np.stack([np.tile(np.arange(30), 2), rng.integers(0, 41, 60)], 1))
    answers = Answers(*codes, pairs)
    correct = answers.mask(slice(0, 30))
    expected = first_right((queries.double() @ gallery.double().T).tolist(), correct.tolist())
    assert counts(ranks(queries, gallery, answers)).tolist() == expected.tolist()
    assert expected[1].max() > 1, "there are ties"


def test_products_that_float32_confuses_are_told_apart():
    """Items a hair above and below the right one, and its equals: half as far as float32 can see."""
    random = torch.Generator().manual_seed(0)
    queries = F.normalize(torch.randn(200, 64, generator=random), dim=-1)
    gallery = queries.repeat_interleave(20, 0)
    flip = torch.nextafter(gallery, torch.tensor(2.0)) - gallery
    gallery = gallery + flip * (torch.rand(gallery.shape, generator=random) < 0.02)
    answers = Answers(torch.arange(200), torch.full((4000,), -1), torch.stack([torch.arange(200), 20 * torch.arange(200)], 1))  # fmt: skip
    found = ranks(queries, gallery, answers)
    scores = (queries.double() @ gallery.double().T).numpy()
    assert counts(found).tolist() == first_right(scores, answers.mask(slice(0, 200)).numpy()).tolist()
    rough = (queries @ gallery.T).numpy()
    best = rough[np.arange(200), 20 * np.arange(200)]
    assert (rough > best[:, None]).sum(1).tolist() != found.above.tolist(), "float32 alone would be wrong"


def test_both_ways_agree_on_random_embeddings():
    random = torch.Generator().manual_seed(0)
    x, y = (F.normalize(torch.randn(n, 32, generator=random), dim=-1) for n in (1500, 2600))
    a, b = ranks(x, y), ranks_by(lambda rows: x[rows].double() @ y.double().T, 1500, 2600)
    assert counts(a).tolist() == counts(b).tolist()
    assert a.figures() == pytest.approx(b.figures())
    values = a.values((1, 10))
    assert values["rank"].tolist() == (a.above + 1).tolist()
    assert a.figures()["median_rank"] == np.median(values["rank"])
    assert a.figures()["MRR"] == pytest.approx(values["MRR"].mean())


def test_float32_products_are_not_trusted_where_they_are_rounded_to_less(monkeypatch):
    """As under `torch.set_float32_matmul_precision("high")` on a GPU: then all is float64, and nothing is left in doubt."""
    from aura.tasks import retrieval as module

    x = F.normalize(torch.randn(1200, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    y = x.flip(0)
    doubtful, real = [], module._signs
    monkeypatch.setattr(module, "_signs", lambda *args: doubtful.append(int(args[2].sum())) or real(*args))
    usual = counts(ranks(x, y))
    assert sum(doubtful) > 1200, "the right one itself, and others close by"
    doubtful.clear()
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert counts(ranks(x, y)).tolist() == usual.tolist()
    assert sum(doubtful) == 1200, "the right one itself"
    assert counts(ranks(x.bfloat16(), y.bfloat16())).shape == (4, 1200)


def test_expectations_agree_with_all_orders_of_a_few_items():
    rng = np.random.default_rng(0)
    scores = torch.tensor(rng.integers(0, 2, (8, 6)).astype(float))
    correct = torch.tensor(rng.random((8, 6)) < 0.4) | one_to_one(8, 6).mask(slice(0, 8))
    correct[6:, 0] = True
    values = ranks_by(lambda rows: scores[rows], 8, 6, lambda rows: correct[rows]).values((1, 2, 5))
    for i in range(8):
        places = []
        for order in itertools.permutations(range(6)):
            ranked = sorted(order, key=lambda j: -float(scores[i, j]))  # stable: ties in the order drawn
            places.append(next(place for place, j in enumerate(ranked, 1) if correct[i, j]))
        expected = {f"R@{k}": np.mean([p <= k for p in places]) for k in (1, 2, 5)}
        expected |= {"MRR": np.mean([1 / p for p in places]), "rank": np.mean(places)}
        assert {key: float(x[i]) for key, x in values.items()} == pytest.approx(expected)


def test_twins_are_the_overlapping_windows_and_those_of_the_same_words():
    rng = np.random.default_rng(0)
    recordings = [f"r{i}" for i in rng.integers(0, 6, 150)]
    start, span = torch.tensor(rng.integers(0, 40, 150) / 2), torch.tensor(rng.integers(1, 9, 150) / 2)
    for words in (None, [["", "walk", "run", "sit"][i] for i in rng.integers(0, 4, 150)]):
        rows = Rows.of(recordings, start, span, words)
        expected = overlapping(rows, rows) | same_meaning(rows, rows)
        assert torch.equal(twins(rows).mask(slice(0, 150)), expected)
        x = F.normalize(torch.randn(150, 8, dtype=torch.float64), dim=-1)
        a = ranks(x, x.roll(1, 0), twins(rows))
        b = ranks_by(lambda r, x=x: x[r] @ x.roll(1, 0).T, 150, 150, lambda r, e=expected: e[r])
        assert counts(a).tolist() == counts(b).tolist()


def test_constant_embeddings_of_a_large_pool_take_no_longer():
    same = torch.full((4000, 16), 0.25)
    begin = time.process_time()
    got = retrieval(same, same)
    assert time.process_time() - begin < 20
    assert got["MRR"] == pytest.approx((1 / np.arange(1, 4001)).mean())
    assert (got["R@50"], got["median_rank"]) == (pytest.approx(50 / 4000), 2000.5)


def test_one_query_one_item():
    got = retrieval(torch.ones(1, 1), torch.ones(1, 1))
    assert (got["R@1"], got["MRR"], got["median_rank"], got["chance"], got["pool"]) == (1, 1, 1, 1, 1)


def test_perfect_embeddings_and_blocks(monkeypatch):
    x = F.normalize(torch.randn(50, 8, dtype=torch.float64), dim=-1)
    assert retrieval(x, x)["R@1"] == 1.0
    noisy = F.normalize(x + 0.5 * torch.randn(50, 8, dtype=torch.float64), dim=-1)
    whole = retrieval(noisy, x)
    monkeypatch.setattr("aura.tasks.retrieval.TILE", 7)
    assert retrieval(noisy, x) == pytest.approx(whole)
    assert ranks_by(lambda rows: noisy[rows] @ x.T, 50, 50, block=7).figures() == pytest.approx(whole)


def test_twins_raise_chance():
    x = F.normalize(torch.randn(10, 4), dim=-1)
    group = torch.arange(10) // 5
    got = retrieval(x, x.flip(0), Answers(group, group, torch.empty(0, 2, dtype=torch.int64)))
    assert got["chance"] == pytest.approx(0.5)


def test_what_cannot_be_ranked():
    none = torch.full((2,), -1)
    with pytest.raises(ValueError, match="no right answer"):
        retrieval(torch.ones(2, 1), torch.ones(2, 1), Answers(none, none, torch.tensor([[0, 1]])))
    with pytest.raises(ValueError, match="no right answer"):
        ranks_by(lambda rows: torch.ones(2, 2)[rows], 2, 2, lambda rows: torch.zeros(2, 2, dtype=torch.bool)[rows])
    with pytest.raises(ValueError, match="retrieval of nothing"):
        retrieval(torch.ones(0, 1), torch.ones(2, 1))
    with pytest.raises(ValueError, match="not finite"):
        retrieval(torch.tensor([[torch.nan]]), torch.ones(1, 1))

"""The index of FAISS against the exact search."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aura.tasks.search import exact_search, make_index, search


def items(n, seed=0):
    return F.normalize(torch.randn(n, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_exact_search_agrees_with_sorting(monkeypatch):
    gallery, queries = items(300), items(20, 1)
    monkeypatch.setattr("aura.tasks.search.BLOCK", 1000)
    scores, rows = exact_search(gallery, queries, 5)
    full = (queries @ gallery.T).numpy()
    assert rows.tolist() == np.argsort(-full, 1)[:, :5].tolist()
    assert scores.numpy() == pytest.approx(np.sort(full, 1)[:, ::-1][:, :5])


def test_a_flat_index_finds_what_the_exact_search_finds():
    pytest.importorskip("faiss")
    gallery, queries = items(500), items(30, 1)
    index = make_index(gallery.numpy(), {"recording": [f"r{i}" for i in range(500)]})
    scores, rows = search(index, queries.numpy(), 10)
    expected = exact_search(gallery, queries, 10)
    assert rows.tolist() == expected[1].tolist()
    assert scores == pytest.approx(expected[0].numpy(), abs=1e-5)
    assert index[rows[0]]["recording"].tolist() == [f"r{i}" for i in rows[0]]
    assert search(index, gallery[:3].numpy(), 1)[1].tolist() == [[0], [1], [2]]


def test_an_inexact_index_finds_most():
    pytest.importorskip("faiss")
    gallery, queries = items(2000), items(50, 1)
    rows = search(make_index(gallery.numpy(), kind="HNSW32"), queries.numpy(), 10)[1]
    expected = exact_search(gallery, queries, 10)[1].tolist()
    assert np.mean([len(set(a) & set(b)) for a, b in zip(rows.tolist(), expected)]) > 9


def test_what_cannot_be_searched():
    with pytest.raises(ValueError, match="k is 1 to 3"):
        exact_search(items(3), items(1), 4)
    pytest.importorskip("faiss")
    with pytest.raises(ValueError, match="all finite"):
        make_index(np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="k is 1 to 3"):
        search(make_index(items(3).numpy()), items(1).numpy(), 0)

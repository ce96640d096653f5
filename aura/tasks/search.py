"""Search in a gallery of embeddings: an index by FAISS inside a table of `datasets`, and the exact search as its check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from datasets import Dataset

NAME = "embedding"  # of the column, and of its index
INNER_PRODUCT = 0  # faiss.METRIC_INNER_PRODUCT
BLOCK = 1 << 24  # scores at once


def make_index(
    embeddings: np.ndarray, columns: Mapping[str, Sequence[Any]] | None = None, kind: str = "Flat"
) -> Dataset:
    """A table of M items with an index over their embeddings (M, D) of unit norm, compared by inner product.

    columns    what else is known of each item, such as its recording and start
    kind       of the index, in FAISS' words: `Flat` is exact; `HNSW32` or `IVF1024,Flat` find most neighbours, sooner

    `search` finds items; `index[rows]` has what is known of them. ImportError without faiss: pip install faiss-cpu.
    """
    from datasets import Dataset

    try:
        import faiss  # noqa: F401  # pyright: ignore
    except ImportError as error:
        raise ImportError("an index needs faiss: pip install faiss-cpu (the extra search)") from error
    vectors = np.ascontiguousarray(embeddings, np.float32)
    if vectors.ndim != 2 or not len(vectors) or not np.isfinite(vectors).all():
        raise ValueError(f"an index of embeddings {vectors.shape}: give (M, D), M at least 1, all finite")
    table = Dataset.from_dict({**(columns or {}), NAME: vectors}).with_format("numpy")
    # Training sees all items: that of a few is poor, and of none fails.
    return table.add_faiss_index(NAME, string_factory=kind, metric_type=INNER_PRODUCT, train_size=len(vectors))


def search(index: Dataset, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores (Q, k), highest first, and rows of the table (Q, k) of the k items nearest to the queries (Q, D); -1 where an
    inexact index found fewer."""
    _check(len(index), k)
    scores, rows = index.search_batch(NAME, np.ascontiguousarray(queries, np.float32), k)[:2]
    return np.asarray(scores), np.asarray(rows)


def exact_search(gallery: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `search`, of a gallery (M, D), by all products."""
    _check(len(gallery), k)
    found = [(part @ gallery.T).topk(k) for part in queries.split(max(1, BLOCK // len(gallery)))]
    return torch.cat([x.values for x in found]), torch.cat([x.indices for x in found])


def _check(size: int, k: int) -> None:
    if not 1 <= k <= size:
        raise ValueError(f"a search for {k} of {size} items: k is 1 to {size}")

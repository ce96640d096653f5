"""Cross-modal retrieval: does the window of one stream find the same window of the other?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

Right = Callable[[slice], Tensor]


def retrieval(
    queries: Tensor, gallery: Tensor, right: Right | None = None, ks: tuple[int, ...] = (1, 5, 10), block: int = 1024
) -> dict[str, float]:
    """Recall at k, mean reciprocal rank and chance of N queries in a gallery of M, without the whole N x M matrix.

    queries (N, D), gallery (M, D): unit vectors, compared by their inner product. The rest as `retrieval_by`.
    """
    queries, gallery = queries.double(), gallery.double()
    return retrieval_by(lambda rows: queries[rows] @ gallery.T, len(queries), len(gallery), right, ks, block)


def retrieval_by(
    scores_of: Callable[[slice], Tensor],
    count: int,
    size: int,
    right: Right | None = None,
    ks: tuple[int, ...] = (1, 5, 10),
    block: int = 1024,
) -> dict[str, float]:
    """Retrieval of N = `count` queries in a gallery of M = `size`, by any similarity.

    `scores_of(rows)` gives (rows, M), float64; `right(rows)` (rows, M) bool: the answers that count for these queries;
    default: the one of equal index. A query's rank is that of its best right answer; under ties every order is equally
    likely and the expectation is taken, so that constant embeddings score exactly `chance`. Queries without any right
    answer raise ValueError.

    Returns R@k for each k, MRR, pool (M), chance (expectation of R@1 under a random order) and chance/R@k, chance/MRR.
    """
    if count == 0 or size == 0:
        raise ValueError("retrieval of nothing: no window has both streams")
    above, tied_wrong, tied_right, rights = [], [], [], []
    for rows in _blocks(count, block):
        scores = scores_of(rows)
        correct = right(rows) if right is not None else _diagonal(rows, size, scores.device)
        if not bool(correct.any(1).all()):
            raise ValueError("retrieval: a query has no right answer in the gallery")
        best = scores.masked_fill(~correct, -torch.inf).amax(1, keepdim=True)
        # Scores that differ by rounding alone are ties.
        level = (scores - best).abs() <= 1e-12
        above.append(((scores > best) & ~level & ~correct).sum(1))
        tied_wrong.append((level & ~correct).sum(1))
        tied_right.append((level & correct).sum(1))
        rights.append(correct.sum(1))
    a, w, t, n = (torch.cat(x).cpu().numpy().astype(np.int64) for x in (above, tied_wrong, tied_right, rights))
    none = np.zeros_like(n)
    out = {f"R@{k}": float(_recall(a, w, t, k).mean()) for k in ks}
    out["MRR"] = float(_reciprocal_rank(a, w, t).mean())
    out["pool"] = float(size)
    out["chance"] = float(_recall(none, size - n, n, 1).mean())
    out |= {f"chance/R@{k}": float(_recall(none, size - n, n, k).mean()) for k in ks}
    out["chance/MRR"] = float(_reciprocal_rank(none, size - n, n).mean())
    return out


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def _diagonal(rows: slice, size: int, device: torch.device) -> Tensor:
    index = torch.arange(rows.start, rows.stop, device=device)
    return index[:, None] == torch.arange(size, device=device)[None, :]


def _log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _recall(above: np.ndarray, wrong: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    """Probability that one of `right` items is in the first k, after `above` wrong ones, mixed at random with `wrong`."""
    draws = np.clip(k - above, 0, wrong + right)
    missed = np.where(draws > wrong, -np.inf, 0.0)
    possible = draws <= wrong
    d, w, r = draws[possible], wrong[possible], right[possible]
    missed[possible] = _log_choose(w, d) - _log_choose(w + r, d)
    return 1.0 - np.exp(missed)


def _reciprocal_rank(above: np.ndarray, wrong: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Expectation of 1 / rank of the first of `right` items, after `above` wrong ones, mixed at random with `wrong`."""
    out = 1.0 / (above + 1.0)
    for i in np.flatnonzero(wrong):
        j = np.arange(wrong[i] + 1)  # wrong items before the first right one
        n, w, r = wrong[i] + right[i], wrong[i], right[i]
        log_p = _log_choose(w, j) - _log_choose(n, j) + np.log(r) - np.log(n - j)
        out[i] = float((np.exp(log_p) / (above[i] + 1.0 + j)).sum())
    return out

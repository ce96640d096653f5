"""Cross-modal retrieval: does the window of one stream find the same window of the other?

Ranks are exact, and never need the whole matrix. Of N queries and M items first the best right answer of each query is
found, in float64, then how many of all items score higher, tile by tile in the embeddings' own precision; only scores that
rounding could put on the wrong side are computed again in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import digamma
from torch import Tensor

from aura.objectives.rows import ROUNDING_S, Rows

Right = Callable[[slice], Tensor]
KS = (1, 5, 10, 50)
LEVEL = 1e-12  # scores of unit vectors that differ by less differ by rounding alone: they are ties
TILE = 1024
MANY = 64  # right answers of a query from which they are compared as a matrix, not one by one


def retrieval(
    queries: Tensor, gallery: Tensor, answers: Answers | None = None, ks: tuple[int, ...] = KS
) -> dict[str, float]:
    """`Ranks.figures` of N queries in a gallery of M, see `ranks`."""
    return ranks(queries, gallery, answers).figures(ks)


@dataclass(frozen=True)
class Answers:
    """Which items answer which queries: those of the same code, and listed pairs.

    queries (N,), gallery (M,) int64 codes; negative: equal to no other. pairs (P, 2) int64 of (query, item)
    """

    queries: Tensor
    gallery: Tensor
    pairs: Tensor

    def mask(self, rows: slice) -> Tensor:
        """(rows, M) bool: as `ranks_by` asks for them."""
        codes = self.queries[rows, None]
        found = (codes == self.gallery) & (codes >= 0)
        here = (self.pairs[:, 0] >= rows.start) & (self.pairs[:, 0] < rows.stop)
        query, item = self.pairs[here].T
        found[query - rows.start, item] = True
        return found


def one_to_one(count: int, size: int) -> Answers:
    """Query i is answered by item i alone."""
    return Answers(torch.arange(count), torch.arange(size), torch.empty(0, 2, dtype=torch.int64))


def twins(rows: Rows) -> Answers:
    """The answers among N windows, queries and gallery alike: a window itself, those that overlap it in its recording, and
    those of the same meaning. The same as `overlapping` and `same_meaning` say, without an N x N matrix."""
    n = len(rows.start_s)
    start, end = rows.start_s, rows.start_s + rows.span_s - ROUNDING_S
    by_start = torch.argsort(start, stable=True)
    order = by_start[torch.argsort(rows.recording[by_start], stable=True)]
    index = torch.arange(n, device=start.device)
    pairs = [torch.stack([index, index], 1)]
    for lag in range(1, n):
        a, b = order[:-lag], order[lag:]  # b begins no earlier than a
        same = (rows.recording[a] == rows.recording[b]) & (rows.recording[a] != 0) & (start[b] < end[a])
        if not bool(same.any()):
            break
        a, b = a[same], b[same]
        shared = start[a] < end[b]
        pairs += [torch.stack([a[shared], b[shared]], 1), torch.stack([b[shared], a[shared]], 1)]
    codes = torch.where(rows.meaning != 0, rows.meaning, -1)
    return Answers(codes, codes, torch.cat(pairs))


def ranks(queries: Tensor, gallery: Tensor, answers: Answers | None = None) -> Ranks:
    """Where the best right answer of each query is, by inner product of float64.

    queries (N, D), gallery (M, D): unit vectors on one device; answers: default `one_to_one`. Needs memory for a tile of
    1024 x 1024 scores and for the answers. ValueError for none, for vectors that are not finite, and for a query without
    answer.
    """
    count, size = len(queries), len(gallery)
    _check(count, size)
    if not bool(torch.isfinite(queries).all() & torch.isfinite(gallery).all()):
        raise ValueError("retrieval: an embedding is not finite; leave out windows without the stream")
    answers = one_to_one(count, size) if answers is None else answers
    answers = Answers(*(x.to(queries.device) for x in (answers.queries, answers.gallery, answers.pairs)))
    best = torch.full((count,), -torch.inf, dtype=torch.float64, device=queries.device)
    rights, tied_right = (torch.zeros(count, dtype=torch.int64, device=queries.device) for _ in range(2))
    for rows, scores in _right_scores(queries, gallery, answers):
        best.scatter_reduce_(0, rows, scores.amax(1), "amax")
        rights.index_add_(0, rows, torch.full_like(rows, scores.shape[1]))
    if not bool((rights > 0).all()):
        raise ValueError("retrieval: a query has no right answer in the gallery")
    for rows, scores in _right_scores(queries, gallery, answers):
        tied_right.index_add_(0, rows, (scores >= best[rows, None] - LEVEL).sum(1))
    above, tied = _count(queries, gallery, best)
    found = (x.cpu().numpy() for x in (above, (tied - tied_right).clamp(min=0), tied_right, rights))
    return Ranks(*found, size=size)


def ranks_by(
    scores_of: Callable[[slice], Tensor], count: int, size: int, right: Right | None = None, block: int = 1024
) -> Ranks:
    """As `ranks`, by any similarity: `scores_of(rows)` gives (rows, M), float64; `right(rows)` (rows, M) bool: the answers
    that count for these queries; default: the one of equal index."""
    _check(count, size)
    right = one_to_one(count, size).mask if right is None else right
    columns = []
    for rows in _blocks(count, block):
        scores = scores_of(rows)
        correct = right(rows).to(scores.device)
        if not bool(correct.any(1).all()):
            raise ValueError("retrieval: a query has no right answer in the gallery")
        best = scores.masked_fill(~correct, -torch.inf).amax(1, keepdim=True)
        level = (scores - best).abs() <= LEVEL
        above = ((scores > best) & ~level & ~correct).sum(1)
        columns.append(
            torch.stack([above, (level & ~correct).sum(1), (level & correct).sum(1), correct.sum(1)]).cpu().numpy()
        )
    return Ranks(*np.concatenate(columns, 1), size=size)


@dataclass(frozen=True)
class Ranks:
    """Where the best right answer of each of N queries is among `size` items: behind `above` wrong ones, together with
    `wrong` wrong and `right` right ones of the same score; (N,) int64. `answers` right ones there are in all.

    Among items of one score every order is equally likely, and figures are expectations: constant embeddings score exactly
    chance.
    """

    above: np.ndarray
    wrong: np.ndarray
    right: np.ndarray
    answers: np.ndarray
    size: int

    def values(self, ks: tuple[int, ...] = KS) -> dict[str, np.ndarray]:
        """What each query adds (N,): `R@k` the probability that a right answer is among the first k, `MRR` the reciprocal
        of the best one's rank, `rank` the rank itself."""
        return _values(self.above, self.wrong, self.right, ks)

    def figures(self, ks: tuple[int, ...] = KS) -> dict[str, float]:
        """R@k for each k, MRR, `median_rank` (the median over the queries of the expected rank); pool (M), chance
        (R@1 under a random order), and under chance/ each figure under a random order."""
        none = np.zeros_like(self.answers)
        chance = _means(_values(none, self.size - self.answers, self.answers, ks))
        return {
            **_means(self.values(ks)),
            "pool": float(self.size),
            "chance": float((self.answers / self.size).mean()),
            **{f"chance/{key}": value for key, value in chance.items()},
        }


def _values(above: np.ndarray, wrong: np.ndarray, right: np.ndarray, ks: tuple[int, ...]) -> dict[str, np.ndarray]:
    # Many queries are alike: few have ties, and chance depends on the number of answers alone.
    cases, at = np.unique(np.stack([above, wrong, right], 1), axis=0, return_inverse=True)
    a, w, r = cases.T
    found = {f"R@{k}": _recall(a, w, r, k) for k in ks}
    found |= {"MRR": _reciprocal_rank(a, w, r), "rank": a + 1 + w / (r + 1)}
    return {key: value[at.reshape(-1)] for key, value in found.items()}


def _means(values: dict[str, np.ndarray]) -> dict[str, float]:
    return {
        "median_rank" if key == "rank" else key: float(np.median(x) if key == "rank" else x.mean())
        for key, x in values.items()
    }


def _recall(above: np.ndarray, wrong: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    """Probability that one of `right` items is in the first k, after `above` wrong ones, mixed at random with `wrong`."""
    draws = np.clip(k - above, 0, wrong + right)
    missed = np.ones(len(above))
    for i in range(int(draws.max(initial=0))):
        missed *= np.where(i < draws, np.maximum(wrong - i, 0) / np.maximum(wrong + right - i, 1), 1.0)
    return 1.0 - missed


def _reciprocal_rank(above: np.ndarray, wrong: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Expectation of 1 / rank of the first of `right` items, after `above` wrong ones, mixed at random with `wrong`."""
    # With one right item: mean of 1 / rank over equally likely ranks, a difference of harmonic numbers.
    out = np.where(wrong > 0, (digamma(above + wrong + 2.0) - digamma(above + 1.0)) / (wrong + 1), 1.0 / (above + 1.0))
    for i in np.flatnonzero((wrong > 0) & (right > 1)):
        j = np.arange(wrong[i] + 1)  # wrong items before the first right one
        n = wrong[i] + right[i]
        still = np.concatenate([[1.0], np.cumprod((wrong[i] - j[:-1]) / (n - j[:-1]))])
        out[i] = float((still * right[i] / (n - j) / (above[i] + 1.0 + j)).sum())
    return out


def _right_scores(queries: Tensor, gallery: Tensor, answers: Answers) -> Iterator[tuple[Tensor, Tensor]]:
    """Scores (r, c), float64, of queries with right answers, and which queries they are (r,): every answer once."""
    order = torch.argsort(answers.gallery, stable=True)
    codes = answers.gallery[order]
    first = torch.searchsorted(codes, answers.queries)
    count = torch.searchsorted(codes, answers.queries, right=True) - first
    count[answers.queries < 0] = 0
    # Classes of many items: as matrices.
    big = torch.nonzero(count > MANY)[:, 0]
    big = big[torch.argsort(answers.queries[big], stable=True)]
    sizes = torch.unique_consecutive(answers.queries[big], return_counts=True)[1].tolist()
    for group in torch.split(big, sizes):
        begin, end = int(first[group[0]]), int(first[group[0]] + count[group[0]])
        for i in range(begin, end, TILE):
            items = gallery[order[i : min(i + TILE, end)]].double()
            for rows in group.split(TILE):
                yield rows, queries[rows].double() @ items.T
    # The others: pair by pair.
    for rows in torch.nonzero((count > 0) & (count <= MANY))[:, 0].split(TILE):
        number = count[rows]
        query = rows.repeat_interleave(number)
        step = torch.arange(len(query), device=rows.device) - (number.cumsum(0) - number).repeat_interleave(number)
        yield query, _dots(queries, gallery, query, order[first[query] + step])[:, None]
    pairs = torch.unique(answers.pairs, dim=0)
    a, b = answers.queries[pairs[:, 0]], answers.gallery[pairs[:, 1]]
    for part in pairs[(a != b) | (a < 0)].split(TILE * 16):
        yield part[:, 0], _dots(queries, gallery, part[:, 0], part[:, 1])[:, None]


def _dots(queries: Tensor, gallery: Tensor, query: Tensor, item: Tensor) -> Tensor:
    """Scores of pairs, float64."""
    return torch.einsum("pd,pd->p", queries[query].double(), gallery[item].double())


def _count(queries: Tensor, gallery: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """How many items score above each query's `best`, and how many the same: (N,) int64 each."""
    # Where float32 products are rounded to less ("high": TF32 or bfloat16) they say nothing.
    exact = torch.get_float32_matmul_precision() == "highest" and queries.dtype == gallery.dtype == torch.float32
    kind = torch.float32 if exact else torch.float64
    largest = float(torch.linalg.vector_norm(gallery.to(torch.float32), dim=-1).max())
    # Twice the bound of the rounding of a sum of D products.
    length = torch.linalg.vector_norm(queries.to(torch.float32), dim=-1).double()
    band = (queries.shape[1] + 4) * torch.finfo(kind).eps * largest * length
    above, tied = (torch.zeros(len(queries), dtype=torch.int64, device=queries.device) for _ in range(2))
    buffer = torch.empty(TILE, TILE, dtype=kind, device=queries.device)
    for columns in _blocks(len(gallery), TILE):
        items = gallery[columns].to(kind)
        for rows in _blocks(len(queries), TILE):
            scores = queries[rows].to(kind) @ items.T
            more, less = (best[rows] + LEVEL + band[rows]).to(kind), (best[rows] - LEVEL - band[rows]).to(kind)
            where = buffer[: scores.shape[0], : scores.shape[1]]
            surely = torch.gt(scores, more[:, None], out=where).sum(1)
            perhaps = torch.ge(scores, less[:, None], out=where).sum(1)
            above[rows] += surely.to(torch.int64)
            unsure = torch.nonzero(perhaps > surely)[:, 0]
            if len(unsure):
                near = (scores[unsure] >= less[unsure, None]) & (scores[unsure] <= more[unsure, None])
                query, sign = _signs(queries[rows][unsure], gallery[columns], near, best[rows][unsure])
                above[rows].index_add_(0, unsure[query], (sign > 0).to(torch.int64))
                tied[rows].index_add_(0, unsure[query], (sign == 0).to(torch.int64))
    return above, tied


def _signs(queries: Tensor, gallery: Tensor, near: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """Of the pairs that `near` (r, c) marks: the query, and whether it scores above (1), the same (0) or below its best."""
    query, item = torch.nonzero(near).T
    if len(query) > near.numel() // 32:
        scores = (queries.double() @ gallery.double().T)[query, item]
    else:
        scores = _dots(queries, gallery, query, item)
    difference = scores - best[query]
    return query, torch.where(difference.abs() <= LEVEL, 0.0, difference.sign())


def _check(count: int, size: int) -> None:
    if count == 0 or size == 0:
        raise ValueError("retrieval of nothing: no window has both streams")


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(i, min(i + size, n)) for i in range(0, n, size))

"""The contrastive losses in plain NumPy, float64, one pair of rows at a time."""

from dataclasses import dataclass

import numpy as np
import torch

from aura.objectives.rows import Rows


@dataclass
class Case:
    """A global batch: embeddings of unit norm, which rows have both streams, and what the rows are."""

    a: np.ndarray
    b: np.ndarray
    both: np.ndarray
    recordings: list[str]
    start: np.ndarray
    span: np.ndarray
    texts: list[str]

    def rows(self, part=slice(None)) -> Rows:
        return Rows.of(
            self.recordings[part], torch.tensor(self.start[part]), torch.tensor(self.span[part]), self.texts[part]
        )


def make_case(n=24, d=8, seed=0, missing=0.3, twins=True) -> Case:
    rng = np.random.default_rng(seed)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, n, d)))
    return Case(
        a,
        b,
        rng.random(n) >= missing,
        [f"r{i % 7}" if twins else f"r{i}" for i in range(n)],
        np.arange(n) * 1.0,
        np.full(n, 8.0),  # windows of one recording are 7 s apart: neighbours overlap, others do not
        [f"text {i % 5}" if i % 3 else "" for i in range(n)] if twins else [""] * n,
    )


def relation(case: Case, i: int, j: int, same: str | None) -> str:
    """What column j is to row i: positive, negative, or left out."""
    if i == j:
        return "positive"
    alike = same is not None and case.texts[i] != "" and case.texts[i] == case.texts[j]
    if alike and same == "positive":
        return "positive"
    overlap = (
        case.recordings[i] == case.recordings[j]
        and case.start[i] < case.start[j] + case.span[j]
        and case.start[j] < case.start[i] + case.span[i]
    )
    return "out" if overlap or alike else "negative"


def infonce(case: Case, scale: float, same: str | None, directions: str, smoothing: float = 0.0) -> float:
    index = np.flatnonzero(case.both)
    total = 0.0
    for queries, keys in ((case.a, case.b), (case.b, case.a)):
        for i in index:
            what = {j: relation(case, i, j, same) for j in index}
            logit = {j: scale * float(queries[i] @ keys[j]) for j in index}
            positives = [logit[j] for j in index if what[j] == "positive"]
            everything = sum(np.exp(logit[j]) for j in index if what[j] != "out")
            counted = [logit[j] for j in index if what[j] != "out"]
            total += np.log(everything) - (1 - smoothing) * np.mean(positives) - smoothing * np.mean(counted)
    return total / len(index) * (0.5 if directions == "mean" else 1.0)


def within(a: np.ndarray, b: np.ndarray, there: np.ndarray, scale: float) -> float:
    """a, b (n, N, M), there (n, N): moments that both streams have; the mean over them, both directions."""
    total = 0.0
    for x, y, known in zip(a, b, there):
        index = np.flatnonzero(known)
        for i in index:
            for queries, keys in ((x, y), (y, x)):
                cosine = [queries[i] @ keys[j] / np.linalg.norm(queries[i]) / np.linalg.norm(keys[j]) for j in index]
                own = queries[i] @ keys[i] / np.linalg.norm(queries[i]) / np.linalg.norm(keys[i])
                total += 0.5 * (np.log(np.sum(np.exp(scale * np.array(cosine)))) - scale * own)
    return total / there.sum()


def sigmoid(case: Case, scale: float, bias: float, same: str | None) -> float:
    index = np.flatnonzero(case.both)
    total = 0.0
    for i in index:
        for j in index:
            what = relation(case, i, j, same)
            if what != "out":
                sign = 1.0 if what == "positive" else -1.0
                total += np.log1p(np.exp(-sign * (scale * float(case.a[i] @ case.b[j]) + bias)))
    return total / len(index)


def accuracy(case: Case, same: str | None) -> float:
    index = np.flatnonzero(case.both)
    nearest = [index[np.argmax(case.a[i] @ case.b[index].T)] for i in index]
    return float(np.mean([relation(case, i, j, same) != "negative" for i, j in zip(index, nearest)]))

"""Few-shot recognition: how well k labelled windows of each class do, on frozen embeddings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aura.tasks.probe import check_labels, linear
from aura.tasks.scores import classification


@dataclass(frozen=True)
class FewShot:
    """Results over the draws.

    figures    k -> `linear/accuracy`, `linear/balanced_accuracy`, `linear/macro_f1` and of `mean/...`, means over draws;
               each with `..._spread`, the standard deviation over draws (0 for a single one); `n` test windows, `draws`
    right      (k, classifier) -> (n,) share of the draws in which each test window was told: for intervals over people
    short      k -> classes with fewer than k training windows, and how many they have: these took part with all of them
    """

    figures: dict[int, dict[str, float]]
    right: dict[tuple[int, str], np.ndarray]
    short: dict[int, dict[str, int]]


def fewshot(
    train: np.ndarray,
    labels: Sequence[str],
    test: np.ndarray,
    test_labels: Sequence[str],
    ks: tuple[int, ...] = (1, 2, 3, 5, 10),
    draws: int = 20,
    seed: int = 0,
) -> FewShot:
    """Two classifiers on k windows of each class, drawn from the training windows, `draws` times.

    `linear`: logistic regression on standardised channels, as in `probe`; `mean`: the class whose normalised mean is
    nearest. train (N, D), test (n, D): unit vectors, of other people. Within a draw the windows of a smaller k are among
    those of a larger. ValueError as `probe`, and for a k or number of draws under one.
    """
    if min(ks, default=0) < 1 or draws < 1:
        raise ValueError(f"few-shot with k {', '.join(map(str, ks)) or 'none'} and {draws} draws: at least 1 each")
    classes = check_labels(labels, test_labels)
    train, test, truth = np.asarray(train), np.asarray(test), np.asarray(test_labels)
    members = {name: np.flatnonzero(np.asarray(labels) == name) for name in classes}
    counted = Counter(labels)
    scores: dict[int, list[dict[str, float]]] = {k: [] for k in ks}
    right = {(k, kind): np.zeros(len(test)) for k in ks for kind in ("linear", "mean")}
    random = np.random.default_rng(seed)
    for _ in range(draws):
        order = {name: random.permutation(rows) for name, rows in members.items()}
        for k in ks:
            shots = np.concatenate([order[name][:k] for name in classes])
            known = [labels[int(i)] for i in shots]
            means = np.stack([train[order[name][:k]].mean(0) for name in classes])
            means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
            found = {
                "linear": linear(train[shots], known).predict(test).tolist(),
                "mean": [classes[i] for i in (test @ means.T).argmax(1)],
            }
            row = {}
            for kind, answers in found.items():
                figures = classification(test_labels, answers, classes).figures()
                row |= {f"{kind}/{key}": value for key, value in figures.items()}
                right[k, kind] += (np.asarray(answers) == truth) / draws
            scores[k].append(row)
    return FewShot(
        figures={k: _summary(rows) | {"n": float(len(test)), "draws": float(draws)} for k, rows in scores.items()},
        right=right,
        short={k: few for k in ks if (few := {name: counted[name] for name in classes if counted[name] < k})},
    )


def _summary(rows: list[dict[str, float]]) -> dict[str, float]:
    out = {}
    for key in rows[0]:
        values = np.array([row[key] for row in rows])
        out |= {key: float(values.mean()), f"{key}_spread": float(values.std(ddof=1)) if len(values) > 1 else 0.0}
    return out

"""Recognition from frozen embeddings: a linear classifier, and the label of the nearest window."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aura.tasks.scores import classification
from aura.tasks.search import exact_search

STEPS = 2000  # of the solver


def probe(
    train: np.ndarray, train_labels: Sequence[str], test: np.ndarray, test_labels: Sequence[str], strength: float = 1.0
) -> dict[str, float]:
    """Figures of `scores.classification` of two classifiers of unit vectors (n, D).

    `linear/...`: logistic regression on standardised channels (`strength`: scikit-learn's C); `1nn/...`: the label of the
    nearest training window. `chance/...`: of a random class; `majority/...`: of the most frequent training label.
    `pool` training windows, `n` test windows. ValueError for under two classes, or a test label without training window.
    """
    found = probe_answers(train, train_labels, test, test_labels, strength)
    classes = sorted(set(train_labels))
    out = {"n": float(len(test)), "pool": float(len(train)), "classes": float(len(classes))}
    for kind, labels in found.items():
        out |= {f"{kind}/{key}": value for key, value in classification(test_labels, labels, classes).figures().items()}
    frequent = Counter(train_labels).most_common(1)[0][0]
    return out | classification(test_labels, test_labels, classes).baselines(frequent)


def probe_answers(
    train: np.ndarray, train_labels: Sequence[str], test: np.ndarray, test_labels: Sequence[str], strength: float = 1.0
) -> dict[str, list[str]]:
    """What the classifiers of `probe` answer for each test window: `linear` and `1nn`. Raises as `probe`."""
    check_labels(train_labels, test_labels)
    nearest = exact_search(torch.from_numpy(train), torch.from_numpy(test), 1)[1][:, 0]
    return {
        "linear": linear(train, train_labels, strength).predict(test).tolist(),
        "1nn": [train_labels[int(i)] for i in nearest],
    }


def linear(train: np.ndarray, labels: Sequence[str], strength: float = 1.0) -> Any:
    """Logistic regression on standardised channels of (n, D), fitted; `strength`: scikit-learn's C."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=STEPS))
    with warnings.catch_warnings():  # one window of each class is as many as was asked for
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
        return model.fit(train, list(labels))


def check_labels(train: Sequence[str], test: Sequence[str]) -> list[str]:
    """The classes of the training windows, sorted. ValueError for under two, no test window, or a test label that no
    training window has."""
    classes = sorted(set(train))
    if len(classes) < 2:
        raise ValueError(f"a probe needs two classes to tell apart, the training windows have {classes or 'none'}")
    if not len(test):
        raise ValueError("no test window has the label")
    unknown = sorted(set(test) - set(classes))
    if unknown:
        raise ValueError(f"no training window has the labels {', '.join(unknown)} of the test")
    return classes

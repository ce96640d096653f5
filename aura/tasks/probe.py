"""Recognition from frozen embeddings: a linear classifier, and the label of the nearest window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

STEPS = 2000  # of the solver


def probe(
    train: np.ndarray, train_labels: Sequence[str], test: np.ndarray, test_labels: Sequence[str], strength: float = 1.0
) -> dict[str, float]:
    """Accuracy and macro-F1 (over the classes that occur in the test) of two classifiers of unit vectors (n, D).

    `linear/...`: logistic regression on standardised channels (`strength`: scikit-learn's C); `1nn/...`: the label of the
    nearest training window. `chance/...`: of a random class; `majority/accuracy`: of the most frequent training label.
    `pool` training windows, `n` test windows. ValueError for under two classes, or a test label without training window.
    """
    classes = sorted(set(train_labels))
    if len(classes) < 2:
        raise ValueError(f"a probe needs two classes to tell apart, the training windows have {classes or 'none'}")
    unknown = sorted(set(test_labels) - set(classes))
    if unknown:
        raise ValueError(f"no training window has the labels {', '.join(unknown)} of the test")
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=STEPS))
    found = {
        "linear": linear.fit(train, list(train_labels)).predict(test).tolist(),
        "1nn": [train_labels[i] for i in (test @ train.T).argmax(1)],
    }
    out = {"n": float(len(test)), "pool": float(len(train)), "classes": float(len(classes))}
    for kind, labels in found.items():
        out |= {f"{kind}/accuracy": _accuracy(labels, test_labels), f"{kind}/macro_f1": _macro_f1(labels, test_labels)}
    frequent = Counter(train_labels).most_common(1)[0][0]
    out["majority/accuracy"] = _accuracy([frequent] * len(test_labels), test_labels)
    occurring = Counter(test_labels)
    share = [count / len(test_labels) for count in occurring.values()]
    out["chance/accuracy"] = 1 / len(classes)
    # Of the expected counts: a class of share s has s/C right of s + 1/C.
    out["chance/macro_f1"] = float(np.mean([2 * s / (len(classes) * s + 1) for s in share]))
    return out


def _accuracy(found: Sequence[str], truth: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(found, truth)) / len(truth)


def _macro_f1(found: Sequence[str], truth: Sequence[str]) -> float:
    macro: Any = f1_score(truth, found, labels=sorted(set(truth)), average="macro", zero_division=0.0)  # pyright: ignore
    return float(macro)

"""Scores of classifications, calibration of probabilities, and confidence intervals over people.

Scores with a mean over classes take it over the classes that occur among the true labels: a class without a window can be
neither found nor missed. A class that occurs and is never answered counts, with F1 zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, t

FEWEST = 3  # people from which an interval is given
BLOCK = 1 << 22  # counts of one block of resamples


def classification(truth: Sequence[str], found: Sequence[str], names: Sequence[str] | None = None) -> Classification:
    """What was answered (`found`) for N windows of the classes `truth`.

    names    all classes that can be answered; default: those that occur in either. ValueError for none, unequal numbers of
             labels, or a label that is no name.
    """
    names = tuple(sorted({*truth, *found}) if names is None else names)
    if len(truth) != len(found) or not len(truth):
        raise ValueError(f"scores of {len(found)} answers for {len(truth)} windows: give one answer each, at least one")
    return Classification(names, _counted(label_codes(truth, names), label_codes(found, names), len(names)))


@dataclass(frozen=True)
class Classification:
    """Answers counted: confusion[i, j] windows (C, C) of class names[i] were answered by names[j]."""

    names: tuple[str, ...]
    confusion: np.ndarray

    def figures(self) -> dict[str, float]:
        """`accuracy`, `balanced_accuracy` (mean recall of the classes that occur), `macro_f1`."""
        return {key: float(value) for key, value in label_scores(self.confusion).items()}

    def baselines(self, majority: str | None = None) -> dict[str, float]:
        """What answers without looking score: `chance/<figure>`, a class at random of all C (of macro-F1 with the expected
        counts); `majority/<figure>`, always the same class: the given one, or the most frequent among the true labels."""
        there = self.confusion.sum(1)
        share = there / there.sum()
        occur = there > 0
        often = int(share.argmax()) if majority is None else self.names.index(majority)
        classes, present = len(self.names), int(occur.sum())
        # A class of share s has s/C right, of s in truth and 1/C answered.
        by_chance = 2 * share[occur] / (classes * share[occur] + 1)
        return {
            "chance/accuracy": 1 / classes,
            "chance/balanced_accuracy": 1 / classes,
            "chance/macro_f1": float(by_chance.mean()),
            "majority/accuracy": float(share[often]),
            "majority/balanced_accuracy": float(occur[often]) / present,
            "majority/macro_f1": float(2 * share[often] / (1 + share[often])) / present,
        }

    def per_class(self) -> dict[str, dict[str, float]]:
        """Of each name: `precision` (nan where it was never answered), `recall` (nan where it does not occur), `f1`
        (nan where neither), `n` windows of it and `answered` how often."""
        right, there, answered = self.confusion.diagonal(), self.confusion.sum(1), self.confusion.sum(0)
        columns = {
            "precision": _ratio(right, answered),
            "recall": _ratio(right, there),
            "f1": _ratio(2 * right, there + answered),
            "n": there.astype(float),
            "answered": answered.astype(float),
        }
        return {name: {k: float(v[i]) for k, v in columns.items()} for i, name in enumerate(self.names)}


def label_codes(labels: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Numbers (N,) of labels among the class names. ValueError naming the labels that are none."""
    number = {name: i for i, name in enumerate(names)}
    unknown = sorted(set(labels) - set(number))
    if unknown:
        raise ValueError(f"the labels {', '.join(unknown)} are none of the classes {', '.join(names)}")
    return np.fromiter((number[label] for label in labels), np.int64, len(labels))


def label_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Scores (...) of any number of confusion matrices (..., C, C) at once; the keys of `Classification.figures`."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    there, answered = confusion.sum(-1), confusion.sum(-2)
    classes = (there > 0).sum(-1)
    recall = right / np.maximum(there, 1)
    f1 = 2 * right / np.maximum(there + answered, 1)
    return {
        "accuracy": right.sum(-1) / there.sum(-1),
        "balanced_accuracy": recall.sum(-1) / classes,
        "macro_f1": f1.sum(-1) / classes,
    }


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(len(a), np.nan), where=b > 0)


def _counted(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(truth * classes + found, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class Calibration:
    """How far probabilities can be believed.

    ece     expected calibration error: mean distance of confidence and accuracy over bins, weighed by windows (Guo et al.,
            arXiv 1706.04599, eq. 3); 0 is best
    brier   mean over windows of the summed squared distance of the probabilities to 0 or 1 of the truth (Brier 1950): 0 to 2
    bins    of equal width: `low` < confidence <= `high`, `count` windows, their mean `confidence` and `accuracy`;
            empty bins are left out
    """

    ece: float
    brier: float
    bins: list[dict[str, float]]


def calibration(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> Calibration:
    """Calibration of the probabilities (N, C) of N windows of the classes `truth` (N,) by number; the confidence is the
    highest probability of a window. ValueError for what are no probabilities of N >= 1 windows."""
    p, truth = np.asarray(probabilities, np.float64), np.asarray(truth)
    if p.ndim != 2 or len(p) != len(truth) or not len(p):
        raise ValueError(f"calibration: probabilities {p.shape} for {len(truth)} windows; give (N, C), N at least 1")
    if not (np.abs(p.sum(1) - 1) < 1e-3).all() or not (p >= 0).all():
        raise ValueError("calibration: a window's probabilities are negative or do not sum to 1")
    confidence, right = p.max(1), p.argmax(1) == truth
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows, error = [], 0.0
    for b in np.unique(number):
        here = number == b
        sure, accuracy = float(confidence[here].mean()), float(right[here].mean())
        rows.append({"low": b / bins, "high": (b + 1) / bins, "count": float(here.sum()), "confidence": sure, "accuracy": accuracy})  # fmt: skip
        error += here.mean() * abs(accuracy - sure)
    brier = (p**2).sum(1) - 2 * p[np.arange(len(p)), truth] + 1
    return Calibration(float(error), float(brier.mean()), rows)


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: so many resamples, drawn by `seed`, of the `level`; `unit` is what is resampled, in words."""

    draws: int = 1000
    seed: int = 0
    level: float = 0.95
    unit: str = "subjects"


DEFAULT = Resampling()


@dataclass(frozen=True)
class Interval:
    """A figure and its confidence interval over `units` people; low and high are None, and `note` says why, without one."""

    value: float
    low: float | None
    high: float | None
    units: int
    note: str = ""


def bootstrap(
    statistic: Callable[[np.ndarray], Mapping[str, np.ndarray]], subjects: Sequence[str], how: Resampling = DEFAULT
) -> dict[str, Interval]:
    """Confidence intervals of figures over new people: subjects are drawn with replacement, with all their windows.

    Windows of one person are alike: to draw windows would give intervals that are far too narrow. With few people also
    the plain percentile interval is too narrow; its level is raised for that (Hesterberg 2015, arXiv 1411.5279: expanded
    percentile interval). Measured on normal people, 95 % intervals hold the truth in 0.94 of the cases with 25 people, 0.96
    with 8, 0.84 with 4, 0.71 with 3, where they go from the worst person to the best (plain: 0.94, 0.90, 0.78, 0.68).

    statistic    gives each figure (R,) of R samples, in which subject g of the sorted names occurs counts (R, G) times
    subjects     (N,) whose window it is; of several data sets, with the data set in the name

    There is no interval, and `note` says so, for fewer than three subjects (an interval over windows would look like one,
    and is none), and where the subject of some window is unknown ("").
    """
    names = np.unique(np.asarray(subjects))
    values = {key: float(found[0]) for key, found in statistic(np.ones((1, len(names)))).items()}
    note = ""
    if "" in names:
        note = f"no interval: windows of unknown {how.unit}"
    elif len(names) < FEWEST:
        note = f"no interval: {len(names)} {how.unit.removesuffix('s') if len(names) == 1 else how.unit}, fewer than {FEWEST}"
    if note:
        return {key: Interval(value, None, None, len(names), note) for key, value in values.items()}
    random, n = np.random.default_rng(how.seed), len(names)
    size = max(1, BLOCK // n)
    blocks = [
        statistic(random.multinomial(n, np.full(n, 1 / n), min(size, how.draws - i)).astype(float))
        for i in range(0, how.draws, size)
    ]
    tail = norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf((1 + how.level) / 2, n - 1))
    out = {}
    for key, value in values.items():
        low, high = np.quantile(np.concatenate([block[key] for block in blocks]), [tail, 1 - tail])
        out[key] = Interval(value, float(low), float(high), n)
    return out


def mean_intervals(
    values: Mapping[str, np.ndarray], subjects: Sequence[str], how: Resampling = DEFAULT
) -> dict[str, Interval]:
    """Intervals of the means of figures that each window has: values (N,) by name, such as a query's hit at k. For the
    difference of two models give their differences."""
    codes, count = _people(subjects)
    sums = np.stack([np.bincount(codes, _finite(key, x, len(codes)), len(count)) for key, x in values.items()], 1)

    def statistic(drawn: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(values, (drawn @ sums / (drawn @ count)[:, None]).T))

    return bootstrap(statistic, subjects, how)


def median_intervals(
    values: Mapping[str, np.ndarray], subjects: Sequence[str], how: Resampling = DEFAULT
) -> dict[str, Interval]:
    """As `mean_intervals`, of medians, such as of ranks."""
    codes, _ = _people(subjects)
    orders = {key: np.argsort(_finite(key, x, len(codes)), kind="stable") for key, x in values.items()}

    def statistic(drawn: np.ndarray) -> dict[str, np.ndarray]:
        return {
            key: np.array([_weighted_median(np.asarray(values[key])[order], w[codes[order]]) for w in drawn])
            for key, order in orders.items()
        }

    return bootstrap(statistic, subjects, how)


def label_intervals(
    truth: Sequence[str],
    found: Sequence[str],
    subjects: Sequence[str],
    names: Sequence[str] | None = None,
    how: Resampling = DEFAULT,
) -> dict[str, Interval]:
    """Intervals of the figures of `classification`. A class whose people are not in a resample does not occur in it."""
    names = tuple(sorted({*truth, *found}) if names is None else names)
    codes, count = _people(subjects)
    cells = label_codes(truth, names) * len(names) + label_codes(found, names)
    size = len(names) ** 2
    table = np.bincount(codes * size + cells, minlength=len(count) * size).reshape(len(count), size).astype(float)

    def statistic(drawn: np.ndarray) -> dict[str, np.ndarray]:
        return label_scores((drawn @ table).reshape(len(drawn), len(names), len(names)))

    return bootstrap(statistic, subjects, how)


def _people(subjects: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The number (N,) of each window's subject among the sorted names, and how many windows each has (G,)."""
    _, codes, count = np.unique(np.asarray(subjects), return_inverse=True, return_counts=True)
    return codes, count.astype(float)


def _finite(key: str, values: Any, count: int) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(f"{key}: {values.shape} values for {count} windows; every window needs a finite one")
    return values


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Median of sorted values of which each is there `weights` times (whole numbers)."""
    ends = np.cumsum(weights)
    low, high = np.searchsorted(ends, [ends[-1] / 2, ends[-1] / 2 + 0.5])
    return float(values[low] + values[high]) / 2

"""Scores against scikit-learn, intervals against repeated experiments and a slow bootstrap."""

import time

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from aura.tasks.scores import (
    Resampling,
    bootstrap,
    calibration,
    classification,
    label_intervals,
    mean_intervals,
    median_intervals,
)

NAMES = ["a", "b", "c", "d", "e"]


def answers(n, classes, seed=0):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, n)
    found = np.where(random.random(n) < 0.6, truth, random.integers(0, 5, n))
    return [NAMES[i] for i in truth], [NAMES[i] for i in found]


@pytest.mark.parametrize(("n", "classes"), [(200, 5), (200, 3), (7, 5), (1, 5)])
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label")
def test_scores_agree_with_scikit_learn_when_classes_are_missing(n, classes):
    truth, found = answers(n, classes)
    scores = classification(truth, found, NAMES)
    occurring = sorted(set(truth))
    assert scores.confusion.tolist() == confusion_matrix(truth, found, labels=NAMES).tolist()
    assert scores.figures() == pytest.approx(
        {
            "accuracy": accuracy_score(truth, found),
            "balanced_accuracy": balanced_accuracy_score(truth, found),
            "macro_f1": f1_score(truth, found, labels=occurring, average="macro", zero_division=0),
        }
    )
    per_class = scores.per_class()
    expected = precision_recall_fscore_support(truth, found, labels=NAMES, zero_division=np.nan)
    for key, values in zip(("precision", "recall"), expected):
        assert [per_class[name][key] for name in NAMES] == pytest.approx(values.tolist(), nan_ok=True)
    assert [per_class[name]["n"] for name in NAMES] == expected[3].tolist()
    assert [per_class[name]["answered"] for name in NAMES] == [found.count(name) for name in NAMES]


def test_a_class_that_is_never_answered_counts_and_one_that_never_occurs_does_not():
    scores = classification(["a", "a", "b"], ["a", "a", "c"], ["a", "b", "c"])
    assert scores.figures()["macro_f1"] == pytest.approx((1 + 0) / 2)
    per_class = scores.per_class()
    assert per_class["b"]["f1"] == 0
    assert np.isnan(per_class["b"]["precision"])
    assert np.isnan(per_class["c"]["recall"])


def test_baselines_are_what_blind_answers_score():
    random = np.random.default_rng(0)
    truth = ["a"] * 60_000 + ["b"] * 30_000 + ["c"] * 10_000
    blind = [NAMES[i] for i in random.integers(0, 4, len(truth))]
    baselines = classification(truth, truth, NAMES[:4]).baselines()
    for key, value in classification(truth, blind, NAMES[:4]).figures().items():
        assert baselines[f"chance/{key}"] == pytest.approx(value, abs=0.005)
    for majority, given in (("a", None), ("b", "b"), ("d", "d")):
        baselines = classification(truth, truth, NAMES[:4]).baselines(given)
        for key, value in classification(truth, [majority] * len(truth), NAMES[:4]).figures().items():
            assert baselines[f"majority/{key}"] == pytest.approx(value)


def test_what_cannot_be_scored():
    with pytest.raises(ValueError, match="at least one"):
        classification([], [])
    with pytest.raises(ValueError, match="1 answers for 2 windows"):
        classification(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="labels z are none of the classes a, b"):
        classification(["a", "z"], ["a", "b"], ["a", "b"])


def test_calibration_agrees_with_scikit_learn_and_a_slow_reference():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(4), 500)
    truth = random.integers(0, 4, 500)
    found = calibration(p, truth, bins=10)
    assert found.brier == pytest.approx(brier_score_loss(truth, p, labels=range(4), scale_by_half=False))
    error = 0.0
    for b in range(10):
        rows = [i for i in range(500) if b / 10 < p[i].max() <= (b + 1) / 10]
        if rows:
            gap = sum(p[i].max() - (p[i].argmax() == truth[i]) for i in rows)
            error += abs(gap) / 500
    assert found.ece == pytest.approx(error)
    assert sum(row["count"] for row in found.bins) == 500


def test_calibrated_probabilities_have_little_error_and_sure_ones_fall_in_the_last_bin():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(3), 50_000)
    truth = (random.random((50_000, 1)) > p.cumsum(1)).sum(1)
    assert calibration(p, truth).ece < 0.01
    sure = calibration(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    assert (sure.ece, sure.brier, [row["high"] for row in sure.bins]) == (0.5, 1.0, [1.0])
    with pytest.raises(ValueError, match="do not sum to 1"):
        calibration(np.ones((2, 2)), np.array([0, 1]))
    with pytest.raises(ValueError, match="N at least 1"):
        calibration(np.ones((0, 2)), np.array([]))


def people(sizes):
    return [f"s{i}" for i, n in enumerate(sizes) for _ in range(n)]


def test_intervals_agree_with_a_slow_bootstrap_of_people():
    truth, found = answers(120, 3)
    subjects = people([10, 20, 5, 40, 15, 30])
    right = np.array([a == b for a, b in zip(truth, found)], float)
    ranks = np.random.default_rng(1).integers(1, 50, 120).astype(float)
    how = Resampling(draws=100, seed=4, level=0.8)
    fast = {
        **label_intervals(truth, found, subjects, NAMES, how),
        **mean_intervals({"mean": right}, subjects, how),
        **median_intervals({"median": ranks}, subjects, how),
    }
    # The same draws, window by window.
    rows = {name: [i for i, s in enumerate(subjects) if s == name] for name in sorted(set(subjects))}
    slow = {key: [] for key in fast}
    for drawn in np.random.default_rng(4).multinomial(6, np.full(6, 1 / 6), 100):
        chosen = [i for count, name in zip(drawn, rows) for i in rows[name] * int(count)]
        t, f = [truth[i] for i in chosen], [found[i] for i in chosen]
        slow["accuracy"].append(accuracy_score(t, f))
        slow["macro_f1"].append(f1_score(t, f, labels=sorted(set(t)), average="macro", zero_division=0))
        slow["mean"].append(right[chosen].mean())
        slow["median"].append(np.median(ranks[chosen]))
    for key in ("accuracy", "macro_f1", "mean", "median"):
        low, high = np.quantile(slow[key], [0.052966, 0.947034])  # norm.cdf(-sqrt(6/5) * t.ppf(0.9, 5))
        assert (fast[key].low, fast[key].high) == pytest.approx((low, high), abs=2e-3), key
    assert fast["mean"].value == fast["accuracy"].value == pytest.approx(right.mean())
    assert fast["median"].value == np.median(ranks)
    assert fast["mean"].units == 6


def covered(subjects, repeats=300):
    """How often the interval holds the mean over all people that ever could be asked, zero."""
    random = np.random.default_rng(0)
    names = people([20] * subjects)
    hits = 0
    for seed in range(repeats):
        values = np.repeat(random.standard_normal(subjects), 20) + random.standard_normal(20 * subjects)
        found = mean_intervals({"x": values}, names, Resampling(draws=300, seed=seed))["x"]
        hits += (found.low or 0) <= 0 <= (found.high or 0)
    return hits / repeats


def test_intervals_hold_the_truth_as_often_as_they_say():
    """The plain percentile interval over 8 people would hold it 0.90 times, one over windows far more rarely."""
    assert 0.92 <= covered(8) <= 0.99


def test_fewer_than_three_people_have_no_interval():
    values = {"x": np.array([0.0, 1.0, 1.0])}
    for subjects, words in ((["s1"] * 3, "1 subject, fewer"), (["s1", "s1", "s2"], "2 subjects"), (["s1", "", "s2"], "unknown subjects")):  # fmt: skip
        found = mean_intervals(values, subjects)["x"]
        assert (found.low, found.high) == (None, None)
        assert found.value == pytest.approx(2 / 3)
        assert words in found.note
    recordings = mean_intervals(values, ["r1", "r1", "r1"], Resampling(unit="recordings"))["x"]
    assert "1 recording," in recordings.note
    three = mean_intervals(values, ["s1", "s2", "s3"])["x"]
    assert (three.low, three.high, three.note) == (0, 1, "")


def test_every_window_needs_a_finite_value():
    with pytest.raises(ValueError, match="every window needs a finite one"):
        mean_intervals({"x": np.array([0.0, np.nan, 1.0])}, ["a", "b", "c"])


def test_any_statistic_can_be_resampled():
    totals = np.array([1.0, 5.0, 9.0, 13.0])
    found = bootstrap(lambda drawn: {"largest": np.where(drawn > 0, totals, 0).max(1)}, list("abcd"))["largest"]
    assert (found.value, found.high) == (13, 13)
    assert found.low is not None
    assert found.low < 13


def test_a_thousand_resamples_of_many_windows_take_seconds():
    random = np.random.default_rng(0)
    n = 100_000
    subjects = [f"s{i}" for i in random.integers(0, 700, n)]
    labels = [f"class {i}" for i in random.integers(0, 30, n)]
    others = [f"class {i}" for i in random.integers(0, 30, n)]
    begin = time.process_time()
    label_intervals(labels, others, subjects)
    mean_intervals({k: random.random(n) for k in ("R@1", "MRR")}, subjects)
    median_intervals({"rank": random.random(n)}, subjects)
    assert time.process_time() - begin < 20

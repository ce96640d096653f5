"""Sensors on parts of the body, and on people."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch.nn import functional as F

from aura.body.parts import PARTS
from aura.objectives.fine import Tokens
from aura.tasks.localize import (
    Scene,
    drawn_groups,
    groups_of,
    local_similarity,
    localization,
    part_scenes,
    part_similarity,
    person_scenes,
)
from aura.tasks.scores import mean_intervals


def test_the_best_column_and_the_best_assignment():
    """Two rows want column b; together only one may have it."""
    scores = np.array([[0.5, 0.9, 0.0], [0.1, 0.95, 0.0], [0.0, 0.1, 0.2]])
    found = localization([Scene(scores, ["a", "b", "c"], ["a", "b", "c"])]).figures()
    assert found["argmax/accuracy"] == pytest.approx(2 / 3)
    # a: never found; b: one of two answers right; c: right.
    assert found["argmax/macro_f1"] == pytest.approx((0 + 2 / 3 + 1) / 3)
    assert found["one_to_one/accuracy"] == found["one_to_one/macro_f1"] == 1
    assert found["chance/accuracy"] == found["chance/macro_f1"] == pytest.approx(1 / 3)
    assert (found["n"], found["scenes"], found["pool"]) == (3, 1, 3)


def test_two_sensors_on_a_part_have_one_right_name():
    scores = np.array([[0.9, 0.9, 0.2], [0.8, 0.8, 0.7], [0.85, 0.85, 0.1]])
    found = localization([Scene(scores, ["arm", "leg", "arm"], ["arm", "arm", "leg"])]).figures()
    assert found["argmax/accuracy"] == pytest.approx(2 / 3)
    assert found["one_to_one/accuracy"] == 1, "as often as the name occurs"
    assert found["chance/accuracy"] == 0.5, "of two names"


def test_chance_is_what_random_answers_give():
    random = np.random.default_rng(0)
    names = [list("abcd"), list("ab"), list("acd"), ["d"]]
    scenes = [Scene(random.random((len(n), len(n))), n, n) for _ in range(2000) for n in names]
    found = localization(scenes).figures()
    assert found["scenes"] == 6000, "one alone leaves no question"
    for kind in ("argmax", "one_to_one"):
        assert found[f"{kind}/accuracy"] == pytest.approx(found["chance/accuracy"], abs=0.015)
        assert found[f"{kind}/macro_f1"] == pytest.approx(found["chance/macro_f1"], abs=0.015)


def test_nothing_to_choose_from():
    with pytest.raises(ValueError, match="no scene has two"):
        localization([Scene(np.ones((1, 1)), ["a"], ["a"])])


def tokens(values, mask, part, local):
    n = len(values)
    return Tokens(values, mask, local, torch.tensor(part).expand(n, -1), torch.zeros(n, dtype=torch.int64))


def test_sensors_find_their_parts_by_the_moments_that_both_show():
    torch.manual_seed(0)
    body = F.normalize(torch.randn(3, len(PARTS), 6, 8, dtype=torch.float64), dim=-1)
    local = F.normalize(torch.randn(3, len(PARTS), 4, dtype=torch.float64), dim=-1)
    worn = [4, 0, 3, 0, -1]  # two on the left arm, one unknown
    values, whole = body[:, worn] + 0.1, local[:, worn]
    mask, body_mask = torch.ones(3, 5, 6, dtype=torch.bool), torch.ones(3, 6, 6, dtype=torch.bool)
    mask[0, 1] = False  # a sensor that is missing
    mask[1, 2, :3], body_mask[1, 3, 3:] = False, False  # seen at other moments than the part
    values[~mask], body[~body_mask] = torch.nan, torch.nan
    a, b = tokens(values, mask, worn, whole), tokens(body, body_mask, list(range(6)), local)
    similarity = part_similarity(a, b)
    expected = (a.values[2, 0, :, None] * b.values[2, :].movedim(0, 1)).sum(-1).mean(0)
    torch.testing.assert_close(similarity[2, 0], expected)
    assert similarity[0, 1].tolist() == [-math.inf] * 6
    assert float(similarity[1, 2, 3]) == -math.inf
    scenes = part_scenes(similarity, a.part, a.there, ["x@0", "x@1", "y@0"], ["s1", "s1", ""])
    assert [list(scene.rows) for scene in scenes] == [
        ["head", PARTS[3], "left arm"],
        ["head", "left arm", "left arm"],
        ["head", "left arm", PARTS[3], "left arm"],
    ]
    assert scenes[0].keys == ["x@0, sensor 0", "x@0, sensor 2", "x@0, sensor 3"]
    assert [scene.subjects for scene in scenes] == [["s1"] * 3, ["s1"] * 3, [""] * 4]
    found = localization(scenes).figures()
    assert found["argmax/accuracy"] == found["one_to_one/accuracy"] == 1
    cosine = local_similarity(a, b)
    torch.testing.assert_close(cosine[2], whole[2] @ local[2].T)


def test_people_of_a_scene():
    torch.manual_seed(0)
    matrix = torch.eye(4) + 0.1 * torch.rand(4, 4)
    scenes = person_scenes(lambda g: matrix[g][:, g], [[0, 2], [1, 3]], list("xyzw"), list("abcd"), ["", *"yzw"])
    assert [list(s.rows) for s in scenes] == [["x", "z"], ["y", "w"]]
    assert [(s.keys, s.subjects) for s in scenes] == [(["a", "c"], ["", "z"]), (["b", "d"], ["y", "w"])]
    assert localization(scenes).figures()["argmax/accuracy"] == 1


def test_groups_are_of_one_moment_and_of_different_people():
    groups = ["g", "g", "g", "h", "", "", "g"]
    start = [0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0]
    assert groups_of(groups, start, ["a", "b", "a", "a", "a", "b", "b"]) == [[0, 1]], (
        "a second camera is no third person"
    )


def test_drawn_scenes_hold_different_people_and_each_window_once():
    names = [f"p{i % 5}" for i in range(43)]
    groups = drawn_groups(names, 4)
    assert len(groups) >= 9
    assert all(len({names[i] for i in g}) == 4 for g in groups)
    assert len({i for g in groups for i in g}) == 4 * len(groups)
    assert groups == drawn_groups(names, 4)
    assert drawn_groups(["a", "a", "b"], 3) == []


def test_intervals_are_over_people_whose_sensors_are_placed():
    """Of parts: each person is right at all times or never. Of people: the F1 of those who are drawn."""
    right, wrong = np.eye(2), 1 - np.eye(2)
    people = [f"s{i}" for i in range(8) for _ in range(10)]
    names = ["arm", "leg"]
    scenes = [
        Scene(right if who < "s6" else wrong, names, names, [f"{i}, 0", f"{i}, 1"], [who, who])
        for i, who in enumerate(people)
    ]
    found = localization(scenes)
    expected = mean_intervals({"x": np.array([who < "s6" for who in people], float)}, people)["x"]
    for kind in ("argmax", "one_to_one"):
        interval = found.intervals()[f"{kind}/accuracy"]
        assert (interval.value, interval.low, interval.high) == (0.75, expected.low, expected.high)
        assert found.intervals()[f"{kind}/macro_f1"].value == found.figures()[f"{kind}/macro_f1"]
    assert found.keys[:3] == ["0, 0", "0, 1", "1, 0"]
    assert len(set(found.keys)) == 160
    assert found.values()["argmax/accuracy"].mean() == 0.75

    random = np.random.default_rng(0)
    pairs = [random.permutation(8)[:2] for _ in range(60)]
    who = [[f"set/s{i}" for i in pair] for pair in pairs]
    scenes = [Scene(random.random((2, 2)) + 0.5 * np.eye(2), w, w, [f"{i}a", f"{i}b"], w) for i, w in enumerate(who)]
    found = localization(scenes)
    intervals = found.intervals()
    for key in ("argmax/accuracy", "argmax/macro_f1", "one_to_one/accuracy", "one_to_one/macro_f1"):
        assert intervals[key].value == pytest.approx(found.figures()[key])
        assert intervals[key].low < intervals[key].value < intervals[key].high
    people = sorted(set(found.truth))
    f1 = f1_score(found.truth, found.found["argmax"], labels=people, average=None)
    expected = mean_intervals({"x": np.array(f1)}, people)["x"]
    assert intervals["argmax/macro_f1"].low == pytest.approx(expected.low)


def test_sensors_of_the_unknown_have_no_interval():
    scene = Scene(np.eye(2), ["take 1", "s1"], ["take 1", "s1"], ["a", "b"], ["", "s1"])
    for interval in localization([scene]).intervals().values():
        assert (interval.low, interval.note) == (None, "no interval: windows of unknown subjects")

"""Offsets of recordings by their tokens: planted ones are found, and nothing is claimed where nothing can be known."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aura.objectives.fine import Tokens
from aura.tasks.drift import find_drift
from aura.tasks.scores import mean_intervals
from aura.tasks.sync import (
    Curve,
    Offset,
    find_offset,
    interleaved,
    lag_curve,
    sync_intervals,
    sync_metrics,
    sync_values,
    together,
    token_curve,
    vote,
    who_is_whom,
)

TOKEN_S, PHASES = 0.2, 5


def motion(seed=0, channels=8, seconds=700.0):
    """A smooth random curve in some channels: a function of times (T,) to unit vectors (T, channels), float64."""
    rng = np.random.default_rng(seed)
    rate, phase = rng.uniform(0.02, 1.0, (2, 40, channels))
    weight = rng.standard_normal((40, channels))

    def at(times):
        angle = 2 * np.pi * (times[:, None, None] * rate + 7 * phase)
        return F.normalize(torch.from_numpy((weight * np.sin(angle)).sum(1)), dim=-1)

    return at


def every(x):
    return torch.ones(x.shape[:-1], dtype=torch.bool)


def phases_of(curve, start_s, count, rate=0.0):
    """The tokens of b at five starts, (1, L, M) each: b's second u is second (u + start_s) / (1 - rate) of the curve."""
    times = [np.arange(count) * TOKEN_S + j * TOKEN_S / PHASES for j in range(PHASES)]
    return [curve((t + start_s) / (1 - rate))[None] for t in times]


def naive(x, y, seen_x, seen_y, lag, centre):
    """One score by its definition."""
    parts, products = [], []
    for s in range(len(x)):
        t = [i for i in range(x.shape[1]) if 0 <= i - lag < y.shape[1] and seen_x[s, i] and seen_y[s, i - lag]]
        u, v = x[s, t], y[s, [i - lag for i in t]]
        if centre and len(t) > 1:
            u, v = u - u.mean(0), v - v.mean(0)
            parts.append(float((u * v).sum() / (u.norm() * v.norm())))
        products += (u * v).sum(-1).tolist()
    return np.mean(parts or [0.0]) if centre else np.mean(products or [0.0])


@pytest.mark.parametrize("centre", [False, True])
def test_fft_is_the_sums_over_the_diagonals(centre):
    """With tokens missing, three sensors, and recordings of unequal lengths; what is not seen may be NaN."""
    torch.manual_seed(0)
    x, y = torch.randn(3, 17, 5, dtype=torch.float64) + 1, torch.randn(3, 11, 5, dtype=torch.float64)
    seen_x, seen_y = torch.rand(3, 17) > 0.3, torch.rand(3, 11) > 0.3
    x[~seen_x], y[~seen_y] = torch.nan, torch.nan
    curve = lag_curve(x, y, seen_x, seen_y, TOKEN_S, centre)
    expected = [naive(x, y, seen_x, seen_y, lag, centre) for lag in range(-10, 17)]
    np.testing.assert_allclose(curve.score, expected, atol=1e-12)
    np.testing.assert_allclose(curve.lag_s, TOKEN_S * np.arange(-10, 17))
    shared = [
        max(
            sum(bool(seen_x[s, i] and seen_y[s, i - lag]) for i in range(max(lag, 0), min(17, 11 + lag)))
            for s in range(3)
        )
        for lag in range(-10, 17)
    ]
    np.testing.assert_allclose(curve.overlap_s, TOKEN_S * np.array(shared))


def test_recordings_at_once_are_each_alone_also_in_pieces(monkeypatch):
    monkeypatch.setattr("aura.tasks.sync.BLOCK", 100)  # a few channels at a time
    torch.manual_seed(0)
    x, y = torch.randn(4, 1, 2, 9, 6, dtype=torch.float64), torch.randn(3, 2, 7, 6, dtype=torch.float64)
    curve = lag_curve(x, y, every(x), every(y), TOKEN_S)
    assert curve.score.shape == (4, 3, 15)
    one = lag_curve(x[2, 0], y[1], every(x[2, 0]), every(y[1]), TOKEN_S)
    torch.testing.assert_close(curve[2, 1].score, one.score)


@pytest.mark.parametrize("lag", [-35, -7, 0, 1, 35])
@pytest.mark.parametrize("method", ["tokens", "votes"])
def test_one_diagonal_is_found_and_a_constant_matrix_is_undecided(lag, method):
    p = torch.arange(76)
    matrix = (p[:, None] - p == lag).double()
    noise = 1e-9 * torch.rand(76, 76, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if method == "votes":
        found = find_offset(vote(matrix + noise, 0.2), refine=False, min_overlap=0)
        constant = find_offset(vote(torch.full((76, 76), 0.7), 0.2))
    else:
        eye = torch.eye(76, dtype=torch.float64)[None]
        curve = lag_curve(eye, matrix.T[None] + noise, every(eye), every(eye), 0.2)
        found = find_offset(curve, refine=False)
        same = torch.full((1, 76, 4), 0.5)
        constant = find_offset(lag_curve(same, same, every(same), every(same), 0.2))
    assert found.offset_s == pytest.approx(0.2 * lag)
    assert found.decided
    assert math.isnan(constant.offset_s)
    assert not constant.decided


@pytest.mark.parametrize("offset_s", [-1.53, -0.07, 0.0, 0.113, 2.048])
def test_parts_of_a_token_are_found(offset_s):
    """Five phases and a parabola: within 5 ms, where the grid of tokens alone is off by up to 100."""
    curve = motion()
    x = curve(np.arange(60) * TOKEN_S)[None]
    b = phases_of(curve, offset_s, 50)
    phases = [lag_curve(x, y, every(x), every(y), TOKEN_S) for y in b]
    fine = interleaved(phases, TOKEN_S)
    assert torch.allclose(fine.lag_s.diff(), torch.tensor(TOKEN_S / PHASES, dtype=torch.float64))
    found = find_offset(fine)
    assert found.offset_s == pytest.approx(offset_s, abs=0.005)
    assert found.decided
    assert find_offset(fine, refine=False).offset_s == pytest.approx(offset_s, abs=0.0201)
    assert find_offset(phases[0], refine=False).offset_s == pytest.approx(offset_s, abs=0.1001)
    assert abs(find_offset(fine, max_offset_s=0.04).offset_s) <= 0.06


def test_sensors_are_compared_with_their_body_part():
    """b has other parts in another order, one of a's sensors is missing, and recordings have offsets of their own."""
    curves = [motion(seed) for seed in range(4)]
    time = np.arange(40) * TOKEN_S
    values = torch.stack([c(time) for c in curves[:3]])[None].repeat(2, 1, 1, 1)
    mask = every(values)
    mask[0, 1] = False
    values[0, 1] = torch.nan
    a = tokens(values, mask, [0, 2, 4])
    offsets = (0.53, -0.71)
    b = []
    for j in range(PHASES):
        moved = [torch.stack([curves[i](time + o + j * TOKEN_S / PHASES) for i in (3, 2, 1, 0)]) for o in offsets]
        b.append(tokens(torch.stack(moved), every(torch.stack(moved)), [3, 4, 2, 0]))
    curve = token_curve(a, b, TOKEN_S)
    found = [find_offset(curve[i]).offset_s for i in range(2)]
    assert found == pytest.approx(offsets, abs=0.005)


def tokens(values, mask, part):
    n, s = mask.shape[:2]
    parts = torch.tensor(part).expand(n, -1)
    return Tokens(values, mask, values.new_zeros(n, s, 0), parts, torch.zeros(n, dtype=torch.int64))


def test_short_overlaps_do_not_win():
    torch.manual_seed(0)
    x = F.normalize(torch.randn(1, 50, 3), dim=-1)
    y = x + 0.8 * torch.randn(1, 50, 3)
    curve = lag_curve(x, y, every(x), every(y), TOKEN_S)
    assert float(curve.score.argmax()) != 49, "two tokens at the end correlate by chance"
    assert find_offset(curve, refine=False).offset_s == 0.0


def test_margin_is_over_the_second_peak():
    lag = torch.arange(-10, 11).double() * 0.1
    score = torch.exp(-((lag - 0.3) ** 2) / 0.02) + 0.6 * torch.exp(-((lag + 0.5) ** 2) / 0.02)
    curve = Curve(lag, score, torch.ones_like(lag))
    found = find_offset(curve)
    assert found.confidence == pytest.approx(0.4, abs=1e-6)
    assert found.offset_s == pytest.approx(0.3, abs=1e-6)
    assert find_offset(curve, min_margin=0.39).decided
    assert not find_offset(curve, min_margin=0.41).decided


def test_periodic_motion_is_undecided():
    x = torch.stack([torch.sin(torch.arange(100).double() * w) for w in (0.3 * math.pi, 0.6 * math.pi)], -1)[None]
    assert not find_offset(lag_curve(x, x, every(x), every(x), TOKEN_S)).decided


def test_people_of_a_scene():
    """Bodies in another order, each alone uncertain: one offset of the scene, and who is whom."""
    time, order, offset_s = np.arange(30) * TOKEN_S, [2, 0, 1], 0.4
    curves = [motion(seed) for seed in range(3)]
    noise = torch.randn(2, 3, 1, 30, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.stack([c(time) for c in curves])[:, None] + 0.5 * noise[0]
    y = torch.stack([curves[i](time + offset_s) for i in order])[:, None] + 0.5 * noise[1]
    curve = lag_curve(x[:, None], y[None], every(x)[:, None], every(y)[None], TOKEN_S)
    found = find_offset(together(curve), refine=False)
    assert found.offset_s == pytest.approx(offset_s)
    assert who_is_whom(curve, found.offset_s) == [(0, 1), (1, 2), (2, 0)]
    known = together(curve, [(0, 1), (1, 2), (2, 0)])
    assert find_offset(known, refine=False).offset_s == pytest.approx(offset_s)
    assert (together(curve).score >= known.score - 1e-12).all()


@pytest.mark.parametrize("ppm", [-300.0, 0.0, 100.0])
def test_drift_over_ten_minutes(ppm):
    """Within 3 ppm, which is 2 ms in ten minutes, with a minute of other motion and one that lacks in a."""
    curve, count, start_s = motion(), 3000, 3.37
    x = curve(np.arange(count) * TOKEN_S)[None]
    x[0, 600:900] = motion(5)(np.arange(300) * TOKEN_S)
    seen = every(x)
    seen[0, 1500:1800] = False
    b = phases_of(curve, start_s, count, ppm * 1e-6)
    whole = interleaved([lag_curve(x, y, seen, every(y), TOKEN_S) for y in b], TOKEN_S)
    about = find_offset(whole).offset_s
    assert about == pytest.approx(start_s + ppm * 1e-6 * 300, abs=0.1)
    found = find_drift(x, b, seen, [every(y) for y in b], TOKEN_S, about)
    assert found.ppm == pytest.approx(ppm, abs=3)
    assert found.start_s == pytest.approx(start_s, abs=0.002)
    assert 0.7 < found.used < 1


def test_no_drift_is_told_of_a_short_recording():
    curve = motion()
    x = curve(np.arange(100) * TOKEN_S)[None]
    found = find_drift(x, phases_of(curve, 0.2, 100), every(x), [every(x)] * PHASES, TOKEN_S, 0.2)
    assert math.isnan(found.ppm)
    assert found.start_s == 0.2


def test_metrics():
    found = [Offset(0.1, 1.0, True), Offset(-0.4, 1.0, True), Offset(float("nan"), 0.0, False), Offset(1.0, 0.0, False)]
    out = sync_metrics(found, [0.14, 0.2, 0.3, 1.0])
    assert out["n"] == 4
    assert out["abstained"] == 0.5
    assert out["MAE"] == pytest.approx((0.04 + 0.6 + 0.3 + 0.0) / 4)
    assert out["Acc@0.05"] == 0.5
    assert out["Acc@0.5"] == 0.75
    assert out["decided/MAE"] == pytest.approx(0.32)
    assert out["zero/MAE"] == pytest.approx((0.14 + 0.2 + 0.3 + 1.0) / 4)
    assert out["grid/MAE"] == pytest.approx((0.06 + 0 + 0.1 + 0) / 4)
    assert out["grid/Acc@0.1"] == 0.75, "an error of the limit itself is none below it"


def test_intervals_of_the_figures_are_over_people():
    random = np.random.default_rng(0)
    people = [f"s{i % 6}" for i in range(120)]
    truth = random.uniform(-1, 1, 120)
    error = random.normal(size=120) * [0.02 + 0.1 * (i % 6) for i in range(120)]  # some people are harder than others
    found = [Offset(float(t + e), 1.0, i % 5 > 0) for i, (t, e) in enumerate(zip(truth, error))]
    found[7] = Offset(float("nan"), 0.0, False)
    figures, intervals = sync_metrics(found, truth.tolist()), sync_intervals(found, truth.tolist(), people)
    own = {key for key in figures if key.split("/")[0] not in ("zero", "grid") and key != "n"}
    assert set(intervals) == own
    for key, interval in intervals.items():
        assert interval.value == pytest.approx(figures[key])
        assert interval.low <= interval.value <= interval.high
        assert interval.units == 6
    error[7] = -truth[7]
    assert sync_values(found, truth.tolist())["MAE"] == pytest.approx(np.abs(error))
    expected = mean_intervals({"x": np.abs(error)}, people)["x"]
    assert (intervals["MAE"].low, intervals["MAE"].high) == pytest.approx((expected.low, expected.high))
    # One piece each, of other people: the plain pieces' interval is narrower than that of six people.
    alone = sync_intervals(found, truth.tolist(), [f"s{i}" for i in range(120)])["MAE"]
    assert alone.high - alone.low < 0.7 * (expected.high - expected.low)


def test_intervals_of_the_decided_are_over_those_who_have_some():
    found = [Offset(0.1, 1.0, i < 4) for i in range(12)]
    intervals = sync_intervals(found, [0.0] * 12, [f"s{i // 2}" for i in range(12)])
    assert intervals["MAE"].units == 6
    assert intervals["decided/MAE"].note == "of the decided, no interval: 2 subjects, fewer than 3"
    none = [Offset(0.1, 0.0, False)] * 6
    assert not any(key.startswith("decided") for key in sync_intervals(none, [0.0] * 6, list("abcdef")))

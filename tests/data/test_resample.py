"""Resampling against sines, whose values at any time are known."""

import numpy as np
import pytest

from aura.data.resample import needed, places, resample, resample_points, resample_rotations


def sine(hz, times):
    return np.sin(2 * np.pi * hz * np.asarray(times) + 0.3)[:, None]


def grid(rate, seconds, start=0.0):
    return start + np.arange(round(rate * seconds)) / rate


@pytest.mark.parametrize(("source", "out"), [(200, 50), (50, 200), (60, 20), (30, 20), (100, 37.5), (50, 50)])
@pytest.mark.parametrize("shift", [0.0, 0.0071])
def test_tone_below_both_nyquist_rates_is_kept(source, out, shift):
    hz = 0.35 * min(source, out)
    times = grid(out, 4) + 0.5 + shift
    values, valid = resample(sine(hz, grid(source, 5)).astype(np.float32), None, source, 0.0, times)
    assert valid.all()
    np.testing.assert_allclose(values, sine(hz, times), atol=6e-3)


@pytest.mark.parametrize(("source", "out"), [(200, 50), (60, 20), (100, 37.5)])
def test_tone_above_the_output_nyquist_rate_is_removed(source, out):
    hz = 0.62 * out
    times = grid(out, 3) + 1.0
    values, _ = resample(sine(hz, grid(source, 5)).astype(np.float32), None, source, 0.0, times)
    assert np.abs(values).max() < 6e-3
    naive = sine(hz, times)
    assert np.abs(naive).max() > 0.9  # taking every n-th item would have aliased it


def test_warped_times_follow_the_tone():
    times = 0.5 + 4 * (lambda u: u + 0.3 / (2 * np.pi) * np.sin(2 * np.pi * u))(np.arange(200) / 200)
    values, valid = resample(sine(3.0, grid(60, 5)).astype(np.float32), None, 60, 0.0, times)
    assert valid.all()
    np.testing.assert_allclose(values, sine(3.0, times), atol=6e-3)


def test_warp_lowers_the_cutoff_where_time_runs_fast():
    u = np.arange(100) / 100
    times = 0.5 + 4 * (u + 0.9 / (2 * np.pi) * np.sin(2 * np.pi * u))  # 47.5 Hz at the slowest, 13 Hz at the fastest
    values, _ = resample(sine(9.0, grid(100, 5)).astype(np.float32), None, 100, 0.0, times)
    assert np.abs(values[40:60] - sine(9.0, times[40:60])).max() < 0.02  # slow in the middle: kept
    assert np.abs(values[3:8]).max() < 0.05  # fast at the ends: above the local Nyquist rate


def test_items_of_the_source_come_back_exactly():
    source = np.random.default_rng(0).normal(size=(50, 2, 3)).astype(np.float32)
    values, valid = resample(source, None, 20, -0.25, grid(20, 1, start=0.5))
    np.testing.assert_array_equal(values, source[15:35])
    assert valid.all()
    upsampled, _ = resample(source, None, 20, 0.0, grid(60, 2))
    np.testing.assert_allclose(upsampled[::3][:40], source[:40], atol=1e-6)


def test_ends_and_constants():
    source = np.full((20, 1), 9.81, np.float32)
    times = grid(35, 3, start=-1.0)
    values, valid = resample(source, None, 10, 0.0, times)
    inside = (times >= -0.05 - 1e-9) & (times <= 1.95 + 1e-9)
    np.testing.assert_array_equal(valid, inside)
    np.testing.assert_allclose(values[valid], 9.81, rtol=1e-6)
    assert not values[~valid].any()


@pytest.mark.parametrize("rate", [20, 13.7, 60])
def test_nan_in_invalid_items_changes_nothing(rate):
    rng = np.random.default_rng(1)
    source = rng.normal(size=(80, 3)).astype(np.float32)
    valid = np.ones(80, bool)
    valid[30:38] = valid[60] = False
    times = grid(rate, 3.5)
    results = []
    for junk in (0.0, np.nan, np.inf, 1e30):
        damaged = source.copy()
        damaged[~valid] = junk
        results.append(resample(damaged, valid, 20, 0.0, times))
    for values, found in results[1:]:
        np.testing.assert_array_equal(values, results[0][0])
        np.testing.assert_array_equal(found, results[0][1])
    values, found = results[0]
    gap = (times > 29 / 20 + 1e-6) & (times < 38 / 20 - 1e-6)
    assert not found[gap].any()
    assert found[times < 1.4].all()
    constant, found = resample(np.where(valid[:, None], 2.5, np.nan).astype(np.float32), valid, 20, 0.0, times)
    np.testing.assert_allclose(constant[found], 2.5, rtol=1e-5)


def test_needed_items_are_enough():
    source = np.random.default_rng(2).normal(size=(3000, 2)).astype(np.float32)
    for rate, out, start in [(200, 50, 3.333), (200, 200, 4.0), (200, 60, 0.01), (20, 50, 100.0), (200, 50, 14.0)]:
        times = grid(out, 5, start=start)
        begin, end = needed(len(source), places(times, rate, 0.0))
        whole = resample(source, None, rate, 0.0, times)
        part = resample(source[begin:end], None, rate, begin / rate, times)
        np.testing.assert_allclose(part[0], whole[0], atol=2e-6)
        np.testing.assert_array_equal(part[1], whole[1])
    assert needed(3000, places(grid(200, 5, start=4.0), 200, 0.0)) == (800, 1800)  # same grid: no margin
    assert needed(100, places(grid(50, 5, start=4.0), 200, 0.0)) == (0, 0)


def test_rotations_do_not_mind_signs():
    angle = np.linspace(0, 12, 100)
    q = np.stack([np.cos(angle / 2), 0 * angle, 0 * angle, np.sin(angle / 2)], -1)
    flipped = q * np.where(np.random.default_rng(3).random(100) < 0.5, -1, 1)[:, None]
    times = grid(33, 0.9)
    expected, _ = resample_rotations(q[:, None], None, places(times, 100, 0.0))
    found, valid = resample_rotations(flipped[:, None], None, places(times, 100, 0.0))
    assert valid.all()
    np.testing.assert_allclose(np.abs((expected * found).sum(-1)), 1, atol=1e-6)
    exact = np.interp(times, np.arange(100) / 100, angle)
    np.testing.assert_allclose(np.abs(found[:, 0, 0]), np.abs(np.cos(exact / 2)), atol=0.01)
    with_gap, valid = resample_rotations(
        np.where(np.arange(100)[:, None] == 50, np.nan, q), np.arange(100) != 50, places(times, 100, 0.0)
    )
    assert np.isfinite(with_gap).all()
    np.testing.assert_allclose(np.linalg.norm(with_gap, axis=-1), 1, atol=1e-6)
    assert not valid[np.abs(times - 0.5) < 0.009].any()


@pytest.mark.parametrize("rate", [15, 20, 7.3])
def test_unknown_points_stay_unknown_and_touch_no_other(rate):
    rng = np.random.default_rng(4)
    points = np.concatenate([rng.uniform(0, 640, (60, 5, 2)), np.ones((60, 5, 1))], -1).astype(np.float32)
    points[20:30, 2] = 0
    times = grid(rate, 3.5)
    values, valid = resample_points(points, places(times, 15, 0.0))
    assert valid.all()
    gap = (times > 19 / 15 + 1e-6) & (times < 30 / 15 - 1e-6)
    assert not values[gap, 2].any()
    known = values[..., 2] > 0
    assert known[~gap].all()
    assert known[:, [0, 1, 3, 4]].all()
    damaged = points.copy()
    damaged[20:30, 2, :2] = 1e6
    np.testing.assert_array_equal(resample_points(damaged, places(times, 15, 0.0))[0], values)

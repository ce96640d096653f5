"""Times of samples from the times of their arrival."""

import numpy as np

from shards.signals import even_times


def received(taken: np.ndarray, seed: int = 0) -> np.ndarray:
    """Arrivals, in order: 10 to 15 ms late, seen by a receiver that looks every 22 ms."""
    late = taken + np.random.default_rng(seed).uniform(0.010, 0.015, len(taken))
    return np.maximum.accumulate(np.ceil(late / 0.022) * 0.022) + np.arange(len(taken)) * 1e-9


def test_jitter_and_a_clock_that_differs_are_evened_out() -> None:
    taken = 1.3e9 + np.arange(400) / 31.03 * 1.004
    arrivals = received(taken)
    assert np.abs(arrivals - taken - np.mean(arrivals - taken)).max() > 0.009
    late = even_times(arrivals, 31.03) - taken
    assert np.ptp(late) < 0.003
    assert 0.009 < late.mean() < 0.02, "the shortest delay stays"


def test_a_burst_after_a_stall_is_spread_over_the_stall() -> None:
    taken = np.arange(300) / 31.03
    arrivals = received(taken)
    stalled = (arrivals > 4) & (arrivals < 5.5)
    arrivals[stalled] = 5.5 + np.arange(stalled.sum()) * 1e-6
    arrivals = np.maximum.accumulate(arrivals)
    assert np.ptp(even_times(arrivals, 31.03) - taken) < 0.003


def test_lost_samples_leave_a_gap_of_their_length() -> None:
    taken = np.delete(np.arange(300) / 31.03, slice(150, 160))
    times = even_times(received(taken), 31.03)
    step = np.diff(times)
    assert np.argmax(step) == 149
    assert abs(step[149] - 11 / 31.03) < 0.015
    assert np.abs(np.delete(step, 149) - 1 / 31.03).max() < 2e-4


def test_few_samples() -> None:
    assert even_times(np.empty(0), 50.0).shape == (0,)
    assert even_times(np.array([7.5]), 50.0).tolist() == [7.5]
    np.testing.assert_allclose(np.diff(even_times(np.array([1.0, 1.021, 1.039]), 50.0)), 0.02)

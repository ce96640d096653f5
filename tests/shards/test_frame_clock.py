"""Clocks of camera frames: the rate is measured, jumps part, disorder is mended, and what has no rate is refused."""

import numpy as np
import pytest

from shards.frame_clock import stretches

START = 1.651e9


def stamps(count: int = 300, rate: float = 10.1, jitter: float = 0.0) -> np.ndarray:
    return START + np.arange(count) / rate + np.random.default_rng(0).normal(0, jitter, count)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6, 1e9])
def test_rate_in_any_unit_and_as_objects(scale: float) -> None:
    for times in (stamps() * scale, (stamps() * scale).astype(object)):
        (part,), notes = stretches(times)
        assert part.rate_hz == pytest.approx(10.1, rel=1e-5)
        assert (part.begin, len(part.times), notes) == (0, 300, [])


def test_late_reading_is_put_on_the_line() -> None:
    (part,), _ = stretches(stamps(jitter=0.02))
    np.testing.assert_allclose(part.times, np.arange(300) / 10.1, atol=0.01)
    assert np.ptp(np.diff(part.times)) < 1e-9
    (part,), _ = stretches(np.floor(stamps(1000)))  # whole seconds
    assert part.rate_hz == pytest.approx(10.1, rel=1e-3)


def test_lost_frames_stay_holes() -> None:
    times = np.delete(stamps(300), np.arange(100, 108))
    times[[150, 151]] = times[[151, 150]]
    (part,), _ = stretches(times)
    assert (np.diff(part.times) > 0.09).all()
    assert part.rate_hz == pytest.approx(10.1)
    np.testing.assert_allclose(part.times[[99, 100, 291]], np.array([99, 108, 299]) / 10.1, atol=1e-5)


def test_swapped_and_missing_times_are_mended_and_jumps_part() -> None:
    times = stamps(400).astype(object)
    times[[30, 31]] = times[[31, 30]]
    times[50] = None
    times[60] = float("nan")
    times[200:] -= 7200.0
    times[390:] += 50.0
    found, notes = stretches(times)
    assert [(part.begin, len(part.times)) for part in found] == [(0, 200), (200, 190)]
    for part in found:
        np.testing.assert_allclose(part.times, np.arange(len(part.times)) / 10.1, atol=1e-4)
    assert {note.reason.split(":")[0]: note.count for note in notes} == {
        "frames without a time": 2,
        "times of frames out of order": 1,
        "clock of the frames jumps": 2,
        "frames between jumps of the clock": 10,
    }


def test_frames_without_a_time_at_the_ends_are_left_out() -> None:
    times = stamps(300)
    times[:40] = times[-60:] = np.nan
    (part,), notes = stretches(times)
    assert (part.begin, len(part.times)) == (40, 200)
    np.testing.assert_allclose(part.times, np.arange(200) / 10.1, atol=1e-5)
    assert [(note.reason, note.count) for note in notes] == [
        ("frames without a time at an end of the recording: left out", 100)
    ]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (np.arange(300) / 10, "unix time in no unit"),
        (stamps(10), "10 frames have a time"),
        (np.full(300, START), "do not go on"),
        (np.array(["monday"] * 30, dtype=object), "no numbers"),
        (START + 100 * (-1.0) ** np.arange(300), "jumps all the time"),
    ],
)
def test_what_has_no_rate_is_refused(times: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stretches(times)

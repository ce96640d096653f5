import numpy as np
import pytest
import torch

from aura.data.index import open_split
from aura.demo import answers
from aura.demo.figures import MOMENTS, sheets, timeline
from aura.demo.readers import from_sample, read_film, without_start

pytestmark = pytest.mark.filterwarnings("ignore::aura.inference.checks.InputWarning")
WORDS = ["walking", "sitting", "waving"]


@pytest.fixture(scope="module")
def desk(demo_model, demo_shards):
    return answers.open_desk(demo_model, f"{demo_shards}:train", 1.0)


def test_a_sample_gives_what_the_model_would_read_of_it(desk, demo_model, demo_shards, monkeypatch):
    sample = open_split(str(demo_shards), "train").sample(0)
    loaded = desk.load(next(iter(desk.samples)))
    assert set(loaded.given) == {"imu", "mocap", "pose2d", "video"}
    found, start, span = answers.recognise(desk, loaded, "imu", WORDS)
    expected = demo_model.classify(
        WORDS,
        imu=sample.arrays["imu"],
        rate_hz=sample.streams["imu"]["rate_hz"],
        placements=[sensor["placement"] for sensor in sample.streams["imu"]["sensors"]],
        stride_s=0.25,
    )
    assert (start, span) == (0.0, 2.0)
    torch.testing.assert_close(found.by_window, expected.by_window)
    assert found.start_s.tolist() == [0.25 * i for i in range(9)]
    for stream in ("video", "mocap"):
        assert set(answers.recognise(desk, loaded, stream, WORDS)[0].probabilities) == set(WORDS)
    with pytest.raises(ValueError, match="pose2d was not trained with words; imu, mocap, video was"):
        answers.recognise(desk, loaded, "pose2d", WORDS)
    monkeypatch.setattr(demo_model.module, "compared", frozenset())
    with pytest.raises(ValueError, match="the model tiny was not trained with words"):
        answers.recognise(desk, loaded, "imu", WORDS)


def test_moments_are_where_the_time_axis_says(desk):
    loaded = desk.load(next(iter(desk.samples)))
    found, start, span = answers.recognise(desk, loaded, "imu", WORDS)
    line = timeline(loaded, found, start, span)
    assert line.image.startswith(b"\x89PNG")
    odd = ["$a_b", "x" * 90, r"\frac{$", "<i>"]  # no mathematics, no tags
    assert timeline(loaded, answers.recognise(desk, loaded, "imu", odd)[0], start, span).image != line.image
    assert (line.first_s, line.last_s) == (0.0, 4.0)
    film, body = sheets(loaded)
    assert (film.name, film.count, body.name, body.count) == ("video", 40, "mocap", MOMENTS)
    for sheet in (film, body):
        assert sheet.start_s + (sheet.count - 1) * sheet.step_s == pytest.approx(4.0 - sheet.step_s / 2)


def test_the_search_is_the_exact_one_without_overlaps(desk, demo_model):
    told = []
    windows, keys = answers.gallery(desk, "imu", lambda done, count: told.append((done, count)))
    assert told == [(i, 36) for i in range(36)]
    assert keys == list(desk.samples)
    assert answers.gallery(desk, "imu", lambda *_: pytest.fail("embedded twice"))[0] is windows
    hits = answers.search(desk, windows, "walking", 4)
    scores = windows.vectors @ demo_model.embed_text(["walking"])[0]
    assert hits[0].score == pytest.approx(float(scores.max()))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    first = from_sample(desk.split.sample(desk.samples[keys[hits[0].recording]]), demo_model)
    alone = demo_model.embed(by_window=True, **first.given["imu"])
    at = alone.start_s.tolist().index(hits[0].start_s)
    assert float(alone.vectors[at] @ demo_model.embed_text(["walking"])[0]) == pytest.approx(hits[0].score, abs=1e-5)
    for query, match in (("  ", "say in words"), ("x" * 300, "at most 200")):
        with pytest.raises(ValueError, match=match):
            answers.search(desk, windows, query)
    overlapping = demo_model.embed(by_window=True, stride_s=0.25, **first.given["imu"])
    starts = [hit.start_s for hit in answers.search(desk, overlapping, "walking")]
    assert all(abs(a - b) >= 2.0 for i, a in enumerate(starts) for b in starts[:i])


def test_an_offset_that_was_put_in_by_hand_is_found(desk):
    loaded = desk.load(next(iter(desk.samples)))
    found, how, _ = answers.offset(desk, loaded, "imu", loaded, "imu", 0.8)
    assert "trained to align" in how
    assert found.offset.offset_s == pytest.approx(0.8, abs=0.06)


def test_where_moments_are_not_aligned_windows_are_or_the_page_says_why_not(desk, monkeypatch):
    loaded = desk.load(next(iter(desk.samples)))
    found, how, decided = answers.offset(desk, loaded, "imu", loaded, "video", 0.0)
    assert "whole windows of 2 s" in how
    assert found.similarity.shape == (11, 11)
    assert decided == found.offset.decided
    _, how, decided = answers.offset(desk, loaded, "imu", loaded, "video", 0.5)
    assert "Recordings of 4 s and 3.5 s hold too few of them: 4 s or more decide" in how
    assert not decided
    with pytest.raises(ValueError, match=r"gives 2 s of video: .* windows of 2 s are compared, which need a longer"):
        answers.offset(desk, loaded, "imu", loaded, "video", 2.0)
    monkeypatch.setattr(desk.model.module, "compared", frozenset({"imu", "video"}))
    with pytest.raises(ValueError, match="pose2d has no embedding of windows"):
        answers.offset(desk, loaded, "video", loaded, "pose2d", 0.0)
    with pytest.raises(ValueError, match="9 s cannot be left out of"):
        answers.offset(desk, loaded, "imu", loaded, "video", 9.0)


def test_the_beginning_that_is_left_out(desk):
    loaded = desk.load(next(iter(desk.samples)))
    cut = without_start(loaded, "imu", 1.0).given["imu"]["imu"]
    np.testing.assert_array_equal(cut, loaded.arrays["imu"][:, 50:])
    frames, rate = read_film(loaded.arrays["video"])
    assert (len(frames), rate) == (40, 10.0)
    np.testing.assert_array_equal(without_start(loaded, "video", 1.0).given["video"]["video"], frames[10:])


def test_words_of_people():
    assert answers.words_of("walking, sitting\n\n waving ,walking") == ["walking", "sitting", "waving"]
    for text, match in (
        ("", "two or more"),
        ("walking", "two or more"),
        (",".join(map(str, range(99))), "at most 60"),
        ("a,b" + "x" * 300, "at most 200"),
    ):
        with pytest.raises(ValueError, match=match):
            answers.words_of(text)


def test_samples_are_spread_over_a_split(demo_model, demo_shards, monkeypatch):
    monkeypatch.setattr(answers, "MOST_SAMPLES", 3)
    desk = answers.open_desk(demo_model, f"{demo_shards}:train", 1.0)
    assert list(desk.samples.values()) == [0, 18, 35]
    with pytest.raises(ValueError, match="there is no sample 'x'"):
        desk.load("x")

"""The wide synthetic human: every activity keeps the format, and neither its means nor its silence give it away."""

import itertools
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aura.body.placements import placement_id
from aura.data.sample import Sample, validate
from shards import synthetic
from shards.synthetic import Recording, Settings
from shards.synthetic_body import WIDE_SENSORS
from shards.synthetic_everyday import jolt, strike
from shards.synthetic_everyday_words import EVERYDAY
from shards.synthetic_motions import Motion, idle, pauses
from shards.synthetic_words import ACTIVITIES

WIDE = Settings(video=False, wide=True, seconds=6.0)
G = 9.80665


@pytest.fixture(scope="module")
def clips() -> dict[str, list[Sample]]:
    """Three clips of each activity."""
    found: dict[str, list[Sample]] = {}
    for subject in range(3):
        for _, sample in synthetic.samples_of(Recording(subject, 0, "train"), WIDE):
            found.setdefault(sample.labels["activity"], []).append(sample)
    return found


def test_every_activity_is_said_in_words_of_its_own() -> None:
    every = ACTIVITIES | EVERYDAY
    assert len(every) == len(ACTIVITIES) + len(EVERYDAY) > 100
    said = [text for a in every.values() for text in (a.label, *a.says)]
    assert len(set(said)) == len(said)
    assert all(len({"{side}" in say for say in a.says}) == 1 for a in every.values())
    for name in WIDE_SENSORS:
        placement_id(name)


def test_clips_keep_the_format_and_are_movements_of_a_body(clips: dict[str, list[Sample]]) -> None:
    assert set(clips) == set(ACTIVITIES | EVERYDAY)
    seconds = [sample.duration_s for samples in clips.values() for sample in samples]
    assert min(seconds) < 2.5
    assert max(seconds) > 5.5
    for name, samples in clips.items():
        for sample in samples:
            validate(sample)
            imu: Any = sample.arrays["imu"]
            assert imu.shape[::2] == (len(WIDE_SENSORS), 6), name
            assert abs(imu.shape[1] - sample.duration_s * 50) < 1.5, name
            norm = np.linalg.norm(imu[..., :3].astype(float), axis=-1)
            assert 0.8 * G < norm[2].mean() < 3 * G, name  # the pelvis; much where it flies
            assert norm.mean() < 5 * G, name
            assert norm.max() <= 16 * G * 3**0.5 + 1e-3, name  # the sensors' range
            assert np.abs(np.asarray(sample.arrays["mocap"])[..., 2]).max() < 3.0, name


def test_a_walker_shakes_as_a_real_one() -> None:
    """The pelvis of people who walk accelerates by 2 to 3 m/s^2 rms; faster ones by more."""
    shaken = []
    for subject in range(12):
        person = synthetic.make_subject("s", np.random.default_rng([0, subject]))
        clip = synthetic.clip("k", person, "walk", ACTIVITIES["walk"], np.random.default_rng([1, subject]), WIDE)
        if clip.labels["tempo"] == "normal":
            shaken.append(np.linalg.norm(np.asarray(clip.arrays["imu"])[2, :, :3].astype(float), axis=-1).std())
    assert 1.0 < np.median(shaken) < 6.0


def test_basic_clips_are_the_same_with_and_without_more_activities() -> None:
    """A new activity changes no clip of the others: the quickstart's shards stay what they are."""
    names = [
        sample.labels["activity"] for _, sample in synthetic.samples_of(Recording(0, 0, "train"), Settings(video=False))
    ]
    assert names == list(ACTIVITIES)


def test_movements_pause_and_rest_as_they_stand() -> None:
    t = np.arange(600) / 100
    rested = 0
    for seed in range(40):
        m = Motion(t, np.random.default_rng(seed), 1.0, 1.0)
        idle(m)
        standing = dict(m.curves)
        m.add(d_elbow=40 * np.sin(2 * np.pi * t) + 40)
        pauses(m, standing)
        still = np.abs(m.curves["d_elbow"] - standing["d_elbow"]) < 1e-9
        rested += still.mean() > 0.05
    assert 10 < rested < 30


def test_contacts_have_corners_and_jolts_fade() -> None:
    phase = np.linspace(-np.pi, np.pi, 2001)
    speed = np.gradient(strike(phase), phase)
    assert strike(phase)[1000] == pytest.approx(0)
    assert speed[1010] - speed[990] == pytest.approx(1.0, abs=0.02)  # it turns round at once, from -1/2 to 1/2
    t = np.arange(300) / 100
    yielded = jolt(t, 1.0, 0.02)
    assert not yielded[:100].any()
    assert yielded.min() < -0.01
    assert np.abs(yielded[200:]).max() < 1e-3


def test_means_do_not_tell_the_activity() -> None:
    """A linear probe on the means of windows, across subjects, tells less than half; spread and spectrum tell far more."""
    rows: dict[str, dict[str, list]] = {"train": {}, "val": {}}
    for recording in synthetic.plan(8, 3, 0, 1):
        for split, sample in synthetic.samples_of(recording, WIDE):
            imu: Any = np.asarray(sample.arrays["imu"])[[3, 4, 7, 8, 1]].astype(float)  # wrists, ankles, chest
            norms = np.linalg.norm(imu.reshape(*imu.shape[:2], 2, 3), axis=-1)
            power = np.abs(np.fft.rfft(norms - norms.mean(1, keepdims=True), 256, axis=1)) ** 2
            edges = [1, 4, 8, 13, 20, 30, 45, 64, 128]
            bands = np.concatenate([np.log(power[:, a:b].mean(1) + 1e-2).ravel() for a, b in itertools.pairwise(edges)])
            moving = np.concatenate([np.log(imu.std(1) + 1e-3).ravel(), bands])
            for name, value in {
                "mean": imu.mean(1).ravel(),
                "moving": moving,
                "label": sample.labels["activity"],
            }.items():
                rows[split].setdefault(name, []).append(value)
    accuracy = {}
    for name in ("mean", "moving"):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=200))
        probe.fit(rows["train"][name], rows["train"]["label"])
        accuracy[name] = probe.score(rows["val"][name], rows["val"]["label"])
    print(f"chance {1 / len(ACTIVITIES | EVERYDAY):.3f}, {accuracy}")
    assert accuracy["mean"] < 0.4
    assert accuracy["moving"] > max(0.3, 1.5 * accuracy["mean"])

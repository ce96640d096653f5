"""The synthetic human: what its streams promise, and that only dynamics tell the activities apart."""

import hashlib
import itertools
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aura.body.kinematics import rotate
from aura.body.skeletons import SKELETONS
from aura.data.sample import Sample, validate
from aura.data.video import decode_frames
from shards import synthetic
from shards.common import convert
from shards.synthetic import Recording, Settings
from shards.synthetic_body import SENSORS
from shards.synthetic_motions import Motion, idle, ramp
from shards.synthetic_words import ACTIVITIES

KINECT = SKELETONS["kinect20"].joints


@pytest.fixture(scope="module")
def clips() -> dict[str, Sample]:
    """All activities of one subject, with orientation and video, by activity."""
    made = synthetic.samples_of(Recording(0, 0, "train"), Settings(orientation=True))
    return {sample.labels["activity"]: sample for _, sample in made}


def test_size_of_the_world() -> None:
    assert len(ACTIVITIES) >= 24
    assert len(SENSORS) >= 8
    said = [text for a in ACTIVITIES.values() for text in (a.label, *a.says)]
    assert len(set(said)) == len(said)
    assert all(len({"{side}" in say for say in a.says}) == 1 for a in ACTIVITIES.values())


def test_every_sample_keeps_the_format(clips: dict[str, Sample]) -> None:
    for sample in clips.values():
        validate(sample)
        assert set(sample.arrays) == {"imu", "orientation", "mocap", "pose2d", "video"}
        assert sample.arrays["imu"].shape == (len(SENSORS), 250, 6)
        assert len(sample.texts) >= 5
        assert len({text["text"] for text in sample.texts}) == len(sample.texts)


def test_imu_agrees_with_the_motion_that_mocap_shows(clips: dict[str, Sample]) -> None:
    """Turned to the world by its own orientation, less gravity and twice integrated, the IMU gives the wrist's way."""
    sample = clips["wipe"]
    for placement, joint in (("right wrist", "right_wrist"), ("left wrist", "left_wrist")):
        sensor = list(SENSORS).index(placement)
        imu, q = sample.arrays["imu"][sensor].astype(float), sample.arrays["orientation"][sensor].astype(float)
        acceleration = rotate(q, imu[:, :3]) - np.array([0, 0, 9.80665])
        way = np.cumsum(np.cumsum(acceleration, 0), 0) / 50**2
        joints = sample.arrays["mocap"][:, KINECT.index(joint)].astype(float)
        # Bias, start and speed are unknown: a parabola is free. What is left must be the movement, to 5 cm.
        t = np.arange(250) / 50
        free = np.stack([t**0, t, t**2], -1)
        rest = [c - free @ np.linalg.lstsq(free, c, rcond=None)[0] for c in (way, joints)]
        assert np.abs(rest[0] - rest[1]).max() < 0.05


def test_pose2d_and_video_show_the_mocap(clips: dict[str, Sample]) -> None:
    """The pixels of a raised or lowered wrist follow its height; the drawn body is where the pose says."""
    sample = clips["jumping_jack"]
    coco = SKELETONS["coco17"].joints
    for side in ("left", "right"):
        height = sample.arrays["mocap"][::2, KINECT.index(f"{side}_wrist"), 2]
        pixel = sample.arrays["pose2d"][:, coco.index(f"{side}_wrist"), 1]
        assert np.corrcoef(height, pixel)[0, 1] < -0.95
    frames = decode_frames(sample.arrays["video"], [0.0, 2.0]).astype(int)
    background = frames[:, 2, 2]
    for frame, pose, colour in zip(frames, sample.arrays["pose2d"][[0, 50]], background):
        hips = pose[[coco.index("left_hip"), coco.index("right_hip")], :2].mean(0) / 5
        x, y = np.rint(hips).astype(int)
        around = frame[y - 3 : y + 2, x - 2 : x + 3]  # the drawn pelvis ends a little above the middle of the hips
        assert np.abs(around - colour).max() > 25


def test_bodies_stand_on_the_floor_and_differ(clips: dict[str, Sample]) -> None:
    for name, sample in clips.items():
        lowest = sample.arrays["mocap"][..., 2].min(1)
        assert lowest.min() > -0.03, name
        assert np.median(lowest) < 0.2, name
    rng = [np.random.default_rng([0, i]) for i in range(40)]
    people = [synthetic.make_subject(f"s{i}", r) for i, r in enumerate(rng)]
    assert np.ptp([p.height for p in people]) > 0.3
    assert 0.4 < np.mean([p.right_handed for p in people]) < 0.9


def test_sides_are_those_of_the_words() -> None:
    """The wrist that the text names is the one that goes the longer way."""
    for repetition in range(3):
        made = synthetic.samples_of(Recording(2, repetition, "train"), Settings(video=False))
        for _, sample in made:
            if sample.labels["activity"] in ("wave", "shake", "hammer", "knock", "saw"):
                way = {}
                for side in ("left", "right"):
                    wrist = sample.arrays["mocap"][::5, KINECT.index(f"{side}_wrist")]
                    way[side] = np.linalg.norm(np.diff(wrist, axis=0), axis=-1).sum()
                assert max(way, key=way.__getitem__) == sample.labels["side"]
                assert f"the {sample.labels['side']} " in sample.texts[1]["text"]
                assert sample.texts[0]["text"] == ACTIVITIES[sample.labels["activity"]].label


def test_tempo_is_in_the_signal_and_in_the_words() -> None:
    """Steps a second of `walk` are faster where the text says so."""
    rates: dict[str, list[float]] = {"slow": [], "normal": [], "fast": []}
    for subject in range(12):
        person = synthetic.make_subject("s", np.random.default_rng([0, subject]))
        for clip in range(2):
            rng = np.random.default_rng([1, subject, clip])
            sample = synthetic.clip("k", person, "walk", ACTIVITIES["walk"], rng, Settings(video=False))
            ankles = sample.arrays["mocap"][:, [KINECT.index("left_ankle"), KINECT.index("right_ankle")], :]
            apart = np.linalg.norm(ankles[:, 0] - ankles[:, 1], axis=-1)
            power = np.abs(np.fft.rfft(apart - apart.mean(), 2048)) ** 2
            rates[sample.labels["tempo"]].append(np.argmax(power) * 50 / 2048)
            said = {"slow": "slowly", "normal": "at a normal pace", "fast": "quickly"}[sample.labels["tempo"]]
            assert said in sample.texts[2]["text"]
    assert np.median(rates["slow"]) < np.median(rates["normal"]) < np.median(rates["fast"])


def test_same_seed_same_bytes_at_any_number_of_workers(tmp_path: Path) -> None:
    hashes = []
    for workers, seed in ((1, 0), (2, 0), (1, 1)):
        out = tmp_path / f"{workers}_{seed}"
        job = partial(synthetic.samples_of, settings=Settings(seed=seed, seconds=2.0))
        convert("synthetic", synthetic.plan(1, 1, 0, 1), job, out, workers=workers)
        hashes.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.iterdir())})
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_subjects_are_in_one_split_only() -> None:
    recordings = synthetic.plan(3, 2, 1, 2)
    assert len(recordings) == len({r.id for r in recordings}) == 12
    by_split = {s: {r.subject for r in recordings if r.split == s} for s in ("train", "val", "test")}
    assert [len(v) for v in by_split.values()] == [3, 2, 1]
    assert len(set.union(*by_split.values())) == 6


def test_command_line_refuses_nonsense(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shards.synthetic", "--out", str(tmp_path / "o"), "--seconds", "90"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "2 to 60 seconds" in done.stderr


def test_curves_that_motions_are_made_of() -> None:
    t = np.arange(1000) / 100
    m = Motion(t, np.random.default_rng(0), tempo=2.0, amp=1.0)
    assert np.median(np.gradient(m.phase(1.5), t)) == pytest.approx(2 * np.pi * 3, rel=0.1)
    assert np.mean([m.wander(2.0).std() for _ in range(200)]) == pytest.approx(2.0, rel=0.15)
    np.testing.assert_allclose(ramp(t, 2.0, 3.0)[[0, 200, 350, 500, 999]], [0, 0, 0.5, 1, 1], atol=1e-12)
    idle(m)
    m.add(b_elbow=5.0)
    assert {"d_elbow", "o_elbow"} <= m.curves.keys()


def test_activity_is_not_in_the_means_but_in_the_dynamics() -> None:
    """Linear probes across subjects: means of a window tell less than half, the spread and the spectrum tell most."""
    features: dict[str, dict[str, list]] = {"train": {}, "val": {}}
    for recording in synthetic.plan(10, 4, 0, 2):
        for split, sample in synthetic.samples_of(recording, Settings(video=False)):
            imu = sample.arrays["imu"].astype(float)
            norms = np.linalg.norm(imu.reshape(*imu.shape[:2], 2, 3), axis=-1)
            power = np.abs(np.fft.rfft(norms - norms.mean(1, keepdims=True), axis=1)) ** 2
            edges = [1, 3, 5, 8, 12, 18, 26, 40, 80]
            bands = [np.log(power[:, a:b].sum(1) + 1e-2).ravel() for a, b in itertools.pairwise(edges)]
            row = {
                "mean": imu.mean(1).ravel(),
                "spread": np.log(imu.std(1) + 1e-3).ravel(),
                "spectrum": np.concatenate(bands),
                "label": sample.labels["activity"],
            }
            for name, value in row.items():
                features[split].setdefault(name, []).append(value)
    accuracy = {}
    for name in ("mean", "spread", "spectrum"):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        probe.fit(features["train"][name], features["train"]["label"])
        accuracy[name] = probe.score(features["val"][name], features["val"]["label"])
    print(f"chance {1 / len(ACTIVITIES):.3f}, " + ", ".join(f"{k} {v:.3f}" for k, v in accuracy.items()))
    assert accuracy["mean"] < 0.4
    assert accuracy["spread"] > 0.75
    assert accuracy["spectrum"] > 0.85

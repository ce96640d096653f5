"""Berkeley MHAD: files in the published layout, made here, against the samples; and the real clips."""

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from aura.data.writer import ShardError
from shards import berkeley_mhad
from shards.archives import files
from shards.berkeley_mhad import GRAVITY, OFFSETS, RATE_HZ
from shards.berkeley_mhad_texts import ACTIONS
from tests.shards.collect import collect, contents, real_data

T0 = 1_309_539_264.0
WHOLE = 200  # samples of a clip: 6.4 s


def force(sensor: int, t: np.ndarray) -> np.ndarray:
    """Specific force (n, 3) in m/s^2 at times t after T0."""
    waves = [np.sin(2 * np.pi * (0.3 + 0.1 * k) * t + sensor) for k in range(3)]
    return np.stack(waves, 1) * 3 + np.array([0.0, GRAVITY, 1.0])


def clip(sensor: int, *, samples: int = WHOLE, lose: slice | None = None, late_s: float = 0.0, end: str = "\n") -> str:
    """A sensor's file: even samples, which arrive when the receiver looks, in g with the sensor's offset."""
    t = late_s + np.arange(samples) / RATE_HZ + 0.001 * sensor
    raw = force(sensor, t) / GRAVITY + OFFSETS[sensor - 1]
    stamps = T0 + np.ceil((t + 0.010) / 0.022) * 0.022 + np.arange(samples) * 1e-5
    rows = [f"{x:f} {y:f} {z:f} {s:f}" for (x, y, z), s in zip(raw, stamps)]
    if lose:
        del rows[lose]
    return "".join(row + end for row in rows)


def put(root: Path, name: tuple[int, int, int], texts: dict[int, str]) -> None:
    for sensor, text in texts.items():
        s, a, r = name
        path = root / "Accelerometer" / f"Shimmer0{sensor}" / f"acc_h0{sensor}_s{s:02d}_a{a:02d}_r{r:02d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four clips: a whole one; one with faults; one with a single sensor; one of nothing that can be used."""
    root = tmp_path / "source"
    put(root, (1, 2, 1), {h: clip(h, end=" \n" if h == 3 else "\n") for h in range(1, 7)})
    spiky = clip(1).splitlines(keepends=True)
    spiky[50] = "0.1 61.2 0.3 " + spiky[50].split()[3] + "\n"
    spiky[80] = "0.5 0.5\n"
    spiky[90], spiky[91] = spiky[91], spiky[90]
    faults = {1: "".join(spiky), 3: clip(3, lose=slice(60, 70)), 4: clip(4, samples=40), 5: clip(5, late_s=2.0), 6: ""}
    put(root, (8, 11, 5), {2: clip(2), **faults})
    put(root, (7, 1, 3), {6: clip(6)})
    put(root, (9, 1, 3), {6: ""})
    stamps = root / "Time_stamps" / "time_stamps_img_s01_a02_r01.txt"
    stamps.parent.mkdir()
    stamps.write_text("0 1309539264.05\n")
    return root


def convert(source: Path, cache: Path, **options) -> dict:
    recordings = berkeley_mhad.plan(files(source, (".txt",), cache), **options)
    return {recording.id: collect(berkeley_mhad.samples_of(recording)) for recording in recordings}


def test_values_clock_placements_and_texts(source: Path, tmp_path: Path) -> None:
    [(split, sample)], notes = convert(source, tmp_path)["s01_a02_r01"]
    assert (split, sample.subject, sample.labels, notes) == ("train", "s01", {"activity": "jumping_jacks"}, {})
    stream, imu = sample.streams["imu"], sample.arrays["imu"]
    assert [s["placement"] for s in stream["sensors"]] == list(berkeley_mhad.PLACEMENTS)
    assert all(s["channels"] == ["acc"] and s["range"] == [2 * GRAVITY, 0.0] for s in stream["sensors"])
    assert stream["rate_hz"] == RATE_HZ
    assert abs(sample.duration_s - WHOLE / RATE_HZ) < 0.1
    # The clip starts when the last sensor starts, and the shortest delay of reception stays: 10 ms and a little more.
    t = np.arange(imu.shape[1]) / RATE_HZ + 0.006
    for sensor in range(1, 7):
        np.testing.assert_allclose(imu[sensor - 1, :, :3], force(sensor, t), atol=0.12)
    assert not imu[..., 3:].any()
    kinds = [(t["kind"], t["text"]) for t in sample.texts]
    assert ("label", "jumping jacks") in kinds
    assert sum(kind == "description" for kind, _ in kinds) == 4
    assert sum(kind == "paraphrase" for kind, _ in kinds) == 2


def test_a_sensor_that_is_not_whole_is_left_out_and_said(source: Path, tmp_path: Path) -> None:
    [(split, sample)], notes = convert(source, tmp_path)["s08_a11_r05"]
    assert split == "test"
    assert [s["placement"] for s in sample.streams["imu"]["sensors"]] == ["left wrist", "right wrist"]
    imu = sample.arrays["imu"]
    t = np.arange(imu.shape[1]) / RATE_HZ
    np.testing.assert_allclose(imu[0, :, :3], force(1, t), atol=0.25)  # a line is lost, and the count shifts a little
    assert np.abs(imu).max() < 2.5 * GRAVITY
    assert {reason: note.count for reason, note in notes.items() if "left out" not in reason} == {
        "lines that have not 4 numbers": 1,
        "samples out of order: put in the order of their times": 1,
        "left wrist: spikes beyond 2.5 g": 1,
        "left wrist: samples of the even grid filled from their neighbours": 2,
    }
    reasons = "\n".join(notes)
    assert "left hip: lost for longer than 0.1 s; sensor left out" in reasons
    assert "right hip: starts late or ends early by more than 0.25 s; sensor left out" in reasons
    assert "left ankle: starts late or ends early by more than 0.25 s; sensor left out" in reasons
    assert "right ankle: no file with two samples or more; sensor left out" in reasons


def test_one_sensor_is_a_clip_and_none_is_none(source: Path, tmp_path: Path) -> None:
    found = convert(source, tmp_path, val_subjects=[7])
    [(split, sample)], _ = found["s07_a01_r03"]
    assert (split, sample.arrays["imu"].shape[0]) == ("val", 1)
    assert found["s09_a01_r03"][0] == []
    assert "clip without a sensor" in found["s09_a01_r03"][1]


def test_archives_and_workers_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    for number in range(1, 7):
        with tarfile.open(packed / f"shimmer{number}.tar.xz", "w:xz") as archive:
            archive.add(source / "Accelerometer" / f"Shimmer0{number}", f"Shimmer0{number}")
    berkeley_mhad.run(source, tmp_path / "one")
    command = [sys.executable, "-m", "shards.berkeley_mhad", "--source", packed, "--out", tmp_path / "two"]
    done = subprocess.run([*command, "--workers", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    done = subprocess.run([sys.executable, "tools/verify_shards.py", tmp_path / "two"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_cannot_be_is_said(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no files such as Shimmer01/acc_h01_s01_a01_r01.txt: download"):
        berkeley_mhad.plan([])
    found = files(source, (".txt",), tmp_path)
    with pytest.raises(ShardError, match="subjects 8 to 12 are the test split"):
        berkeley_mhad.plan(found, [8])
    with pytest.raises(ShardError, match="no subject 2"):
        berkeley_mhad.plan(found, [2])
    put(source, (1, 12, 1), {1: clip(1)})
    with pytest.raises(ShardError, match="there is no action 12, only 1 to 11"):
        berkeley_mhad.plan(files(source, (".txt",), tmp_path))
    word = source / "Accelerometer" / "Shimmer01" / "acc_h01_s01_a02_r01.txt"
    word.write_text("0.1 0.2 one 1309539264.05\n")
    recording = berkeley_mhad.plan(found)[0]
    with pytest.raises(ValueError, match=r"acc_h01_s01_a02_r01.txt: must be lines of 4 numbers"):
        list(berkeley_mhad.samples_of(recording))


def test_the_texts_differ() -> None:
    said = [text for a in ACTIONS for text in (a.label, *a.descriptions, *a.paraphrases)]
    assert len(ACTIONS) == 11
    assert len(set(said)) == len(said)


@pytest.mark.realdata
def test_real_clips_rest_at_gravity_and_one_wrist_waves(tmp_path: Path) -> None:
    source = real_data("berkeley_mhad")
    with tarfile.open(source / "accelerometer.tar.xz") as archive:  # two repetitions: unpacking all takes long
        for member in archive:
            if member.isfile() and member.name.endswith("r02.txt"):
                path = tmp_path / "source" / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None
                path.write_bytes(content.read())
    found = convert(tmp_path / "source", tmp_path)
    assert len(found) == 132
    rest: dict[str, list[float]] = {}
    waves = {"left wrist": [], "right wrist": []}
    for name, (samples, _) in found.items():
        [(_, sample)] = samples
        for sensor, acc in zip(sample.streams["imu"]["sensors"], sample.arrays["imu"][..., :3]):
            norm = np.linalg.norm(acc, axis=1)
            for begin in range(0, len(acc) - 15, 15):
                if acc[begin : begin + 15].std(0).max() < 0.3:
                    rest.setdefault(sensor["placement"], []).append(norm[begin : begin + 15].mean())
            if "_a06_" in name and sensor["placement"] in waves:
                waves[sensor["placement"]].append(norm.std())
    assert rest.keys() == set(berkeley_mhad.PLACEMENTS)
    for place, norms in rest.items():
        assert abs(np.median(norms) - GRAVITY) < 0.1, place
        assert np.percentile(np.abs(np.array(norms) - GRAVITY), 95) < 0.35, place
    assert np.median(waves["right wrist"]) > 5 * np.median(waves["left wrist"])

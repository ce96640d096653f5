"""SP-SW-HAR: files in the published layout, made here, against the samples; and real turns."""

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from aura.data.writer import ShardError
from shards import sp_sw_har
from shards.archives import files
from shards.sp_sw_har import DEVICE_HZ
from shards.sp_sw_har_texts import ACTIVITIES, TURNS
from tests.shards.collect import collect, contents, real_data

T0 = 1_657_533_977.0
RUNS = (
    ("SEATED", 0.3), ("STANDING_UP", 1.2), ("WALKING", 2.4), ("TURNING", 1.1), ("WALKING", 2.2), ("TURNING", 1.0),
    ("WALKING", 0.01), ("SITTING_DOWN", 1.3), ("SEATED", 0.8),
)  # fmt: skip
BORDERS = np.cumsum([0.0, *(s for _, s in RUNS)])


def signal(device: str, t: np.ndarray) -> np.ndarray:
    """(n, 6) in m/s^2 and rad/s at t seconds after T0."""
    shift = {"sp": 0.0, "sw": 1.0}[device]
    waves = [np.sin(2 * np.pi * (0.4 + 0.2 * k) * t + shift) for k in range(6)]
    return np.stack(waves, 1) * [3, 2, 1, 1, 2, 1] + [0, 0, 9.81, 0, 0, 0]


def device(name: str, begin: float = 0.0, end: float = BORDERS[-1]) -> list[str]:
    """Lines of a file: even samples that arrive in bursts of 5 (phone) or 2 (watch), times in whole milliseconds."""
    t = np.arange(begin, end, 1 / DEVICE_HZ[name])
    burst = {"sp": 5, "sw": 2}[name]
    arrivals = t[np.minimum((np.arange(len(t)) // burst + 1) * burst - 1, len(t) - 1)] + 0.004
    labels = [RUNS[min(np.searchsorted(BORDERS, x, "right"), len(RUNS)) - 1][0] for x in arrivals]
    rows = [",".join([*(repr(float(v)) for v in row)]) for row in signal(name, t)]
    stamps = np.round((T0 + arrivals) * 1000).astype(np.int64).tolist()
    head = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label"
    return [head, *(f"{row},{stamp},{label}" for row, stamp, label in zip(rows, stamps, labels))]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """s01_01 whole; s02_03 without the watch, with faults; s03_01 with a device that starts late."""
    root = tmp_path / "source" / "DATA"
    phone = device("sp")
    phone[100], phone[400] = "1,2,3", phone[400].replace("WALKING", "HOPPING")
    phone[300], phone[310] = phone[310], phone[300]
    for name, lines in {
        "s01_01_sp": device("sp"), "s01_01_sw": device("sw"), "s02_03_sp": phone,
        "s03_01_sp": device("sp", 0.35), "s03_01_sw": device("sw", 0.0, 9.9),
    }.items():  # fmt: skip
        path = root / name[:3] / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    info = ["execution_id,orientation,first_turn,second_turn", "s01_01,back_inv,l,r", "s02_03,front,r,r"]
    (root / "executions_info.csv").write_text("\n".join(info) + "\n")
    (root / "subjects_info.csv").write_text("subject_id,age\ns01,54\n")
    return root.parent


def convert(source: Path, cache: Path, *, whole: bool = False, **options) -> dict:
    recordings = sp_sw_har.plan(files(source, (".csv",), cache), **options)
    return {recording.id: collect(sp_sw_har.samples_of(recording, whole)) for recording in recordings}


def test_values_labels_and_turns(source: Path, tmp_path: Path) -> None:
    found, notes = convert(source, tmp_path)["s01_01"]
    said = [(s.labels["activity"], s.labels.get("turn"), round(s.duration_s, 1)) for _, s in found]
    assert said == [
        ("standing_up", None, 1.2), ("walking", None, 2.4), ("turning", "left", 1.1), ("walking", None, 2.2),
        ("turning", "right", 1.0), ("sitting_down", None, 1.3), ("seated", None, 0.8),
    ]  # fmt: skip
    assert list(notes) == ["pieces shorter than 0.5 s"]
    assert notes["pieces shorter than 0.5 s"].seconds == pytest.approx(0.31, abs=0.06)
    for split, sample in found:
        assert (split, sample.recording, sample.subject, sample.labels["phone"]) == (
            "train",
            "s01_01",
            "s01",
            "back_inv",
        )
        assert [s["placement"] for s in sample.streams["imu"]["sensors"]] == ["left hip pocket", "left wrist"]
        imu = sample.arrays["imu"]
        assert sample.streams["imu"]["rate_hz"] == 100
        # Samples are 1 / DEVICE_HZ apart though they arrive five at a time: within a millisecond or two of their times.
        t = sample.start_s + np.arange(imu.shape[1]) / 100
        for row, name in enumerate(("sp", "sw")):
            np.testing.assert_allclose(imu[row], signal(name, t), atol=0.15)
    texts = {kind: [t["text"] for t in found[2][1].texts if t["kind"] == kind] for kind in ("label", "description")}
    assert texts["label"] == ["turning around"]
    assert set(TURNS["left"]) < set(texts["description"])
    assert not set(TURNS["right"]) & set(texts["description"])


def test_one_device_alone_and_faulty_rows(source: Path, tmp_path: Path) -> None:
    found, notes = convert(source, tmp_path)["s02_03"]
    assert {split for split, _ in found} == {"test"}
    assert all([s["placement"] for s in sample.streams["imu"]["sensors"]] == ["left hip pocket"] for _, sample in found)
    assert notes["lines with another number of cells"].count == 1
    assert notes["rows out of order: put in the order of their times"].count > 0
    assert "left wrist: not there in an execution, which holds the other device alone" in notes
    assert any("'HOPPING', which is not in the list" in reason for reason in notes)


def test_the_recording_is_the_common_time(source: Path, tmp_path: Path) -> None:
    found = convert(source, tmp_path, whole=True, val_subjects=[3])
    [(split, sample)], _ = found["s03_01"]
    assert split == "val"
    assert sample.duration_s == pytest.approx(9.9 - 0.35, abs=0.05)
    assert sample.labels == {}
    t = 0.35 + np.arange(sample.arrays["imu"].shape[1]) / 100
    np.testing.assert_allclose(sample.arrays["imu"][1], signal("sw", t), atol=0.3)


def test_a_whole_execution_has_its_activities_as_texts_with_times(source: Path, tmp_path: Path) -> None:
    [(_, sample)], notes = convert(source, tmp_path, whole=True)["s01_01"]
    assert not notes
    assert sample.duration_s == pytest.approx(BORDERS[-1], abs=0.06)
    labels = [t for t in sample.texts if t["kind"] == "label"]
    assert [t["text"] for t in labels] == [ACTIVITIES[name].label for name, _ in RUNS]
    for text, begin, end in zip(labels, BORDERS, BORDERS[1:]):
        assert text["start_s"] == pytest.approx(begin, abs=0.06)
        assert text["end_s"] == pytest.approx(end, abs=0.06)


def test_archive_and_workers_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shipped.tar.xz", "w:xz") as archive:
        archive.add(source / "DATA", "DATA")
    sp_sw_har.run(source, tmp_path / "one")
    command = [sys.executable, "-m", "shards.sp_sw_har", "--source", tmp_path / "shipped.tar.xz"]
    done = subprocess.run([*command, "--out", tmp_path / "two", "--workers", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    done = subprocess.run([sys.executable, "tools/verify_shards.py", tmp_path / "two"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_cannot_be_is_said(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no files such as s01/s01_01_sp.csv: download"):
        sp_sw_har.plan([])
    found = files(source, (".csv",), tmp_path)
    with pytest.raises(ShardError, match="even subjects are the test split"):
        sp_sw_har.plan(found, [2])
    with pytest.raises(ShardError, match="no subject s05"):
        sp_sw_har.plan(found, [5])
    path = source / "DATA" / "s01" / "s01_01_sp.csv"
    path.write_text(path.read_text().replace("timestamp", "time"))
    with pytest.raises(ValueError, match=r"s01_01_sp.csv: has no column 'timestamp'"):
        list(sp_sw_har.samples_of(sp_sw_har.plan(found)[0], False))


@pytest.mark.realdata
def test_real_turns_go_the_way_that_is_published(tmp_path: Path) -> None:
    """About the vertical by the accelerometer, a turn to the left is half a turn counter-clockwise: axes and units."""
    turned: dict[str, list[float]] = {"left": [], "right": []}
    seated = []
    found = convert(real_data("sp_sw_har"), tmp_path)
    assert len(found) == 223
    for samples, _ in found.values():
        for _, sample in samples:
            imu = sample.arrays["imu"].astype(float)
            if sample.labels["activity"] == "seated":
                seated.append(np.linalg.norm(imu[:, :, :3], axis=2).mean(1))
            if "turn" in sample.labels:
                up = imu[:, :, :3].mean(1)
                up /= np.linalg.norm(up, axis=1, keepdims=True)
                turned[sample.labels["turn"]] += ((imu[:, :, 3:] * up[:, None]).sum(2).sum(1) / 100).tolist()
    assert np.abs(np.mean(seated, 0) - 9.81).max() < 0.15
    assert np.mean(np.array(turned["left"]) > 0) > 0.99
    assert np.mean(np.array(turned["right"]) < 0) > 0.98
    assert 2.2 < np.median(turned["left"]) < 3.2
    assert len(turned["left"]) + len(turned["right"]) == 4 * 223

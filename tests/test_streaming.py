"""A stream's windows are those of training's reader and the model's own, whatever the packets, the rate and the units."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import aura
from aura.body.placements import placement_id
from aura.data.cut import evaluation_count, evaluation_cut
from aura.data.resample import resample
from aura.model import AuraModel
from aura.streaming import Edge, EdgeError, StreamingClassifier, slots_of, write_classes
from tests.edge import NAMES, RATE, SECONDS, WIDTH, WINDOW, classes, embedded

ROOT = Path(__file__).parents[1]
ITEMS = int(RATE * SECONDS)
WORN = ["left wrist", "chest"]


def recording(rate_hz: float, seconds: float, sensors: int = 2) -> np.ndarray:
    """A movement (S, n, 6) that differs from second to second, with gravity."""
    rng = np.random.default_rng(1)
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    waves = rng.uniform(0.3, 4, (sensors, 6, 4)), rng.uniform(0, 6, (sensors, 6, 4))
    values = np.sin(waves[0][..., None] * t**1.2 + waves[1][..., None]).sum(2) * 2
    values[:, 2] += 9.81
    return values.swapaxes(1, 2).astype(np.float32)


def offline(model: AuraModel, values: np.ndarray, rate_hz: float, known: np.ndarray | None = None) -> np.ndarray:
    """Embeddings (N, D) of the windows of a whole recording, cut as evaluation cuts them and embedded by the model."""
    seconds, found = values.shape[1] / rate_hz, []
    for k in range(evaluation_count(WINDOW, seconds)):
        times = evaluation_cut(WINDOW, seconds, k).start_s + np.arange(ITEMS) / RATE
        placed, valid = resample(values.swapaxes(0, 1), known, rate_hz, 0.0, times)
        valid = np.repeat(valid[:, None], len(values), 1) if valid.ndim == 1 else valid
        stream = {
            "values": torch.from_numpy(placed.swapaxes(0, 1).copy())[None],
            "valid": torch.from_numpy(valid.T.copy())[None],
            "placement": torch.tensor([[placement_id(name) for name in WORN[: len(values)]]]),
            "channel_mask": torch.ones(1, len(values), 6, dtype=torch.bool),
        }
        found.append(embedded(model, stream)[0])
    return np.stack(found)


@pytest.mark.parametrize("rate_hz", [RATE, 50.0, 31.7, 12.0])
@pytest.mark.parametrize("packet", [1, 7, 10_000])
def test_stream_is_the_offline_windows(edge, rate_hz, packet):
    model, folder, _ = edge
    values = recording(rate_hz, 6.1)
    wanted = offline(model, values, rate_hz)
    assert len(wanted) == 9
    assert np.abs(np.diff(wanted, axis=0)).max(1).min() > 1e-3  # no window is its neighbour
    stream = StreamingClassifier(folder, rate_hz, placements=WORN)
    found = [r for i in range(0, values.shape[1], packet) for r in stream.push(values[:, i : i + packet])]
    assert len(found) >= 9 - 1 - stream.delay_s / 0.5
    found += stream.flush()
    assert [r.start_s for r in found] == [0.5 * k for k in range(9)]
    assert [r.end_s for r in found] == [0.5 * k + SECONDS for k in range(9)]
    assert np.abs(np.stack([r.embedding for r in found]) - wanted).max() < 1e-5
    whole = stream.classify(values)
    assert np.abs(np.stack([r.embedding for r in whole]) - wanted).max() < 1e-5
    assert stream.push(values[:, :0]) == []  # classify left the stream alone
    logits = 10 * wanted.astype(np.float64) @ classes().embeddings.T
    for result, odds in zip(found, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)):
        assert list(result.probabilities) == NAMES
        np.testing.assert_allclose(list(result.probabilities.values()), odds, atol=1e-4)
        assert result.label == NAMES[int(odds.argmax())]


@pytest.mark.parametrize("rate_hz", [RATE, 50.0])
def test_a_window_comes_when_what_it_depends_on_is_there(edge, rate_hz):
    _, folder, _ = edge
    stream = StreamingClassifier(folder, rate_hz, placements=WORN)
    values, first = recording(rate_hz, 4), 0
    while not stream.push(values[:, first : first + 1]):
        first += 1
    assert first / rate_hz == pytest.approx(SECONDS + stream.delay_s, abs=2 / rate_hz)
    assert stream.delay_s == (0 if rate_hz == RATE else pytest.approx(22 / 50))


def test_what_is_kept_does_not_grow(edge):
    _, folder, _ = edge
    stream = StreamingClassifier(folder, 50, stride_s=1.3)
    for _ in range(30):
        stream.push(recording(50, 1, 1))
        assert len(stream._items) < 50 * (SECONDS + 1.3 + 1)


def test_units_and_channels(edge):
    model, folder, _ = edge
    values = recording(RATE, SECONDS, 1)
    wanted = offline(model, values, RATE)[0]
    in_g = values / [*[9.80665] * 3, *[np.pi / 180] * 3]
    (result,) = StreamingClassifier(folder, RATE, "g", "dps", WORN[:1]).push(in_g[0])
    assert np.abs(result.embedding - wanted).max() < 1e-5
    stream = StreamingClassifier(folder, RATE, placements=WORN[:1])
    (result,) = stream.push(values[0, :, :3])
    assert np.abs(result.embedding - wanted).max() > 1e-3  # the gyroscope counts
    with pytest.raises(EdgeError, match="6 channels in a stream of 3"):
        stream.push(values)
    stream.reset()
    (result,) = stream.push(values)
    assert np.abs(result.embedding - wanted).max() < 1e-5
    with pytest.raises(EdgeError, match=r"need \(1, n, 6\)"):
        stream.push(recording(RATE, 1, 2))


def told(ask, *given) -> list[str]:
    """What a stream tells of its units; every warning points here."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ask(*given)
    assert {one.filename for one in caught} <= {__file__}
    assert {one.category for one in caught} <= {aura.InputWarning}
    return [str(one.message) for one in caught]


def test_units_that_are_another_are_told_once(edge):
    folder = edge[1]
    values = recording(50.0, 8)
    in_g = values / np.array([9.80665] * 3 + [1] * 3, np.float32)
    stream = StreamingClassifier(folder, 50, placements=WORN)
    assert told(stream.push, values) == told(stream.flush) == told(stream.classify, values) == []
    stream.reset()
    packets = np.array_split(in_g, 10, axis=1)
    messages = [told(stream.push, packet) for packet in packets]
    # With the first window, which comes 2.44 s after the start, and never again.
    assert [len(found) for found in messages] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert re.search(
        r"at left wrist: median norm 0.999 m/s\^2, 10.5 in training: is it in g\? Say units='g'", messages[3][0]
    )
    assert "at chest: median norm" in messages[3][0]
    (message,) = told(StreamingClassifier(folder, 50, "g", placements=WORN).classify, values)
    assert "are units='g' said of m/s^2?" in message
    turned = values * np.array([1] * 3 + [180 / np.pi] * 3, np.float32)
    (message,) = told(StreamingClassifier(folder, 50, placements=WORN).push, turned)
    assert "is it in deg/s? Say gyro_units='deg/s'" in message
    both = turned / np.array([9.80665] * 3 + [1] * 3, np.float32)
    assert told(StreamingClassifier(folder, 50, "g", "deg/s", WORN).push, both) == []


def test_units_are_looked_at_where_there_are_samples(edge, tmp_path):
    """Gaps are no zeros; what a stream does later is not looked at; a folder without statistics has those of people."""
    values = recording(RATE, 8)
    holed = values.copy()
    holed[:, 3:20] = np.nan
    stream = StreamingClassifier(edge[1], RATE, placements=WORN)
    assert told(stream.push, holed) == []
    assert told(stream.push, values / 9.8) == []
    still = np.zeros((1, 60, 3))
    still[..., 2] = 3.5
    loose = shutil.copytree(edge[1], tmp_path / "edge" / "quickstart")
    edited("edge.json", lambda spec: spec.pop("statistics"))(loose)
    assert len(told(StreamingClassifier(edge[1], RATE).push, still)) == 1  # under half of 8
    assert told(StreamingClassifier(loose, RATE).push, still) == []  # over half of 6


@pytest.mark.parametrize("rate_hz", [RATE, 50.0])
def test_samples_that_are_missing_are_not_read(edge, rate_hz):
    model, folder, _ = edge
    values = recording(rate_hz, 3)
    known = np.ones((values.shape[1], 2), bool)
    known[5:13, 0] = False
    wanted = offline(model, values, rate_hz, known)
    holed = np.where(known.T[..., None], values, np.nan)
    stream = StreamingClassifier(folder, rate_hz, placements=WORN)
    found = stream.push(holed) + stream.flush()
    assert np.abs(np.stack([r.embedding for r in found]) - wanted).max() < 1e-5
    holed[:, : int(1.5 * rate_hz)] = np.nan  # 0.5, 1 and 1.5 of the 2 s of the windows are there
    stream.reset()
    assert [r.start_s for r in stream.push(holed) + stream.flush()] == [0.5, 1.0]


def test_a_recording_shorter_than_a_window_is_one(edge):
    model, folder, _ = edge
    values = recording(RATE, 1.5)
    stream = StreamingClassifier(folder, RATE, placements=WORN)
    (result,) = stream.classify(values)
    assert np.abs(result.embedding - offline(model, values, RATE)[0]).max() < 1e-5
    assert stream.classify(values[:, :5]) == stream.classify(values[:, :0]) == []


def test_classes_change_without_another_export(edge, tmp_path):
    _, folder, _ = edge
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    values = recording(RATE, SECONDS)
    stream = StreamingClassifier(folder, RATE, placements=WORN, labels=["climb stairs", "walk"])
    (result,) = stream.classify(values)
    assert list(result.probabilities) == ["climb stairs", "walk"]
    stream.edge.set_classes(["this", "its opposite"], np.stack([3 * result.embedding, -result.embedding]))
    (result,) = stream.classify(values)
    assert (result.label, stream.edge.scale) == ("this", 10)
    assert result.probabilities["this"] == pytest.approx(1 / (1 + np.exp(-20)))
    stream.edge.set_labels(None)
    assert list(stream.classify(values)[0].probabilities) == NAMES
    for labels, message in (
        (
            ["walk", "Climbing stairs"],
            r"'Climbing stairs' is not among the 3 classes of .*: the nearest are 'climb stairs', '",
        ),
        (["Sit"], r"the nearest are 'sit', .*; for others give their embeddings: set_classes"),
        ("walk", "labels is 'walk': give a list"),
    ):
        with pytest.raises(EdgeError, match=message):
            stream.edge.set_labels(labels)
    with pytest.raises(EdgeError, match="'swim' is not among"):
        StreamingClassifier(folder, RATE, placements=WORN, labels=["swim"])
    with pytest.raises(EdgeError, match=rf"needs \(C, {WIDTH}\)"):
        stream.edge.set_classes(["a"], np.ones((1, WIDTH + 1)))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    other = shutil.copytree(folder, tmp_path / "other")
    write_classes(other / "classes.npz", ["one", "two"], np.eye(WIDTH)[:2], 3.0)
    assert list(StreamingClassifier(other, RATE, placements=WORN).classify(values)[0].probabilities) == ["one", "two"]


def edited(name, change):
    def damage(folder):
        spec = json.loads((folder / name).read_text())
        change(spec)
        (folder / name).write_text(json.dumps(spec))

    return damage


def cut_short(folder):
    (folder / "imu.onnx").write_bytes((folder / "imu.onnx").read_bytes()[:-10])


FAULTS = {
    "no edge.json: name a folder": lambda folder: (folder / "edge.json").unlink(),
    "cannot be read": lambda folder: (folder / "edge.json").write_text("{"),
    "format is 'aura-shards/1'": edited("edge.json", lambda spec: spec.update(format="aura-shards/1")),
    "lacks seconds": edited("edge.json", lambda spec: spec.pop("seconds")),
    "is not the file that edge.json describes": cut_short,
    "holds no imu.onnx": lambda folder: (folder / "imu.onnx").unlink(),
    "takes values, valid, placement, channel_mask, edge.json says": edited(
        "edge.json", lambda spec: spec["inputs"].pop()
    ),
    "classes.npz is missing": lambda folder: (folder / "classes.npz").unlink(),
    "does not hold names, embeddings and scale": lambda folder: (folder / "classes.npz").write_bytes(b"PK"),
    r"1 names and embeddings \(1, 3\)": lambda folder: write_classes(
        folder / "classes.npz", ["a"], np.ones((1, 3)), 1.0
    ),
    "must be finite": lambda folder: np.savez(
        folder / "classes.npz", names=np.array(["a"]), embeddings=np.full((1, WIDTH), np.nan), scale=1.0
    ),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_strange_folder_is_refused(edge, tmp_path, message):
    folder = shutil.copytree(edge[1], tmp_path / "edge" / "quickstart")
    FAULTS[message](folder)
    with pytest.raises(EdgeError, match=message):
        Edge(folder)


def test_a_stream_that_does_not_fit_is_refused(edge):
    folder = edge[1]
    with pytest.raises(EdgeError, match=r"gyro_units is 'rpm': one of rad/s, deg/s"):
        StreamingClassifier(folder, 50, gyro_units="rpm")
    with pytest.raises(EdgeError, match="must be above 0"):
        StreamingClassifier(folder, 0)
    with pytest.raises(EdgeError, match="nearest known one is 'left wrist'"):
        StreamingClassifier(folder, 50, placements=["lft wrist"])


def test_slots_of_a_model_that_reads_given_sensors():
    spec = {"any_sensors": False, "sensors": 2, "placements": ["left wrist", "chest"]}
    assert slots_of(spec, ["chest"]) == [1]
    assert slots_of(spec, ["chest", "left wrist"]) == [1, 0]
    for strange in (["head"], ["chest", "chest"]):
        with pytest.raises(EdgeError, match="reads one sensor at each of left wrist, chest"):
            slots_of(spec, strange)
    with pytest.raises(EdgeError, match="is empty"):
        slots_of(spec, [])
    assert slots_of(spec | {"any_sensors": True}, ["head", "chest", "chest"]) == [0, 1, 2]
    free = spec | {"placements": []}
    assert slots_of(free, ["head", "chest"]) == [0, 1]
    with pytest.raises(EdgeError, match="reads 2 at most"):
        slots_of(free, ["head", "chest", "neck"])


def test_it_needs_numpy_scipy_and_onnxruntime_alone(edge, tmp_path):
    """In a process that finds no other package, torch and pydantic least of all."""
    np.save(tmp_path / "values.npy", recording(50, 4))
    code = f"""
import sys

class Others:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {{"torch", "pydantic", "onnx", "pandas", "sklearn", "yaml", "transformers", "einops", "safetensors"}}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Others())
import numpy as np
from aura.streaming import StreamingClassifier
stream = StreamingClassifier({str(edge[1])!r}, 50, placements={WORN!r})
print(len(stream.push(np.load({str(tmp_path / "values.npy")!r})) + stream.flush()))
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.stdout.strip() == "5", done.stderr


def test_the_page_shows_what_runs(edge, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    shutil.copytree(edge[1], tmp_path / "edge" / "quickstart")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(" s:")[0] for line in shown] == [f"{k:4.1f} to {k + 2:4.1f}" for k in range(18)]


def test_without_onnxruntime_it_says_what_to_install(edge, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EdgeError, match="pip install onnxruntime"):
        Edge(edge[1])

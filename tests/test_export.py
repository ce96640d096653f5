"""The exported IMU tower is the model's; what is written says what it is; what cannot be exported is refused."""

import importlib.util
import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
import onnxruntime.quantization
import pytest
import torch

import aura.export
from aura.body.placements import placement_id
from aura.data.batch import Stream
from aura.data.config import ImuInput
from aura.data.resample import resample
from aura.export import (
    ExportError,
    ImuExport,
    classes_in_words,
    export_program,
    exportable,
)
from aura.export_report import programs_of, random_windows
from aura.model import AuraModel
from aura.streaming import Edge, EdgeError, StreamingClassifier
from aura.tasks.zeroshot import Prompts
from aura.towers.output import TowerOutput
from aura.train.checkpoint import write_weights
from aura.train.recipe import load_recipe
from aura.weights import stream_modules
from tests.data.samples import make_sample, write_set
from tests.edge import RATE, SECONDS, STATISTICS, WIDTH, embedded, exported, tiny_aura, tiny_model
from tools.export import main

ITEMS = int(RATE * SECONDS)
TINY = Path(__file__).parent / "train" / "tiny.yaml"


def check_files(model: AuraModel, folder: Path, items: int, whole: bool) -> None:
    """They give the model's embeddings, at numbers of windows and sensors that the graph was not traced with."""
    programs = programs_of(folder)
    for seed, shape in enumerate([(1, 1), (2, 3), (7, 2), (4, 5)]):
        windows = random_windows(*shape, items, whole=whole, seed=50 + seed)
        if whole:
            windows["step_s"] = torch.rand(shape[0], items) * 0.05 + 0.01
        wanted = embedded(model, windows)
        assert np.ptp(wanted, axis=0).max() > 0.02 or shape[0] == 1  # the windows differ, so an error would show
        for name, (_, run) in programs.items():
            found = run({key: x.numpy() for key, x in windows.items()})
            assert found.shape == wanted.shape
            assert np.abs(found - wanted).max() < (0.1 if "int8" in name else 1e-5), name


def test_files_give_the_embeddings_of_the_model(edge):
    model, folder, _ = edge
    check_files(model, folder, ITEMS, whole=False)


def test_module_is_embed_stream_whatever_stands_where_nothing_was_measured():
    """A sensor that a row lacks is one that is never valid; garbage there and in missing channels changes nothing."""
    model = tiny_model()
    windows = random_windows(3, 2, ITEMS, whole=False, seed=4)
    sensors = torch.tensor([[True, False], [True, True], [False, True]])
    present = torch.ones(3, dtype=torch.bool)
    wanted = model.embed_stream("imu", Stream(present=present, sensor_mask=sensors, **windows))
    windows["valid"] &= sensors[:, :, None]
    windows["values"][~windows["valid"]] = torch.nan
    windows["values"][~windows["channel_mask"][:, :, None].expand_as(windows["values"])] = torch.inf
    found = ImuExport(model, "imu")(**windows)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_what_converters_tell_of_themselves_is_left_out_and_nothing_else(tmp_path, caplog):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        exported(tmp_path / "out", tiny_model(), int8=True)
        with aura.export.converting("here"):
            warnings.warn("an operator is missing", UserWarning, stacklevel=1)
            logging.warning("a constant is too large")
    assert [str(warning.message) for warning in told] == ["an operator is missing"]
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == ["a constant is too large"]


def test_what_is_written(edge):
    model, folder, found = edge
    spec = json.loads((folder / "edge.json").read_text())
    assert (spec["rate_hz"], spec["seconds"], spec["items"], spec["stride_s"]) == (RATE, SECONDS, ITEMS, 0.5)
    assert [x["shape"] for x in spec["inputs"]] == [
        ["batch", "sensors", ITEMS, 6],
        ["batch", "sensors", ITEMS],
        ["batch", "sensors"],
        ["batch", "sensors", 6],
    ]
    assert spec["placement_ids"]["left wrist"] == 13
    assert spec["statistics"] == STATISTICS
    assert set(spec["files"]) == {"imu.onnx", "imu.int8.onnx", "imu.pt2"}
    assert found["imu.onnx"]["max_abs_error"] < 1e-5
    assert 1e-5 < found["imu.int8.onnx"]["max_abs_error"] < 0.1
    assert found["torch"]["parameters"] == sum(p.numel() for p in model.towers["imu"].parameters()) + 16 * WIDTH + WIDTH
    for name in ("torch", *spec["files"]):
        assert 0 < found[name]["latency_ms"]["median"] <= found[name]["latency_ms"]["p95"]
    for name in spec["files"]:
        assert str(Path(aura.export.__file__).parent).encode() not in (folder / name).read_bytes(), name


def test_what_cannot_be_exported_is_refused(edge, monkeypatch, tmp_path):
    model, folder, _ = edge
    assert exportable(tiny_aura(model)) == "imu"
    with pytest.raises(ExportError, match="the IMU streams of tiny are imu"):
        exportable(tiny_aura(model), "mocap")
    with pytest.raises(ExportError, match="orientation"):
        exportable(tiny_aura(model, imu=ImuInput(orientation=True)))
    alone = tiny_model()
    del alone.towers["imu"]
    with pytest.raises(ExportError, match="tiny has no IMU tower, it has mocap"):
        exportable(tiny_aura(alone))
    other = tiny_model()
    other.compared = set()
    with pytest.raises(ExportError, match="no embedding of its own"):
        exportable(tiny_aura(other))
    with pytest.raises(ExportError, match=r"imu was not trained with text; .* as embeddings"):
        classes_in_words(tiny_aura(model), "imu", Prompts(classes={"walk": ["walk"], "sit": ["sit"]}))
    with pytest.raises(ExportError, match="not empty"):
        exported(folder, model)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ExportError, match=r"onnxscript missing: pip install onnx onnxscript"):
        exported(tmp_path / "out", model)


class Steep(torch.nn.Module):
    """A tower whose path depends on its values."""

    def forward(self, stream):
        return TowerOutput(*[stream.values.sum((1, 2))] * 3) if stream.values.sum() > 0 else None


def test_a_tower_that_is_no_graph_is_refused():
    model = tiny_model()
    model.towers["imu"] = Steep()
    example = random_windows(2, 3, ITEMS, whole=False)
    with pytest.raises(ExportError, match=r"the tower Steep cannot be written as a graph: .*data-dependent"):
        export_program(ImuExport(model, "imu"), example, any_sensors=True)


def broken(kind):
    def fails(*args, **settings):
        try:
            raise kind("no operator\nand pages more")
        except kind as error:
            raise RuntimeError("Failed to convert the exported program. This is step 2/3") from error

    return fails


def full(*args, **settings):
    raise OSError(28, "No space left on device")


# Which step fails, how, and what is told.
FAILURES = {
    "ONNX: NotImplementedError: no operator. Nothing was written": (torch.onnx, "export", broken(NotImplementedError)),
    "8-bit weights .*: AttributeError: no": (onnxruntime.quantization, "quantize_dynamic", broken(AttributeError)),
    "onnxruntime .* cannot run .*imu.onnx: Failed to convert": (onnxruntime, "InferenceSession", broken(ValueError)),
    "No space left": (np, "savez", full),
}


@pytest.mark.parametrize("message", FAILURES)
def test_what_fails_on_the_way_leaves_nothing(edge, tmp_path, monkeypatch, message):
    model, folder, _ = edge
    program = torch.export.load(folder / "imu.pt2")
    monkeypatch.setattr(aura.export, "export_program", lambda *args, **settings: program)
    where, name, fails = FAILURES[message]
    if where is not torch.onnx:
        monkeypatch.setattr(aura.export, "export_onnx", lambda _, path: shutil.copy(folder / "imu.onnx", path))
    monkeypatch.setattr(where, name, fails)
    out, stays = tmp_path / "edge", []
    for _ in range(2):
        with pytest.raises((ExportError, EdgeError, OSError), match=message) as told:
            exported(out, model, int8=True)
        assert "pages more" not in str(told.value)
        assert [path.name for path in tmp_path.rglob("*")] == stays
        out.mkdir(exist_ok=True)
        stays = ["edge"]


def test_a_file_in_the_way_stays(edge, tmp_path):
    (tmp_path / "edge").write_text("mine")
    with pytest.raises(ExportError, match="edge is a file: name another folder"):
        exported(tmp_path / "edge", edge[0])
    assert (tmp_path / "edge").read_text() == "mine"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that nothing trained, of whole clips, and its model."""
    folder = tmp_path_factory.mktemp("run")
    recipe = load_recipe(TINY, ["data.window.whole=true", "towers.imu.world=start"])
    torch.manual_seed(0)
    model = AuraModel(recipe.inputs, recipe.towers, recipe.objective, recipe.embedding, recipe.data.window.seconds)
    model.eval().requires_grad_(False)
    for parameter in model.towers["imu"].parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    weights = {
        f"towers/{stream}": {
            f"{part}.{name}": tensor.contiguous()
            for part, module in stream_modules(model, stream).items()
            for name, tensor in module.state_dict().items()
        }
        for stream in model.towers
    }
    write_weights(folder / "checkpoints", recipe, weights | {"shared": dict(model.temperature.state_dict())})
    return folder, model


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Shards of clips of several lengths, and their classes and values at 40 Hz."""
    folder, found = tmp_path_factory.mktemp("clips"), []
    rng = np.random.default_rng(3)
    samples = []
    for number, name in enumerate(["walk", "sit_down", "jump", "walk", "sit_down", "walk"]):
        sample = make_sample(number, seconds=1.5 + 0.25 * number, imu_hz=40, streams=("imu",))
        sample.labels = {"activity": name}
        values = cast(np.ndarray, sample.arrays["imu"])
        values += rng.normal(0, 2, values.shape).astype(np.float32).cumsum(1) / 5
        values[..., 0] -= 100 * number
        found.append((name, values))
        samples.append(sample)
    write_set(folder, 0, also=[("test", sample) for sample in samples])
    return folder, found


def test_tool_says_what_it_lacks(run, tmp_path, capsys):
    folder, _ = run
    out = ["--out", str(tmp_path / "edge")]
    assert main([str(folder), *out]) == 1
    assert "brings no classes of its own: give labels" in capsys.readouterr().err
    np.savez(tmp_path / "few.npz", names=np.array(["walk"]), embeddings=np.ones((1, 5), np.float32))
    assert main([str(folder), *out, "--classes", str(tmp_path / "few.npz")]) == 1
    assert "the model needs (C, 16)" in capsys.readouterr().err
    assert main([str(tmp_path), *out]) == 1
    assert "no whole checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "edge").exists()


def test_tool_says_in_a_line_what_failed(run, tmp_path, capsys, monkeypatch):
    folder, _ = run
    words = [str(folder), "--out", str(tmp_path / "edge"), "--labels", "sit_down", "walk"]
    monkeypatch.setattr(torch.onnx, "export", broken(TypeError))
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the graph cannot be converted to ONNX: TypeError: no operator. Nothing was written.")
    assert said.count("\n") == 1
    assert "take an older one, or a newer aura" in said
    assert list(tmp_path.iterdir()) == []


def test_tool_exports_words_and_whole_clips(run, tmp_path, clips):
    """The accuracy is that of the classes' own clips; a clip is one window, in its own time, for file and model."""
    folder, model = run
    out, words = tmp_path / "edge", ["sit_down", "walk"]
    shards, samples = clips
    out.mkdir()
    assert main([str(folder), "--out", str(out), "--labels", *words, "--shards", str(shards)]) == 0
    check_files(model, out, 50, whole=True)
    graph = Edge(out)
    assert graph.names == words
    assert graph.scale == pytest.approx(1 / 0.07, rel=1e-4)
    report = json.loads((out / "report.json").read_text())
    assert report["words"]["sit_down"] == ["sit down"]
    assert "| imu.onnx |" in (out / "report.md").read_text()

    wanted = []
    for name, values in samples:
        at = np.arange(50) / 50 * values.shape[1] / 40
        placed, _ = resample(values.swapaxes(0, 1), None, 40.0, 0.0, at)
        windows = random_windows(1, len(values), 50, whole=True)
        windows["values"] = torch.from_numpy(placed.swapaxes(0, 1).copy())[None]
        windows["valid"][:], windows["channel_mask"][:] = True, True
        windows["placement"][:] = torch.tensor([placement_id("left wrist"), placement_id("chest")])
        windows["step_s"][:] = values.shape[1] / 40 / 50
        vector = embedded(model, windows)[0]
        stream = StreamingClassifier(out, rate_hz=40, placements=["left wrist", "chest"])
        (result,) = stream.classify(values)
        assert np.abs(result.embedding - vector).max() < 1e-5
        assert (result.start_s, result.end_s) == (0, values.shape[1] / 40)
        if name in words:
            wanted.append(words[int((graph.embeddings @ vector).argmax())] == name)
    accuracy = report["accuracy"]
    assert (accuracy["n"], accuracy["of_other_classes"]) == (len(wanted), len(samples) - len(wanted))
    assert accuracy["torch"] == accuracy["imu.onnx"] == accuracy["imu.pt2"] == pytest.approx(np.mean(wanted))
    assert report["max_abs_error_of_these_windows"]["imu.onnx"] < 1e-5

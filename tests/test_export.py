"""The exported IMU tower is the model's; what is written says what it is; what cannot be exported is refused."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import aura.export
from aura.data.batch import Stream
from aura.data.config import ImuInput, MocapInput
from aura.export import ExportError, ImuExport, exportable, programs_of, random_windows
from aura.model import AuraModel
from aura.streaming import Edge
from aura.train.checkpoint import stream_modules, write_weights
from aura.train.recipe import load_recipe
from tests.edge import RATE, SECONDS, WIDTH, embedded, exported, imu_input, tiny_model
from tools.export import main

ITEMS = int(RATE * SECONDS)
TINY = Path(__file__).parent / "train" / "tiny.yaml"


@pytest.mark.parametrize("whole", [False, True])
def test_files_give_the_embeddings_of_the_model(edge, edge_whole, whole):
    """At numbers of windows and sensors that the graph was not traced with."""
    model, folder, _ = edge_whole if whole else edge
    for seed, shape in enumerate([(1, 1), (2, 3), (7, 2), (4, 5)]):
        windows = random_windows(*shape, ITEMS, whole=whole, seed=50 + seed)
        if whole:
            windows["step_s"] = torch.rand(shape[0], ITEMS) * 0.05 + 0.01
        wanted = embedded(model, windows)
        assert np.ptp(wanted, axis=0).max() > 0.02 or shape[0] == 1  # the windows differ, so an error would show
        for name, (_, run) in programs_of(folder).items():
            found = run({key: x.numpy() for key, x in windows.items()})
            assert found.shape == (shape[0], WIDTH)
            assert np.abs(found - wanted).max() < (0.1 if "int8" in name else 1e-5), name


def test_step_s_is_read(edge_whole):
    _, folder, _ = edge_whole
    windows = {key: x.numpy() for key, x in random_windows(1, 1, ITEMS, whole=True).items()}
    faster = windows | {"step_s": windows["step_s"] * 2}
    graph = Edge(folder)
    assert np.abs(graph.embed(windows) - graph.embed(faster)).max() > 1e-3


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
    inputs = {"imu": imu_input(), "mocap": MocapInput()}
    assert exportable(model, inputs) == "imu"
    with pytest.raises(ExportError, match="IMU streams of the model are imu"):
        exportable(model, inputs, "mocap")
    with pytest.raises(ExportError, match="orientation"):
        exportable(model, inputs | {"imu": ImuInput(orientation=True)})
    alone = tiny_model()
    del alone.towers["imu"]
    with pytest.raises(ExportError, match="no IMU tower, it has mocap"):
        exportable(alone, inputs)
    other = tiny_model()
    other.compared = set()
    with pytest.raises(ExportError, match="compared with nothing"):
        exportable(other, inputs)
    with pytest.raises(ExportError, match="not empty"):
        exported(folder, model)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ExportError, match=r"onnxscript missing: pip install 'aura\[edge\]'"):
        exported(tmp_path / "out", model)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the tiny recipe that nothing trained."""
    folder = tmp_path_factory.mktemp("run")
    recipe = load_recipe(TINY)
    torch.manual_seed(0)
    model = AuraModel(recipe.inputs, recipe.towers, recipe.objective, recipe.embedding, 2.0)
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


def test_tool_exports_words_and_says_what_it_lacks(run, tmp_path, capsys):
    folder, model = run
    assert main([str(folder), "--out", str(tmp_path / "edge")]) == 1
    assert "give --labels, --prompts or --classes" in capsys.readouterr().err
    np.savez(tmp_path / "few.npz", names=np.array(["walk"]), embeddings=np.ones((1, 5), np.float32))
    assert main([str(folder), "--out", str(tmp_path / "edge"), "--classes", str(tmp_path / "few.npz")]) == 1
    assert "the model needs (C, 16)" in capsys.readouterr().err
    assert main([str(tmp_path), "--out", str(tmp_path / "edge")]) == 1
    assert "no whole checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "edge").exists()
    words = ["sitting_down", "walking"]
    assert main([str(folder), "--out", str(tmp_path / "edge"), "--labels", *words]) == 0
    graph = Edge(tmp_path / "edge")
    assert graph.names == words
    assert graph.scale == pytest.approx(1 / 0.07, rel=1e-4)
    report = json.loads((tmp_path / "edge" / "report.json").read_text())
    assert report["words"]["sitting_down"] == ["sitting down"]
    assert report["imu.onnx"]["max_abs_error"] < 1e-5
    assert "| imu.onnx |" in (tmp_path / "edge" / "report.md").read_text()

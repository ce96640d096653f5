"""A configuration that asks for more than the files of weights hold is refused before anything is allocated; what fits loads as
ever."""

import json
import shutil
import time
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

import aura
from aura.data.config import ImuInput, Pose2dInput, SeriesInput, TextInput, VideoInput, Window
from aura.inference import model as use
from aura.inference import sizes
from aura.inference.config import ModelConfig, read_config
from aura.inference.release import build_module
from aura.inference.sizes import check_sizes
from aura.towers import build_tower
from aura.towers.baselines.mobind import MobindConfig
from aura.towers.imu import ImuTransformerConfig
from aura.towers.outside.imagebind import ImagebindImuConfig, ImagebindVideoConfig
from aura.towers.outside.unimts import UnimtsConfig
from aura.towers.parts import PartTransformerConfig
from aura.towers.text import HfTextConfig
from aura.towers.tuning import Lora
from aura.weights import RunError
from tests.inference.tiny import WORDS
from tests.towers.tiny import BERT, MAE, SMALL, TOWERS
from tests.train.batches import tiny_recipe

HUGE = 10**6
PLACED = ("left wrist", "chest")
OTHERS = {
    "parts": (PartTransformerConfig(**SMALL, pool="attention"), Pose2dInput()),
    "mobind_imu": (MobindConfig(width=16, heads=2, depth=2), ImuInput(placements=PLACED, orientation=True)),
    "mobind_pose2d": (MobindConfig(width=16, heads=2, depth=2), Pose2dInput()),
    "unimts": (UnimtsConfig(), ImuInput(rate_hz=20, sensors=2)),
    "imagebind_imu": (ImagebindImuConfig(width=16, depth=1, heads=2, output=8), ImuInput(rate_hz=200)),
    "imagebind_video": (ImagebindVideoConfig(width=16, depth=1, heads=2, output=8), VideoInput(frames=2)),
    "lora": (ImuTransformerConfig.model_validate(SMALL | {"tuning": "lora"}), ImuInput()),
    "lora_text": (HfTextConfig.model_validate({"model": BERT, "length": 16, "tuning": "lora"}), TextInput()),
}
KINDS = {name: (config, settings) for name, (config, settings, _) in TOWERS.items()} | OTHERS


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_tower_has_the_same_tensors_on_the_meta_device(name):
    config, settings = KINDS[name]
    state = torch.random.get_rng_state()
    with torch.device("meta"):
        blank = build_tower(config, settings, 5.0)
    assert torch.equal(torch.random.get_rng_state(), state)
    real = build_tower(config, settings, 5.0).state_dict()
    found = blank.state_dict()
    assert {k: t.shape for k, t in found.items()} == {k: t.shape for k, t in real.items()}
    assert {tensor.device.type for tensor in blank.parameters()} == {"meta"}


@pytest.fixture(scope="module")
def made():
    """A model with every kind of stream, fine pairs and classifiers, and a video tower of transformers."""
    values = tiny_recipe().model_dump(mode="json")
    values["towers"]["video"] = {"kind": "transformers_video", "model": MAE, "pretrained": False}
    values["inputs"]["video"] |= {"frames": 4, "size": 32}
    values["towers"]["text"]["model"] = WORDS
    return use.Aura(*built(values))


def built(recipe):
    values = {name: recipe[name] for name in ("inputs", "towers", "objective", "embedding", "name")}
    config = ModelConfig(**values, step=0, window=Window(seconds=2.0))
    torch.manual_seed(0)
    return config, build_module(config, list(config.towers))


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory) -> Path:
    return made.save_pretrained(tmp_path_factory.mktemp("sizes") / "model", phrases=[])


def test_what_fits_is_the_same_bit_for_bit(made, folder):
    again = aura.from_pretrained(folder)
    state, expected = again.module.state_dict(), made.module.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())
    hidden, known = dict(again.module.named_buffers()), dict(made.module.named_buffers())
    assert len(hidden) > 3  # tables that no file holds
    assert all(torch.equal(tensor, known[name]) for name, tensor in hidden.items())
    for streams in (["imu"], ["video", "text"], ["imu", "pose2d"]):
        part = aura.from_pretrained(folder, streams).module
        assert list(part.towers) == [name for name in made.config.towers if name in streams]
        assert all(torch.equal(tensor, expected[name]) for name, tensor in part.state_dict().items())


# Keys of config.json, a value for them, and what is told.
STRANGE = {
    "embedding": (
        10**9,
        r"imu.safetensors: tensor 'head.weight' has shape \(16, 16\), the recipe needs \(1000000000, 16\)",
    ),
    "towers.imu.width": (HUGE, r"imu.safetensors: tensor 'tower\.\S+' has shape .*, the recipe needs .*1000000"),
    "towers.imu.depth": (HUGE, "asks for a model of far more tensors than the [0-9]+ that its files hold"),
    "towers.imu.stem": (10**12, "imu.safetensors: .* the recipe needs .*1000000000000"),
    "towers.imu.mlp_ratio": (1e9, "imu.safetensors: .* the recipe needs"),
    "towers.imu.token_s": (1e-3, "cannot be built from its config.json: .*token_s"),
    "towers.imu.moments.depth": (HUGE, "far more tensors"),
    "towers.imu.moments.width": (HUGE, "cannot be built from its config.json: pair imu:mocap: maps of"),
    "towers.mocap.smooth_s": (1e9, r"asks for tables of 6e\+10 numbers"),
    "towers.mocap.smooth_s ": (float("inf"), "cannot be built"),
    "towers.text.model.text_cfg.layers": (HUGE, "far more tensors"),
    "towers.text.model.text_cfg.width": (2 * HUGE, "text.safetensors: .* the recipe needs"),
    "towers.text.model.text_cfg.context_length": (HUGE, "text.safetensors: .* the recipe needs"),
    "towers.text.model.vision_cfg.layers": (HUGE, "far more tensors"),  # which the tower of text drops
    "towers.text.model.vision_cfg.width": (HUGE, r"towers.text.model has 1.* numbers, its file .*: it is not loaded"),
    "towers.video.model.hidden_size": (HUGE, "model is 1000000 wide, no tensor of .*video.safetensors is"),
    "towers.video.model.num_hidden_layers": (HUGE, "far more tensors"),
    "towers.video.model.patch_size": (1, "the recipe needs"),
    "towers.video.model.image_size": (10**5, "has a table of [0-9]+ positions of 32: it is not loaded"),
    "towers.video.model.num_attention_heads": (0, "cannot be built from its config.json"),
    "objective.fine.imu:pose2d.projection": (HUGE, "the recipe needs"),
    "objective.fine.imu:pose2d.masked.depth": (HUGE, "far more tensors"),
    "objective.fine.imu:pose2d.masked.hidden": (10**9, "the recipe needs"),
    "window.seconds": (1e12, r"a window of 1e\+12 s of imu, as inputs.imu says, has .* numbers; at most"),
    "window.stride_s": (1e-9, "window.stride_s is 1e-09: seconds, at least 0.01"),
    "inputs.imu.rate_hz": (1e15, "a window of 2 s of imu"),
    "inputs.imu.sensors": (10**9, "a window of 2 s of imu"),
    "inputs.mocap.rate_hz": (1e12, "a window of 2 s of mocap"),
    "inputs.pose2d.rate_hz": (float("inf"), "a window of 2 s of pose2d"),
    "inputs.video.frames": (10**9, "a window of 2 s of video"),
    "inputs.video.size": (10**6, "a window of 2 s of video"),
    "referenced": ({"video": {"source": "nowhere", "sha256": ""}}, "tensor .* is missing"),
}


@pytest.mark.parametrize("key", STRANGE)
def test_a_strange_size_is_refused_at_once(folder, tmp_path, monkeypatch, key):
    value, message = STRANGE[key]
    strange = Path(shutil.copytree(folder, tmp_path / "strange"))
    config = json.loads((strange / "config.json").read_text())
    *path, last = key.strip().split(".")
    inner = config
    for name in path:
        inner = inner[name]
    inner[last] = value
    if key == "referenced":  # a file that lacks what its tower needs: nobody else has published that
        drop(strange / "towers" / "video.safetensors", "trunk.")
    (strange / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(use, "build_module", lambda *given: pytest.fail("it is built"))
    began = time.process_time()
    with pytest.raises(RunError, match=message):
        aura.from_pretrained(strange)
    assert time.process_time() - began < 8  # the slowest take 1 s, of a processor with nothing else to do


def test_a_window_of_a_series_is_bounded_too():
    settings = SeriesInput(rate_hz=4, channels=("heart_rate bpm", "eda uS"), mean=(80, 5), std=(20, 3))
    assert sizes.window_numbers(settings, 10.0) == 2 * 4 * 10


def drop(file: Path, part: str) -> None:
    save_file({name: t for name, t in load_file(file).items() if part not in name}, file)


def test_headers_are_read_and_no_weights(folder, monkeypatch):
    monkeypatch.setattr("aura.weights.load_file", lambda path: pytest.fail("weights are read"))
    config = read_config(folder)
    check_sizes(folder, config, list(config.towers))


def test_a_named_model_is_built_of_its_own_configuration(tmp_path, monkeypatch):
    """Of open_clip: nothing is fetched, its sizes are its publisher's, and what is added to it is looked at."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", WORDS | {"custom_text": True})
    values = tiny_recipe().model_dump(mode="json")
    values["towers"]["text"]["model"] = values["towers"]["video"]["model"] = "tiny"
    values["towers"]["video"]["temporal"] = "transformer"
    config, module = built(values)
    folder = use.Aura(config, module).save_pretrained(tmp_path / "model", phrases=[])
    monkeypatch.setattr(open_clip, "create_model", lambda *given, **settings: pytest.fail("it is built or fetched"))
    for streams in (list(config.towers), ["text"], ["video"]):
        check_sizes(folder, config, streams)
    for stream, change, message in (
        ("text", {"tuning": Lora(rank=10**9)}, "text.safetensors: tensor .*lora.* is unknown|is missing"),
        ("video", {"depth": HUGE}, "far more tensors"),
        ("video", {"depth": 3}, "video.safetensors: tensor .*temporal.* is missing"),
    ):
        towers = config.towers | {stream: config.towers[stream].model_copy(update=change)}
        with pytest.raises(RunError, match=message):
            check_sizes(folder, config.model_copy(update={"towers": towers}), [stream])
    wide = config.model_copy(update={"embedding": 10**9})
    with pytest.raises(
        RunError, match=r"text.safetensors: tensor 'head.weight' has shape \(16, 16\), the recipe needs \(1000000000"
    ):
        check_sizes(folder, wide, ["text"])

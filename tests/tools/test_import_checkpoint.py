"""Published weights become runs: of the real names and shapes, and, shrunken, down to figures beside each other."""

import importlib.util
import json
import math
import re
from pathlib import Path

import pytest
import torch

from aura.model import AuraModel
from aura.tasks.leaks import training_contents
from aura.towers.outside import unimts
from aura.towers.outside.released import tower_weights
from aura.train.checkpoint import latest_checkpoint, load_towers, load_training
from aura.train.loaded import load_run
from aura.train.recipe import load_recipe
from aura.train.rundir import RunError
from tests.data.samples import make_sample, write_set
from tests.towers.released import filled, names_and_shapes
from tools.import_checkpoint import RELEASES, main, outside_recipe

ROOT = Path(__file__).parents[2]
SMALL = {
    "unimts": ["towers.text.model.text_cfg={width: 64, heads: 2, layers: 1}"],
    "imagebind": [
        "towers.imu={kind: imagebind_imu, width: 32, depth: 2, heads: 4, output: 48, projection: none}",
        "towers.video={kind: imagebind_video, width: 32, depth: 1, heads: 4, output: 48, projection: none}",
        "inputs.video.size=28",
        "towers.text.model.embed_dim=48",
        "towers.text.model.text_cfg={width: 32, heads: 2, layers: 1, norm_kwargs: {eps: 1.0e-6}}",
        "embedding=48",
    ],
}
BLOCKS = ((8, 1), (8, 1), (16, 2), (512, 2))  # of UniMTS, in place of its ten
SCALES = {
    "unimts": ["logit_scale"],
    "imagebind": [f"modality_postprocessors.{name}.1.log_logit_scale" for name in ("imu", "text")],
}


def empty(recipe) -> AuraModel:
    """The model without values."""
    with torch.device("meta"):
        return AuraModel(recipe.inputs, recipe.towers, recipe.objective, recipe.embedding, recipe.data.window.seconds)


def published(name, overrides) -> dict[str, torch.Tensor]:
    """A file of the towers of a shrunken recipe, under the authors' names."""
    recipe, release = outside_recipe(name, overrides=overrides), RELEASES[name]
    model = empty(recipe)
    file = {scale: filled(scale, ()) for scale in SCALES[name]}
    for stream, tower in model.towers.items():
        for ours, tensor in tower.state_dict().items():
            theirs, shape = release.theirs(stream, ours), tuple(tensor.shape)
            if name == "imagebind" and stream == "text":
                shape = (1, *shape) if theirs.endswith("pos_embed") else shape
                shape = shape[::-1] if theirs.endswith("proj.1.weight") else shape
            file[theirs] = tower.adjacency if ours == "adjacency" else filled(theirs, shape)
    return file


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shrunk(monkeypatch) -> None:
    monkeypatch.setattr(unimts, "BLOCKS", BLOCKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unimts, "BLOCKS", BLOCKS)
        for name, overrides in SMALL.items():
            torch.save(published(name, overrides), folder / f"{name}.pth")
    write_set(
        folder / "shards",
        12,
        split="val",
        streams=("imu",),
        sensors=("left wrist", "chest"),
        also=[("train", make_sample(50))],
        seconds=5.0,
    )
    return folder


@pytest.fixture(scope="module")
def runs(folder) -> dict[str, Path]:
    words = {"unimts": ["data.window.seconds=3"], "imagebind": ["--windows-of", str(folder / "unimts")]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unimts, "BLOCKS", BLOCKS)
        for name, overrides in SMALL.items():
            command = [name, str(folder / f"{name}.pth"), "--out", str(folder / name), *words[name], *overrides]
            assert main(command) == 0
    return {name: folder / name for name in SMALL}


@pytest.mark.parametrize("name", list(RELEASES))
@pytest.mark.parametrize("streams", [(), ("imu", "text")])
def test_every_tensor_of_the_published_file_is_read_or_known_not_to_be(name, streams):
    shapes, release = names_and_shapes(name), RELEASES[name]
    model = empty(outside_recipe(name, streams))
    assert list(model.towers) == list(streams or load_recipe(ROOT / f"recipes/outside/{name}.yaml").towers)
    with torch.device("meta"):
        file = {key: torch.empty(shape) for key, shape in shapes.items()}
    towers = {stream: tower.state_dict() for stream, tower in model.towers.items()}
    found = tower_weights(release, file, towers)
    for stream, tensors in towers.items():
        assert {k: (v.shape, v.dtype) for k, v in found[stream].items()} == {
            k: (v.shape, v.dtype) for k, v in tensors.items()
        }
    if name == "unimts":
        assert sum(p.numel() for p in model.towers["imu"].parameters()) == 5_179_900
        assert sum(len(tensors) for tensors in found.values()) == len(shapes) - 1, "all but the scale"


@pytest.mark.parametrize("name", list(SMALL))
def test_an_import_holds_the_files_values(name, folder, runs, shrunk):
    file = torch.load(folder / f"{name}.pth", weights_only=True)
    loaded, release = load_run(runs[name]), RELEASES[name]
    for stream, tower in loaded.model.towers.items():
        for ours, tensor in tower.state_dict().items():
            expected = release.layout(stream, ours, file[release.theirs(stream, ours)])
            assert torch.equal(tensor, expected), (stream, ours)
    scales = dict(zip(loaded.recipe.objective.scales, loaded.model.temperature()[0].exp().tolist()))
    e = math.exp(1.5)  # what the file's scales are
    wanted = {"unimts": {"imu:text": 10 * e}, "imagebind": {"imu:text": e * e, "video:text": e, "imu:video": e}}
    assert scales == pytest.approx(wanted[name])
    assert loaded.recipe.data.window.seconds == 3
    environment = json.loads((runs[name] / "environment.json").read_text())
    assert environment["imported"]["file"] == f"{name}.pth"


def test_both_are_evaluated_on_the_same_windows(folder, runs, shrunk, tmp_path, capsys):
    evaluate, compare = script("evaluate"), script("compare")
    for name, run in runs.items():
        for task in ("zeroshot", "retrieval"):
            words = [
                "--checkpoint",
                run,
                "--shards",
                folder / "shards",
                "--task",
                task,
                "--out",
                tmp_path / name / task,
            ]
            words += ["--placements", "each"] if task == "zeroshot" else []
            assert evaluate.main([str(word) for word in words]) == 0
        found = json.loads((tmp_path / name / "zeroshot" / "results.json").read_text())
        assert set(found["results"]) == {"imu", "imu at the chest alone", "imu at the left wrist alone"}
        assert found["results"]["imu"]["n"] == 12, "one window of 3 s in each sample"
        assert found["results"]["imu"]["pool"] == 4
        assert 0 <= found["results"]["imu"]["ece"] <= 1
        # That nothing is shared with the training is not claimed.
        assert found["leaks"] == []
        (note,) = [note for note in found["notes"] if "not compared" in note]
        assert note.startswith(f"the training of {name}: not compared: what the weights were trained on (")
        assert note.split(" (")[0] in (tmp_path / name / "zeroshot" / "report.html").read_text()
        found = json.loads((tmp_path / name / "retrieval" / "results.json").read_text())
        assert {"imu:text", "text:imu"} <= set(found["results"])
    capsys.readouterr()
    results = [str(tmp_path / name / "zeroshot") for name in runs]
    assert compare.main([*results, "--out", str(tmp_path / "compared")]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_a_run_may_start_from_an_import_but_not_go_on_from_it(runs, shrunk):
    recipe = outside_recipe("unimts", overrides=SMALL["unimts"])
    model = AuraModel(recipe.inputs, recipe.towers, recipe.objective, recipe.embedding, 10.0)
    assert load_towers(runs["unimts"], model) == ["imu", "text"]
    assert "HumanML3D" in training_contents(runs["unimts"]).unknown[0]
    with pytest.raises(RunError, match="holds weights alone: set another run_dir, and init="):
        load_training(latest_checkpoint(runs["unimts"] / "checkpoints"), None, model, None)


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (lambda file: file.pop("acc.A"), (), r"acc\.A is missing \(imu\)"),
        (lambda file: file.update(extra=torch.ones(2)), (), "extra is left over"),
        (lambda file: file.update({"acc.A": torch.ones(3, 25, 25)}), (), r"acc\.A has shape \(3, 25, 25\)"),
        (lambda file: file.pop("logit_scale"), (), "logit_scale is missing: the scale"),
        (lambda file: file, ("towers.imu.projection=linear",), "set projection: none"),
        (lambda file: file, ("towers.imu.gyroscop=true",), "did you mean 'gyroscope'"),
        (lambda file: file, ("towers.imu.gyroscope=true",), r"acc\.data_bn\.weight has shape \(66,\).*\(132,\)"),
        (lambda file: file, ("--streams", "imu", "video"), "unimts has no video; it has imu, text"),
        (lambda file: file, ("data.window.seconds=11",), "longer than what a tower of kind 'unimts' reads"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(change, words, message, folder, shrunk, tmp_path, capsys):
    file = torch.load(folder / "unimts.pth", weights_only=True)
    change(file)
    torch.save(file, tmp_path / "changed.pth")
    out = tmp_path / "run"
    command = ["unimts", str(tmp_path / "changed.pth"), "--out", str(out), *words, *SMALL["unimts"]]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not out.exists()


def test_a_run_is_not_written_over(folder, runs, shrunk, capsys):
    command = ["unimts", str(folder / "unimts.pth"), "--out", str(runs["unimts"]), *SMALL["unimts"]]
    assert main(command) == 1
    assert "is not empty" in capsys.readouterr().err

"""Stored embeddings are those of the frozen towers: training from them is training from pixels and tokens."""

import io
import json
import logging

import numpy as np
import open_clip
import pytest
import torch
import transformers
from safetensors.torch import save_file

from aura.data.index import open_folder, open_split
from aura.data.reader import EvalReader, ReadError, TrainReader
from aura.data.writer import ShardError
from aura.model import AuraModel
from aura.towers import make_tokenizer
from aura.towers.stored import stored_towers
from aura.train.loop import pretrain
from aura.train.recipe import RecipeError, make_recipe
from tests.data.samples import make_sample, write_set
from tests.towers.tiny import CLIP, MAE
from tools import precompute as tool
from tools.precompute import main, precompute
from tools.verify_shards import verify

HALF = 2.0**-11  # relative rounding of float16


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def clip_weights(tmp_path_factory):
    """Files of a small open_clip model whose embeddings differ between frames and between texts."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("clip")
    for name in ("one", "other"):
        save_file(open_clip.CustomTextCLIP(**CLIP).state_dict(), folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def mae_weights(tmp_path_factory):
    torch.manual_seed(6)
    folder = tmp_path_factory.mktemp("mae")
    settings = {k: v for k, v in MAE.items() if k != "model_type"}
    transformers.VideoMAEModel(transformers.VideoMAEConfig(**settings)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "set"
    settings = {"streams": ("imu", "video"), "seconds": 6.0}
    held_out = [("val", make_sample(100 + i, **settings)) for i in range(6)]
    held_out += [("train", make_sample(50, streams=("imu",))), ("train", make_sample(51, texts=False, **settings))]
    write_set(folder, 20, also=held_out, shard_bytes=400_000, **settings)
    return folder


def recipe_of(shards, weights, run_dir="runs/x", *, clips=None, stored=(), **window):
    clip = {"model": CLIP, "pretrained": str(weights), "tuning": "frozen"}
    video = {"kind": "clip_video", **clip}
    if clips is not None:
        video = {"kind": "transformers_video", "model": str(clips), "tuning": "frozen"}
    return make_recipe(
        {
            "name": "stored",
            "run_dir": str(run_dir),
            "data": {
                "sources": [{"path": str(shards)}],
                "eval": [{"path": str(shards)}],
                "window": {"seconds": 2.0, **window},
                "workers": 0,
                "streams": 8,
            },
            "inputs": {
                "imu": {"rate_hz": 20, "sensors": 1},
                "video": {"frames": 4, "size": 32, "stored": "video" in stored},
                "text": {"stored": "text" in stored},
            },
            "towers": {
                "imu": {"kind": "imu_transformer", "width": 16, "depth": 1, "heads": 2, "stem": 8},
                "video": video,
                "text": {"kind": "clip_text", **clip},
            },
            "embedding": 16,
            "objective": {"pairs": ["imu:video", "imu:text", "video:text"]},
            "train": {"steps": 4, "batch": 16, "optimizer": {"lr": 1e-3}},
            "log": {"tensorboard": False},
        }
    )


def model_of(recipe):
    torch.manual_seed(recipe.seed)
    return AuraModel(
        recipe.inputs, recipe.towers, recipe.objective, recipe.embedding, recipe.data.window.seconds
    ).eval()


def evaluation(recipe, model):
    tokenize = make_tokenizer(recipe.towers)
    towers = stored_towers(recipe.inputs, model.towers, recipe.data.window, tokenize)
    reader = EvalReader(recipe.data, recipe.inputs, batch=64, tokenize=tokenize, precomputed=towers)
    batch = next(iter(reader))
    return batch.rows(batch.weight.nonzero()[:, 0].tolist())


def members(folder, split="train"):
    """key -> file -> bytes."""
    found = open_split(str(folder), split)
    records = [found.record(i) for i in range(len(found))]
    return {r.entry["key"]: {rest: r.bytes(rest) for rest in r.entry["members"]} for r in records}


@pytest.fixture(scope="module")
def stored(shards, clip_weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("stored") / "out"
    precompute(str(shards), recipe_of(shards, clip_weights / "one.safetensors"), out, batch=7)
    return out


def test_training_from_stored_embeddings_has_the_losses_of_pixels_and_tokens(shards, stored, clip_weights, tmp_path):
    """A loss is a mean of log-softmax of scale x cosine: entries off by 2^-11 shift it by at most about
    2 x 2 x 14.3 x 2^-11 = 0.03, were all errors to add up; as they do not, a tenth of that is asked."""
    metrics = []
    for folder, names in ((shards, ()), (stored, ("video", "text"))):
        run = tmp_path / ("from_" + (names[0] if names else "pixels"))
        recipe = recipe_of(folder, clip_weights / "one.safetensors", run, stored=names)
        assert pretrain(recipe) == 0
        metrics.append([json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()])
    pixels, embeddings = metrics
    assert [m["ids"] for m in pixels[:4]] == [m["ids"] for m in embeddings[:4]]
    for a, b in zip(pixels[:4], embeddings[:4]):
        for key in ("loss/imu:video", "loss/imu:text", "loss/video:text"):
            assert b[key] == pytest.approx(a[key], abs=3e-3), (a["step"], key)
    assert pixels[3]["loss"] < pixels[0]["loss"] - 0.02  # it does learn: the losses are not constants that agree
    for key in ("retrieval/imu:video/MRR", "zeroshot/video/accuracy"):  # class prompts go through the trunk
        assert embeddings[4][key] == pytest.approx(pixels[4][key], abs=0.1)


def test_rows_are_the_towers_output_for_the_same_windows(shards, stored, clip_weights):
    recipe = recipe_of(shards, clip_weights / "one.safetensors", stride_s=0.7)
    model = model_of(recipe)
    plain = evaluation(recipe, model)
    found = evaluation(
        recipe_of(stored, clip_weights / "one.safetensors", stored=("video", "text"), stride_s=0.7), model
    )
    assert plain.ids == found.ids
    with torch.no_grad():
        frames = plain.streams["video"].values
        expected = model.towers["video"].encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        words = model.towers["text"].encode(plain.streams["text"].values)
    rows = found.streams["video"].values
    assert rows.shape == (len(plain), 4, 32)
    assert torch.equal(plain.streams["video"].valid, found.streams["video"].valid)
    assert (rows - expected).abs().max() <= HALF * expected.abs().max()
    assert (rows[:, 1] - rows[:, 2]).abs().max() > 20 * HALF * expected.abs().max()  # frames are not all alike
    assert (found.streams["text"].values - words).abs().max() <= HALF * words.abs().max()


def test_a_clip_tower_has_a_row_for_each_start_of_a_window(shards, clip_weights, mae_weights, tmp_path):
    recipe = recipe_of(shards, clip_weights / "one.safetensors", clips=mae_weights, stride_s=1.0)
    precompute(str(shards), recipe, tmp_path / "out", streams=["video"], stride_s=0.25, batch=5)
    entry = open_split(str(tmp_path / "out"), "val").record(0).head["streams"]["video.emb"]
    assert entry["window_s"] == 2.0
    assert entry["rate_hz"] == 4.0
    assert entry["length"] == 17  # starts 0 to 4 s
    model = model_of(recipe)
    plain = evaluation(recipe, model)
    found = evaluation(
        recipe_of(
            tmp_path / "out", clip_weights / "one.safetensors", clips=mae_weights, stored=("video",), stride_s=1.0
        ),
        model,
    )
    with torch.no_grad():
        expected = model.towers["video"](plain.streams["video"]).pooled
        pooled = model.towers["video"](found.streams["video"]).pooled
    assert len(plain) == 30  # 5 windows of 6 samples
    assert (pooled - expected).abs().max() <= HALF * expected.abs().max()
    assert (pooled[0] - pooled[1]).abs().max() > 10 * HALF * expected.abs().max()


@pytest.mark.parametrize("change", [{"warp": 0.2}, {"whole": True, "crop": 0.5}])
def test_clips_of_windows_that_training_changes_are_refused(shards, clip_weights, mae_weights, tmp_path, change):
    recipe = recipe_of(shards, clip_weights / "one.safetensors", clips=mae_weights, **change)
    with pytest.raises(RecipeError, match=r"data\.window\.warp and data\.window\.crop"):
        precompute(str(shards), recipe, tmp_path / "out", streams=["video"])


def test_every_window_that_training_draws_is_within_half_a_stride_of_a_row():
    window = recipe_of("x", "y").data.window
    for duration in (0.5, 2.0, 2.1, 2.25, 2.26, 5.9, 20.0):
        starts = [cut.start_s for cut in tool.window_cuts(window, duration, 0.5)]
        assert starts[0] == 0
        assert starts[-1] + 0.25 >= max(0.0, duration - 2.0) - 1e-6
        assert starts[-1] <= max(0.0, duration - 2.0) + 0.25 + 1e-6


@pytest.mark.parametrize("reader", [TrainReader, EvalReader])
def test_another_tower_is_refused_before_the_first_step(stored, clip_weights, reader):
    recipe = recipe_of(stored, clip_weights / "other.safetensors", stored=("video",))
    tokenize = make_tokenizer(recipe.towers)
    towers = stored_towers(recipe.inputs, model_of(recipe).towers, recipe.data.window, tokenize)
    there = open_split(str(stored), "train").totals["streams"]["video.emb"]["towers"]
    message = (
        f"stored embeddings of video are of tower {next(iter(there))}, the recipe's is {towers['video']}; run tools/"
    )
    with pytest.raises(ReadError, match=message):
        reader(recipe.data, recipe.inputs, batch=16, tokenize=tokenize, precomputed=towers)


def test_shards_without_embeddings_are_refused(shards, clip_weights, tmp_path):
    recipe = recipe_of(shards, clip_weights / "one.safetensors", tmp_path / "run", stored=("video",))
    with pytest.raises(ReadError, match=r"no source has the stream 'video\.emb'.*run tools/precompute\.py first"):
        pretrain(recipe)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--streams", "video", "towers.video.tuning=full"], "towers.video is trained, so that its embeddings change"),
        (["--streams", "imu"], "towers.imu: embeddings are stored of video and text towers only"),
        (["--streams", "mocap"], "the recipe has no mocap; it has imu, video, text"),
        (["towers.video.tuning=full", "towers.text.tuning={kind: last}"], "set towers.text.tuning=frozen"),
        (["towers.video.tunning=full"], "unknown key; did you mean 'tuning'"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_the_reason(shards, clip_weights, tmp_path, capsys, words, message):
    from aura.train.recipe import to_yaml

    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe_of(shards, clip_weights / "one.safetensors")))
    command = [str(shards), "--recipe", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"), *words]
    assert main(command) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_says_how_to_train_from_what_it_wrote(shards, clip_weights, tmp_path, capsys):
    from aura.train.recipe import to_yaml

    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe_of(shards, clip_weights / "one.safetensors")))
    out = str(tmp_path / "out")
    assert (
        main([str(shards), "--recipe", str(tmp_path / "recipe.yaml"), "--streams", "text", "seed=1", "--out", out]) == 0
    )
    printed = capsys.readouterr().out
    assert f"data.sources.0.path={out} inputs.text.stored=true" in printed
    assert "train: 22 samples, embeddings of text.emb 21" in printed


def test_other_files_stay_byte_for_byte_and_the_folder_is_sound(shards, stored):
    faults, found, _ = verify(stored)
    assert not [fault for fault in faults if fault.check != "units"]  # the values of these samples tell the time
    assert len(found) == 28
    assert "## Embeddings" in (stored / "README.md").read_text()
    for split in ("train", "val"):
        before, after = members(shards, split), members(stored, split)
        assert before.keys() == after.keys()
        for key, files in before.items():
            head, new = json.loads(files["json"]), json.loads(after[key]["json"])
            added = {"text.emb", "video.emb"} - ({"video.emb"} if key == "clip-0050" else set())
            added -= {"text.emb"} if key == "clip-0051" else set()
            assert set(after[key]) - set(files) == {f"{name}.npy" for name in added}
            assert {name: data for name, data in after[key].items() if name in files and name != "json"} == {
                name: data for name, data in files.items() if name != "json"
            }
            assert {name: e for name, e in new["streams"].items() if name not in added} == head["streams"]
            assert {k: v for k, v in new.items() if k != "streams"} == {k: v for k, v in head.items() if k != "streams"}


def test_workers_and_stops_change_no_byte(shards, stored, clip_weights, tmp_path, monkeypatch):
    recipe = recipe_of(shards, clip_weights / "one.safetensors")
    out = tmp_path / "out"
    encode, calls, stop_at = tool.encode, [], 80

    def stops(*arguments):
        calls.append(1)
        if len(calls) == stop_at:
            raise Stopped
        return encode(*arguments)

    monkeypatch.setattr(tool, "encode", stops)
    with pytest.raises(Stopped):
        precompute(str(shards), recipe, out, batch=7, workers=3)
    assert not (out / "manifest.json").exists()
    with pytest.raises(ShardError, match="--resume"):
        precompute(str(shards), recipe, out, batch=7)
    with pytest.raises(ShardError, match="begun by another job"):
        precompute(str(shards), recipe, out, batch=8, resume=True)
    precompute(str(shards), recipe, out, batch=7, workers=1, resume=True)
    files = {p.name: p.read_bytes() for p in out.iterdir()}
    assert files == {p.name: p.read_bytes() for p in stored.iterdir()}
    total, stop_at = len(calls), -1
    calls.clear()
    precompute(str(shards), recipe, tmp_path / "whole", batch=7)
    assert len(calls) < total < 2 * len(calls)  # what was done before the stop was not done again


def test_a_text_that_samples_share_is_encoded_once(shards, clip_weights, tmp_path, monkeypatch):
    """And every sample has the embeddings of its own texts, in their order."""
    recipe = recipe_of(shards, clip_weights / "one.safetensors")
    encode, encoded = tool.encode, []

    def counts(encoder, rows):
        encoded.extend(row[0].numpy().tobytes() for row in rows)
        return encode(encoder, rows)

    monkeypatch.setattr(tool, "encode", counts)
    precompute(str(shards), recipe, tmp_path, streams=("text",), batch=7)
    model, tokenize = model_of(recipe), make_tokenizer(recipe.towers)
    assert tokenize is not None
    distinct = rows = 0
    for name in open_folder(str(tmp_path)):
        split = open_split(str(shards), name)
        shard_of = np.repeat(np.arange(len(split.shards)), [shard.samples for shard in split.shards])
        said = set()
        for shard, files in zip(shard_of, members(tmp_path, name).values()):
            texts = [text["text"] for text in json.loads(files["json"])["texts"]]
            said |= {(shard, text) for text in texts}  # a run is of one shard
            rows += len(texts)
            if texts:
                with torch.no_grad():
                    wanted = model.towers["text"].encode(tokenize(texts)).numpy()
                np.testing.assert_allclose(np.load(io.BytesIO(files["text.emb.npy"])), wanted, atol=2e-3)
        distinct += len(said)
    assert len(encoded) == distinct < rows


def test_a_video_that_cannot_be_decoded_is_left_out_named_and_counted(clip_weights, tmp_path, capsys):
    bad = make_sample(7, streams=("imu", "video"))
    bad.arrays["video"] = bad.arrays["video"][:200] + bytes(len(bad.arrays["video"]) - 200)
    write_set(tmp_path / "in", 5, streams=("imu", "video"), also=[("train", bad)])
    recipe = recipe_of(tmp_path / "in", clip_weights / "one.safetensors")
    manifest = precompute(str(tmp_path / "in"), recipe, tmp_path / "out")
    assert manifest["splits"]["train"]["samples"] == 5
    assert manifest["dropped"] == {
        "precompute: the sample cannot be read or decoded": {"count": 1, "seconds": 6.0},
    }
    assert "clip-0007.video.mp4" in capsys.readouterr().err


def test_embeddings_that_float16_cannot_hold_are_an_error(shards, clip_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "encode", lambda encoder, rows: np.full((len(rows), 32), np.inf, "<f2"))
    with pytest.raises(ShardError, match=r"clip-0000.*towers\.video gives values that are not finite in float16"):
        precompute(str(shards), recipe_of(shards, clip_weights / "one.safetensors"), tmp_path / "out")


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR)
    torch.set_num_threads(1)

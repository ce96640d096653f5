"""Evaluation on windows of another length, of whole samples, with all sensors, and of shards whose texts are not stored."""

import json
import resource
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aura.evaluation.result import read_windows
from aura.evaluation.windows import EvaluationError, Request, embed, make_reader, with_window
from aura.train.loaded import load_run
from recipes.evaluate import main

PROBE = ["--task", "probe", "--leaks", "mark"]


def evaluated(run: Path, out: Path, *words: object) -> dict:
    assert main(["--checkpoint", str(run), "--out", str(out), *map(str, words)]) == 0
    return json.loads((out / "results.json").read_text())


def test_windows_of_another_length_and_whole_samples(unbroken, shards, tmp_path):
    words = ["--task", "zeroshot", "--shards", f"{shards}:val"]
    loaded = load_run(unbroken)
    usual = evaluated(unbroken, tmp_path / "usual", *words)
    short = evaluated(unbroken, tmp_path / "short", *words, "--window", "1", "--stride", "0.5")
    whole = evaluated(unbroken, tmp_path / "whole", *words, "--per-sample", "--window", "1", "--stride", "0.5")
    assert (usual["window_s"], usual["stride_s"], usual["per_sample"]) == (2.0, 0.25, False)
    assert (short["window_s"], short["stride_s"], whole["per_sample"]) == (1.0, 0.5, True)
    samples = len(Request(loaded, (f"{shards}:val",)).splits()[0])
    assert usual["results"]["imu"]["n"] == 5 * samples  # of 2 s, a quarter of a second apart, in 3 s
    assert short["results"]["imu"]["n"] == 5 * samples  # of 1 s, half a second apart
    assert whole["results"]["imu"]["n"] == samples
    assert len(read_windows(tmp_path / "whole")["imu"].keys) == samples


def test_all_sensors_are_read_where_training_drew_some(unbroken, shards):
    request = Request(load_run(unbroken), (f"{shards}:val",), pool=6, all_sensors=True)
    batch = next(iter(make_reader(request)))
    assert batch.streams["imu"].values.shape[1] == 9
    mask = batch.streams["imu"].sensor_mask
    assert mask is not None
    assert bool(mask[batch.weight > 0].all())
    worn = request.loaded.recipe.inputs["imu"].model_copy(update={"placements": ("chest",), "sensors": 1})
    recipe = request.loaded.recipe.model_copy(update={"inputs": request.loaded.recipe.inputs | {"imu": worn}})
    placed = replace(request, loaded=replace(request.loaded, recipe=recipe))
    assert next(iter(make_reader(placed))).streams["imu"].values.shape[1] == 9
    assert next(iter(make_reader(replace(placed, all_sensors=False)))).streams["imu"].values.shape[1] == 1
    one = next(iter(make_reader(request, "chest")))
    assert one.streams["imu"].values.shape[1] == 1
    found = embed(request).sides["pooled", "imu"]
    assert not torch.allclose(found, embed(request, placement="chest").sides["pooled", "imu"])


def test_texts_that_are_not_stored_are_encoded(unbroken, shards):
    """A model trained on stored sentences is evaluated on shards that have none."""
    loaded = replace(load_run(unbroken), precomputed={"text": "0" * 64})
    batch = next(iter(make_reader(Request(loaded, (f"{shards}:val",), pool=6))))
    assert not batch.streams["text"].values.is_floating_point()


def test_windows_that_a_model_cannot_read_are_told(unbroken):
    loaded = load_run(unbroken)
    assert with_window(loaded, None, None).recipe == loaded.recipe
    assert with_window(loaded, 1.5, None).recipe.data.window.stride_s is None  # one after another
    loaded.model.towers["imu"].any_length = False  # type: ignore[assignment]
    with pytest.raises(EvaluationError, match="the tower of imu reads windows of 2 s alone"):
        with_window(loaded, 1.5, None)
    loaded.model.towers["imu"].longest_s = 4.0  # type: ignore[assignment]
    assert with_window(loaded, 3.0, 1.0).recipe.data.window.stride_s == 1.0
    with pytest.raises(EvaluationError, match="the tower of imu reads at most 4 s"):
        with_window(loaded, 5.0, None)


def test_what_cannot_be_read_or_written_is_told_with_its_place(unbroken, shards, tmp_path, capsys):
    words = ["--checkpoint", str(unbroken), "--shards", f"{shards}:val", "--task", "zeroshot", "--out", str(tmp_path)]
    assert main([*words, "--window", "40"]) == 1
    said = capsys.readouterr().err
    assert "the model reads nothing of the" in said
    assert "hold less than data.window.min_cover (0.5) of 40 s" in said
    size = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, size[1]))
    try:
        assert main(words) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, size)
        signal.signal(signal.SIGXFSZ, handler)
    assert f"error: {tmp_path}: [Errno 27] File too large" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "no half of a file stays"


def test_per_sample_is_for_tasks_that_name_classes(unbroken, shards, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(
            [
                "--checkpoint",
                str(unbroken),
                "--shards",
                str(shards),
                "--task",
                "retrieval",
                "--per-sample",
                "--out",
                str(tmp_path),
            ]
        )
    assert "--per-sample is for --task zeroshot, probe, fewshot, forest" in capsys.readouterr().err


def test_probe_of_whole_samples(unbroken, shards, tmp_path):
    found = evaluated(
        unbroken, tmp_path, *PROBE, "--shards", f"{shards}:val", "--per-sample", "--window", "1", "--stride", "1"
    )
    n = found["results"]["imu, linear"]["n"]
    assert n == len(Request(load_run(unbroken), (f"{shards}:val",)).splits()[0])
    assert np.isfinite(found["results"]["imu, linear"]["accuracy"])

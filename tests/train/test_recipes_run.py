"""Every recipe trains three steps on synthetic shards, with small stand-ins for the models that it would download."""

import signal
from functools import partial
from pathlib import Path

import pytest
import yaml
from accelerate.state import AcceleratorState, GradientState

from aura.train.loop import pretrain
from aura.train.recipe import make_recipe
from aura.train.rundir import read_metrics
from aura.train.signals import STOPPING
from shards.common import convert
from shards.synthetic import Settings, plan, samples_of

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
CLIP = {
    "embed_dim": 512,  # the faithful recipes have no projection: their towers meet in CLIP's own space
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Five-second clips of two subjects, a few activities each."""
    out = tmp_path_factory.mktemp("shards") / "synthetic"
    recordings = plan(1, 1, 0, 1)
    convert("synthetic", recordings, partial(few, settings=Settings(video_pixels=32)), out)
    return out


def few(recording, settings):
    """The first samples of a recording: enough for three steps."""
    for i, made in enumerate(samples_of(recording, settings)):
        if i == 10:
            return
        yield made


def small(values: dict) -> dict:
    """The recipe with small models instead of those that come from a network, and on its own."""
    values.pop("init", None)
    for stream, tower in values["towers"].items():
        if tower["kind"] in ("clip_video", "clip_text"):
            tower.update(model=CLIP, pretrained=None)
        elif tower["kind"] == "transformers_text":
            values["towers"][stream] = {"kind": "clip_text", "model": CLIP, "tuning": tower.get("tuning", "full")}
    values["inputs"].get("text", {}).pop("stored", None)
    if "video" in values["inputs"]:
        values["inputs"]["video"]["size"] = 32
    return values


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_trains(path, shards, tmp_path):
    values = small(yaml.safe_load(path.read_text()))
    values["data"].update(
        sources=[{"path": str(shards)}], eval=[{"path": str(shards), "split": "val"}], workers=0, streams=8
    )
    values["train"].update(steps=3, batch=8, warmup=0)
    values["eval"] = {"pool": 8, "batch": 8}
    values["run_dir"] = str(tmp_path / "run")
    handlers = [signal.getsignal(number) for number in STOPPING]
    try:
        assert pretrain(make_recipe(values)) == 0
        assert [signal.getsignal(number) for number in STOPPING] == handlers, "the caller has its signals back"
    finally:
        AcceleratorState._reset_state()
        GradientState._reset_state()
    lines = [line for _, line in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3]
    pairs = make_recipe(values).objective.pairs
    for line in lines[:3]:
        assert all(line[f"rows/{pair}"] == 8 for pair in pairs), "every stream of the recipe was read"
    assert all(f"retrieval/{pair}/R@1" in lines[-1] for pair in pairs)
    assert (tmp_path / "run" / "plots" / "retrieval.png").exists()

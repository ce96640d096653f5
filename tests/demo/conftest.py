import os
import subprocess
import sys
from pathlib import Path

import pytest

from aura.train.checkpoint import write_weights
from aura.train.recipe import make_recipe
from aura.weights import stream_modules
from tests.train.batches import tiny_model, tiny_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def demo_shards(tmp_path_factory):
    """36 clips of 4 s of one person, with video."""
    folder = tmp_path_factory.mktemp("demo") / "shards"
    settings = "--subjects 1 --val-subjects 0 --test-subjects 0 --clips-per-activity 1 --seconds 4"
    command = [sys.executable, "-m", "shards.synthetic", "--out", str(folder), *settings.split()]
    subprocess.run(
        command, cwd=ROOT, check=True, timeout=600, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return folder


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """A run directory of a model with random weights. It compares imu, video and mocap with words, and aligns imu and 2D
    poses by moments, no other two streams."""
    values = tiny_recipe().model_dump(mode="json")
    values["towers"]["text"]["model"]["text_cfg"] |= {"context_length": 16, "vocab_size": 49408}
    values["objective"] |= {"classify": None}
    values["objective"]["pairs"] = {"imu:text": {}, "video:text": {}, "mocap:text": {}, "imu:pose2d": {}}
    for stream in ("imu", "mocap"):
        values["towers"][stream]["moments"] = None
    recipe = make_recipe(values)
    module = tiny_model(recipe)
    weights = {"shared": module.temperature.state_dict()}
    for stream in module.towers:
        parts = stream_modules(module, stream).items()
        weights[f"towers/{stream}"] = {f"{part}.{n}": t.clone() for part, m in parts for n, t in m.state_dict().items()}
    run = tmp_path_factory.mktemp("demo_run") / "tiny"
    write_weights(run / "checkpoints", recipe, weights)
    return run


@pytest.fixture(scope="session")
def demo_model(demo_run):
    import aura

    return aura.from_pretrained(demo_run)

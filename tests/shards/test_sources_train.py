"""Shards of every converter train, alone and in a mix whose sources lack each other's modalities."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, GradientState

from aura.data.index import open_folder
from aura.train.loop import pretrain
from aura.train.recipe import make_recipe
from aura.train.rundir import read_metrics
from tests.shards.sources import MADE, make

TINY = Path(__file__).parents[1] / "train" / "tiny.yaml"
VIDEO = {"embed_dim": 16, "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8}}
PAIRS = ("imu:text", "mocap:text", "pose2d:text", "video:text", "imu:mocap", "imu:pose2d", "imu:video", "mocap:pose2d")
MIX = ("pamap2", "egoexo4d", "mri", "totalcapture", "bvh")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def made(folder: Path) -> dict[str, Path]:
    return {}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without plots, which take two thirds of the time, and on one thread: towers are so small that more cost tenfold."""
    monkeypatch.setattr("aura.train.report.plot_run", lambda metrics, folder: [])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def shards(name: str, folder: Path, made: dict[str, Path]) -> Path:
    """Made once, for the first test that needs them."""
    if name not in made:
        made[name] = make(name, folder)
    return made[name]


def train(folders: list[Path], run_dir: Path, steps: int = 10) -> tuple[list[dict], set[str]]:
    """Ten steps on all splits of the folders, by `recipes/pretrain.py`'s function: their metrics, and the pairs."""
    splits = [(path, name, split) for path in folders for name, split in open_folder(str(path)).items()]
    streams = {stream for _, _, split in splits for stream in split.totals["streams"]}
    pairs = [pair for pair in PAIRS if set(pair.split(":")) <= streams]
    values = yaml.safe_load(TINY.read_text())
    values["inputs"] |= {"pose2d": {"rate_hz": 10}, "video": {"frames": 2, "size": 32}}
    values["towers"]["pose2d"] = values["towers"]["mocap"]
    values["towers"]["video"] = {"kind": "clip_video", "model": values["towers"]["text"]["model"] | VIDEO}
    for key in ("inputs", "towers"):
        values[key] = {name: values[key][name] for name in values[key] if name in streams}
    values["data"] |= {
        "sources": [{"path": str(path), "split": name} for path, name, _ in splits],
        "eval": [{"path": str(path), "split": name} for path, name, _ in splits],
        "workers": 0,
    }
    values["objective"]["pairs"] = pairs
    values["train"].update(steps=steps, batch=8 * len(folders), warmup=2)
    values["data"]["streams"] = 8 * len(folders)
    values |= {
        "eval": {"every": steps, "pool": 2, "batch": 8},
        "run_dir": str(run_dir),
        "checkpoint": {"every": steps},
        "log": {"tensorboard": False},
    }
    try:
        assert pretrain(make_recipe(values)) == 0
    finally:
        AcceleratorState._reset_state()
        GradientState._reset_state()
    lines = [line for _, line in read_metrics(run_dir / "metrics.jsonl")]
    return [line for line in lines if line["kind"] == "train"], set(pairs)


def check(lines: list[dict], pairs: set[str], steps: int = 10) -> None:
    """All steps were made, and every pair had rows in some step, with a loss that is one."""
    assert [line["step"] for line in lines] == list(range(1, steps + 1))
    for pair in pairs:
        rows, losses = ([line[f"{what}/{pair}"] for line in lines] for what in ("rows", "loss"))
        assert sum(rows) > 0, f"{pair} never had rows"
        assert np.isfinite(losses).all(), pair
        assert any(r > 1 and loss > 0 for r, loss in zip(rows, losses)), f"{pair} never had a loss"


@pytest.mark.parametrize("name", MADE)
def test_each_trains(name: str, folder: Path, made: dict[str, Path], tmp_path: Path) -> None:
    lines, pairs = train([shards(name, folder, made)], tmp_path / "run")
    assert pairs
    check(lines, pairs)


def test_a_mix_of_five_trains(folder: Path, made: dict[str, Path], tmp_path: Path) -> None:
    lines, pairs = train([shards(name, folder, made) for name in MIX], tmp_path / "run")
    assert pairs == set(PAIRS)
    check(lines, pairs)
    batch = 8 * len(MIX)
    assert max(line["rows/imu:video"] for line in lines) < batch / 2  # one source of the five has both
    assert all(line["rows/imu:text"] > line["rows/imu:video"] for line in lines)

"""Shards of mRI, TotalCapture and EgoHumans train together: sensors, skeletons and 2D poses of three kinds."""

from pathlib import Path

import numpy as np
import yaml
from accelerate.state import AcceleratorState, GradientState

from aura.train.loop import pretrain
from aura.train.recipe import make_recipe
from aura.train.rundir import read_metrics
from shards import egohumans, mri, totalcapture
from tests.shards import fixtures_egohumans, fixtures_mri, fixtures_totalcapture

TINY = Path(__file__).parents[1] / "train" / "tiny.yaml"


def test_a_mix_of_the_three_trains(tmp_path: Path) -> None:
    sources = []
    for made, shards in ((fixtures_mri, mri), (fixtures_totalcapture, totalcapture), (fixtures_egohumans, egohumans)):
        name = shards.DATASET
        made.write_tree(tmp_path / "raw" / name)
        shards.run(tmp_path / "raw" / name, tmp_path / name)
        sources.append({"path": str(tmp_path / name)})
    values = yaml.safe_load(TINY.read_text())
    values["data"]["sources"] = sources
    values["data"]["eval"] = [{**source, "split": "test"} for source in sources]
    values["data"]["workers"] = 0
    values["objective"]["pairs"] = ["imu:mocap", "imu:text"]
    values["train"].update(steps=3, batch=8, warmup=1)
    values["eval"] = {"every": 3, "pool": 8, "batch": 8}
    values["run_dir"] = str(tmp_path / "run")
    try:
        assert pretrain(make_recipe(values)) == 0
    finally:
        AcceleratorState._reset_state()
        GradientState._reset_state()
    lines = [line for _, line in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    steps = [line for line in lines if line["kind"] == "train"]
    assert len(steps) == 3
    assert all(np.isfinite(line["loss/imu:mocap"]) and line["loss/imu:mocap"] > 0 for line in steps)

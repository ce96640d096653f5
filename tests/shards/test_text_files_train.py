"""Shards of PAMAP2, of CSV files, of Berkeley MHAD and of SP-SW-HAR train: three steps on all together."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from accelerate.state import AcceleratorState, GradientState

from aura.train.loop import pretrain
from aura.train.recipe import make_recipe
from aura.train.rundir import read_metrics
from shards import berkeley_mhad, csv, pamap2, sp_sw_har
from tests.shards import test_berkeley_mhad, test_sp_sw_har
from tests.shards.pamap2_writer import HAND, lose, table, write
from tests.shards.test_csv import BASE, signals
from tests.shards.test_csv import write as write_csv

TINY = Path(__file__).parents[1] / "train" / "tiny.yaml"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    x = table([(1, 900), (4, 900), (5, 900), (24, 900)])
    lose(x, HAND, 1000, 1500)
    for subject in ("101", "106"):
        write(tmp_path / "raw" / "Protocol" / f"subject{subject}.dat", x)
    pamap2.run(tmp_path / "raw", tmp_path / "pamap2")
    for name in ("s1_walking", "s2_running", "s3_sitting"):
        write_csv(tmp_path / "csv_raw" / f"{name}.csv", [20 * i for i in range(900)], signals(900))
    config = csv.Table.model_validate(
        BASE | {"name": r"(?P<subject>s\d)_(?P<activity>\w+)\.csv", "splits": {"test": ["s3"]}}
    )
    csv.run(tmp_path / "csv_raw", tmp_path / "csv", config=config)
    for subject in (1, 2, 8, 9):
        clips = {sensor: test_berkeley_mhad.clip(sensor) for sensor in (range(1, 7) if subject % 2 else (1, 2, 5))}
        test_berkeley_mhad.put(tmp_path / "berkeley_raw", (subject, subject, 1), clips)
    berkeley_mhad.run(tmp_path / "berkeley_raw", tmp_path / "berkeley")
    (tmp_path / "phone_raw").mkdir()
    for name in ("s01_01_sp", "s01_01_sw", "s02_01_sp"):
        (tmp_path / "phone_raw" / f"{name}.csv").write_text("\n".join(test_sp_sw_har.device(name[-2:])) + "\n")
    sp_sw_har.run(tmp_path / "phone_raw", tmp_path / "phone", whole=True)
    return [tmp_path / name for name in ("pamap2", "csv", "berkeley", "phone")]


def test_a_mix_of_all_trains(folders: list[Path], tmp_path: Path) -> None:
    values = yaml.safe_load(TINY.read_text())
    values["data"]["sources"] = [{"path": str(folder)} for folder in folders]
    values["data"]["eval"] = [{"path": str(folder), "split": "test"} for folder in folders]
    values["data"]["workers"] = 0
    values["inputs"].pop("mocap")
    values["towers"].pop("mocap")
    values["objective"]["pairs"] = ["imu:text"]
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
    assert [line["rows/imu:text"] for line in steps] == [8, 8, 8]
    assert all(np.isfinite(line["loss"]) and line["loss"] > 0 for line in steps)

"""What is said of the data that a model learned from; bad samples are left out and never stop it."""

import json
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from aura.data.config import ImuInput, MocapInput
from aura.data.describe import describe
from aura.data.memory import MemoryRecord
from aura.data.sample import Sample


def record(scale: float, sensors: object = None) -> MemoryRecord:
    sensors = [{"placement": "chest", "channels": ["acc"]}] if sensors is None else sensors
    imu = np.zeros((1, 50, 6), np.float32)
    imu[..., 2] = scale
    mocap = np.zeros((20, 3, 3), np.float32)
    mocap[:, 1, 2] = 1.7
    streams = {"imu": {"rate_hz": 50.0, "start_s": 0.0, "length": 50, "sensors": sensors}}
    streams["mocap"] = {"rate_hz": 20.0, "start_s": 0.0, "length": 20}
    return MemoryRecord(Sample("a", "d", "r", 1.0, streams, {"imu": imu, "mocap": mocap}))


class Split(list):
    folder, name, dataset = "x", "train", "ours"
    totals: ClassVar = {
        "streams": {"imu": {}, "mocap": {}},
        "licences": ["CC0-1.0"],
        "seconds": 3600.0,
        "subjects": ["a", "b"],
    }

    def record(self, i):
        return self[i]


def test_figures_and_bad_samples():
    samples = [record(scale) for scale in np.linspace(9, 11, 101)]
    split = Split([record(np.nan), record(1e30, sensors=[{}]), *samples, record(np.inf)])
    found = describe([split], {"imu": ImuInput(), "mocap": MocapInput()})
    json.dumps(found, allow_nan=False)
    assert found["datasets"][0]["subjects"] == 2
    assert found["datasets"][0]["hours"] == 1
    about = found["statistics"]["imu"]
    assert about["samples"] == 101
    assert about["acc"] == pytest.approx([9.02, 10, 10.98])
    assert about["placements"] == {"chest": 101}
    assert about["sensors"] == [1, 1]
    assert "gyro" not in about
    assert found["statistics"]["mocap"]["height"] == pytest.approx([1.7] * 3)
    assert describe([Split([SimpleNamespace(head={})])], {"imu": ImuInput()})["statistics"] == {}


def test_sensors_are_those_that_a_row_has():
    worn = [{"placement": name, "channels": ["acc"]} for name in ("chest", "left wrist", "right ankle")]
    samples = [record(9.8), record(9.8, worn[:2]), record(9.8, worn)]
    for sample, count in zip(samples, (1, 2, 3)):
        sample.arrays["imu"] = np.repeat(sample.arrays["imu"], count, axis=0)
    for settings, wanted in (
        (ImuInput(sensors=2), [1, 2]),
        (ImuInput(sensors=5), [1, 3]),
        (ImuInput.model_validate({"placements": ["left wrist", "right ankle", "head"]}), [1, 2]),
    ):
        assert describe([Split(samples)], {"imu": settings})["statistics"]["imu"]["sensors"] == wanted

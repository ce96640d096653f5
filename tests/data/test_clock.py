"""Speeds go by a stream's own clock, not by the rate that fits it to another stream."""

import numpy as np
import pytest
import torch

from aura.body.skeletons import SKELETONS
from aura.data.config import ImuInput, MocapInput, Window
from aura.data.index import open_split
from aura.data.windows import Cutter
from aura.data.writer import ShardWriter
from aura.towers.motion_features import MotionFeatures
from tests.data.samples import make_sample

FRAMES, CLOCK_HZ = 60, 18.7


@pytest.mark.parametrize("warp", [0.0, 0.3])
def test_speeds_of_a_fitted_stream_tell_nothing_of_the_other_streams_length(tmp_path, warp):
    """The same 60 frames, fitted to clips of 3 s and of 4 s by the IMU's clock: a tower must not see which."""
    with ShardWriter(tmp_path / "set", name="test") as writer:
        for number, seconds in enumerate((3.0, 4.0)):
            sample = make_sample(number, seconds=seconds, streams=("imu", "mocap"))
            sample.arrays["mocap"] = make_sample(0, seconds=3.0).arrays["mocap"]
            rate = FRAMES / seconds
            sample.streams["mocap"] |= {"rate_hz": rate, "clock_hz": CLOCK_HZ, "start_s": 0.5 / rate, "length": FRAMES}
            writer.write("train", sample)
    split = open_split(str(tmp_path / "set"), "train")
    inputs = {"imu": ImuInput(rate_hz=50), "mocap": MocapInput(rate_hz=20, skeleton="kinect20")}
    made = Cutter(inputs, Window(seconds=2, whole=True, warp=warp), None, training=warp > 0)
    rows = [split.record(i) for i in range(2)]
    batch = made.stack(
        [made.training_row(r, i, 7) if warp else made.evaluation_row(r, i, 0) for i, r in enumerate(rows)]
    )
    imu, mocap = batch.streams["imu"], batch.streams["mocap"]
    assert imu.step_s[0].sum() < 0.8 * imu.step_s[1].sum(), "the clips do differ in length"
    np.testing.assert_allclose(mocap.step_s[0], mocap.step_s[1], rtol=1e-5)
    np.testing.assert_allclose(mocap.step_s.mean(1), FRAMES / 40 / CLOCK_HZ, rtol=0.02 if warp else 1e-5)
    seen = MotionFeatures(SKELETONS["kinect20"], "mocap", 20.0, 0.0)(mocap)
    assert torch.allclose(seen[0], seen[1], atol=1e-5)

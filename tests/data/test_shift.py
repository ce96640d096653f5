"""Windows whose streams are cut at places of their own."""

import numpy as np
import pytest
import torch

from aura.data.config import ImuInput, MocapInput, Pose2dInput, TextInput, Window
from aura.data.index import open_split
from aura.data.windows import Cutter, row_key
from tests.data.samples import write_set

INPUTS = {"imu": ImuInput(rate_hz=100, sensors=2), "mocap": MocapInput(), "pose2d": Pose2dInput(), "text": TextInput()}


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    out = tmp_path_factory.mktemp("shift") / "set"
    write_set(out, 3)  # samples of 6 s; x of all is 100 x number + seconds
    return open_split(str(out), "train")


def rows(split, window, training=True):
    tokenize = lambda texts: torch.ones(len(texts), 4, dtype=torch.int64)  # noqa: E731
    cutter = Cutter(INPUTS, window, tokenize, training=training)
    if not training:
        return cutter.stack([cutter.evaluation_row(split.record(i), i, 0) for i in range(3)])
    return cutter.stack(
        [cutter.training_row(split.record(i % 3), i, row_key(0, 0, i, f"s{i % 3}", 0)) for i in range(60)]
    )


def test_each_stream_says_where_it_was_cut(split):
    batch = rows(split, Window(seconds=2.0, shift_s=1.0, shift_step_s=0.25))
    starts, zero = {}, 100.0 * (torch.arange(60) % 3)
    aside = torch.stack([torch.tensor(split.sample(i % 3).arrays["mocap"][0, 0, 0]) for i in range(60)])
    for name in ("imu", "mocap", "pose2d"):
        stream = batch.streams[name]
        assert stream.shift_s is not None
        # The first item's x tells when it is: imu by the recording's clock, the others by the sample's.
        x = stream.values[:, 0, 0, 0].double()
        starts[name] = {"imu": x, "mocap": x + zero - aside, "pose2d": x / 20 + zero}[name]
        torch.testing.assert_close(starts[name] - stream.shift_s, batch.start_s, atol=1e-3, rtol=0)
        steps = (stream.shift_s / 0.25).round()
        torch.testing.assert_close(stream.shift_s, (0.25 * steps).float())
        assert set(steps.long().tolist()) == {0, 1, 2, 3, 4}
        assert stream.reach_s is not None
        torch.testing.assert_close(stream.reach_s, torch.ones(60))  # all of these steps were as likely
        assert stream.valid.all(), "no window reaches beyond its sample"
    assert (starts["imu"] != starts["mocap"]).any()
    # The row's span holds all its windows: overlap with other rows is judged by it.
    last = torch.stack([batch.streams[n].shift_s for n in starts]).amax(0).double() + 2.0
    torch.testing.assert_close(batch.span_s, last, atol=1e-6, rtol=0)


def test_evaluation_is_not_shifted(split):
    batch = rows(split, Window(seconds=2.0, shift_s=1.0), training=False)
    assert all(stream.shift_s is None for stream in batch.streams.values())
    np.testing.assert_allclose(batch.span_s, 2.0)


def test_a_stretched_window_cannot_be_shifted():
    with pytest.raises(ValueError, match="set whole=false and warp=0"):
        Window(shift_s=1.0, whole=True)


def test_a_sample_without_room_says_so(split):
    """Samples of 6 s: a window of 5.6 s moves by one step of 0.25 s, one of 6 s not at all."""
    for seconds, steps in ((5.6, 1), (6.0, 0)):
        batch = rows(split, Window(seconds=seconds, shift_s=1.0, shift_step_s=0.25))
        for name in ("imu", "mocap", "pose2d"):
            stream = batch.streams[name]
            torch.testing.assert_close(stream.reach_s, torch.full((60,), 0.25 * steps))
            assert stream.shift_s.unique().tolist() == [0.25 * k for k in range(steps + 1)]

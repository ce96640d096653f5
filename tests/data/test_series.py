"""Signals over time: their rules in shards, and windows in which a missing value stays missing."""

import numpy as np
import pytest
import torch

from aura.data.config import SeriesInput, Window
from aura.data.describe import describe
from aura.data.index import ShardError, open_split
from aura.data.memory import MemoryRecord
from aura.data.picture import picture
from aura.data.sample import Sample, from_members, problems, to_members
from aura.data.windows import Cutter
from aura.data.writer import ShardWriter
from tools.inspect_shards import describe_sample
from tools.verify_shards import main as verify
from tools.verify_shards import unit_problems

NAN = float("nan")
CHANNELS = ("heart_rate bpm", "breath_rate 1/min")


def sample(values, rate_hz=10.0, channels=CHANNELS[:1], start_s=0.0, identity="a"):
    values = np.asarray(values, np.float32)
    values = values[:, None] if values.ndim == 1 else values
    entry = {"rate_hz": rate_hz, "start_s": start_s, "length": len(values), "channels": list(channels)}
    seconds = len(values) / rate_hz + start_s
    return Sample(identity, "d", "r", seconds, {"series_heart": entry}, {"series_heart": values})


def read(made, start=0, seconds=4.0, training=False, key=None, **settings):
    """values (T, C) and valid (T, C) of a window of a record that is in memory; None: the row lacks the stream."""
    count = len(settings.get("channels", CHANNELS[:1]))
    settings = {"channels": CHANNELS[:1], "mean": [80] * count, "std": [20] * count, **settings}
    cutter = Cutter({"series_heart": SeriesInput(**settings)}, Window(seconds=seconds, stride_s=1.0), training=training)
    record = MemoryRecord(made)
    row = cutter.evaluation_row(record, 0, start) if key is None else cutter.training_row(record, 0, key)
    batch = cutter.stack([row])
    stream = batch.streams["series_heart"]
    return (stream.values[0].numpy(), stream.valid[0].numpy()) if stream.present[0] else None


def test_the_values_of_a_window_at_the_rate_of_the_source_are_the_sources_own():
    source = np.array([70, 71, NAN, 73, 74, 75, 76, 77], np.float32)
    values, valid = read(sample(source, 1.0), start=1, rate_hz=1)
    assert values[:, 0].tolist() == [71, 0, 73, 74]
    assert valid[:, 0].tolist() == [True, False, True, True]


def test_a_slow_sine_at_another_rate_is_that_sine():
    t = np.arange(400) / 10
    values, valid = read(sample(80 + 10 * np.sin(2 * np.pi * 0.2 * t)), start=15, rate_hz=2.5)
    expected = 80 + 10 * np.sin(2 * np.pi * 0.2 * (15 + np.arange(10) / 2.5))
    assert valid.all()
    np.testing.assert_allclose(values[:, 0], expected, atol=0.05)


def test_a_rate_above_the_outputs_does_not_alias():
    t = np.arange(600) / 10
    values, _ = read(
        sample(80 + 10 * np.sin(2 * np.pi * 0.9 * t)), start=25, seconds=8.0, rate_hz=1
    )  # 0.9 Hz at 1 Hz: 0.1 Hz
    assert np.abs(values - 80).max() < 0.2


def test_missing_values_have_no_part_in_what_is_known():
    source = np.full(200, 80, np.float32)
    source[[50, 51, 52, 90, 130]] = NAN
    values, valid = read(sample(source), start=0, seconds=20.0, rate_hz=4)
    times = np.arange(80) / 4
    low, high = np.floor(times * 10 + 1e-9).astype(int), np.ceil(times * 10 - 1e-9).astype(int)
    expected = ~np.isnan(source[low]) & ~np.isnan(source[high])  # both neighbours are known
    assert valid[:, 0].tolist() == expected.tolist()
    assert not expected.all()
    np.testing.assert_allclose(values[valid], 80, atol=1e-3)
    assert not values[~valid].any()


def test_channels_are_missing_apart_and_go_by_their_names():
    rng = np.random.default_rng(0)
    heart, breath = 80 + rng.normal(size=100).cumsum(), 15 + rng.normal(size=100)
    breath[30:60] = NAN
    both = sample(np.stack([heart, breath], 1), channels=CHANNELS)
    values, valid = read(both, start=3, channels=(CHANNELS[1], "sweat uS", CHANNELS[0]), rate_hz=4)
    alone, _ = read(sample(heart), start=3, rate_hz=4)
    np.testing.assert_allclose(values[:, 2:], alone, rtol=1e-6)
    assert valid[:, 2].all()
    assert not valid[:, 1].any()
    assert not valid[:12, 0].any()
    assert valid[12:, 0].all()


def test_a_window_of_which_too_little_is_known_lacks_the_stream():
    source = np.full(40, 80, np.float32)
    source[19:] = NAN  # 19 of 40 items
    assert read(sample(source), rate_hz=10) is None
    source[19:20] = 80
    assert read(sample(source), rate_hz=10) is not None


@pytest.mark.parametrize(("channel", "message"), [("heart_rate Hz", "has 'heart_rate bpm', .* asks for 'heart_rate Hz'"), ("pulse bpm", "none of inputs.series_heart.channels: pulse bpm")])  # fmt: skip
def test_another_unit_or_name_is_an_error_and_never_a_missing_stream(channel, message):
    with pytest.raises(ShardError, match=message):
        read(sample(np.full(40, 80.0)), channels=(channel,))


def test_augmentation_drops_channels_but_one_and_shakes_what_is_known():
    source = np.full((400, 2), 80, np.float32)
    source[100:140, 1] = NAN
    made = sample(source, channels=CHANNELS)
    settings = {"channels": CHANNELS, "std": [20, 5], "rate_hz": 10, "training": True}
    drops = [read(made, key=key, augment={"drop_channel": 0.5}, **settings)[1].any(0) for key in range(300)]
    assert np.any(drops, axis=1).all()
    assert np.mean(drops) == pytest.approx(1 - (0.5 - 0.25 / 2), abs=0.05)
    rows = [read(made, key=key, augment={"noise": 0.1}, **settings) for key in range(200)]
    shaken = [np.concatenate([v[ok[:, c], c] - 80 for v, ok in rows]) for c in range(2)]
    assert [x.std() for x in shaken] == pytest.approx([2.0, 0.5], rel=0.05)
    assert all(not v[~ok].any() for v, ok in rows)
    again = read(made, key=7, augment={"noise": 0.1}, **settings)
    assert np.array_equal(again[0], rows[7][0])


@pytest.mark.parametrize(
    ("values", "channels", "message"),
    [
        ([1, np.inf], ["a 1"], "series_heart: is infinite, first at (1, 0)"),
        ([NAN, NAN], ["a 1"], "series_heart: holds no value: leave the stream out"),
        ([1, 2], ["a"], "streams.series_heart.channels: 'a' must be a name and a unit, such as 'heart_rate bpm'"),
        ([1, 2], ["a 1", "b 1"], "must be a list of the array's 1 channels"),
        ([[1, 2]], ["a m", "a mm"], "name one twice"),
    ],
)
def test_what_breaks_the_format_is_told(values, channels, message):
    (found,) = problems(sample(values, channels=channels))
    assert message in found


def test_a_sample_comes_back_from_its_files_and_shards(tmp_path):
    made = sample([70, NAN, 72, 73])
    assert [name for name, _ in to_members(made)] == ["a.json", "a.series_heart.npy"]
    np.testing.assert_array_equal(from_members(to_members(made)).arrays["series_heart"], made.arrays["series_heart"])
    with ShardWriter(tmp_path / "out", name="test") as writer:
        writer.write("train", made)
    split = open_split(str(tmp_path / "out"), "train")
    np.testing.assert_array_equal(split.record(0).array("series_heart"), made.arrays["series_heart"])
    assert "series_heart.npy" in (tmp_path / "out" / "README.md").read_text()


def test_tools_show_it():
    made = sample([70, NAN, 72, 73], 1.0)
    (table, *_) = describe_sample(made)
    assert "heart_rate bpm (mean 71.67, std 1.25, 25% missing)" in table[1][-1]
    assert [axes.get_ylabel() for axes in picture(made).axes] == ["series_heart, 1 Hz\nheart_rate, bpm"]
    assert list(unit_problems(made)) == []
    sparse = np.full(100, NAN)
    sparse[::11] = 80  # as a signal of 9 Hz in rows of 100 Hz
    (found,) = unit_problems(sample(sparse, 100.0))
    assert "90% of heart_rate bpm is missing: store it at its own rate" in found
    sparse[50:52] = 80  # two that are side by side do not make it a signal of 100 Hz
    assert len(list(unit_problems(sample(sparse, 100.0)))) == 1
    gap = np.full(100, NAN)
    gap[:10] = 80  # worn for a tenth of the time: at its own rate
    assert list(unit_problems(sample(gap, 4.0))) == []


def test_the_shortest_series_are_good(tmp_path, capsys):
    """One item, two, and one of two that is missing: as rates of 1 Hz give them in pieces of a second."""
    made = [sample(v, 1.0, identity=f"p{i}") for i, v in enumerate([[80], [80, 81], [NAN, 81], [80, 81, 82]])]
    assert [list(unit_problems(one)) for one in made] == [[], [], [], []]
    with ShardWriter(tmp_path / "out", name="d") as writer:
        for one in made:
            writer.write("train", one)
    assert verify([str(tmp_path / "out")]) == 0
    assert "4 of 4 samples are good, 0 faults" in capsys.readouterr().out


def test_statistics_are_medians_of_samples():
    class Split(list):
        folder, name, dataset = "x", "train", "ours"
        totals = {"streams": {}, "licences": [], "seconds": 1.0, "subjects": []}  # noqa: RUF012

        def record(self, i):
            return MemoryRecord(self[i])

    split = Split(sample([level, NAN, level + 50, level - 50]) for level in range(60, 161))
    about = SeriesInput(channels=CHANNELS[:1], mean=[80], std=[20])
    found = describe([split], {"series_heart": about})["statistics"]["series_heart"]
    assert found["channels"] == {"heart_rate bpm": pytest.approx([61, 110, 159])}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": ["heart_rate"], "mean": [0], "std": [1]}, "no name and unit"),
        ({"channels": ["a 1", "b 1"], "mean": [0], "std": [1, 1]}, "mean has 1 values, channels 2"),
        ({"channels": ["a m", "a mm"], "mean": [0, 0], "std": [1, 1]}, "one is named twice"),
        ({"channels": ["a 1"], "mean": [0], "std": [0]}, "greater than 0"),
    ],
)
def test_inputs_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        SeriesInput(**settings)


def test_rows_without_the_stream_are_blank():
    config = {"series_heart": SeriesInput(channels=CHANNELS, mean=[80, 15], std=[20, 5], rate_hz=1)}
    cutter = Cutter(config, Window(seconds=4.0))
    there = cutter.evaluation_row(MemoryRecord(sample(np.full(40, 80.0))), 0, 0)
    batch = cutter.stack([cutter.filler(), there])
    stream = batch.streams["series_heart"]
    assert stream.present.tolist() == [False, True]
    assert stream.values.shape == stream.valid.shape == (2, 4, 2)
    assert not stream.values[0].any()
    stream.values[0] = torch.nan
    assert not stream.cleaned().values[0].any()

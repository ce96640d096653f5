"""Metrics of embedded windows."""

import numpy as np
import pytest
import torch

from aura.objectives.config import Objective
from aura.tasks.evaluate import Embedded, pair_ranks, whole_samples


def embedded(labels):
    n = len(labels)
    vectors = torch.nn.functional.normalize(torch.randn(2, n, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    return Embedded(
        sides={("pooled", "imu"): vectors[0], ("pooled", "text"): vectors[1]},
        present={"imu": torch.ones(n, dtype=torch.bool), "text": torch.ones(n, dtype=torch.bool)},
        numbers=np.arange(n),
        start_s=np.zeros(n),
        span_s=np.full(n, 4.0),
        recordings=np.array([f"take {i}" for i in range(n)]),
        texts=np.array([f"words {i}" for i in range(n)]),
        labels=[{"activity": label} if label else {} for label in labels],
        groups=np.full(n, ""),
        subjects=np.full(n, ""),
        samples=np.array([f"{i}" for i in range(n)]),
    )


def test_windows_without_a_label_are_no_twins_of_each_other():
    objective = Objective(pairs={"imu:text": {}}, same_text="label:activity")
    found = pair_ranks(embedded(["walk", "walk"] + [""] * 18), "imu", "text", "pooled", objective)[0].figures()
    assert found is not None
    # Two queries have two right answers of 20, eighteen have one.
    assert found["chance/R@1"] == pytest.approx((2 * 2 / 20 + 18 / 20) / 20)


def test_a_whole_sample_is_the_mean_of_its_windows():
    windows = embedded(["walk", "walk", "run", "run", "run", ""])
    windows.recordings = np.array(["a", "a", "a", "b", "b", "b"])
    windows.samples = np.array(["0", "0", "1", "0", "0", "1"])
    windows.start_s = np.array([0.0, 4, 8, 0, 2, 6])
    windows.present["imu"][4] = False
    windows.sides["pooled", "imu"][4] = 0
    found = whole_samples(windows)
    assert found.labels == [{"activity": "walk"}, {"activity": "run"}, {"activity": "run"}, {}]
    assert found.start_s.tolist() == [0, 8, 0, 6]
    assert found.span_s.tolist() == [8, 4, 6, 4]
    x = windows.sides["pooled", "imu"]
    expected = torch.nn.functional.normalize(torch.stack([x[0] + x[1], x[2], x[3], x[5]]), dim=-1)
    torch.testing.assert_close(found.sides["pooled", "imu"], expected)
    assert found.present["imu"].all()


def test_labels_with_one_meaning_are_twins():
    same = {"same_text": "label:activity", "meanings": {"walk": ("walk", "stroll")}}
    apart = Objective(pairs={"imu:text": {}}, same_text="label:activity")
    joined = Objective(pairs={"imu:text": {}}, **same)
    rows = embedded(["walk", "stroll", "run", "sit"])
    chance = [pair_ranks(rows, "imu", "text", "pooled", o)[0].figures()["chance/R@1"] for o in (apart, joined)]
    assert chance == pytest.approx([1 / 4, (2 * 2 / 4 + 2 / 4) / 4])
    with pytest.raises(ValueError, match="walk stands in more than one"):
        Objective(pairs={"imu:text": {}}, same_text="label:activity", meanings={"a": ("walk",), "b": ("walk",)})
    with pytest.raises(ValueError, match="set same_text"):
        Objective(pairs={"imu:text": {}}, meanings={"a": ("walk",)})

"""Metrics of embedded windows."""

import numpy as np
import pytest
import torch

from aura.objectives.config import Objective
from aura.tasks.evaluate import Embedded, pair_ranks


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

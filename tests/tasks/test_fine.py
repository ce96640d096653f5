"""Windows compared by their body parts."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aura.data.batch import Batch, Stream
from aura.objectives.config import Fine, Objective
from aura.objectives.fine import Tokens
from aura.tasks.evaluate import Embedded, comparison, pair_ranks
from aura.tasks.fine import parts_by, similarity, spreads, terms_of, with_sensors
from aura.tasks.retrieval import retrieval

N, S, T, M, D = 7, 3, 4, 5, 6
PART = torch.tensor([0, 1, 4])


def tokens(seed, order=(0, 1, 2), near=None):
    """Of N windows; with sensors and moments missing, which hold NaN."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(N, S, T, M, generator=random, dtype=torch.float64)
    local = torch.randn(N, S, D, generator=random, dtype=torch.float64)
    if near is not None:
        values, local = 0.3 * values + near.values.nan_to_num(), 0.3 * local + near.local.nan_to_num()
    values, local = F.normalize(values, dim=-1), F.normalize(local, dim=-1)
    mask = torch.rand(N, S, T, generator=random) > 0.2
    mask[1, 2] = mask[4, 0] = False
    values[~mask], local[~mask.any(-1)] = torch.nan, torch.nan
    pick = list(order)
    part = PART[pick].expand(N, -1)
    return Tokens(values[:, pick], mask[:, pick], local[:, pick], part, torch.zeros(N, dtype=torch.int64))


def naive(a, b, i, j, term):
    """Mean cosine of windows i and j over what both have."""
    found = []
    for s, p in enumerate(a.part[i].tolist()):
        r = b.part[j].tolist().index(p)
        if term == "local":
            if a.there[i, s] and b.there[j, r]:
                found.append(float(a.local[i, s] @ b.local[j, r]))
        else:
            found += [
                float(a.values[i, s, t] @ b.values[j, r, t]) for t in range(T) if a.mask[i, s, t] and b.mask[j, r, t]
            ]
    return np.mean(found) if found else -1.0


@pytest.mark.parametrize("term", ["late", "local"])
def test_similarity_is_over_what_both_windows_have(term):
    a, b = tokens(0), tokens(1, order=(2, 0, 1))
    a.mask[2] = False  # a window without any token
    a.local[2] = torch.nan
    found = similarity(parts_by(a, term), parts_by(b, term))
    np.testing.assert_allclose(found, [[naive(a, b, i, j, term) for j in range(N)] for i in range(N)], atol=1e-12)


def embedded(a, b):
    both = {"imu": a, "pose2d": b}
    return Embedded(
        sides={},
        present={name: torch.ones(N, dtype=torch.bool) for name in both},
        numbers=np.arange(N),
        start_s=np.zeros(N),
        span_s=np.full(N, 3.0),
        recordings=np.array([f"take {i}" for i in range(N)]),
        texts=np.array([""] * N),
        labels=[{}] * N,
        groups=np.array([""] * N),
        subjects=np.array([""] * N),
        samples=np.arange(N).astype(str),
        parts={(term, name): parts_by(side, term) for name, side in both.items() for term in ("late", "local")},
    )


def test_sum_of_standardised_similarities():
    a = tokens(0)
    b = tokens(1, near=a)
    matrices = [similarity(parts_by(a, term), parts_by(b, term)) for term in ("late", "local")]
    for matrix, spread in zip(
        matrices, spreads(*([parts_by(x, t) for t in ("late", "local")] for x in (a, b)), block=3)
    ):
        assert spread == pytest.approx(float(matrix.std(unbiased=False)))
    both = sum((m - m.mean()) / m.std(unbiased=False) for m in matrices)
    objective = Objective(pairs={"imu:pose2d": {}}, fine={"imu:pose2d": Fine(late=1, local=1)})
    for term, matrix in (("late", matrices[0]), ("local", matrices[1]), ("late+local", both)):
        found = pair_ranks(embedded(a, b), "imu", "pose2d", term, objective)[0].figures()
        assert found == pytest.approx(retrieval(matrix, torch.eye(N, dtype=torch.float64)))
    weighed = comparison(embedded(a, b), "imu", "pose2d", "late+local", torch.ones(N, dtype=torch.bool))
    expected = sum(m / m.std(unbiased=False) for m in matrices)
    torch.testing.assert_close(weighed(slice(2, 4), torch.tensor([5, 0])), expected[2:4][:, [5, 0]])
    back = pair_ranks(embedded(a, b), "pose2d", "imu", "late", objective)[0].figures()
    assert back == pytest.approx(retrieval(matrices[0].T, torch.eye(N, dtype=torch.float64)))


def test_terms_are_those_of_the_training():
    assert terms_of(Fine(late=1)) == ("late",)
    assert terms_of(Fine(token=1, local=0.3)) == ("late", "local", "late+local")
    assert terms_of(Fine(local=1)) == ("local",)


def batch(numbers):
    n = len(numbers)
    mask = torch.ones(n, 5, dtype=torch.bool)
    mask[0, 3:] = False
    imu = Stream(
        torch.ones(n, 5, 8, 6), torch.ones(n, dtype=torch.bool), mask[:, :, None].repeat(1, 1, 8), sensor_mask=mask
    )
    pose = Stream(torch.ones(n, 8, 2, 3), torch.ones(n, dtype=torch.bool), torch.ones(n, 8, dtype=torch.bool))
    words = [""] * n
    zeros = torch.zeros(n, dtype=torch.float64)
    return Batch(
        {"imu": imu, "pose2d": pose},
        torch.tensor(numbers),
        zeros,
        zeros,
        zeros,
        words,
        words,
        words,
        words,
        words,
        [{}] * n,
    )


def test_a_number_of_sensors_is_drawn_by_the_row():
    rows = batch(list(range(100)))
    for count in (1, 2, 3, 5):
        imu = with_sensors(rows, count).streams["imu"]
        assert (imu.sensor_mask[1:].sum(1) == count).all()
        assert int(imu.sensor_mask[0].sum()) == min(count, 3), "what is not there is not drawn"
        assert (imu.valid.any(-1) == imu.sensor_mask).all()
    one = with_sensors(rows, 1).streams["imu"].sensor_mask
    assert (one[1:].float().mean(0) > 0.1).all(), "each of the five in its turn"
    assert (one <= with_sensors(rows, 2).streams["imu"].sensor_mask).all(), "one more is added"
    last = with_sensors(batch([3, 98, 99]), 1).streams["imu"].sensor_mask
    assert (last[1:] == one[98:]).all(), "whatever the batch"
    assert rows.streams["imu"].sensor_mask[1:].all(), "the batch itself is as it was"

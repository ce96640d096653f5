"""Every fine term on random cases, with sensors and tokens missing, against the plain reference."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aura.objectives.fine import (
    late_interaction,
    local_contrast,
    multi_positive,
    token_batch_contrast,
    token_contrast,
)
from tests.objectives import fine_reference as reference
from tests.objectives.test_fine import rows, tokens


@pytest.mark.parametrize("seed", range(6))
def test_terms_agree_with_the_formulas(seed):
    rng = np.random.default_rng(seed)
    b, s, t, d = rng.integers(2, 6), rng.integers(1, 5), rng.integers(1, 7), rng.integers(2, 9)
    i, p = rng.normal(size=(2, b, s, t, d)) * rng.uniform(0.1, 30, (2, b, s, t, 1))
    v = rng.random((b, s, t)) < rng.uniform(0.5, 1)
    v[rng.random((b, s)) < 0.2] = False  # sensors that are missing
    v[:2, 0, 0] = True  # two windows have something to compare
    kappa = float(np.exp(rng.uniform(0, 4)))
    mask, scale = torch.from_numpy(v), torch.tensor([kappa], dtype=torch.float64)
    x, y = tokens(torch.from_numpy(i), mask), tokens(torch.from_numpy(p), mask)
    keys = rows(int(b))
    body = rng.normal(size=(b, d))
    pairs = {
        "token": (token_contrast(x, y, scale), reference.token(i, p, v, kappa)),
        "token in the batch": (
            token_batch_contrast(x, y, keys, scale, 0.2),
            reference.token_batch(i, p, v, kappa),
        ),
        "local, same part": (local_contrast(x, y, keys, scale, "part"), reference.local(i, p, v, kappa, True)),
        "local, all parts": (local_contrast(x, y, keys, scale, "all"), reference.local(i, p, v, kappa, False)),
        "multi-positive": (
            multi_positive(torch.nan_to_num(x.local), x.there, F.normalize(torch.from_numpy(body), dim=-1), scale),
            reference.multi_positive(reference.locals_of(i, v)[0], v.any(2), body, kappa),
        ),
        "late": (late_interaction(x, y, keys, keys.gather(), scale)[0], reference.late(i, p, v, kappa)),
    }
    weights = rng.uniform(0.1, 2, len(pairs))
    for name, (found, expected) in pairs.items():
        assert found.item() == pytest.approx(expected, abs=1e-10), name
    total = sum(w * found.item() for w, (found, _) in zip(weights, pairs.values()))
    assert total == pytest.approx(sum(w * e for w, (_, e) in zip(weights, pairs.values())), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_windows_at_places_of_their_own_agree_with_the_formula(seed):
    rng = np.random.default_rng(seed)
    b, s, t, d = 5, 3, int(rng.integers(3, 8)), 4
    i, p = rng.normal(size=(2, b, s, t, d))
    v = rng.random((2, b, s, t)) < 0.8
    reach = np.array([0, 1, 2, 3, 3])
    start = rng.integers(0, reach + 1, (2, b))
    kappa = 7.0
    sides = [
        tokens(torch.from_numpy(x), torch.from_numpy(m), torch.from_numpy(at), torch.from_numpy(reach))
        for x, m, at in zip((i, p), v, start)
    ]
    found = token_contrast(*sides, torch.tensor([kappa], dtype=torch.float64))
    assert found.item() == pytest.approx(reference.token_moved(i, p, v, kappa, *start, reach), abs=1e-10)


def test_masked_prediction_agrees_with_the_formula():
    from aura.objectives.config import Masked
    from aura.objectives.heads import MaskedPrediction, noise

    torch.manual_seed(0)
    predict = MaskedPrediction(8, Masked(weight=1, heads=2, hidden=16, share=0.5)).double()
    target, mask, row = torch.randn(4, 3, 5, 8, dtype=torch.float64), torch.rand(4, 3, 5) < 0.8, torch.arange(4)
    seen = {}
    predict.out.register_forward_hook(lambda module, given, out: seen.update(guess=out.view(4, 3, 5, 8)))
    error, count = predict(torch.where(mask[..., None], target, 0.0), mask, row)
    hidden = mask & (noise(row, 15).view(4, 3, 5) < 0.5)
    assert 0 < hidden.sum() < mask.sum()
    assert count.sum().item() == hidden.sum().item()
    expected = reference.masked(seen["guess"].detach().numpy(), target.numpy(), hidden.numpy())
    assert (error.sum() / count.sum()).item() == pytest.approx(expected, rel=1e-6)
    # What is masked depends on the row's number alone, not on the batch it stands in.
    assert torch.equal(noise(row[2:], 15), noise(row, 15)[2:])
    assert noise(torch.arange(2000), 50).mean().item() == pytest.approx(0.5, abs=0.01)

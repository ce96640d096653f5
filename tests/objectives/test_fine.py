"""The fine objectives against the golden values of their formulas (float64), with everything there and with parts missing."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from aura.objectives.fine import (
    Tokens,
    late_interaction,
    local_contrast,
    multi_positive,
    token_batch_contrast,
    token_contrast,
)
from aura.objectives.heads import unit
from aura.objectives.rows import Rows

SCALE = torch.tensor([1 / 0.07], dtype=torch.float64)
B, S, T, D = 3, 2, 4, 5


def grid(*sizes):
    return torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in sizes), indexing="ij")


def sides(masked: bool):
    """Tokens of the two sides by closed forms; masked: sensor (1, 1) absent, token (2, 1, 3) not valid."""
    b, s, t, d = grid(B, S, T, D)
    x = torch.sin(1 + 0.9 * b + 1.7 * s + 0.6 * t + 0.4 * d + 0.3 * b * d)
    y = torch.cos(0.5 + 0.8 * b + 1.1 * s + 0.7 * t + 0.5 * d + 0.2 * t * d)
    mask = torch.ones(B, S, T, dtype=torch.bool)
    if masked:
        mask[1, 1] = False
        mask[2, 1, 3] = False
    return tokens(x, mask), tokens(y, mask)


def tokens(x, mask, start=None, reach=None):
    known = torch.where(mask[..., None], x, 0.0)
    mean = known.sum(2) / mask.sum(2).clamp(min=1)[..., None]
    n, s = mask.shape[:2]
    broken = torch.where(mask[..., None], F.normalize(x, dim=-1), math.nan)  # what is masked is never read
    local = torch.where(mask.any(2)[..., None], F.normalize(mean, dim=-1), math.nan)
    part = torch.arange(s).expand(n, s)
    return Tokens(broken, mask, local, part, torch.zeros(n, dtype=torch.int64) if start is None else start, reach)


def rows(n=B):
    """Windows of different recordings."""
    return Rows.of([f"r{i}" for i in range(n)], torch.zeros(n), torch.ones(n))


GOLDEN = {  # full, masked
    "token": (5.6250530773, 6.3668588172),
    "token in the batch": (8.7211693708, 9.3750012111),
    "local, same part": (3.7375569382, 3.7537974806),
    "local, all parts": (5.3352001293, 4.9566001862),
    "multi-positive": (2.4869216992, 1.4851809275),
}


def value(name, a, b):
    if name == "token":
        return token_contrast(a, b, SCALE)
    if name == "token in the batch":
        return token_batch_contrast(a, b, rows(), SCALE, token_s=0.25)
    if name == "local, same part":
        return local_contrast(a, b, rows(), SCALE, "part")
    if name == "local, all parts":
        return local_contrast(a, b, rows(), SCALE, "all")
    i, d = grid(B, D)
    body = F.normalize(torch.cos(0.4 + 0.7 * i + 0.8 * d), dim=-1).requires_grad_()
    loss = multi_positive(a.local, a.there, body, SCALE)
    assert not loss.requires_grad, "the body is only a target"
    return loss


@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("name", list(GOLDEN))
def test_golden_values(name, masked):
    torch.testing.assert_close(float(value(name, *sides(masked))), GOLDEN[name][masked], rtol=0, atol=2e-10)


def test_positions_alone_solve_the_published_token_loss_only():
    """One-hot codes of time on both sides, whatever the window: a loss near zero; over the batch its floor is ln B."""
    code = torch.eye(T, dtype=torch.float64).expand(B, S, T, T)
    a = tokens(code, torch.ones(B, S, T, dtype=torch.bool))
    assert float(token_contrast(a, a, SCALE)) == pytest.approx(1.8746e-06, rel=1e-3)
    at = token_batch_contrast(a, a, rows(), SCALE, token_s=0.25)
    assert float(at) == pytest.approx(1.0986141633, abs=1e-9)
    # Cut at other places the same codes are of other moments: positions are now wrong answers.
    later = tokens(code, torch.ones(B, S, T, dtype=torch.bool), start=torch.tensor([1, 2, 1]))
    assert float(token_contrast(a, later, SCALE)) > 10


def test_shifted_windows_are_compared_at_the_same_moments():
    """A side that is cut two tokens later gives the loss of the moments that both windows show."""
    torch.manual_seed(0)
    x, y = torch.randn(2, B, S, 8, D, dtype=torch.float64)
    every = torch.ones(B, S, 6, dtype=torch.bool)
    start = torch.full((B,), 2)
    a, b = tokens(x[:, :, :6], every), tokens(y[:, :, 2:], every, start)
    logits = SCALE * F.normalize(x[:, :, :6], dim=-1) @ F.normalize(y[:, :, 2:], dim=-1).transpose(-1, -2)
    own = logits.diagonal(offset=-2, dim1=-2, dim2=-1)  # a's token t is b's t - 2
    forth = (logits.logsumexp(-1)[..., 2:] - own).mean()
    back = (logits.logsumexp(-2)[..., :4] - own).mean()
    torch.testing.assert_close(token_contrast(a, b, SCALE), (forth + back) / 2)
    # Late interaction: the mean over sensors and the four shared moments, against each column at the same indexes.
    u, v = F.normalize(x[:, :, 2:6], dim=-1), F.normalize(y[:, :, 2:6], dim=-1)
    similar = torch.einsum("bstd,cstd->bc", u, v) / (S * 4)
    target = torch.arange(B)
    expected = (F.cross_entropy(SCALE * similar, target) + F.cross_entropy(SCALE * similar.T, target)) / 2
    loss, _ = late_interaction(a, b, rows(), rows().gather(), SCALE)
    torch.testing.assert_close(loss, expected)


def test_places_that_are_drawn_say_nothing():
    """Codes of positions alone, the best there are: they learn which lags were likely, unless the loss knows it."""
    size, reach = 12, 4
    g = torch.Generator().manual_seed(0)

    def learned(known: bool) -> tuple[float, float]:
        torch.manual_seed(0)
        codes = torch.nn.Parameter(torch.randn(2, size, size))
        scale = torch.tensor([10.0])
        optimizer = torch.optim.Adam([codes], 0.05)
        losses = []
        for _ in range(150):
            start = torch.randint(0, reach + 1, (2, 64), generator=g)
            every = torch.ones(64, 1, size, dtype=torch.bool)
            most = torch.full((64,), reach) if known else None
            sides = [tokens(c.expand(64, 1, -1, -1), every, s, most) for c, s in zip(codes, start)]
            constant = [replace(t, values=torch.ones_like(t.values) / size**0.5) for t in sides]
            loss = token_contrast(*sides, scale)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append((loss.item(), token_contrast(*constant, scale).item()))
        return tuple(torch.tensor(losses[-20:]).mean(0).tolist())

    found, blind = learned(known=False)
    assert found < 0.85 * blind
    found, blind = learned(known=True)
    assert found > 0.99 * blind


def test_late_interaction_with_sensors_missing():
    """A similarity is the mean over what both windows have; the pair's gradient does not reach what is masked."""
    a, b = sides(masked=True)
    a.values.requires_grad_()
    loss, accuracy = late_interaction(a, b, rows(), rows().gather(), SCALE)
    u, v = (torch.where(t.mask[..., None], t.values, 0.0).detach() for t in (a, b))
    shared = torch.einsum("bst,cst->bc", a.mask.double(), b.mask.double())
    similar = SCALE * torch.einsum("bstd,cstd->bc", u, v) / shared
    target = torch.arange(B)
    expected = (F.cross_entropy(similar, target) + F.cross_entropy(similar.T, target)) / 2
    torch.testing.assert_close(loss.detach(), expected)
    right = (similar.argmax(1) == target).double().mean() + (similar.argmax(0) == target).double().mean()
    torch.testing.assert_close(accuracy, right / 2)
    loss.backward()
    assert a.values.grad is not None
    assert torch.isfinite(a.values.grad).all()
    assert (a.values.grad[~a.mask] == 0).all()


def test_sensors_and_parts_in_any_order_and_two_on_one_part():
    torch.manual_seed(1)
    a, b = sides(masked=False)
    order = torch.tensor([1, 0])
    turned = Tokens(a.values[:, order], a.mask[:, order], a.local[:, order], a.part[:, order], a.start)
    for name in GOLDEN:
        torch.testing.assert_close(value(name, turned, b), value(name, a, b))
    # A second sensor on a part that says the same is no negative of the first.
    two = Tokens(*(torch.cat([x[:1, :1]] * 2, 1) for x in (a.values, a.mask, a.local, a.part)), start=a.start[:1])
    keys = Rows.of(["r0"], torch.zeros(1), torch.ones(1))
    for negatives in ("all", "part"):
        assert (
            float(
                local_contrast(
                    two, Tokens(*(x[:1] for x in (b.values, b.mask, b.local, b.part, b.start))), keys, SCALE, negatives
                )
            )
            == 0
        )


def test_nothing_to_compare_is_zero_with_a_graph():
    a, b = sides(masked=False)
    a.values.requires_grad_()
    none = Tokens(a.values, torch.zeros_like(a.mask), a.local, torch.full_like(a.part, -1), a.start)
    for loss in (
        token_contrast(none, b, SCALE),
        token_batch_contrast(none, b, rows(), SCALE, 0.25),
        late_interaction(none, b, rows(), rows().gather(), SCALE)[0],
        local_contrast(none, b, rows(), SCALE),
    ):
        assert loss.item() == 0


def test_short_vectors_have_no_endless_gradient():
    x = torch.zeros(3, 4, requires_grad=True)
    unit(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() <= 1e3

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from aura.objectives import lean as lean_module
from aura.objectives.contrast import contrast, within
from aura.objectives.rows import Rows, overlapping, same_meaning, stable_hash
from tests.objectives import references
from tests.objectives.references import accuracy, infonce, make_case, sigmoid

SAME = [None, "mask", "positive"]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Many tiles in a small batch, none of the borders a divisor of it."""
    monkeypatch.setattr(lean_module, "TILE", (5, 7))


def run(case, scale=12.0, bias=-3.0, both=None, dtype=torch.float64, **settings):
    """Result, and gradients of a, b, scale, bias."""
    a, b = (torch.tensor(x, dtype=dtype, requires_grad=True) for x in (case.a, case.b))
    scale, bias = (torch.tensor([x], dtype=dtype, requires_grad=True) for x in (scale, bias))
    rows = case.rows()
    both = torch.tensor(case.both) if both is None else both
    result = contrast(a, b, both, rows, rows.gather(), scale, bias=bias, **settings)
    result.loss.backward()
    return result, [x.grad for x in (a, b, scale, bias)]


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("same", SAME)
@pytest.mark.parametrize("directions", ["mean", "sum"])
def test_infonce_equals_the_reference(lean, same, directions):
    case = make_case()
    result, _ = run(case, same=same, directions=directions, lean=lean)
    assert result.loss.item() == pytest.approx(infonce(case, 12.0, same, directions), rel=1e-12)
    assert result.accuracy.item() == pytest.approx(accuracy(case, same))
    assert result.count.item() == case.both.sum()


@pytest.mark.parametrize("same", SAME)
def test_label_smoothing_equals_the_reference(same):
    case = make_case()
    result, _ = run(case, same=same, label_smoothing=0.1)
    assert result.loss.item() == pytest.approx(infonce(case, 12.0, same, "mean", 0.1), rel=1e-12)


def moments(n=7, size=6, width=4):
    """Two maps (n, N, M), the rows that have both streams, and the moments that are there in both."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, n, size, width))
    a[1, 4:], b[2, :3] = 0.0, 0.0
    both = np.array([True] * (n - 2) + [False] * 2)
    there = np.abs(a).any(-1) & np.abs(b).any(-1) & both[:, None]
    return a, b, both, there


def test_within_equals_the_reference():
    a, b, both, there = moments()
    x, y = (torch.tensor(v, requires_grad=True) for v in (a, b))
    scale = torch.tensor([9.0], dtype=torch.float64, requires_grad=True)
    loss = within(x, y, torch.tensor(both), scale)
    assert loss.item() == pytest.approx(references.within(a, b, there, 9.0), rel=1e-12)
    assert torch.autograd.gradcheck(lambda *v: within(v[0], v[1], torch.tensor(both), v[2]), (x + 0.1, y + 0.1, scale))


def test_within_without_any_moment_is_zero_with_a_gradient_of_zero():
    a, b, both, _ = moments()
    x, y = torch.tensor(a, requires_grad=True), torch.tensor(b)
    loss = within(x, y, torch.zeros(len(both), dtype=torch.bool), torch.ones(1, dtype=torch.float64))
    loss.backward()
    assert loss.item() == 0
    assert x.grad is not None
    assert not x.grad.any()


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("same", SAME)
def test_the_sigmoid_loss_equals_the_reference(lean, same):
    case = make_case()
    result, _ = run(case, loss="sigmoid", same=same, lean=lean)
    assert result.loss.item() == pytest.approx(sigmoid(case, 12.0, -3.0, same), rel=1e-12)
    assert result.accuracy.item() == pytest.approx(accuracy(case, same))


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
@pytest.mark.parametrize("same", SAME)
def test_gradients_equal_finite_differences(lean, loss, same):
    case, step = make_case(n=9, d=4), 1e-6
    value = (
        (lambda c, s, b: infonce(c, s, same, "mean")) if loss == "infonce" else (lambda c, s, b: sigmoid(c, s, b, same))
    )
    _, (of_a, of_b, of_scale, of_bias) = run(case, loss=loss, same=same, lean=lean)
    for array, gradient in ((case.a, of_a), (case.b, of_b)):
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + step
            above = value(case, 12.0, -3.0)
            array[place] = kept - step
            below = value(case, 12.0, -3.0)
            array[place] = kept
            assert gradient[place].item() == pytest.approx((above - below) / (2 * step), abs=1e-7)
    slope = (value(case, 12.0 + step, -3.0) - value(case, 12.0 - step, -3.0)) / (2 * step)
    assert of_scale.item() == pytest.approx(slope, abs=1e-7)
    if loss == "sigmoid":
        slope = (value(case, 12.0, -3.0 + step) - value(case, 12.0, -3.0 - step)) / (2 * step)
        assert of_bias.item() == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
@pytest.mark.parametrize("same", SAME)
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
@pytest.mark.parametrize("n", [2, 7, 61])
def test_the_lean_form_equals_the_plain_one(loss, same, scale, n):
    case = make_case(n=n, seed=n, missing=0.0 if n == 2 else 0.3)
    plain, gradients = run(case, scale, loss=loss, same=same)
    lean, lean_gradients = run(case, scale, loss=loss, same=same, lean=True)
    assert lean.loss.item() == pytest.approx(plain.loss.item(), rel=1e-10, abs=1e-10)
    assert lean.accuracy == plain.accuracy
    for a, b in zip(gradients, lean_gradients):
        assert a is None or torch.allclose(a, torch.zeros_like(a) if b is None else b, rtol=1e-10, atol=1e-10)


def test_the_lean_form_in_float32_is_near_the_plain_one_in_float64():
    """Half-aligned pairs: sums of many terms of both signs."""
    case = make_case(n=200, d=32, missing=0.0, twins=False)
    case.b = case.a + case.b
    case.b /= np.linalg.norm(case.b, axis=1, keepdims=True)
    plain, gradients = run(case, 20.0)
    lean, lean_gradients = run(case, 20.0, dtype=torch.float32, lean=True)
    assert lean.loss.item() == pytest.approx(plain.loss.item(), rel=1e-5)
    for a, b in zip(gradients[:3], lean_gradients[:3]):
        assert (a - b).abs().max() <= 1e-5 * a.abs().max()


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
@pytest.mark.parametrize("there", [0, 1])
def test_under_two_rows_the_loss_is_zero_and_has_a_graph(lean, loss, there):
    case = make_case(n=6)
    both = torch.arange(6) < there
    result, gradients = run(case, both=both, loss=loss, lean=lean)
    assert result.loss.item() == 0.0
    assert result.count.item() == there
    assert all(g is not None and g.eq(0).all() for g in gradients)


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
def test_rows_that_lack_a_stream_are_never_read(lean, loss):
    case = make_case()
    clean, gradients = run(case, loss=loss, lean=lean)
    case.a[~case.both], case.b[~case.both] = np.nan, np.inf
    dirty, dirty_gradients = run(case, loss=loss, lean=lean)
    assert clean.loss == dirty.loss
    for a, b in zip(gradients, dirty_gradients):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


def test_closed_forms():
    """Two pairs with all similarities equal: log 2 a direction. Aligned orthogonal pairs: log(1 + e^-s)."""
    case = make_case(n=2, missing=0.0, twins=False)
    case.a = np.eye(8)[[0, 0]]
    case.b = case.a.copy()
    assert run(case)[0].loss.item() == pytest.approx(math.log(2))
    assert run(case, directions="sum")[0].loss.item() == pytest.approx(2 * math.log(2))
    case.a = np.eye(8)[:2]
    case.b = case.a.copy()
    assert run(case, 3.0)[0].loss.item() == pytest.approx(math.log1p(math.exp(-3.0)))
    assert run(case, 3.0)[0].accuracy.item() == 1.0


def test_both_orders_of_a_pair_give_the_same_loss():
    case = make_case()
    loss = run(case)[0].loss
    case.a, case.b = case.b, case.a
    assert run(case)[0].loss.item() == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize("lean", [False, True])
def test_autocast_does_not_reach_the_loss(lean):
    case = make_case()
    outside, _ = run(case, dtype=torch.float32, lean=lean)
    with torch.autocast("cpu", torch.bfloat16):
        inside, _ = run(case, dtype=torch.float32, lean=lean)
    assert inside.loss == outside.loss
    assert inside.loss.dtype == torch.float32
    half = [torch.tensor(x, dtype=torch.bfloat16) for x in (case.a, case.b)]
    rows = case.rows()
    assert contrast(*half, torch.tensor(case.both), rows, rows, torch.ones(1), lean=lean).loss.dtype == torch.float32


def test_windows_of_equal_recording_and_time_overlap_and_others_do_not():
    rows = Rows.of(["a", "a", "a", "b", "", ""], torch.tensor([0.0, 5, 4, 0, 0, 0]), torch.full((6,), 5.0))
    found = overlapping(rows, rows)
    assert found[:3, :3].tolist() == [[True, False, True], [False, True, True], [True, True, True]]
    assert not found[3, :3].any()
    assert not found[4:].any()  # an unknown recording overlaps nothing
    texts = Rows.of(["a"] * 3, torch.zeros(3), torch.ones(3), ["walk", "walk", ""])
    assert same_meaning(texts, texts).tolist() == [[True, True, False], [True, True, False], [False, False, False]]


def test_hashes_are_stable_and_positive():
    assert stable_hash("walk") == stable_hash("walk") == 1520542885026177688
    assert all(0 < stable_hash(str(i)) < 2**63 for i in range(1000))


def test_the_lean_form_holds_no_matrix_of_logits(monkeypatch):
    """The largest tensor that it makes is one of the size of its inputs, or a tile."""
    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(x.numel() for x in (out if isinstance(out, tuple | list) else [out]) if torch.is_tensor(x))
            return out

    monkeypatch.setattr(lean_module, "TILE", (32, 64))
    case = make_case(n=600, d=8, missing=0.0)
    for loss in ("infonce", "sigmoid"):
        with Sizes():
            run(case, loss=loss, same="mask", lean=True)
    assert max(sizes) <= max(600 * 8, 2 * 32 * 64)

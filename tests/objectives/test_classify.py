"""The cross-entropy of classifiers against torch's own, in float64."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from aura.objectives.classify import UNKNOWN, classify, targets
from aura.objectives.config import Objective

N, CLASSES = 12, 5


def case():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(N, CLASSES, generator=g, dtype=torch.float64).requires_grad_()
    target = torch.randint(0, CLASSES, (N,), generator=g)
    target[[1, 4]] = UNKNOWN
    present = torch.ones(N, dtype=torch.bool)
    present[[0, 4, 7]] = False
    return logits, target, present


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_and_gradient_are_those_of_torch_over_the_rows_that_count(smoothing):
    logits, target, present = case()
    result = classify(logits, target, present, smoothing)
    (found,) = torch.autograd.grad(result.loss, logits)
    masked = torch.where(present, target, -100)
    masked[target == UNKNOWN] = -100
    expected = F.cross_entropy(logits, masked, label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(expected, logits)
    assert result.count == 8
    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-15)
    counted = masked >= 0
    assert result.accuracy == (logits.argmax(1) == target)[counted].double().mean()


def test_what_stands_in_other_rows_changes_nothing():
    values, gradients = [], []
    for filler in (0.0, float("nan")):
        logits, target, present = case()
        dirty = logits.detach().clone()
        dirty[[0, 1, 4, 7]] = filler
        dirty.requires_grad_()
        result = classify(dirty, target, present)
        result.loss.backward()
        values.append(result.loss.detach())
        gradients.append(dirty.grad)
    assert torch.equal(values[0], values[1])
    assert torch.equal(gradients[0], gradients[1])
    assert not gradients[1][[0, 1, 4, 7]].any()


def test_without_a_row_that_counts_it_is_zero_with_a_graph():
    logits, target, _ = case()
    result = classify(logits, target, torch.zeros(N, dtype=torch.bool))
    assert (result.loss.item(), result.accuracy.item(), result.count.item()) == (0, 0, 0)
    (gradient,) = torch.autograd.grad(result.loss, logits)
    assert not gradient.any()


def test_it_is_float32_under_autocast():
    logits, target, present = case()
    with torch.autocast("cpu", torch.bfloat16):
        result = classify(logits.bfloat16(), target, present)
    assert result.loss.dtype == torch.float32


def test_a_row_without_the_label_or_of_no_class_is_unknown():
    labels = [{"activity": "walk"}, {}, {"activity": "fly"}, {"activity": ""}, {"mood": "walk", "activity": "run"}]
    assert targets(labels, "activity", ["run", "walk"]).tolist() == [1, UNKNOWN, UNKNOWN, UNKNOWN, 0]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "name at least one pair in `pairs`"),
        ({"classify": {"classes": ["walk"], "streams": ["imu"]}}, "at least 2"),
        ({"classify": {"classes": ["walk", "walk"], "streams": ["imu"]}}, "each is named once"),
        ({"classify": {"classes": ["walk", "run"], "streams": ["imu:mocap"]}}, "neither a stream nor streams joined"),
        ({"classify": {"classes": ["walk", "run"], "streams": ["imu+imu"]}}, "neither a stream nor streams joined"),
        ({"classify": {"classes": ["walk", "run"], "streams": []}}, "at least 1"),
    ],
)
def test_what_cannot_be_classified_is_refused(values, told):
    with pytest.raises(ValidationError, match=told):
        Objective.model_validate(values)

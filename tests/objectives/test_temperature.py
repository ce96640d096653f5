import math

import pytest
import torch

from aura.objectives.temperature import LogScale, bounded


def test_the_bound_drops_only_gradients_that_push_further_out():
    x = torch.tensor([5.0, 5.0, 0.0, 0.0, 2.0, 6.0, -1.0], requires_grad=True)
    y = bounded(x, 0.0, 5.0)
    assert y.tolist() == [5, 5, 0, 0, 2, 5, 0]
    # A step goes against the gradient: a negative one raises.
    y.backward(torch.tensor([-1.0, 1.0, 1.0, -1.0, 1.0, 1.0, -1.0]))
    assert x.grad.tolist() == [0, 1, 0, -1, 1, 1, -1]


def test_a_scale_comes_back_from_its_bound():
    scales = LogScale([1.0, 1.0], max=2.0)
    optimizer = torch.optim.Adam(scales.parameters(), 0.1)
    for sign in [-1.0] * 50 + [1.0] * 50:
        optimizer.zero_grad()
        (sign * scales()[0]).sum().backward()
        optimizer.step()
        assert scales()[0].max() <= 2.0
    assert scales()[0].max() < 1.0


def test_parameters_are_float32_vectors():
    scales = LogScale([math.log(1 / 0.07)] * 3, max=math.log(100), sigmoid=True)
    assert {name: tuple(p.shape) for name, p in scales.named_parameters()} == {"log_scale": (3,), "bias": (3,)}
    assert all(p.dtype == torch.float32 for p in scales.parameters())
    log_scale, bias = scales()
    assert torch.allclose(log_scale.exp(), torch.full((3,), 1 / 0.07))
    assert bias.tolist() == [-10.0] * 3


def test_infonce_has_no_bias_and_a_fixed_scale_no_gradient():
    scales = LogScale([1.0, 1.0], max=2.0, learn=False)
    assert scales()[1].tolist() == [0.0, 0.0]
    assert not any(p.requires_grad for p in scales.parameters())
    with pytest.raises(ValueError, match="starts at 3"):
        LogScale([3.0, 3.0], max=2.0)

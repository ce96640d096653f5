"""The cases of `tools/bench.py` about the losses of a large batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench_data import Work


def loss_inputs(settings: dict) -> tuple[Any, Any, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    n = settings["rows"]
    # Two views of the same rows: a batch as it is in training.
    a = torch.randn(n, 512, generator=generator)
    b = torch.nn.functional.normalize(a + 2 * torch.randn(n, 512, generator=generator), dim=-1)
    a = torch.nn.functional.normalize(a, dim=-1)
    return a.requires_grad_(), b.requires_grad_(), torch.tensor([1 / 0.07], requires_grad=True)


def loss_ours(settings: dict, loss: Any = "infonce") -> Work:
    import torch

    from aura.objectives.contrast import contrast
    from aura.objectives.rows import Rows

    a, b, scale = loss_inputs(settings)
    n = len(a)
    start = torch.zeros(n, dtype=torch.float64)
    rows = Rows.of([f"r{i}" for i in range(n)], start, start + 5)
    both = torch.ones(n, dtype=torch.bool)

    def work() -> float:
        a.grad = b.grad = scale.grad = None
        bias = torch.full((1,), -10.0, requires_grad=True)
        contrast(a, b, both, rows, rows, scale, bias=bias, loss=loss, lean=True).loss.backward()
        return 1

    return work


def loss_theirs(settings: dict, sigmoid: bool = False) -> Work:
    import torch
    from open_clip.loss import ClipLoss, SigLipLoss

    a, b, scale = loss_inputs(settings)
    bias = torch.full((1,), -10.0, requires_grad=True)
    function = SigLipLoss() if sigmoid else ClipLoss()

    def work() -> float:
        a.grad = b.grad = scale.grad = None
        (function(a, b, scale, bias) if sigmoid else function(a, b, scale)).backward()
        return 1

    return work


VARIANTS: dict[str, dict[str, Callable[[dict], Work]]] = {
    "loss": {
        "lean": loss_ours,
        "ClipLoss": loss_theirs,
        "lean sigmoid": lambda s: loss_ours(s, "sigmoid"),
        "SigLipLoss": lambda s: loss_theirs(s, True),
    },
}

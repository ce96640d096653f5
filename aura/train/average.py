"""The average of the weights over the steps, which is evaluated and given away in place of the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Average:
    """Exponential moving average of the trained parameters (Polyak and Juditsky 1992), in float32, on every rank.

    After update n: average <- d average + (1 - d) parameters, with d = min(decay, (1 + n) / (10 + n)), so that the first weights
    are soon forgotten. It begins with what the parameters are here; of decay None there is none, and the parameters stand for it.
    Buffers are not averaged: running means and variances (batch norm) are averages over steps already, of the last weights.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self.decay = decay
        self.parameters = [p for p in model.parameters() if p.requires_grad] if decay is not None else []
        self.values = [p.detach().float().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """After so many updates of the parameters."""
        if self.decay is None:
            return
        decay = min(self.decay, (1 + updates) / (10 + updates))
        self.values = [value.to(p.device) for value, p in zip(self.values, self.parameters)]
        torch._foreach_lerp_(self.values, [p.detach().float() for p in self.parameters], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The parameters are the average inside, and afterwards what they were."""
        kept = [p.detach().clone() for p in self.parameters]
        self._set(self.values)
        try:
            yield
        finally:
            self._set(kept)

    @torch.no_grad()
    def _set(self, values: list[torch.Tensor]) -> None:
        for parameter, value in zip(self.parameters, values):
            parameter.copy_(value)

"""What stands between a tower's tokens and the fine objectives: projections, and the prediction of masked tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aura.body.parts import PARTS
from aura.objectives.config import Fine, Masked

SMALL = 1e-6  # added to a squared norm: a vector without direction has no endless gradient


class FineOutput(NamedTuple):
    """Of n rows. What a term needs that is off is empty: (n, S, N, 0), (n, S, 0), (n,).

    tokens   (n, S, N, M) float32 unit vectors, zeros where masked
    local    (n, S, D) float32 unit vectors, zeros where a sensor has no token
    sensors  (n, S, D): the same for the comparison with whole bodies
    error    (n,): sum over the row's masked tokens of the mean squared error of their prediction; masked (n,): how many
    """

    tokens: Tensor
    local: Tensor
    sensors: Tensor
    error: Tensor
    masked: Tensor


class FineHead(nn.Module):
    """Of one stream: from a tower's tokens (n, S, N, W) to what its fine pairs compare.

    fine   the stream's pairs; first: in which of them it is the first stream, whose tokens are predicted
    """

    def __init__(self, width: int, embedding: int, fine: list[Fine], first: list[bool]) -> None:
        super().__init__()
        spaces = {(f.projection, f.centre) for f in fine if f.late or f.token}
        if len(spaces) > 1:
            raise ValueError("the pairs of one stream need the same projection and centre")
        projection, self.centre = next(iter(spaces), (None, False))
        self.compares = bool(spaces)
        self.token = nn.Linear(width, projection, bias=False) if projection else None
        own = [f for f, is_first in zip(fine, first) if is_first]
        positive = any(f.multi_positive for f in own)
        self.local = nn.Linear(width, embedding, bias=False) if positive or any(f.local for f in fine) else None
        self.sensors = nn.Sequential(nn.LayerNorm(embedding), nn.Linear(embedding, embedding)) if positive else None
        masked = next((f.masked for f in own if f.masked), None)
        self.predict = MaskedPrediction(width, masked) if masked else None

    def forward(self, tokens: Tensor, mask: Tensor, row: Tensor) -> FineOutput:
        """tokens (n, S, N, W), mask (n, S, N) bool, row (n,) int64: numbers of the rows, which decide what is masked."""
        n, s = mask.shape[:2]
        raw = torch.where(mask[..., None], tokens, 0.0)
        compared = raw.new_zeros(n, s, mask.shape[2], 0, dtype=torch.float32)
        local = sensors = raw.new_zeros(n, s, 0, dtype=torch.float32)
        error = masked = raw.new_zeros(n, dtype=torch.float32)
        if self.compares:
            x = (raw if self.token is None else self.token(raw)).float()
            if self.centre:
                x = x - x.sum(2, keepdim=True) / mask.sum(2, keepdim=True).clamp(min=1)[..., None]
            compared = torch.where(mask[..., None], unit(x), 0.0)
        if self.local is not None:
            there = mask.any(2)[..., None]
            mean = self.local(raw.sum(2) / mask.sum(2).clamp(min=1)[..., None])
            local = torch.where(there, unit(mean.float()), 0.0)
            if self.sensors is not None:
                sensors = torch.where(there, unit(self.sensors(mean).float()), 0.0)
        if self.predict is not None:
            error, masked = self.predict(raw, mask, row)
        return FineOutput(compared, local, sensors, error, masked)


def unit(x: Tensor) -> Tensor:
    """x (..., D) at length 1; short vectors become shorter than that."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + SMALL)


class MaskedPrediction(nn.Module):
    """Predicts masked tokens from the others by a small Transformer; the target is the tower's own token, detached."""

    def __init__(self, width: int, config: Masked) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Parameter(0.02 * torch.randn(1, width))
        self.sensor = nn.Embedding(len(PARTS) + 1, width)
        nn.init.normal_(self.sensor.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, config.hidden, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Error and number of masked ones (n,) of tokens (n, S, N, W); see `FineOutput`."""
        n, s, length = mask.shape
        hidden = mask & (noise(row, s * length).view(n, s, length) < self.config.share)
        x = torch.where(hidden[..., None], self.query.to(tokens.dtype), tokens)
        x = x + sinusoids(length, x.shape[-1], x.device).to(x.dtype)
        if self.config.context == "window":
            slot = torch.arange(s, device=x.device).clamp(max=len(PARTS))
            x = (x + self.sensor(slot)[:, None]).flatten(1, 2)
            read = mask.flatten(1)
        else:
            x = (x + self.sensor.weight[-1]).flatten(0, 1)
            read = mask.flatten(0, 1)
        read = read | ~read.any(1, keepdim=True)
        guess = self.out(self.layers(x, src_key_padding_mask=~read)).view(n, s, length, -1)
        error = (guess.float() - tokens.detach().float()).square().mean(-1)
        return torch.where(hidden, error, 0.0).sum((1, 2)), hidden.sum((1, 2)).float()


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Positions (N, W) in time (Vaswani et al. 2017, section 3.5)."""
    rate = 10_000.0 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=-1)[:, :width]


def noise(row: Tensor, count: int) -> Tensor:
    """Numbers in [0, 1) (n, count) that depend on the row (n,) int64 and the place alone (SplitMix64, Steele et al. 2014).

    So what is masked is the same at any number of ranks, in any chunk, and in a second forward.
    """
    z = (row[:, None] * 0x2545F4914F6CDD1D + torch.arange(1, count + 1, device=row.device)) * -0x61C8864680B583EB
    for right, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        z = (z ^ ((z >> right) & ((1 << (64 - right)) - 1))) * factor
    z = z ^ ((z >> 31) & ((1 << 33) - 1))
    return ((z >> 11) & ((1 << 53) - 1)).double() / 2.0**53

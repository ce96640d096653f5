"""The tower for signals over time."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from aura.data.batch import Stream
from aura.data.config import SeriesInput
from aura.towers.output import TowerOutput
from aura.towers.stem import Pool, Stem, token_mask, token_stride
from aura.towers.tower import TransformerSettings, TransformerTower
from aura.towers.transformer import Transformer, masked_mean


class SeriesTransformerConfig(TransformerSettings):
    """Transformer over short tokens of all channels together."""

    kind: Literal["series_transformer"] = "series_transformer"
    stem: int = Field(default=32, gt=0, description="channels after the first convolution")
    token_s: float = Field(default=1.0, gt=0)


class SeriesTransformer(TransformerTower):
    """Channels standardised by the input's `mean` and `std`, zero where missing, each with a channel that says so."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, config: SeriesTransformerConfig, input: SeriesInput, seconds: float) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.stride, _ = token_stride(config.token_s, input.rate_hz, seconds)
        # Not in checkpoints: the recipe has them.
        self.register_buffer("mean", torch.tensor(input.mean), persistent=False)
        self.register_buffer("std", torch.tensor(input.std), persistent=False)
        self.stem = Stem(2 * len(input.channels), config.width, self.stride, config.stem, config.border)
        self.transformer = Transformer(config.width, config.depth, config.heads, config.mlp_ratio)
        self.pool = Pool(config.width, config.heads) if config.pool == "attention" else None

    def forward(self, stream: Stream) -> TowerOutput:
        """values (B, T, C), valid (B, T, C) -> pooled (B, W), tokens (B, 1, N, W)."""
        values = torch.where(stream.valid, (stream.values - self.mean) / self.std, 0.0)
        x = torch.cat([values, stream.valid.to(values.dtype)], dim=-1).transpose(1, 2)
        mask = token_mask(stream.valid.any(-1), self.stride)  # (B, N)
        tokens = self.transformer(self.stem(x), mask)
        pooled = masked_mean(tokens, mask, 1) if self.pool is None else self.pool(tokens, mask)
        return TowerOutput(pooled, tokens[:, None], mask[:, None])

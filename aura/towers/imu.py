"""The tower for inertial sensors."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from aura.body.placements import PLACEMENTS
from aura.data.batch import Stream
from aura.data.config import ImuInput
from aura.towers.features import World, imu_channels, imu_features
from aura.towers.output import TowerOutput
from aura.towers.stem import MomentBranch, Moments, Pool, Stem, token_mask, token_stride
from aura.towers.tower import TransformerSettings, TransformerTower
from aura.towers.transformer import Transformer, masked_mean

# More rows than there are placements: names that are added later do not change the shape of a checkpoint.
PLACEMENT_ROWS = 128


class ImuTransformerConfig(TransformerSettings):
    """Transformer over short tokens of each sensor, then fusion over sensors and time."""

    kind: Literal["imu_transformer"] = "imu_transformer"
    stem: int = Field(default=48, gt=0, description="channels after the first convolution")
    stem_norm: bool = Field(default=False, description="layer norms in the stem")
    world: World = Field(
        default="mean", description="channels in a frame with z up: gravity from the start or mean; none: without"
    )
    gravity: bool = Field(
        default=False, description="channels along and across gravity, which no mounting changes; see gravity_motion"
    )
    norms: bool = Field(default=True, description="the lengths of force and rate as channels")
    placements: bool = Field(default=True, description="tell the tower where each sensor is worn")
    fusion: Literal["tokens", "sensors"] = Field(
        default="tokens",
        description="tokens: of all sensors pooled at once; sensors: each sensor alone, then the mean of their directions, in which"
        " more sensors than in training, or other ones, do no harm",
    )
    moments: Moments | None = None


class ImuTransformer(TransformerTower):
    """One encoder shared by all sensors; a row's embedding pools the tokens of all its sensors and times, or is the mean of its
    sensors' own."""

    any_sensors = True

    def __init__(self, config: ImuTransformerConfig, input: ImuInput, seconds: float) -> None:
        super().__init__()
        assert len(PLACEMENTS) <= PLACEMENT_ROWS
        self.config, self.rate_hz, self.width = config, input.rate_hz, config.width
        self.token_s = config.token_s
        self.stride, tokens = token_stride(config.token_s, input.rate_hz, seconds)
        channels = imu_channels(config.world, config.norms, config.gravity)
        self.stem = Stem(channels, config.width, self.stride, config.stem, config.border, config.stem_norm)
        self.placement = nn.Embedding(PLACEMENT_ROWS, config.width) if config.placements else None
        if self.placement is not None:
            nn.init.normal_(self.placement.weight, std=0.02)
        self.transformer = Transformer(config.width, config.depth, config.heads, config.mlp_ratio)
        self.pool = Pool(config.width, config.heads) if config.pool == "attention" else None
        self.branch = MomentBranch(config.moments, channels, self.stride) if config.moments else None
        if config.moments:
            self.moments_shape = (tokens, config.moments.width)

    def forward(self, stream: Stream) -> TowerOutput:
        """values (B, S, T, 6) -> pooled (B, W), tokens (B, S, N, W), moments (B, N, M)."""
        b, s = stream.values.shape[:2]
        # Angles are summed over the window: in full precision, under autocast too.
        with torch.autocast(stream.values.device.type, enabled=False):
            c = self.config
            x = imu_features(stream, self.rate_hz, c.world, c.norms, c.gravity).flatten(0, 1)
        valid = stream.valid if stream.sensor_mask is None else stream.valid & stream.sensor_mask[:, :, None]
        mask = token_mask(valid, self.stride)  # (B, S, N)
        tokens = self.stem(x)
        if self.placement is not None and stream.placement is not None:
            tokens = tokens + self.placement(stream.placement.flatten())[:, None]
        tokens = self.transformer(tokens, mask.flatten(0, 1)).unflatten(0, (b, s))
        if self.config.fusion == "sensors":
            each = self._pooled(tokens.flatten(0, 1), mask.flatten(0, 1)).unflatten(0, (b, s))
            worn = mask.any(-1)
            pooled = masked_mean(self.width**0.5 * nn.functional.normalize(each, dim=-1), worn, 1)
        else:
            pooled = self._pooled(tokens.flatten(1, 2), mask.flatten(1, 2))
        moments = None
        if self.branch is not None:
            each = self.branch(x, mask.flatten(0, 1)).unflatten(0, (b, s))
            moments = masked_mean(each, mask, 1)
        return TowerOutput(pooled, tokens, mask, moments)

    def _pooled(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, N, W) -> (B, W) over those of the tokens that are there."""
        return masked_mean(tokens, mask, 1) if self.pool is None else self.pool(tokens, mask)

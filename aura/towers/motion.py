"""The tower for skeletons: motion capture and 2D pose."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aura.body.skeletons import skeleton
from aura.data.batch import Stream
from aura.data.config import MocapInput, Pose2dInput
from aura.towers.motion_features import MotionFeatures
from aura.towers.output import TowerOutput
from aura.towers.stem import MomentBranch, Moments, Pool, Stem, token_mask, token_stride
from aura.towers.tower import TransformerSettings, TransformerTower
from aura.towers.transformer import Transformer, masked_mean


class MotionTransformerConfig(TransformerSettings):
    """Transformer over short tokens of a skeleton's motion."""

    kind: Literal["motion_transformer"] = "motion_transformer"
    stem: int = Field(default=128, gt=0, description="channels after the first convolution")
    smooth_s: float = Field(default=0.04, ge=0, description="standard deviation of the smoothing over time; 0: none")
    moments: Moments | None = None


class MotionTransformer(TransformerTower):
    """A skeleton by name, from metres (mocap) or pixels (pose2d)."""

    def __init__(self, config: MotionTransformerConfig, input: MocapInput | Pose2dInput, seconds: float) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.stride, tokens = token_stride(config.token_s, input.rate_hz, seconds)
        self.features = MotionFeatures(skeleton(input.skeleton), input.kind, input.rate_hz, config.smooth_s)
        channels = self.features.channels
        self.stem = Stem(channels, config.width, self.stride, config.stem, config.border)
        self.transformer = Transformer(config.width, config.depth, config.heads, config.mlp_ratio)
        self.pool = Pool(config.width, config.heads) if config.pool == "attention" else None
        self.branch = MomentBranch(config.moments, channels, self.stride) if config.moments else None
        if config.moments:
            self.moments_shape = (tokens, config.moments.width)

    def forward(self, stream: Stream) -> TowerOutput:
        """values (B, T, J, 3) -> pooled (B, W), tokens (B, 1, N, W), moments (B, N, M)."""
        x = self.features(stream)
        mask = token_mask(stream.valid, self.stride)  # (B, N)
        tokens = self.transformer(self.stem(x), mask)
        pooled = masked_mean(tokens, mask, 1) if self.pool is None else self.pool(tokens, mask)
        moments = None
        if self.branch is not None:
            moments = self.branch(x, mask) * mask[..., None]
        return TowerOutput(pooled, tokens[:, None], mask[:, None], moments)

"""The tower for skeletons that keeps body parts apart."""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor

from aura.body.parts import PARTS, part_joints
from aura.body.skeletons import skeleton
from aura.data.batch import Stream
from aura.data.config import MocapInput, Pose2dInput
from aura.towers.motion_features import MotionFeatures
from aura.towers.output import TowerOutput
from aura.towers.stem import Pool, Stem, token_mask, token_stride
from aura.towers.tower import TransformerSettings, TransformerTower
from aura.towers.transformer import Transformer, masked_mean


class PartTransformerConfig(TransformerSettings):
    """One Transformer shared by all body parts, which it is not told apart."""

    kind: Literal["part_transformer"] = "part_transformer"
    stem: int = Field(default=48, gt=0, description="channels after the first convolution")
    smooth_s: float = Field(default=0.04, ge=0, description="standard deviation of the smoothing over time; 0: none")


class PartTransformer(TransformerTower):
    """Parts of `aura.body.parts` as MoBind (arXiv 2602.19004) encodes them: the same encoder for the joints of each.

    It has no part id: what a part's tokens are compared by is its motion, so that a sensor can be placed by it.
    """

    index: Tensor

    def __init__(self, config: PartTransformerConfig, input: MocapInput | Pose2dInput, seconds: float) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.token_s = config.token_s
        self.stride, _ = token_stride(config.token_s, input.rate_hz, seconds)
        self.features = MotionFeatures(skeleton(input.skeleton), input.kind, input.rate_hz, config.smooth_s)
        self.register_buffer("index", torch.from_numpy(part_joints(skeleton(input.skeleton))), persistent=False)
        channels = self.index.shape[1] * (7 if input.kind == "mocap" else 5)
        self.stem = Stem(channels, config.width, self.stride, config.stem, config.border)
        self.transformer = Transformer(config.width, config.depth, config.heads, config.mlp_ratio)
        self.pool = Pool(config.width, config.heads) if config.pool == "attention" else None

    def forward(self, stream: Stream) -> TowerOutput:
        """values (B, T, J, 3) -> pooled (B, W), tokens (B, 6, N, W); a part without any known joint has no tokens."""
        joints = self.features.joints(stream)  # the last channel: how well the joint is known
        there = self.index >= 0
        x = torch.where(there[..., None], joints[:, :, self.index.clamp(min=0)], 0.0)  # (B, T, P, 3, C)
        known = (x[..., -1] > 0).any(-1)  # (B, T, P)
        mask = token_mask(known.transpose(1, 2), self.stride)
        tokens = self.transformer(self.stem(rearrange(x, "b t p j c -> (b p) (j c) t")), mask.flatten(0, 1))
        tokens = tokens.unflatten(0, (-1, len(PARTS)))
        if self.pool is None:
            pooled = masked_mean(tokens, mask, (1, 2))
        else:
            pooled = self.pool(tokens.flatten(1, 2), mask.flatten(1, 2))
        return TowerOutput(pooled, tokens, mask)

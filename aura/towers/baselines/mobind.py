"""Encoders of MoBind (arXiv 2602.19004), one shared by all sensors and one by all body parts. Written from their description.

Convolutions over every item, patches of 0.2 s, a learned position each, a post-norm Transformer; over the sensors a layer norm, then
an MLP of their concatenation. Batch norm and dropout are theirs: chunks and the number of ranks change a run.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from aura.body.parts import PARTS, part_joints
from aura.body.placements import placement_id
from aura.body.skeletons import skeleton
from aura.data.batch import Stream
from aura.data.config import ImuInput, Pose2dInput
from aura.towers.output import TowerOutput
from aura.towers.stem import pad_items, token_mask, token_stride
from aura.towers.tower import Tower, TowerSettings
from aura.towers.transformer import masked_mean

FIVE_PARTS = ("left arm", "right arm", "left leg", "right leg", "head")
COCO_HEAD = (0, 1, 2)  # nose and eyes


class MobindConfig(TowerSettings):
    kind: Literal["mobind"] = "mobind"
    width: int = Field(default=256, gt=0)
    depth: int = Field(default=4, gt=0)
    heads: int = Field(default=8, gt=0)
    hidden: int = Field(default=128, gt=0, description="width of the feed-forward part")
    token_s: float = Field(default=0.2, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1, description="of the Transformer")
    drop_features: float = Field(default=0.3, ge=0, lt=1, description="after the convolutions and on the tokens")
    signals: Literal["acc+orientation", "acc+gyro"] = Field(
        default="acc+orientation", description="of the IMU; theirs is the first"
    )
    parts: tuple[str, ...] = Field(default=FIVE_PARTS, description="body parts, in the order of the concatenation")
    pool: Literal["mlp", "mean"] = Field(default="mlp", description="of the sensors; mlp: of their concatenation")


class Mobind(Tower):
    """Sensors (or body parts) x items to tokens (B, S, N, W) and one vector of the body.

    A sensor that is missing is a learned vector in the concatenation; in theirs it is what its encoder makes of zeros.
    """

    lora_targets = ()
    any_length = False  # a learned position for each token of a window
    slots: Tensor
    index: Tensor

    def __init__(self, config: MobindConfig, input: ImuInput | Pose2dInput, seconds: float) -> None:
        super().__init__()
        for part in config.parts:
            if part not in PARTS:
                raise ValueError(f"parts: {part!r} is not one of {', '.join(PARTS)}")
        self.config, self.width, self.token_s = config, config.width, config.token_s
        self.stride, count = token_stride(config.token_s, input.rate_hz, seconds)
        self.is_imu = input.kind == "imu"
        if isinstance(input, ImuInput):
            if config.signals == "acc+orientation" and not input.orientation:
                raise ValueError("a tower of kind 'mobind' reads orientation: set inputs.<stream>.orientation=true")
            if config.pool == "mlp" and not input.placements:
                raise ValueError(
                    "the MLP over sensors needs to know them: name inputs.<stream>.placements, or set pool=mean"
                )
            slots = torch.tensor([placement_id(name) for name in input.placements])
            channels = 7 if config.signals == "acc+orientation" else 6
        else:
            index = part_joints(skeleton(input.skeleton))
            if input.skeleton == "coco17":
                index[PARTS.index("head")] = COCO_HEAD
            self.register_buffer("index", torch.from_numpy(index), persistent=False)
            slots, channels = torch.tensor([PARTS.index(part) for part in config.parts]), 6
        self.register_buffer("slots", slots, persistent=False)
        sizes, drop = (channels, 32, 64, 128, 128), config.drop_features
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(itertools.pairwise(sizes)):
            layers += [nn.Conv1d(a, b, 5, padding=2), nn.BatchNorm1d(b), nn.ReLU()]
            layers += [nn.Dropout(drop)] if i % 2 else []
        self.convolve = nn.Sequential(*layers)
        self.patch = nn.Linear(sizes[-1] * self.stride, config.width, bias=False)
        self.position = nn.Parameter(0.01 * torch.randn(count, config.width))
        layer = nn.TransformerEncoderLayer(
            config.width, config.heads, config.hidden, config.dropout, "relu", batch_first=True, norm_first=False
        )
        self.transformer = nn.TransformerEncoder(layer, config.depth, enable_nested_tensor=False)
        self.drop = nn.Dropout(drop)
        self.norm = self.missing = self.mix = None
        if config.pool == "mlp":
            self.norm = nn.LayerNorm(config.width)
            self.missing = nn.Parameter(torch.zeros(len(slots), config.width))
            wide = len(slots) * config.width
            self.mix = nn.Sequential(nn.Linear(wide, 512), nn.GELU(), nn.Linear(512, config.width))

    def forward(self, stream: Stream) -> TowerOutput:
        x, known, slot = self.sensors(stream) if self.is_imu else self.parts(stream)
        b, s = x.shape[:2]
        mask = token_mask(known, self.stride)
        x = self.convolve(x.flatten(0, 1))
        x = self.patch(rearrange(pad_items(x, self.stride), "b c (n stride) -> b n (c stride)", stride=self.stride))
        tokens = self.drop(self.encode(x + self.position, mask.flatten(0, 1))).unflatten(0, (b, s))
        local = masked_mean(tokens, mask, 2)
        there = mask.any(2)
        if self.mix is None or self.norm is None or self.missing is None:
            return TowerOutput(masked_mean(local, there, 1), tokens, mask)
        # Each slot of the concatenation is the first sensor that belongs into it.
        fits = there[:, None] & (slot[:, None] == self.slots[:, None])  # (B, slots, S)
        chosen = local.gather(1, fits.to(torch.uint8).argmax(-1)[..., None].expand(-1, -1, local.shape[-1]))
        body = torch.where(fits.any(-1)[..., None], self.norm(chosen), self.missing)
        return TowerOutput(self.mix(body.flatten(1)), tokens, mask)

    def encode(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.transformer(x, src_key_padding_mask=~(mask | ~mask.any(1, keepdim=True)))

    def sensors(self, stream: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """Channels (B, S, C, T), known (B, S, T), placement (B, S). Nothing is normalised."""
        x = stream.values
        if self.config.signals == "acc+orientation":
            assert stream.orientation is not None
            x = torch.cat([x[..., :3], stream.orientation], -1)
        known = stream.valid if stream.sensor_mask is None else stream.valid & stream.sensor_mask[:, :, None]
        slot = torch.zeros_like(known[..., 0], dtype=torch.int64) if stream.placement is None else stream.placement
        return x.transpose(2, 3), known, slot

    def parts(self, stream: Stream) -> tuple[Tensor, Tensor, Tensor]:
        """Points as shares of the image (B, P, 6, T): x of the three joints, then y; known (B, P, T), part (B, P)."""
        assert stream.image_size is not None
        known = stream.valid[..., None] & (stream.values[..., 2] > 0)
        points = torch.where(known[..., None], stream.values[..., :2], 0.0) / stream.image_size[:, None, None].clamp(
            min=1
        )
        # All parts, for parts are in one order in every tower; those that are not in use are not known.
        used = torch.isin(torch.arange(len(PARTS), device=points.device), self.slots)
        seen = known[:, :, self.index.clamp(min=0)] & (self.index >= 0) & used[:, None]  # (B, T, P, 3)
        values = torch.where(seen[..., None], points[:, :, self.index.clamp(min=0)], 0.0)
        there = seen.any(-1).transpose(1, 2)
        return (
            rearrange(values, "b t p j d -> b p (d j) t"),
            there,
            torch.arange(len(PARTS), device=points.device).expand(len(points), -1),
        )

    def blocks(self) -> list[nn.Module]:
        return list(self.transformer.layers)

    def head(self) -> list[nn.Module | nn.Parameter]:
        return [m for m in (self.norm, self.missing, self.mix) if m is not None]

    def set_checkpointing(self, on: bool) -> None:
        if on:
            raise ValueError("a tower of kind 'mobind' is small: it has no gradient checkpointing")

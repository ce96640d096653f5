"""SENvT, the Transformer encoder of AURA-MFM (arXiv 2506.03174), for one IMU or for motion capture.

Written from its description: parameter counts and shapes are those of the released encoder, the head of 512 included.
"""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aura.data.batch import Stream
from aura.data.config import ImuInput, MocapInput
from aura.towers.baselines.inputs import check_length, raw_channels, window_shape
from aura.towers.output import TowerOutput
from aura.towers.tower import Tower, TowerSettings

SIZES = {"SS": (192, 6, 6), "S": (384, 6, 12), "B": (768, 12, 12), "L": (1024, 16, 24)}  # width, heads, layers


class SenvtConfig(TowerSettings):
    """The faithful form is `residual: false, pos_init: uniform, mocap_z: flag`; the defaults mend it."""

    kind: Literal["senvt"] = "senvt"
    size: Literal["SS", "S", "B", "L"] = "SS"
    patch: int = Field(default=8, gt=0, description="items of a patch: 8 for 200 Hz IMU, 1 for 10 Hz motion capture")
    output: int = Field(default=512, gt=0, description="width of the head: CLIP's 512 in AURA-MFM")
    residual: bool = Field(
        default=True, description="false: as released, a block replaces its input; tokens then collapse"
    )
    pos_init: Literal["trunc_normal", "uniform"] = Field(
        default="trunc_normal", description="uniform over [0, 1): as released"
    )
    mocap_z: Literal["xyz", "flag"] = Field(
        default="xyz", description="flag: as released, the third coordinate is always 1"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1)


class SenvtBlock(nn.Module):
    def __init__(self, width: int, heads: int, residual: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.residual, self.dropout = heads, residual, dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attend(x) + x if self.residual else self.attend(x)
        y = F.dropout(F.gelu(self.up(self.norm2(x))), self.dropout, self.training)
        y = F.dropout(self.down(y), self.dropout, self.training)
        return y + x if self.residual else y

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(self.norm1(x)), "b n (qkv h w) -> qkv b h n w", qkv=3, h=self.heads)
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return F.dropout(self.out(rearrange(y, "b h n w -> b n (h w)")), self.dropout, self.training)


class Senvt(Tower):
    """Patches of raw values, a class token, pre-norm blocks, and a linear head on the class token."""

    def __init__(self, config: SenvtConfig, input: ImuInput | MocapInput, seconds: float) -> None:
        super().__init__()
        self.config, self.width = config, config.output
        channels, self.items = window_shape(config.kind, input, seconds)
        if self.items % config.patch or not self.items:
            raise ValueError(f"a window of {self.items} items is no whole number of patches of {config.patch}")
        width, heads, layers = SIZES[config.size]
        self.checkpointing = False
        self.patch = nn.Conv1d(channels, width, config.patch, stride=config.patch)
        # Part of the released encoder and of its count; no forward pass ever used it.
        self.mask_patch = nn.Conv1d(1, 1, config.patch, bias=False)
        self.norm_patch = nn.LayerNorm(width)
        self.cls = nn.Parameter(torch.empty(1, 1, width))
        self.position = nn.Parameter(torch.empty(1, self.items // config.patch + 1, width))
        self.layers = nn.ModuleList([SenvtBlock(width, heads, config.residual, config.dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, config.output)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.cls, std=0.02)
        if config.pos_init == "uniform":
            nn.init.uniform_(self.position)
        else:
            nn.init.trunc_normal_(self.position, std=0.02)
        self.requires_grad_(True)

    def requires_grad_(self, requires_grad: bool = True) -> Senvt:
        super().requires_grad_(requires_grad)
        self.mask_patch.requires_grad_(False)  # a trained parameter without a gradient stops DDP
        return self

    def encode(self, x: Tensor) -> Tensor:
        """Channels (B, C, T) to tokens (B, 1 + T / patch, width), the class token first, before the last norm."""
        check_length(self.config.kind, x.shape[-1], self.items)
        x = self.norm_patch(self.patch(x).transpose(1, 2))
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1) + self.position
        for layer in self.layers:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, use_reentrant=False)
            else:
                x = layer(x)
        return x

    def forward(self, stream: Stream) -> TowerOutput:
        """values (B, 1, T, 6) or (B, T, J, 3) -> pooled (B, output); its one token is the window."""
        x = self.encode(raw_channels(stream, self.config.mocap_z == "flag"))
        pooled = self.project(self.norm(x[:, 0]))
        return TowerOutput(pooled, pooled[:, None, None], stream.present[:, None, None])

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def head(self) -> list[nn.Module | nn.Parameter]:
        return [self.norm, self.project]

    def set_checkpointing(self, on: bool) -> None:
        self.checkpointing = on

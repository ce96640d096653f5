"""A small pre-norm Transformer with rotary positions, shared by the towers for sensors and motion."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def rotary_table(length: int, dim: int, device: torch.device, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines (N, dim / 2), float32, of rotary positions 0 .. N-1 (Su et al. 2021, RoFormer)."""
    frequency = base ** (-torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turns the two halves of the last dimension of x (..., N, dim) by the table's angles."""
    cos, sin = table
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).type_as(x)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). No dropout."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """x (B, N, W); mask (B, 1, 1, N) bool, True where a key may be read."""
        q, k, v = rearrange(self.qkv(self.norm1(x)), "b n (qkv h w) -> qkv b h n w", qkv=3, h=self.heads)
        y = F.scaled_dot_product_attention(rotate(q, table), rotate(k, table), v, attn_mask=mask)
        x = x + self.out(rearrange(y, "b h n w -> b n (h w)"))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """`depth` blocks and a LayerNorm. Positions are rotary: relative, and without a longest length."""

    def __init__(self, width: int, depth: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        if width % heads or width // heads % 2:
            raise ValueError(f"width {width} and heads {heads}: the width of a head must be a whole, even number")
        self.head_width = width // heads
        self.checkpointing = False
        self.blocks = nn.ModuleList([Block(width, heads, mlp_ratio) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if name.endswith(("out.weight", "down.weight")):  # two residual branches a block: keeps the sum's variance
                nn.init.trunc_normal_(parameter, std=0.02 / math.sqrt(2 * depth))
            elif parameter.ndim == 2:
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, N, W) -> (B, N, W). mask (B, N) bool: tokens that may be read; a row without any reads all of its own."""
        table = rotary_table(x.shape[1], self.head_width, x.device)
        if mask is not None:
            # A softmax over nothing is NaN, and would reach the gradients of the other rows.
            mask = (mask | ~mask.any(1, keepdim=True))[:, None, None]
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, table, mask, use_reentrant=False)
            else:
                x = block(x, table, mask)
        return self.norm(x)


def masked_mean(x: Tensor, mask: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Mean of x (..., W) over `dim`, of the entries where mask (...) is True; zero where there are none."""
    weight = mask[..., None].to(x.dtype)
    return (x * weight).sum(dim) / weight.sum(dim).clamp(min=1)

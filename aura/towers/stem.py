"""From items of time to tokens: the convolutional stem, and the shallow branch for comparisons in time."""

from __future__ import annotations

import math
from typing import Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from aura.data.config import Config
from aura.towers.transformer import Transformer

Border = Literal["zeros", "replicate"]


class Moments(Config):
    """Shallow branch beside a tower: patches, one Transformer block, a map of one vector a token."""

    width: int = Field(default=64, gt=0, description="of each moment's vector, and of the branch")
    heads: int = Field(default=4, gt=0)
    depth: int = Field(default=1, ge=0)


def token_stride(token_s: float, rate_hz: float, seconds: float) -> tuple[int, int]:
    """Items in a token, and tokens in a window.

    ValueError where a token is no whole number of items, or the window no whole number of tokens: so windows of equal
    seconds have equal tokens in every tower of equal `token_s`.
    """
    stride = token_s * rate_hz
    if abs(stride - round(stride)) > 1e-6 * stride or round(stride) < 1:
        items = seconds * rate_hz
        fit = [n for n in range(1, round(items) + 1) if round(items) % n == 0]
        if abs(items - round(items)) > 1e-6 * items or not fit:
            fit = [max(1, round(stride))]
        near = min(fit, key=lambda n: abs(math.log(n / stride))) / rate_hz
        raise ValueError(
            f"token_s {token_s:g} at rate_hz {rate_hz:g} is {stride:g} items: take a whole number, such as {near:g} s"
        )
    tokens = seconds / token_s
    if abs(tokens - round(tokens)) > 1e-6 * tokens or round(tokens) < 1:
        near = max(1, round(tokens)) * token_s
        raise ValueError(
            f"a window of {seconds:g} s is {tokens:g} tokens of {token_s:g} s: take a whole number, such as {near:g} s"
        )
    return round(stride), round(tokens)


def pad_items(x: Tensor, stride: int) -> Tensor:
    """x (..., T) with zeros appended up to a whole number of tokens."""
    short = -x.shape[-1] % stride
    return F.pad(x, (0, short)) if short else x


def token_mask(valid: Tensor, stride: int) -> Tensor:
    """valid (..., T) bool -> (..., N) bool: the token holds a valid item."""
    return pad_items(valid, stride).unflatten(-1, (-1, stride)).any(-1)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (n, C, T), at each time by itself."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class Stem(nn.Module):
    """Items (n, C, T) to tokens (n, ceil(T / stride), W): three convolutions, two of them with the stride in shares.

    border   what stands beyond the window's ends. Zeros tell a token how near it is to one; `replicate` does not.
    norm     a layer norm over the channels after the first two convolutions: learns in fewer steps
    """

    def __init__(
        self, channels: int, width: int, stride: int, hidden: int, border: Border = "zeros", norm: bool = False
    ) -> None:
        super().__init__()
        first = max(d for d in range(1, math.isqrt(stride) + 1) if stride % d == 0)
        second = stride // first
        self.stride = stride
        # Kernel = stride + 2 * padding: exactly T / stride outputs, centred on their items.
        pad1, pad2 = max(2, first // 2), max(1, second // 2)
        self.conv1 = nn.Conv1d(channels, hidden, first + 2 * pad1, stride=first, padding=pad1, padding_mode=border)
        self.conv2 = nn.Conv1d(hidden, width, second + 2 * pad2, stride=second, padding=pad2, padding_mode=border)
        self.conv3 = nn.Conv1d(width, width, 3, padding=1, padding_mode=border)
        self.norm1, self.norm2 = (ChannelNorm(n) if norm else nn.Identity() for n in (hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(self.conv1(pad_items(x, self.stride))))
        x = F.gelu(self.norm2(self.conv2(x)))
        return (x + self.conv3(x)).transpose(1, 2)


class MomentBranch(nn.Module):
    """Items (n, C, T) to a map (n, N, M): linear patches, Transformer, linear.

    Kept apart from the tower on purpose: what tells two moments of one window apart is not what tells two activities
    apart, and tokens of the deep tower serve the second.
    """

    def __init__(self, config: Moments, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.patch = nn.Linear(channels * stride, config.width)
        self.transformer = Transformer(config.width, config.depth, config.heads)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        patches = rearrange(pad_items(x, self.stride), "b c (n stride) -> b n (c stride)", stride=self.stride)
        return self.out(self.transformer(self.patch(patches), mask))


class Pool(nn.Module):
    """Attention pooling: each head of the width weighs the tokens by a learned query."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.score = nn.Linear(width, heads)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, W), mask (B, N) bool -> (B, W); a row without tokens pools all."""
        mask = mask | ~mask.any(1, keepdim=True)
        score = self.score(x).float().masked_fill(~mask[..., None], -torch.inf)
        weight = score.softmax(1).type_as(x)
        return torch.einsum("bnh,bnhd->bhd", weight, x.unflatten(-1, (self.heads, -1))).flatten(1)

"""The base of all towers: what the model, the tuning and the checkpoints need of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import nn

from aura.data.batch import Stream
from aura.data.config import Config
from aura.towers.output import TowerOutput
from aura.towers.stem import Border, Pool
from aura.towers.transformer import Transformer
from aura.towers.tuning import Full, Tuning


class TowerSettings(Config):
    """What every tower's configuration has."""

    projection: Literal["linear", "none"] = Field(
        default="linear", description="into the shared space; none: as wide as it"
    )
    tuning: Tuning = Full()
    checkpointing: bool = Field(
        default=False, description="gradient checkpointing: less memory, more time, same result"
    )


class TransformerSettings(TowerSettings):
    """What the configurations of our own transformers over short tokens share."""

    width: int = Field(default=192, gt=0)
    depth: int = Field(default=4, gt=0)
    heads: int = Field(default=6, gt=0)
    mlp_ratio: float = Field(default=4.0, gt=0)
    token_s: float = Field(default=0.2, gt=0)
    border: Border = Field(
        default="zeros", description="beyond the window's ends; replicate: tokens do not show how near they are to one"
    )
    pool: Literal["mean", "attention"] = "mean"


class Tower(nn.Module, ABC):
    """A stream of a batch to one embedding a row, and tokens in time.

    width           of `TowerOutput.pooled` and `tokens`
    moments_shape   (N, M) of `TowerOutput.moments`, None for a tower without the shallow branch
    token_s         seconds of a token of a tower whose tokens are of sensors or body parts; None: of other towers
    any_length      it reads other lengths than the windows that it was made for, too
    longest_s       where not: seconds of the longest window that it reads, shorter ones too; None: its own alone
    any_sensors     it reads any number of sensors, whatever number it was trained on
    """

    width: int
    moments_shape: tuple[int, int] | None = None
    token_s: float | None = None
    any_length: bool = True
    longest_s: float | None = None
    any_sensors: bool = False
    frozen: bool = False
    lora_targets: tuple[str, ...] = ("qkv", "out", "up", "down")

    @abstractmethod
    def forward(self, stream: Stream) -> TowerOutput: ...

    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """Layers from input to output, as `last n layers` counts them."""

    @abstractmethod
    def head(self) -> Sequence[nn.Module | nn.Parameter]:
        """What follows the last layer: trained together with it."""

    @abstractmethod
    def set_checkpointing(self, on: bool) -> None:
        """Recomputes the layers' activations in the backward pass, or keeps them."""

    def train(self, mode: bool = True) -> Tower:
        """A frozen tower stays in evaluation mode: no dropout, no moving statistics."""
        return super().train(mode and not self.frozen)


class TransformerTower(Tower):
    """A tower of ours: a Transformer over its tokens, then their mean or attention pooling."""

    transformer: Transformer
    pool: Pool | None

    def blocks(self) -> list[nn.Module]:
        return list(self.transformer.blocks)

    def head(self) -> list[nn.Module | nn.Parameter]:
        return [m for m in (self.transformer.norm, self.pool) if m is not None]

    def set_checkpointing(self, on: bool) -> None:
        self.transformer.checkpointing = on

"""Convolution and GRU encoders of IMU2CLIP (arXiv 2210.14395): `mw2` for one IMU, and AURA-MFM's form for motion capture.

Written from their description. Between the convolutions there is no non-linearity but max pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aura.data.batch import Stream
from aura.data.config import ImuInput, MocapInput
from aura.towers.baselines.inputs import check_length, raw_channels, window_shape
from aura.towers.output import TowerOutput
from aura.towers.tower import Tower, TowerSettings

GruAxis = Literal["time", "channel"]
AXIS = "what the GRU walks over; channel: as released, each step is one channel's course in time"


class Mw2Config(TowerSettings):
    kind: Literal["mw2"] = "mw2"
    width: int = Field(default=512, gt=0)
    gru_axis: GruAxis = Field(default="time", description=AXIS)


class MocapRnnConfig(TowerSettings):
    kind: Literal["mocap_rnn"] = "mocap_rnn"
    width: int = Field(default=512, gt=0)
    gru_axis: GruAxis = Field(default="time", description=AXIS)
    mocap_z: Literal["xyz", "flag"] = Field(
        default="xyz", description="flag: as released, the third coordinate is always 1"
    )


class ConvGru(Tower):
    """Group norm, dilated convolutions with max pooling, group norm, GRU; its last state is the embedding."""

    def __init__(
        self,
        config: Mw2Config | MocapRnnConfig,
        channels: int,
        groups: int,
        convs: Sequence[tuple[int, int]],
        hidden: int,
        items: int,
    ) -> None:
        """convs: kernel and pooling of each convolution, all of `hidden` channels and dilation 2."""
        super().__init__()
        self.config, self.width, self.items = config, config.width, items
        self.checkpointing = False
        layers: list[nn.Module] = [nn.GroupNorm(groups, channels)]
        steps = items
        for i, (kernel, pool) in enumerate(convs):
            layers += [nn.Conv1d(hidden if i else channels, hidden, kernel, dilation=2, bias=False), nn.MaxPool1d(pool)]
            steps = (steps - 2 * (kernel - 1)) // pool
        self.convolve = nn.Sequential(*layers, nn.GroupNorm(4, hidden))
        released = self.released_steps
        if config.gru_axis == "channel" and steps != released:
            raise ValueError(
                f"a window of {items} items leaves {max(steps, 0)} steps after the convolutions: with gru_axis `channel`"
                f" a tower of kind {config.kind!r} needs {released}, its GRU's inputs; gru_axis `time` takes other windows"
            )
        if steps < 1:
            raise ValueError(f"a window of {items} items is too short for a tower of kind {config.kind!r}")
        self.gru = nn.GRU(released if config.gru_axis == "channel" else hidden, config.width, batch_first=True)

    released_steps: int  # steps of time that the convolutions leave of the released window

    def encode(self, x: Tensor) -> Tensor:
        """Channels (B, C, T) to the GRU's last state (B, width)."""
        check_length(self.config.kind, x.shape[-1], self.items)
        on = self.checkpointing and torch.is_grad_enabled()
        x = checkpoint(self.convolve, x, use_reentrant=False) if on else self.convolve(x)
        return self.gru(x if self.config.gru_axis == "channel" else x.transpose(1, 2))[1][0]

    def forward(self, stream: Stream) -> TowerOutput:
        """values (B, 1, T, 6) or (B, T, J, 3) -> pooled (B, width); its one token is the window."""
        pooled = self.encode(raw_channels(stream, getattr(self.config, "mocap_z", "xyz") == "flag"))
        return TowerOutput(pooled, pooled[:, None, None], stream.present[:, None, None])

    def blocks(self) -> list[nn.Module]:
        return [m for m in self.convolve if isinstance(m, nn.Conv1d)]

    def head(self) -> list[nn.Module | nn.Parameter]:
        return [self.convolve[-1], self.gru]

    def set_checkpointing(self, on: bool) -> None:
        self.checkpointing = on


class Mw2(ConvGru):
    """850,892 parameters. 5 s at 200 Hz leave 32 steps of 32 channels: so both axes of the GRU fit."""

    released_steps = 32

    def __init__(self, config: Mw2Config, input: ImuInput, seconds: float) -> None:
        channels, items = window_shape(config.kind, input, seconds)
        super().__init__(config, channels, 2, ((10, 3), (5, 3), (5, 3)), 32, items)


class MocapRnn(ConvGru):
    """958,566 parameters with 17 joints, 50 frames and the GRU over channels: its input is then 16 steps of time."""

    released_steps = 16

    def __init__(self, config: MocapRnnConfig, input: MocapInput, seconds: float) -> None:
        channels, items = window_shape(config.kind, input, seconds)
        super().__init__(config, channels, channels // 3, ((2, 2), (2, 1), (2, 1), (2, 1), (2, 1)), 128, items)

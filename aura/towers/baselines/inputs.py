"""How the baselines take a stream: raw values, channels first, of one fixed length."""

from __future__ import annotations

import torch
from torch import Tensor

from aura.body.skeletons import skeleton
from aura.data.batch import Stream
from aura.data.config import ImuInput, MocapInput


def window_shape(kind: str, input: ImuInput | MocapInput, seconds: float) -> tuple[int, int]:
    """Channels and items of a window. ValueError for more than one sensor, which these towers do not know."""
    if isinstance(input, ImuInput):
        if input.sensors != 1:
            raise ValueError(f"inputs.sensors is {input.sensors}: a tower of kind {kind!r} reads one sensor")
        return 6, round(seconds * input.rate_hz)
    return 3 * len(skeleton(input.skeleton).joints), round(seconds * input.rate_hz)


def raw_channels(stream: Stream, constant_z: bool = False) -> Tensor:
    """(B, C, T): IMU in m/s^2 and rad/s, or joints in metres, joint by joint; zeros where nothing was measured.

    constant_z puts 1 in the place of every joint's third coordinate, as the released AURA-MFM does by mistake.
    """
    values = stream.cleaned().values
    if values.shape[-1] == 6:
        return values[:, 0].transpose(1, 2)
    if constant_z:
        values = torch.cat([values[..., :2], torch.ones_like(values[..., 2:])], dim=-1)
    return values.flatten(2).transpose(1, 2)


def check_length(kind: str, items: int, expected: int) -> None:
    """ValueError where a window is not of the length that the tower was built for."""
    if items != expected:
        raise ValueError(f"a tower of kind {kind!r} built for {expected} items a window was given {items}")

"""UniMTS (arXiv 2410.19818): a graph of 22 joints, each with the accelerometer that is worn there, and convolutions in time.

Written from its description and from the names and shapes of its released weights (github.com/xiyuanzh/UniMTS, 656fcda).
Batch norm is theirs: where it is trained, chunks and the number of ranks change a run. Its text tower is CLIP's, trained on:
`clip_text`, with weights from the same file.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from aura.body.placements import PLACEMENTS
from aura.data.batch import Stream
from aura.data.config import ImuInput
from aura.towers.output import TowerOutput
from aura.towers.outside.released import Release, Weights, check_window, wrapped
from aura.towers.tower import Tower, TowerSettings

RATE_HZ, ITEMS, JOINTS, OUTPUT = 20, 200, 22, 512
PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 12, 11, 14, 15, 16, 11, 18, 19, 20)
BLOCKS = (
    (64, 1),
    (64, 1),
    (64, 1),
    (64, 1),
    (128, 2),
    (128, 1),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 1),
)  # width, stride

# The joint that a sensor moves with, as the authors place the sensors of their 18 test sets (`data.py`); where these disagree,
# as most do (upper arm: the shoulder, shank: the ankle). Joints: 0 pelvis; 1-4 left hip, knee, ankle, foot; 5-8 right; 9-11
# spine; 12 neck; 13 head; 14-17 left collar, shoulder, elbow, wrist; 18-21 right.
# Their PAMAP2 takes the file's second sensor for the ankle and its third for the chest, which are chest and ankle where the file
# keeps the order of the data set. Sensors go by their names here: figures on PAMAP2 may differ from theirs for that reason.
_CENTRE = {"pelvis": 0, "lower back": 9, "upper back": 10, "chest": 11, "neck": 12, "head": 13}
_HEAD = ("left ear", "right ear", "left temple", "right temple")
_SIDES = {
    "hip": (1, 5),
    "hip pocket": (1, 5),
    "thigh": (1, 5),
    "shank": (3, 7),
    "ankle": (3, 7),
    "foot": (4, 8),
    "chest pocket": (14, 18),
    "shoulder": (15, 19),
    "upper arm": (15, 19),
    "forearm": (16, 20),
    "wrist": (17, 21),
    "hand": (17, 21),
    "finger": (17, 21),
}
JOINT_OF = (
    _CENTRE
    | dict.fromkeys(_HEAD, 13)
    | {f"{side} {place}": pair[i] for place, pair in _SIDES.items() for i, side in enumerate(("left", "right"))}
)


class UnimtsConfig(TowerSettings):
    kind: Literal["unimts"] = "unimts"
    gyroscope: bool = Field(default=False, description="read angular velocity too; the released weights do not")


class GraphBlock(nn.Module):
    """Joints to joints over the weighted edges, then a convolution in time."""

    def __init__(self, channels: int, width: int, stride: int, first: bool) -> None:
        super().__init__()
        self.edges = nn.Parameter(torch.ones(3, JOINTS, JOINTS))
        self.graph = nn.Conv2d(channels, 3 * width, 1)
        self.norm1 = nn.BatchNorm2d(width)
        self.time = nn.Conv2d(width, width, (9, 1), (stride, 1), (4, 0))
        self.norm2 = nn.BatchNorm2d(width)
        self.first, self.shortcut = first, None
        if not first and (channels, stride) != (width, 1):
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, (stride, 1)), nn.BatchNorm2d(width))

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """x (B, C, T, V) -> (B, width, T / stride, V)."""
        y = rearrange(self.graph(x), "b (k c) t v -> b k c t v", k=3)
        y = torch.einsum("bkctv,kvw->bctw", y, adjacency * self.edges)
        y = self.norm2(self.time(F.relu(self.norm1(y))))
        if not self.first:
            y = y + (x if self.shortcut is None else self.shortcut(x))
        return F.relu(y)


class Unimts(Tower):
    """Windows of up to 10 s at 20 Hz (shorter ones are repeated) of any sensors to one vector of 512."""

    lora_targets = ()
    any_length = False
    adjacency: Tensor
    joint_of: Tensor

    def __init__(self, config: UnimtsConfig, input: ImuInput, seconds: float) -> None:
        super().__init__()
        if input.rate_hz != RATE_HZ:
            raise ValueError(f"inputs.rate_hz is {input.rate_hz:g}: a tower of kind 'unimts' reads {RATE_HZ} Hz")
        check_window(config.kind, seconds, input.rate_hz, ITEMS)
        self.longest_s = ITEMS / input.rate_hz
        self.width = OUTPUT
        self.channels = channels = 6 if config.gyroscope else 3
        self.register_buffer("adjacency", torch.from_numpy(adjacency()))
        joints = [JOINT_OF.get(name, -1) for name in PLACEMENTS]
        self.register_buffer("joint_of", torch.tensor(joints), persistent=False)
        self.norm = nn.BatchNorm1d(channels * JOINTS)
        self.layers = nn.ModuleList()
        for i, (width, stride) in enumerate(BLOCKS):
            self.layers.append(GraphBlock(channels, width, stride, first=i == 0))
            channels = width

    def forward(self, stream: Stream) -> TowerOutput:
        """values (B, S, T, 6), of the placements that the stream names -> pooled (B, 512); its one token is the window.

        ValueError for measurements at a place without a joint.
        """
        x = rearrange(self.body(stream), "b v t c -> b (v c) t")
        x = rearrange(self.norm(x), "b (v c) t -> b c t v", v=JOINTS)
        for layer in self.layers:
            x = layer(x, self.adjacency)
        pooled = x.mean((2, 3))
        return TowerOutput(pooled, pooled[:, None, None], stream.present[:, None, None])

    def body(self, stream: Stream) -> Tensor:
        """(B, 22, 200, C): each joint's sensor (of several the first), zeros where there is none."""
        assert stream.placement is not None
        stream = stream.cleaned()
        known = stream.valid if stream.sensor_mask is None else stream.valid & stream.sensor_mask[:, :, None]
        there, joint = known.any(2), self.joint_of[stream.placement]
        if bool((there & (joint < 0) & (stream.values != 0).any(-1).any(-1)).any()):
            raise ValueError(
                "a sensor is at a place that is not known, and UniMTS puts sensors at joints: name its placement in the"
                " shards, or those that are known in inputs.imu.placements"
            )
        x = wrapped(stream.values[..., : self.channels], known, ITEMS)
        fits = there[:, None] & (joint[:, None] == torch.arange(JOINTS, device=joint.device)[:, None])  # (B, 22, S)
        first = fits.to(torch.uint8).argmax(-1)[..., None, None].expand(-1, -1, *x.shape[2:])
        return torch.where(fits.any(-1)[..., None, None], x.gather(1, first), 0.0)

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def head(self) -> list[nn.Module | nn.Parameter]:
        return []

    def set_checkpointing(self, on: bool) -> None:
        if on:
            raise ValueError("a tower of kind 'unimts' is small: it has no gradient checkpointing")


def adjacency() -> np.ndarray:
    """(3, 22, 22) float32: a joint itself, its neighbours that are no nearer to the pelvis, and those that are nearer.

    Columns of the three together sum to 1. As released, distances beyond one edge are not told apart, so that only
    neighbours of the pelvis and their own ever count as nearer.
    """
    near = np.eye(JOINTS)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            near[joint, parent] = near[parent, joint] = 1
    distance = np.where(near[0] > 0, 1.0, np.inf)
    distance[0] = 0
    share = near / near.sum(0)
    itself, nearer = np.eye(JOINTS, dtype=bool), distance[:, None] < distance
    return np.stack([share * itself, share * ~itself * ~nearer, share * nearer]).astype(np.float32)


def scales(weights: Weights) -> dict[str, float]:
    """The loss divides the scaled cosines by 0.1 once more."""
    return {"imu:text": math.exp(float(weights["logit_scale"])) / 0.1}


_IN = r"layers\.(\d+)\."
_NET = r"acc.st_gcn_networks.\1."
RELEASE = Release(
    names={
        "imu": (
            (r"adjacency", r"acc.A"),
            (r"norm\.", r"acc.data_bn."),
            (_IN + r"edges", r"acc.edge_importance.\1"),
            (_IN + r"graph\.", _NET + r"gcn.conv."),
            (_IN + r"norm1\.", _NET + r"tcn.0."),
            (_IN + r"time\.", _NET + r"tcn.2."),
            (_IN + r"norm2\.", _NET + r"tcn.3."),
            (_IN + r"shortcut\.", _NET + r"residual."),
        ),
        "text": ((r"trunk\.", r""),),
    },
    parts={"imu": r"acc\.", "text": r"(positional_embedding|text_projection|token_embedding|transformer|ln_final)\b"},
    unread=r"logit_scale$",
    scales=scales,
    trained_on="UniMTS: virtual sensors on the motions of HumanML3D (arXiv 2410.19818), its text tower from CLIP",
)

"""From the recipe's description of a tower to the tower."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from aura.data.config import Input
from aura.towers.baselines.mobind import Mobind, MobindConfig
from aura.towers.baselines.rnn import MocapRnn, MocapRnnConfig, Mw2, Mw2Config
from aura.towers.baselines.senvt import Senvt, SenvtConfig
from aura.towers.imu import ImuTransformer, ImuTransformerConfig
from aura.towers.motion import MotionTransformer, MotionTransformerConfig
from aura.towers.outside.imagebind import (
    ImagebindImu,
    ImagebindImuConfig,
    ImagebindVideo,
    ImagebindVideoConfig,
)
from aura.towers.outside.unimts import Unimts, UnimtsConfig
from aura.towers.parts import PartTransformer, PartTransformerConfig
from aura.towers.series import SeriesTransformer, SeriesTransformerConfig
from aura.towers.text import ClipText, ClipTextConfig, HfText, HfTextConfig
from aura.towers.tower import Tower
from aura.towers.tuning import apply_tuning
from aura.towers.video import ClipVideo, ClipVideoConfig, HfVideo, HfVideoConfig

TowerConfig = Annotated[
    ImuTransformerConfig
    | MotionTransformerConfig
    | PartTransformerConfig
    | SeriesTransformerConfig
    | ClipVideoConfig
    | HfVideoConfig
    | ClipTextConfig
    | HfTextConfig
    | SenvtConfig
    | Mw2Config
    | MocapRnnConfig
    | MobindConfig
    | UnimtsConfig
    | ImagebindImuConfig
    | ImagebindVideoConfig,
    Field(discriminator="kind"),
]

# Configuration -> the tower's class, and the kinds of streams it takes.
TOWERS: dict[type, tuple[Any, tuple[str, ...]]] = {
    ImuTransformerConfig: (ImuTransformer, ("imu",)),
    MotionTransformerConfig: (MotionTransformer, ("mocap", "pose2d")),
    PartTransformerConfig: (PartTransformer, ("mocap", "pose2d")),
    SeriesTransformerConfig: (SeriesTransformer, ("series",)),
    ClipVideoConfig: (ClipVideo, ("video",)),
    HfVideoConfig: (HfVideo, ("video",)),
    ClipTextConfig: (ClipText, ("text",)),
    HfTextConfig: (HfText, ("text",)),
    SenvtConfig: (Senvt, ("imu", "mocap")),
    Mw2Config: (Mw2, ("imu",)),
    MocapRnnConfig: (MocapRnn, ("mocap",)),
    MobindConfig: (Mobind, ("imu", "pose2d")),
    UnimtsConfig: (Unimts, ("imu",)),
    ImagebindImuConfig: (ImagebindImu, ("imu",)),
    ImagebindVideoConfig: (ImagebindVideo, ("video",)),
}


def build_tower(config: TowerConfig, input: Input, seconds: float) -> Tower:
    """The tower for windows of `seconds` of one stream, with its tuning applied.

    ValueError where the tower is for other kinds of streams, or does not fit the stream's rate, size or window.
    """
    tower_class, kinds = TOWERS[type(config)]
    if input.kind not in kinds:
        fits = sorted(c.model_fields["kind"].default for c, (_, k) in TOWERS.items() if input.kind in k)
        raise ValueError(
            f"towers: a tower of kind {config.kind!r} reads {' or '.join(kinds)}, the stream is {input.kind}; for that"
            f" there are {', '.join(fits)}"
        )
    tower = tower_class(config, input, seconds)
    tower.set_checkpointing(config.checkpointing)
    apply_tuning(tower, config.tuning)
    return tower

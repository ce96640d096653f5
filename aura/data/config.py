"""The part of a recipe that decides what is read and how windows are cut."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from aura.body.placements import placement_id

KINDS = ("imu", "mocap", "pose2d", "series", "video", "text")  # of streams
CHANNEL = re.compile(r"[A-Za-z0-9_]+ \S+")  # of a series: its name and its unit, "1" where it has none


class Config(BaseModel):
    """Base of every part of a recipe: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Config):
    """A folder of shards: a local path, or a URL that fsspec understands (https, s3, gs, hf)."""

    path: str
    split: str = "train"
    weight: float = Field(default=1.0, gt=0, description="share of the rows, relative to the other sources")


class ImuAugment(Config):
    """Random changes of an IMU window in training; all zero: none. Angles are standard deviations in degrees."""

    rotation_deg: float = Field(
        default=0.0, ge=0, description="turn of each sensor about a random axis; 180: uniform over all"
    )
    limb_rotation_deg: float = Field(
        default=0.0, ge=0, description="turn of each sensor about its x axis (along the limb)"
    )
    gain: float = Field(default=0.0, ge=0, description="relative gain of each channel, uniform in +-gain")
    acc_noise: float = Field(default=0.0, ge=0, description="white noise of the accelerometer, m/s^2")
    gyro_noise: float = Field(default=0.0, ge=0, description="white noise of the gyroscope, rad/s")
    acc_bias: float = Field(default=0.0, ge=0, description="offset of each axis of the accelerometer, m/s^2")
    gyro_bias: float = Field(default=0.0, ge=0, description="offset of each axis of the gyroscope, rad/s")
    drop_gravity: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that gravity (the mean of a second) is taken out of a window, as some devices and data sets do",
    )
    drop_gyro: float = Field(
        default=0.0, ge=0, lt=1, description="probability that a window has no gyroscope, as many devices and data sets"
    )
    clip_acc: float = Field(
        default=0.0, ge=0, lt=1, description="probability that the accelerometer of a window has a range of +-2 g alone"
    )
    hide_placement: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that the placement of a sensor is not told: it then has no body part",
    )
    drop_sensor: float = Field(
        default=0.0, ge=0, lt=1, description="probability that a sensor is dropped; one always stays"
    )


class SkeletonAugment(Config):
    """Random changes of a mocap or pose window in training; all zero: none."""

    yaw_deg: float = Field(
        default=0.0, ge=0, description="turn about the vertical, standard deviation; 180: uniform (mocap)"
    )
    scale: float = Field(default=0.0, ge=0, description="relative size of the body, uniform in +-scale")
    bone: float = Field(default=0.0, ge=0, description="relative length of each bone, uniform in +-bone (mocap)")
    noise: float = Field(
        default=0.0, ge=0, description="noise of each joint and frame: metres, or for pose2d share of height"
    )
    offset: float = Field(
        default=0.0, ge=0, description="noise of each joint, the same in every frame; units of `noise`"
    )
    drop_joint: float = Field(default=0.0, ge=0, lt=1, description="probability that a joint is dropped from a window")


class SeriesAugment(Config):
    """Random changes of a window of a series in training; all zero: none."""

    noise: float = Field(default=0.0, ge=0, description="white noise of each value, as a share of the channel's std")
    drop_channel: float = Field(
        default=0.0, ge=0, lt=1, description="probability that a channel is dropped from a window; one always stays"
    )


class ImuInput(Config):
    kind: Literal["imu"] = "imu"
    rate_hz: float = Field(default=50.0, gt=0)
    sensors: int = Field(default=1, ge=1, description="slots; a sample with more sensors gives a random choice of them")
    placements: tuple[str, ...] = Field(
        default=(), description="read the sensors at these places alone, in this order; others are not read"
    )
    orientation: bool = Field(default=False, description="read the orientation stream too")
    augment: ImuAugment = ImuAugment()

    @model_validator(mode="before")
    @classmethod
    def _slots(cls, values: object) -> object:
        if isinstance(values, dict) and isinstance(values.get("placements"), list | tuple) and values["placements"]:
            slots = len(values["placements"])
            if values.get("sensors", slots) != slots:
                raise ValueError(f"sensors is {values['sensors']}, but {slots} placements are named: leave sensors out")
            values = values | {"sensors": slots}
        return values

    @field_validator("placements")
    @classmethod
    def _known(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for name in values:
            placement_id(name)
        if len(set(values)) < len(values):
            raise ValueError("a placement is named twice")
        return values


class MocapInput(Config):
    kind: Literal["mocap"] = "mocap"
    rate_hz: float = Field(default=20.0, gt=0)
    skeleton: str = Field(default="kinect20", description="joints are matched to this skeleton by name")
    augment: SkeletonAugment = SkeletonAugment()


class Pose2dInput(Config):
    kind: Literal["pose2d"] = "pose2d"
    rate_hz: float = Field(default=20.0, gt=0)
    skeleton: str = "coco17"
    augment: SkeletonAugment = SkeletonAugment()


class SeriesInput(Config):
    """A signal over time by the names of its channels, as the shards give them (`heart_rate bpm`)."""

    kind: Literal["series"] = "series"
    rate_hz: float = Field(default=1.0, gt=0)
    channels: tuple[str, ...] = Field(
        min_length=1, description="names with units, in this order; others are not read, a sample may lack some"
    )
    mean: tuple[float, ...] = Field(description="of each channel, subtracted in the tower: what is usual of it")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(description="of each channel, divided by after it")
    augment: SeriesAugment = SeriesAugment()

    @model_validator(mode="after")
    def _check(self) -> SeriesInput:
        for name in self.channels:
            if CHANNEL.fullmatch(name) is None:
                raise ValueError(f"channels: {name!r} is no name and unit with a space between, such as heart_rate bpm")
        if len({name.partition(" ")[0] for name in self.channels}) < len(self.channels):
            raise ValueError("channels: one is named twice")
        for key in ("mean", "std"):
            if len(getattr(self, key)) != len(self.channels):
                raise ValueError(f"{key} has {len(getattr(self, key))} values, channels {len(self.channels)}")
        return self


class VideoInput(Config):
    kind: Literal["video"] = "video"
    frames: int = Field(
        default=4, ge=1, description="frames of a window, equally spaced, each from the middle of its part"
    )
    size: int = Field(default=224, ge=8, description="pixels of a side: scaled, then cut in the centre")
    grid_hz: float = Field(
        default=5.0, gt=0, description="frames are taken from this grid, so that stored embeddings match"
    )
    stored: bool = Field(
        default=False, description="read what tools/precompute.py stored of the frozen tower, not the pixels"
    )


class TextInput(Config):
    kind: Literal["text"] = "text"
    kinds: tuple[str, ...] = Field(default=("label", "description", "commentary", "paraphrase"), min_length=1)
    stored: bool = Field(
        default=False, description="read what tools/precompute.py stored of the frozen tower, not the tokens"
    )


Input = Annotated[
    ImuInput | MocapInput | Pose2dInput | SeriesInput | VideoInput | TextInput, Field(discriminator="kind")
]


class Window(Config):
    """How a window is placed in a sample.

    `seconds` of every stream at the same time; or, with `whole`, the whole sample (in training a crop of at least `crop`
    of it) is mapped onto `seconds`, each stream by its own clock: then no stream shows the length of another,
    and its own only through the speeds.
    """

    seconds: float = Field(default=5.0, gt=0)
    stride_s: float | None = Field(default=None, gt=0, description="evaluation: step between windows; default: seconds")
    min_cover: float = Field(default=0.5, gt=0, le=1, description="a stream that covers less of the window is missing")
    whole: bool = False
    crop: float = Field(default=1.0, gt=0, le=1, description="training with `whole`: smallest share of the sample")
    warp: float = Field(
        default=0.0, ge=0, lt=1, description="training: smooth random change of tempo, +-warp, same for all streams"
    )
    shift_s: float = Field(
        default=0.0,
        ge=0,
        description="training: imu, mocap and pose2d streams are each cut at a random place of their own, up to this much"
        " later than the window",
    )
    shift_step_s: float = Field(default=0.2, gt=0, description="of these places")

    @model_validator(mode="after")
    def _no_shift_of_whole(self) -> Window:
        if self.shift_s and (self.whole or self.warp):
            raise ValueError("shift_s needs windows of equal seconds: set whole=false and warp=0")
        return self


class DataConfig(Config):
    sources: tuple[Source, ...] = Field(min_length=1)
    eval: tuple[Source, ...] = ()
    window: Window = Window()
    windows: int = Field(default=1, ge=1, description="windows of each visited sample, in training")
    workers: int = Field(default=2, ge=0, description="reading processes per rank; 0 reads in the main process")
    streams: int = Field(
        default=64, ge=1, description="streams of order: part of the recipe, independent of ranks and workers"
    )
    shuffle_block: int = Field(
        default=16, ge=1, description="consecutive samples that stay together in the shuffled order"
    )
    max_bad: int = Field(default=100, ge=0, description="bad samples that a run passes over before it stops")

    @model_validator(mode="before")
    @classmethod
    def _default_eval_split(cls, values: object) -> object:
        if isinstance(values, dict):
            sources = values.get("eval") or ()
            if isinstance(sources, list | tuple):
                sources = tuple({"split": "val", **s} if isinstance(s, dict) else s for s in sources)
            values = values | {"eval": sources}
        return values


def kind_of(stream: str) -> str:
    """Kind of a stream by its name: `video_depth` is a `video`."""
    return stream.split("_", 1)[0]


def source_of(text: str, split: str) -> Source:
    """The source that DIR[:SPLIT] names on a command line; `split` where it names none. The colon of a URL is no split's."""
    folder, colon, name = text.rpartition(":")
    return Source(path=folder, split=name) if colon and name and "/" not in name else Source(path=text, split=split)

"""The part of a recipe that says which streams are contrasted, and how."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator, model_validator

from aura.data.config import Config


class Pair(Config):
    """Two streams that are contrasted. `space` chooses what is compared: the pooled embeddings, or the moments in time."""

    weight: float = Field(default=1.0, gt=0)
    space: Literal["pooled", "moments"] = "pooled"
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of the target that is spread over all columns (InfoNCE)"
    )
    within: float = Field(
        default=0.0,
        ge=0,
        description="weight, beside the pair's own, of each moment's contrast with the other moments of its window",
    )


class Masked(Config):
    """Prediction of masked tokens of the pair's first stream from the others (MoBind, section 3.3)."""

    weight: float = Field(gt=0)
    share: float = Field(default=0.75, gt=0, lt=1, description="of a window's tokens that are masked")
    context: Literal["window", "sensor"] = Field(
        default="window", description="predict from the tokens of all sensors, or of the same sensor alone"
    )
    depth: int = Field(default=2, gt=0)
    heads: int = Field(default=4, gt=0)
    hidden: int = Field(default=256, gt=0, description="width of the feed-forward part")
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Fine(Config):
    """Alignment of two streams by moments and body parts, beside the pooled embeddings. Weights; 0: the term is off.

    `late` compares windows by the cosines of tokens of the same moment and part; `token` tells the moments of a window
    apart, `local` body parts. `centre` and `projection` give the tokens that are compared a space of their own: beside losses
    on pooled vectors, plain tokens of a window become too alike to tell its moments apart.
    """

    late: float = Field(default=0.0, ge=0)
    token: float = Field(default=0.0, ge=0)
    token_negatives: Literal["window", "batch"] = Field(
        default="window", description="other moments of the window, or of the same part in all windows"
    )
    local: float = Field(default=0.0, ge=0)
    local_negatives: Literal["all", "part"] = Field(
        default="all", description="all parts of all windows, or the same part of other windows"
    )
    multi_positive: float = Field(default=0.0, ge=0, description="a body of the second stream to all its sensors")
    masked: Masked | None = None
    projection: int | None = Field(default=64, gt=0, description="width of the compared tokens; null: the tower's own")
    centre: bool = Field(default=True, description="subtract the window's mean from the compared tokens")

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Terms with a temperature of their own."""
        return tuple(term for term in ("late", "token", "local", "multi_positive") if getattr(self, term))


class Classify(Config):
    """Recognition of a label by a linear classifier on the towers' outputs, trained by cross-entropy.

    A name of `streams` may join some: `imu+mocap` is a classifier of its own, on the outputs of both side by side.
    """

    label: str = Field(default="activity", description="the samples' label whose values are the classes")
    classes: tuple[str, ...] = Field(min_length=2, description="in the order of the classifier's outputs")
    streams: tuple[str, ...] = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0, description="of the sum over `streams`, beside the weights of pairs")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of the target spread over all classes")

    @model_validator(mode="after")
    def _check(self) -> Classify:
        for name, values in (("classes", self.classes), ("streams", self.streams)):
            if len(set(values)) < len(values) or not all(values):
                raise ValueError(f"{name}: each is named once and has a name, found {', '.join(map(repr, values))}")
        for side in self.streams:
            parts = side.split("+")
            if not all(parts) or len(set(parts)) < len(parts) or ":" in side:
                raise ValueError(f"streams: {side!r} is neither a stream nor streams joined by a plus, as in imu+mocap")
        return self


class Objective(Config):
    """Contrastive loss over pairs of streams, and recognition of a label.

    A name may join streams: `imu+mocap:text` contrasts the normalised sum of two embeddings with text. `twins` says what
    rows that mean the same (see `same_text`) are to each other in pairs with text: left out, positives as well, or, as in
    code that does not look, negatives.
    """

    loss: Literal["infonce", "sigmoid"] = "infonce"
    pairs: dict[str, Pair] = Field(default={})
    classify: Classify | None = None
    fine: dict[str, Fine] = Field(default={}, description="pairs that are aligned by moments and body parts too")
    same_text: str = Field(
        default="string", description="in pairs with text: `string`, or `label:<name>`: rows of equal label"
    )
    meanings: dict[str, tuple[str, ...]] = Field(
        default={},
        description="name -> values of the label of `same_text` that mean the same, in different data sets",
    )
    twins: Literal["mask", "positive", "negative"] = "mask"
    directions: Literal["mean", "sum"] = Field(
        default="mean", description="of the two directions of InfoNCE; `sum`: AURA-MFM's code"
    )
    temperature: float = Field(default=0.07, gt=0, description="at the start; the model learns its inverse's logarithm")
    min_temperature: float = Field(default=0.01, gt=0)
    learn_temperature: bool = True
    lean: bool = Field(default=False, description="never hold a whole logit matrix: same loss, less memory")

    @field_validator("pairs", mode="before")
    @classmethod
    def _from_list(cls, value: object) -> object:
        """Accepts a list of names, a name with a weight, or a name with its settings."""
        if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
            value = {name: {} for name in value}
        if isinstance(value, dict):
            value = {
                name: {"weight": pair} if isinstance(pair, int | float) else pair or {} for name, pair in value.items()
            }
        return value

    @model_validator(mode="after")
    def _check(self) -> Objective:
        if not self.pairs and self.classify is None:
            raise ValueError("name at least one pair in `pairs`, such as imu:text, or what to `classify`")
        for name, pair in self.pairs.items():
            sides = name.split(":")
            if len(sides) != 2 or not all(part for side in sides for part in side.split("+")):
                raise ValueError(f"pair {name!r}: write two streams with a colon between them, such as imu:text")
            if sides[0] == sides[1]:
                raise ValueError(f"pair {name!r}: a stream is not contrasted with itself")
            if pair.space == "moments" and "+" in name:
                raise ValueError(f"pair {name!r}: joined streams are compared in the pooled space only")
            if pair.within and pair.space != "moments":
                raise ValueError(f"pair {name!r}: `within` compares moments: set its space to moments")
            if pair.label_smoothing and (self.lean or self.loss == "sigmoid"):
                raise ValueError(
                    f"pair {name!r}: label_smoothing is of the plain InfoNCE: set lean=false, loss=infonce"
                )
        for name, fine in self.fine.items():
            if name.count(":") != 1 or "+" in name or not all(name.split(":")):
                raise ValueError(f"fine.{name}: write two streams with a colon between them, such as imu:pose2d")
            if not fine.contrasts:
                raise ValueError(f"fine.{name}: give one of late, token, local, multi_positive a weight")
        if not (self.same_text == "string" or self.same_text.startswith("label:")):
            raise ValueError(f"same_text: {self.same_text!r} is neither `string` nor `label:<name>`")
        if self.meanings and self.same_text == "string":
            raise ValueError("meanings: they join values of a label: set same_text to label:<name>")
        values = [value for group in self.meanings.values() for value in group]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise ValueError(f"meanings: {', '.join(twice)} stands in more than one")
        if self.min_temperature > self.temperature:
            raise ValueError(f"temperature {self.temperature} is below min_temperature {self.min_temperature}")
        return self

    def meaning(self, labels: Mapping[str, str]) -> str:
        """What a row with these labels means, of rows that are compared by a label; "" without it."""
        value = labels.get(self.same_text.removeprefix("label:"), "")
        return next((f"={name}" for name, group in self.meanings.items() if value in group), value)

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of all streams that some pair or classifier needs, in order of first use."""
        names = (*self.pairs, *self.fine, *(self.classify.streams if self.classify else ()))
        return tuple(dict.fromkeys(stream for name in names for stream in streams_of(name)))

    @property
    def compared(self) -> frozenset[str]:
        """Streams whose pooled embedding is compared with another's, in the shared space."""
        found = {stream for name, pair in self.pairs.items() if pair.space == "pooled" for stream in streams_of(name)}
        return frozenset(found | {name.split(":")[1] for name, fine in self.fine.items() if fine.multi_positive})

    @property
    def classified(self) -> frozenset[str]:
        """Streams that some classifier reads."""
        return frozenset(
            stream for side in (self.classify.streams if self.classify else ()) for stream in streams_of(side)
        )

    @property
    def scales(self) -> tuple[str, ...]:
        """What has a temperature: pairs, and terms of fine pairs such as `late/imu:pose2d`."""
        return (*self.pairs, *(f"{term}/{name}" for name, fine in self.fine.items() for term in fine.contrasts))

    @property
    def log_scale_init(self) -> list[float]:
        """Of each of `scales`. The mean of many cosines varies less than one: it begins at half the temperature."""
        start = -math.log(self.temperature)
        return [start + math.log(2) * name.startswith("late/") for name in self.scales]

    @property
    def log_scale_max(self) -> float:
        return -math.log(self.min_temperature)


def streams_of(name: str) -> list[str]:
    """Streams that a pair or a side of one names: those of `imu+mocap:text` are imu, mocap and text."""
    return name.replace(":", "+").split("+")


def has_text(*sides: str) -> bool:
    """Whether a side of a pair is text, or is joined with it (`imu+text`)."""
    return any("text" in side.split("+") for side in sides)

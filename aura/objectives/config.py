"""The part of a recipe that says which streams are contrasted, and how."""

from __future__ import annotations

import math
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


class Objective(Config):
    """Contrastive loss over pairs of streams.

    A name may join streams: `imu+mocap:text` contrasts the normalised sum of two embeddings with text. `twins` says what
    rows that mean the same (see `same_text`) are to each other in pairs with text: left out, positives as well, or, as in
    code that does not look, negatives.
    """

    loss: Literal["infonce", "sigmoid"] = "infonce"
    pairs: dict[str, Pair] = Field(min_length=1)
    same_text: str = Field(
        default="string", description="in pairs with text: `string`, or `label:<name>`: rows of equal label"
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
        if isinstance(value, list | tuple):
            value = {name: {} for name in value}
        if isinstance(value, dict):
            value = {
                name: {"weight": pair} if isinstance(pair, int | float) else pair or {} for name, pair in value.items()
            }
        return value

    @model_validator(mode="after")
    def _check(self) -> Objective:
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
        if not (self.same_text == "string" or self.same_text.startswith("label:")):
            raise ValueError(f"same_text: {self.same_text!r} is neither `string` nor `label:<name>`")
        if self.min_temperature > self.temperature:
            raise ValueError(f"temperature {self.temperature} is below min_temperature {self.min_temperature}")
        return self

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of all streams that some pair needs, in order of first use."""
        found: dict[str, None] = {}
        for name in self.pairs:
            for side in name.split(":"):
                found.update(dict.fromkeys(side.split("+")))
        return tuple(found)

    @property
    def log_scale_init(self) -> float:
        return -math.log(self.temperature)

    @property
    def log_scale_max(self) -> float:
        return -math.log(self.min_temperature)


def has_text(*sides: str) -> bool:
    """Whether a side of a pair is text, or is joined with it (`imu+text`)."""
    return any("text" in side.split("+") for side in sides)

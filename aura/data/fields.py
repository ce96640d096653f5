"""What the readers of all kinds of stream share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from aura.data.index import BadSample, Record
from aura.data.order import hash64

BLAS_ALONE = 8192  # values that BLAS sums on one thread
Fields = dict[str, Any]  # of a row's `Stream`, without the batch dimension


@dataclass(frozen=True)
class Options:
    """What a reader of a kind needs beside the record.

    tower, shape    stored embeddings asked for: hash of their tower, shape of a row; "" and (): the stream itself
    training        rows have draws of the augmentation
    stretched       windows run at another speed than the recording: rows have `step_s`
    """

    name: str
    config: Any
    min_cover: float
    tower: str = ""
    shape: tuple[int, ...] = ()
    training: bool = False
    stretched: bool = False

    @cached_property
    def augmented(self) -> bool:
        """Whether the recipe asks for any augmentation of this stream."""
        return self.config.augment != type(self.config.augment)()


def generator(key: int, name: str) -> np.random.Generator:
    """The random generator of a row's stream."""
    return np.random.Generator(np.random.Philox(key=hash64(key, name)))


def finite(record: Record, name: str, values: np.ndarray) -> np.ndarray:
    """The values of a record's array. BadSample where one is not finite."""
    # A sum of squares is several times cheaper than a test of every value, and finite only if (short of overflow, which
    # float16 is not) all values are.
    flat = values.reshape(-1)
    for i in range(0, flat.size, BLAS_ALONE):
        piece = flat[i : i + BLAS_ALONE]
        if piece.dtype == np.float32 and math.isfinite(piece.dot(piece)):
            continue
        if not np.isfinite(piece).all():
            raise BadSample(f"{record.where}.{name}.npy: holds values that are not finite")
    return values

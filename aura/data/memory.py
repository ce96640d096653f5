"""A recording that is in memory, as the readers of shards read a sample: so both give the same windows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from aura.data.index import BadSample, Record
from aura.data.sample import Sample, metadata
from aura.data.video import decode_frames


class MemoryRecord(Record):
    """A sample of any length. A video is the bytes of a file, or frames (T, H, W, 3) uint8 at the rate of its stream."""

    def __init__(self, sample: Sample) -> None:
        self.arrays, self._sample = sample.arrays, sample
        self.entry = {"key": sample.id, "duration_s": sample.duration_s, "labels": sample.labels}
        self.entry |= {name: getattr(sample, name) for name in ("recording", "subject", "group", "start_s")}

    @property
    def where(self) -> str:
        return self._sample.id

    @cached_property
    def head(self) -> dict:
        return metadata(self._sample)

    def has(self, array: str) -> bool:
        return array in self.arrays

    def shape(self, array: str) -> tuple[int, ...]:
        return np.shape(self._array(array))

    def array(self, name: str) -> np.ndarray:
        return self._array(name)

    def items(
        self, array: str, start: int, stop: int, rows: list[int] | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        found = self._array(array)
        values = found[start:stop] if rows is None else found[rows, start:stop]
        if out is None:
            return values
        out[...] = values
        return out

    def frames(self, video: str, times_s: np.ndarray, fit: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        value = self.arrays[video]
        if isinstance(value, bytes):
            try:
                return decode_frames(value, times_s, fit)
            except ValueError as error:
                raise BadSample(f"{self.where}.{video}: {error}") from error
        nearest = np.rint(np.asarray(times_s) * self.head["streams"][video]["rate_hz"]).astype(int)
        return np.stack([fit(np.array(value[i])) for i in np.clip(nearest, 0, len(value) - 1)])

    def _array(self, name: str) -> np.ndarray:
        value = self.arrays[name]
        assert isinstance(value, np.ndarray)
        return value

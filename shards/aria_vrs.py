"""The inertial units of a Project Aria recording (VRS), by `projectaria-tools`, which is imported when it is needed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class UnitData(NamedTuple):
    """stamps (n,) int64 ns of the headset's clock; values (n, 6) float32 m/s^2 with gravity and rad/s, NaN where invalid."""

    stamps: np.ndarray
    values: np.ndarray


def installed() -> bool:
    """Whether `projectaria-tools` is there."""
    return importlib.util.find_spec("projectaria_tools") is not None


def read_imu(path: Path, labels: Sequence[str]) -> dict[str, UnitData]:
    """What the units with these labels (`imu-right`, `imu-left`) measured, in the order of the file.

    Units are found by label: the numbers of their streams mean the other side in headsets of the second generation. The
    values are as stored, in each unit's own frame: the factory's correction of scale and bias is not applied. A unit that
    the file lacks is absent. ValueError, naming the file, where it cannot be read; ImportError without `projectaria-tools`.
    """
    from projectaria_tools.core import data_provider  # pyright: ignore[reportMissingImports]

    found = {}
    try:
        with _quiet():
            provider: Any = data_provider.create_vrs_data_provider(str(path))
            if provider is None:
                raise ValueError("it is no VRS file, or damaged")
            for label in labels:
                stream = provider.get_stream_id_from_label(label)
                # A headset's label has a stream's number even where the file holds no such stream.
                if stream is not None and provider.get_num_data(stream):
                    found[label] = _unit(provider, stream)
    except Exception as error:  # its C++ library raises many kinds
        why = str(error).replace(str(path), path.name)  # messages are part of the shards, paths differ by machine
        raise ValueError(f"{path.name} cannot be read, download it again: {why}") from error
    return found


def _unit(provider: Any, stream: Any) -> UnitData:
    count = provider.get_num_data(stream)
    stamps, values = np.empty(count, np.int64), np.empty((count, 6), np.float32)
    for i in range(count):
        data = provider.get_imu_data_by_index(stream, i)
        stamps[i] = data.capture_timestamp_ns
        values[i, :3] = data.accel_msec2 if data.accel_valid else np.nan
        values[i, 3:] = data.gyro_radsec if data.gyro_valid else np.nan
    return UnitData(stamps, values)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the C++ library prints: it tells of every step on the process's own stderr and stdout."""
    saved = [os.dup(number) for number in (1, 2)]
    with open(os.devnull, "wb") as nowhere:
        try:
            for number in (1, 2):
                os.dup2(nowhere.fileno(), number)
            yield
        finally:
            for number, copy in zip((1, 2), saved):
                os.dup2(copy, number)
                os.close(copy)

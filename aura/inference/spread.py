"""What is said of several recordings in one call: one value that holds for all, or a list with one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aura.data.config import kind_of

RECORDING = 3  # dimensions of a recording at most: more of them are several
SERIES = 2


def several(values: Any, stream: str) -> bool:
    """Whether a list of recordings is given, or one."""
    listed = isinstance(values, list | tuple)
    if kind_of(stream) == "video":
        return listed
    if listed and any(hasattr(value, "shape") for value in values):
        return True
    shape = getattr(values, "shape", None)
    return (_depth(values) if shape is None else len(shape)) > (SERIES if kind_of(stream) == "series" else RECORDING)


def spread(settings: Mapping[str, Any], recordings: Sequence[Any]) -> list[dict[str, Any]]:
    """The settings of each recording.

    A list has one value for each, but where it is itself one value: (width, height) of images, `orientation` of one
    recording, and names of channels, names of placements alone, which are those of every recording's sensors; or, where each of several
    recordings has one sensor and there are as many names, one name for each.

    ValueError, with both counts, where there are not as many values as recordings.
    """
    count = len(recordings)
    out: list[dict[str, Any]] = [{} for _ in recordings]
    for name, value in settings.items():
        each = [value] * count
        if not _is_one(name, value, recordings):
            each = list(value) if name == "orientation" or not hasattr(value, "tolist") else value.tolist()
        if len(each) != count:
            raise ValueError(
                f"{name} has {len(each)} values, there {'is 1 recording' if count == 1 else f'are {count} recordings'}:"
                " give one that holds for all, or a list with one for each"
            )
        for mine, one in zip(out, each):
            mine[name] = one
    return out


def _is_one(name: str, value: Any, recordings: Sequence[Any]) -> bool:
    """Whether a value holds for all recordings."""
    if not isinstance(value, list | tuple) and not getattr(value, "shape", ()):
        return True
    if name == "orientation":
        return not several(value, "imu")
    if name == "image_size":
        return all(isinstance(side, int | float | np.number) for side in value)
    if name == "channels":
        return all(isinstance(channel, str) for channel in value)
    if name == "placements":
        return all(isinstance(place, str) for place in value) and not _one_sensor_each(value, recordings)
    return False


def _one_sensor_each(names: Sequence[str], recordings: Sequence[Any]) -> bool:
    """Whether names are of several recordings with one sensor each. ValueError where they fit neither these nor the sensors of
    every recording."""
    shapes = [_shape(values) for values in recordings]
    sensors = [shape[0] if len(shape) == 3 else 1 for shape in shapes]
    if len(recordings) == 1 or () in shapes or all(count == len(names) for count in sensors):
        return False
    if len(names) == len(recordings) and all(count == 1 for count in sensors):
        return True
    raise ValueError(
        f"placements names {len(names)} sensors, the {len(recordings)} recordings have {', '.join(map(str, sensors))}: give"
        " a list of names for each recording, [[...], [...]]"
    )


def _shape(values: Any) -> tuple[int, ...]:
    """() where the values are no array: what is wrong with them is told where they are read."""
    try:
        return np.shape(values)
    except ValueError:
        return ()


def _depth(values: Any) -> int:
    return 1 + _depth(values[0]) if isinstance(values, list | tuple) and len(values) else 0

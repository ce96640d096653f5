"""From a published file of weights to tensors of our towers, and windows of any length to the one that a model reads."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

SHOWN = 8  # names in an error

Weights = dict[str, Tensor]


def as_it_is(stream: str, name: str, tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Release:
    """How a published file of weights is read.

    names       stream -> pairs of regular expressions: the beginning of a tensor's name in our tower, and in the file; the
                first that fits counts
    parts       stream -> regular expression of the names in the file that are its tower's
    unread      regular expression of names in the file that no tower has
    scales      pair -> what the file's training multiplied its cosines by, from the file's tensors
    trained_on  what is known of the training data, in words
    layout      (stream, our name, their tensor) -> the tensor as it lies in ours
    """

    names: Mapping[str, Sequence[tuple[str, str]]]
    parts: Mapping[str, str]
    unread: str
    scales: Callable[[Weights], dict[str, float]]
    trained_on: str
    layout: Callable[[str, str, Tensor], Tensor] = as_it_is

    def theirs(self, stream: str, name: str) -> str:
        """A tensor's name in the file, by its name in our tower. KeyError for one that no rule names."""
        for ours, theirs in self.names[stream]:
            if re.match(ours, name):
                return re.sub(f"^(?:{ours})", theirs, name, count=1)
        raise KeyError(f"{stream}: {name}")


def read_weights(path: Path) -> Weights:
    """The tensors of a file of `torch.save`; nothing but tensors is unpickled. ValueError for any other file."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:  # whose words advise to unpickle all the same
        raise ValueError(f"{path} is damaged, or holds something else than weights, which is not read") from error
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise ValueError(f"{path} holds something else than tensors by name, such as a training's whole state")
    return dict(found)


def tower_weights(release: Release, weights: Weights, towers: Mapping[str, Weights]) -> dict[str, Weights]:
    """The file's tensors by stream and by our names.

    towers    stream -> the tensors of our tower by name; only shapes and types are looked at, they may be on torch's `meta`

    ValueError that names every tensor which is missing, left over, or of another shape.
    """
    faults: list[str] = []
    found: dict[str, Weights] = {}
    used: set[str] = set()
    for stream, wanted in towers.items():
        found[stream] = {}
        for name, tensor in wanted.items():
            theirs = release.theirs(stream, name)
            used.add(theirs)
            if theirs not in weights:
                faults.append(f"{theirs} is missing ({stream})")
                continue
            given = release.layout(stream, name, weights[theirs])
            if given.shape != tensor.shape:
                faults.append(f"{theirs} has shape {tuple(given.shape)}, the tower of {stream} {tuple(tensor.shape)}")
                continue
            found[stream][name] = given.to(tensor.dtype).contiguous()
    others = [release.unread, *(part for stream, part in release.parts.items() if stream not in towers)]
    faults += [
        f"{name} is left over: nothing reads it"
        for name in weights
        if name not in used and not any(re.match(pattern, name) for pattern in others if pattern)
    ]
    if faults:
        more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise ValueError("the file does not hold these towers:\n  " + "\n  ".join(faults[:SHOWN]) + more)
    return found


def wrapped(values: Tensor, known: Tensor, count: int) -> Tensor:
    """What was measured of a window, repeated up to `count` items, as UniMTS fills up what is short.

    values (B, S, T, C), T at most count; known (B, S, T) bool: a row goes from the first to the last item that one of its
    sensors has. Returns (B, S, count, C).
    """
    seen = known.any(1)
    first = seen.to(torch.uint8).argmax(1)
    last = seen.shape[1] - 1 - seen.flip(1).to(torch.uint8).argmax(1)
    item = torch.arange(count, device=values.device) % (last - first + 1)[:, None] + first[:, None]
    return values.gather(2, item[:, None, :, None].expand(-1, values.shape[1], -1, values.shape[3]))


def check_window(kind: str, seconds: float, rate_hz: float, longest: int) -> None:
    """ValueError where a window has more items than the model reads."""
    if round(seconds * rate_hz) > longest:
        raise ValueError(
            f"a window of {seconds:g} s at {rate_hz:g} Hz is longer than what a tower of kind {kind!r} reads, {longest} items:"
            f" set data.window.seconds to {longest / rate_hz:g} or less"
        )

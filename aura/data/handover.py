"""From reading processes to the one that trains: the parts of a step, each in one block of shared memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from aura.data.batch import Batch, Stream
from aura.data.storage import StorageError

ALIGNED = 64
Name = TypeVar("Name", bound=Hashable)


@dataclass
class Part:
    """What one process read of one step. It travels between processes with the tensors of `allocate` in their block.

    places      places of its rows in the rank's batch, ascending
    tensors     of these rows, by name (see `flatten`); none where there are no rows
    lists       of these rows, by field of `Batch`
    skips       (stream, source, rows) that a stream passed over beside the plain order
    bad         (source, sample, message) of samples that were passed over
    error       what ended the reading
    """

    places: list[int]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    lists: dict[str, list] = field(default_factory=dict)
    skips: list[tuple[int, int, int]] = field(default_factory=list)
    bad: list[tuple[int, int, str]] = field(default_factory=list)
    error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Tensors by themselves would cost a shared file each; the few that are not in the block go as plain bytes.
        inside = {name: tensor for name, tensor in self.tensors.items() if tensor.is_shared()}
        block = next((torch.empty(0, dtype=torch.uint8).set_(t.untyped_storage()) for t in inside.values()), None)
        packed = {
            name: (tensor.dtype, tuple(tensor.shape), tensor.storage_offset() * tensor.itemsize)
            if name in inside
            else tensor.numpy()
            for name, tensor in self.tensors.items()
        }
        return {**self.__dict__, "tensors": packed, "block": block}

    def __setstate__(self, state: dict[str, Any]) -> None:
        block = state.pop("block")
        tensors = {
            name: view(block, *packed) if isinstance(packed, tuple) else torch.from_numpy(packed)
            for name, packed in state.pop("tensors").items()
        }
        self.__dict__.update(state, tensors=tensors)


def allocate(shapes: Mapping[Name, tuple[torch.dtype, tuple[int, ...]]]) -> dict[Name, Tensor]:
    """Tensors of any content, by name, in one block of memory; in a reading process of shared memory.

    One block, because memory of one size is used again for the next batch. Raises StorageError where there is not enough.
    """
    sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in shapes.values()]
    starts = [0, *accumulate(-(-size // ALIGNED) * ALIGNED for size in sizes)]
    block = torch.empty(0, dtype=torch.uint8)
    if get_worker_info() is None or not shapes:
        block = torch.empty(starts[-1], dtype=torch.uint8)
    else:
        try:
            block.set_(torch.UntypedStorage._new_shared(starts[-1]))
        except RuntimeError as error:
            raise StorageError(
                f"no shared memory for {starts[-1] / 1e6:.1f} MB of a batch ({error}): /dev/shm is full or too small; make"
                " it larger (containers: --shm-size), or lower data.workers (0: read in the main process)"
            ) from error
    return {name: view(block, *wanted, start) for (name, wanted), start in zip(shapes.items(), starts)}


def view(block: Tensor, dtype: torch.dtype, shape: tuple[int, ...], start: int) -> Tensor:
    """A tensor that begins at a byte of a block."""
    return block[start : start + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def flatten(batch: Batch) -> tuple[dict[str, Tensor], dict[str, list]]:
    """Tensors of a batch by name (`row`, `imu/values`, `imu/draws/gain`), and its lists."""
    tensors: dict[str, Tensor] = {}
    lists: dict[str, list] = {}
    for f in dataclasses.fields(Batch):
        value = getattr(batch, f.name)
        if isinstance(value, Tensor):
            tensors[f.name] = value
        elif isinstance(value, list):
            lists[f.name] = value
    for name, stream in batch.streams.items():
        for f in dataclasses.fields(Stream):
            value = getattr(stream, f.name)
            if isinstance(value, Tensor):
                tensors[f"{name}/{f.name}"] = value
        tensors |= {f"{name}/draws/{draw}": value for draw, value in stream.draws.items()}
    return tensors, lists


def unflatten(tensors: dict[str, Tensor], lists: dict[str, list]) -> Batch:
    """The batch that `flatten` took apart."""
    streams: dict[str, dict] = {}
    plain: dict[str, Any] = {}
    for key, tensor in tensors.items():
        stream, _, name = key.partition("/")
        if not name:
            plain[key] = tensor
            continue
        fields = streams.setdefault(stream, {"draws": {}})
        if name.startswith("draws/"):
            fields["draws"][name.removeprefix("draws/")] = tensor
        else:
            fields[name] = tensor
    plain |= lists
    return Batch(streams={name: Stream(**fields) for name, fields in streams.items()}, **plain)


def join(parts: Sequence[Part], rows: int) -> Batch:
    """The batch of `rows` rows whose places the parts share."""
    if len(parts) == 1:
        return unflatten(parts[0].tensors, parts[0].lists)
    first = next(part.tensors for part in parts if part.tensors)
    tensors = allocate({name: (tensor.dtype, (rows, *tensor.shape[1:])) for name, tensor in first.items()})
    lists: dict[str, list] = {}
    for part in parts:
        places = torch.tensor(part.places, dtype=torch.int64)
        for name, tensor in part.tensors.items():
            tensors[name].index_copy_(0, places, tensor)
        for name, values in part.lists.items():
            column = lists.setdefault(name, [None] * rows)
            for place, value in zip(part.places, values):
                column[place] = value
    return unflatten(tensors, lists)

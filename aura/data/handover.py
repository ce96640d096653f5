"""From reading processes to the one that trains: the parts of a step, each in one block of shared memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from aura.data.batch import Batch, Stream
from aura.data.storage import StorageError

ALIGNED = 64
Layout = list[tuple[str, torch.dtype, tuple[int, ...], int]]


@dataclass
class Part:
    """What one process read of one step. It travels between processes with all its tensors in one block.

    places      places of its rows in the rank's batch, ascending
    tensors     of these rows, by name (see `flatten`); none where there are no rows
    lists       of these rows, by field of `Batch`
    skips       (stream, source, rows) that a stream passed over beside the plain order
    bad         (source, sample, message) of samples that were passed over
    error       what ended the reading
    block       in a reading process: the tensors in shared memory
    """

    places: list[int]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    lists: dict[str, list] = field(default_factory=dict)
    skips: list[tuple[int, int, int]] = field(default_factory=list)
    bad: list[tuple[int, int, str]] = field(default_factory=list)
    error: Exception | None = None
    block: tuple[Tensor, Layout] | None = None

    def fill(self, batch: Batch) -> None:
        """Puts a batch into the part. StorageError where there is no shared memory for it."""
        self.tensors, self.lists = flatten(batch)
        if get_worker_info() is not None:
            # Here: a thread of torch would find that out as it pickles, and drop the part, for which the run would wait.
            self.block, self.tensors = pack(self.tensors), {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "tensors": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.block is not None:
            self.tensors, self.block = unpack(*self.block), None


def pack(tensors: dict[str, Tensor]) -> tuple[Tensor, Layout]:
    """One block of shared memory, and where each tensor is in it. Each tensor alone would cost a shared file of its own.

    Raises StorageError where there is not enough of it.
    """
    layout: Layout = []
    end = 0
    for name, tensor in tensors.items():
        layout.append((name, tensor.dtype, tuple(tensor.shape), end))
        end += -(-tensor.nbytes // ALIGNED) * ALIGNED
    try:
        block = torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(end))
    except RuntimeError as error:
        raise StorageError(
            f"no shared memory for {end / 1e6:.1f} MB of a batch ({error}): /dev/shm is full or too small; make it larger"
            " (containers: --shm-size), or lower data.workers (0: read in the main process)"
        ) from error
    for name, tensor in unpack(block, layout).items():
        tensor.copy_(tensors[name])
    return block, layout


def unpack(block: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Views of the block, by name."""
    out = {}
    for name, dtype, shape, start in layout:
        size = torch.Size(shape).numel() * dtype.itemsize
        out[name] = block[start : start + size].view(dtype).reshape(shape)
    return out


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
    tensors: dict[str, Tensor] = {}
    lists: dict[str, list] = {}
    for part in parts:
        places = torch.tensor(part.places, dtype=torch.int64)
        for name, tensor in part.tensors.items():
            if name not in tensors:
                tensors[name] = tensor.new_empty((rows, *tensor.shape[1:]))
            tensors[name][places] = tensor
        for name, values in part.lists.items():
            column = lists.setdefault(name, [None] * rows)
            for place, value in zip(part.places, values):
                column[place] = value
    return unflatten(tensors, lists)

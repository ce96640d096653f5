"""What a tower and an objective are given: a batch of windows, one row the same seconds of every stream.

Shapes: B rows, S sensors, T items of time, J joints, F frames, L text tokens, D embedding. Entries that are not `valid`
(or belong to a row that is not `present`, a sensor or a joint that is masked) hold zeros and must never be read as data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Stream:
    """One stream of a batch.

    values         imu (B, S, T, 6) float32 in m/s^2 and rad/s; mocap (B, T, J, 3) float32 in metres;
                   pose2d (B, T, J, 3) float32: x and y in pixels, confidence; video (B, F, 3, H, W) uint8;
                   text (B, L) int64 token ids; series (B, T, C) float32 in the units of its channels; stored embeddings of a frozen tower: text (B, D), video (B, F, D) float32
    present        (B,) bool: the row has this stream
    valid          (B, T) bool; imu (B, S, T); series (B, T, C); video (B, F); text (B, L)
    sensor_mask    imu: (B, S) bool, the row has a sensor in this slot
    channel_mask   imu: (B, S, 6) bool, the sensor has this channel
    placement      imu: (B, S) int64, index into `aura.body.placements.PLACEMENTS`
    orientation    imu: (B, S, T, 4) float32 unit quaternions w x y z, sensor to world, where the source has them
    joint_mask     mocap, pose2d: (B, J) bool, the row's skeleton has this joint
    image_size     pose2d: (B, 2) float32, width and height in pixels
    step_s         imu, mocap, pose2d: (B, T) float32, seconds in the recording from the item before to this one (the first:
                   as the second), where that is not 1 / rate_hz: windows that are stretched or warped (`whole`, `warp`)
    shift_s        imu, mocap, pose2d: (B,) float32, seconds from the row's `start_s` to item 0, where windows of a row are cut
                   at places of their own (`data.window.shift_s`)
    reach_s        imu, mocap, pose2d: (B,) float32, the largest shift_s that could have been drawn for the row
    draws          what the reader drew for the augmentation of each row, applied on the device by `aura.data.augment`
    """

    values: Tensor
    present: Tensor
    valid: Tensor
    sensor_mask: Tensor | None = None
    channel_mask: Tensor | None = None
    placement: Tensor | None = None
    orientation: Tensor | None = None
    joint_mask: Tensor | None = None
    image_size: Tensor | None = None
    step_s: Tensor | None = None
    shift_s: Tensor | None = None
    reach_s: Tensor | None = None
    draws: dict[str, Tensor] = field(default_factory=dict)

    def map(self, function: Callable[[Tensor], Tensor]) -> Stream:
        """The same stream with `function` applied to every tensor."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "draws"}
        mapped: dict[str, Any] = {name: None if tensor is None else function(tensor) for name, tensor in values.items()}
        return Stream(**mapped, draws={name: function(tensor) for name, tensor in self.draws.items()})

    def cleaned(self) -> Stream:
        """The same stream with zeros wherever an entry is not valid, its sensor or channel or joint masked.

        What stood there (NaN too) then changes no value and no gradient.
        """
        if self.values.dtype in (torch.uint8, torch.int64):
            return self
        keep = self.valid
        if self.sensor_mask is not None:
            keep = keep & self.sensor_mask[:, :, None]
        keep = keep.reshape(keep.shape + (1,) * (self.values.dim() - keep.dim()))
        if self.channel_mask is not None:
            keep = keep & self.channel_mask[:, :, None, :]
        if self.joint_mask is not None:
            keep = keep & self.joint_mask[:, None, :, None]
        orientation = self.orientation
        if orientation is not None:
            orientation = torch.where(self.valid[..., None], orientation, 0.0)
        return dataclasses.replace(self, values=torch.where(keep, self.values, 0.0), orientation=orientation)


@dataclass
class Batch:
    """Rows of windows.

    streams        by stream name (`imu`, `mocap`, `pose2d`, `video`, `text`, or one with a suffix: `video_depth`)
    row            (B,) int64: the row's number in the order of the run; -1 for a row that fills up an evaluation batch
    start_s        (B,) float64: start of the window in its recording
    span_s         (B,) float64: seconds of the recording that the window covers
    weight         (B,) float32: 1, or 0 for a row that fills up an evaluation batch
    ids, recordings, subjects, groups, texts
                   per row: sample id, dataset/recording, subject, group ("" if none), the text drawn for the row ("")
    labels         per row: label name -> value
    """

    streams: dict[str, Stream]
    row: Tensor
    start_s: Tensor
    span_s: Tensor
    weight: Tensor
    ids: list[str]
    recordings: list[str]
    subjects: list[str]
    groups: list[str]
    texts: list[str]
    labels: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Batch:
        """The batch with every tensor on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True), lambda values: values)

    def rows(self, index: Sequence[int]) -> Batch:
        """The rows of the batch at `index`, in that order."""
        take = torch.as_tensor(list(index), dtype=torch.long)
        return self._map(lambda t: t.index_select(0, take.to(t.device)), lambda values: [values[i] for i in index])

    def _map(self, on_tensor: Callable[[Tensor], Tensor], on_list: Callable[[list], list]) -> Batch:
        changed = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name == "streams":
                changed[f.name] = {name: stream.map(on_tensor) for name, stream in value.items()}
            else:
                changed[f.name] = on_list(value) if isinstance(value, list) else on_tensor(value)
        return Batch(**changed)


def concat(parts: Sequence[Batch]) -> Batch:
    """One batch of the rows of all parts, part after part. The parts have the same streams and fields."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def join(tensors: list[Tensor | None]) -> Any:
        return None if tensors[0] is None else torch.cat([t for t in tensors if t is not None])

    streams = {}
    for name, stream in first.streams.items():
        same = [part.streams[name] for part in parts]
        names = [f.name for f in dataclasses.fields(Stream) if f.name != "draws"]
        draws = {key: torch.cat([s.draws[key] for s in same]) for key in stream.draws}
        streams[name] = Stream(**{n: join([getattr(s, n) for s in same]) for n in names}, draws=draws)
    rest = {}
    for f in dataclasses.fields(Batch):
        if f.name != "streams":
            values = [getattr(part, f.name) for part in parts]
            rest[f.name] = torch.cat(values) if isinstance(values[0], Tensor) else [x for v in values for x in v]
    return Batch(streams=streams, **rest)

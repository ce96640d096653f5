"""One entry per kind of stream: from a record to the fields of a row's `Stream`, without the batch dimension.

`READERS[kind](record, cut, options, key, out)` fills the arrays of `out` (default: new ones), every one whatever it holds,
and gives it back, or None where the record lacks the stream or it covers too little of the window. `BLANKS[kind](seconds,
options)` gives the fields of a row that lacks the stream. `key` seeds the row's random choices; None, in evaluation: there
are none. What is drawn for the augmentation has names `draws.<name>`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch

from aura.data.config import TextInput, VideoInput
from aura.data.cut import Cut
from aura.data.fields import Fields, Options, finite
from aura.data.index import Record, ShardError
from aura.data.motion import blank_imu, blank_skeleton, read_imu, read_skeleton
from aura.data.order import hash64
from aura.data.series import blank_series, read_series


def read_video(
    record: Record, cut: Cut, options: Options, key: int | None = None, out: Fields | None = None
) -> Fields | None:
    """values (F, 3, H, W) uint8, valid (F,); with stored embeddings values (F, D) float32.

    Frames are the nearest of a grid of `grid_hz` from the stream's first frame to the middles of the window's F parts.
    Embeddings of clips (their entry has `window_s`) give the one nearest to the window's start: F = 1.
    """
    config: VideoInput = options.config
    name = options.name
    stored = record.head["streams"].get(f"{name}.emb") if options.tower else None
    stream = stored if options.tower else record.head["streams"].get(name)
    if stream is None:
        return None
    if options.tower:
        _check_tower(record, options, stream)
        rate, count = stream["rate_hz"], stream["length"]
    else:
        rate, count = config.grid_hz, grid_items(stream, config.grid_hz)
    middles = np.array([0.0]) if "window_s" in stream else (np.arange(config.frames) + 0.5) / config.frames
    extent = {"rate_hz": rate, "start_s": stream["start_s"], "length": count}
    place = (cut.times(middles, extent) - stream["start_s"]) * rate
    valid = (place > -0.5 - 1e-6) & (place < count - 0.5 + 1e-6)
    if np.count_nonzero(valid) < options.min_cover * valid.size - 1e-6:
        return None
    out = blank_video(cut.seconds, options) if out is None else out
    out["valid"][:] = valid
    index = np.clip(np.floor(place + 0.5 - 1e-6).astype(int), 0, count - 1)
    if options.tower:
        first, last = int(index.min()), int(index.max())
        rows = finite(record, f"{name}.emb", record.items(f"{name}.emb", first, last + 1))[index - first]
        out["values"][...] = np.where(valid[:, None], rows, 0)
        return out
    out["values"][...] = record.frames(name, index / rate, partial(fit_frame, size=config.size))
    out["values"][~valid] = 0
    return out


def grid_items(stream: Mapping, grid_hz: float) -> int:
    """Frames of a video stream on the grid that training and stored embeddings share: at start_s + i / grid_hz."""
    return int(np.floor((stream["length"] - 1) / stream["rate_hz"] * grid_hz + 1e-6)) + 1


def fit_frame(image: np.ndarray, size: int) -> np.ndarray:
    """An RGB frame (H, W, 3) uint8 to (3, size, size): the short side scaled to `size`, then cut in the centre."""
    height, width = image.shape[:2]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    if min(height, width) != size:
        scale = size / min(height, width)
        shape = (max(size, round(height * scale)), max(size, round(width * scale)))
        pixels = torch.nn.functional.interpolate(pixels, shape, mode="bicubic", antialias=True)
    top, left = (pixels.shape[2] - size) // 2, (pixels.shape[3] - size) // 2
    return pixels[0, :, top : top + size, left : left + size].contiguous().numpy()


def blank_video(seconds: float, options: Options) -> Fields:
    config: VideoInput = options.config
    shape = options.shape if options.tower else (config.frames, 3, config.size, config.size)
    return {
        "values": np.zeros(shape, np.float32 if options.tower else np.uint8),
        "valid": np.zeros(shape[0], bool),
    }


def read_text(
    record: Record, cut: Cut, options: Options, key: int | None = None, out: Fields | None = None
) -> Fields | None:
    """text: the words drawn for the row, among those of the wanted kinds that overlap the window (evaluation: the first);
    with stored embeddings also values (D,) and valid (1,)."""
    config: TextInput = options.config
    end = cut.start_s + cut.span_s
    fit = [
        i
        for i, text in enumerate(record.head["texts"])
        if text["kind"] in config.kinds
        and text["start_s"] < end
        and (text["end_s"] > cut.start_s or text["start_s"] >= cut.start_s)
    ]
    if not fit:
        return None
    # By hash and not by the generator, which costs more than all the rest here.
    index = fit[0] if key is None else fit[hash64(key, options.name) % len(fit)]
    out = blank_text(cut.seconds, options) if out is None else out
    out["text"] = record.head["texts"][index]["text"]
    if options.tower:
        stored = record.head["streams"].get("text.emb")
        if stored is None:
            return None
        _check_tower(record, options, stored)
        out["values"][...] = finite(record, "text.emb", record.items("text.emb", index, index + 1))[0]
        out["valid"][...] = True
    return out


def blank_text(seconds: float, options: Options) -> Fields:
    if not options.tower:
        return {"text": ""}
    return {"text": "", "values": np.zeros(options.shape, np.float32), "valid": np.zeros(1, bool)}


READERS: dict[str, Callable[[Record, Cut, Options, int | None, Fields | None], Fields | None]] = {
    "imu": read_imu,
    "mocap": read_skeleton,
    "pose2d": read_skeleton,
    "series": read_series,
    "video": read_video,
    "text": read_text,
}
BLANKS: dict[str, Callable[[float, Options], Fields]] = {
    "imu": blank_imu,
    "mocap": blank_skeleton,
    "pose2d": blank_skeleton,
    "series": blank_series,
    "video": blank_video,
    "text": blank_text,
}


def _check_tower(record: Record, options: Options, stored: Mapping) -> None:
    if stored.get("tower") != options.tower:
        raise ShardError(
            f"{record.where}: the stored embeddings of {options.name} are of tower {stored.get('tower')!r}, the recipe's"
            f" is {options.tower!r}; run tools/precompute.py for this recipe"
        )

"""Pieces of a video file as clips that a shard may hold: copied where the file allows it, else encoded anew.

A clip must be H.264 yuv420p at constant rate with a key frame in each second. A file that is so is cut at its key frames
without touching a picture; any other is decoded once, from its start to its end, whatever the number of clips. So is one whose
frames lie on their side or have pixels that are not square: clips show their pictures as they are, to all who read them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter

from aura.data.film import as_shown, open_film, pixel_aspect, scan, shown_size, upright
from aura.data.video import encode_h264

KEY_S = 1.0 + 1e-3  # longest time from one key frame to the next, of a file that is copied
JITTER = 0.1  # of a frame's length: stamps that are off an even rate by less are even


@dataclass(frozen=True)
class Clip:
    """A piece of a video: `start_s` is its first frame's time, counted from the file's first frame."""

    mp4: bytes
    start_s: float
    rate_hz: float
    frames: int
    width: int
    height: int
    copied: bool


@dataclass(frozen=True, eq=False)
class VideoFile:
    """What the packets of a file say: times in seconds from the first frame, in the order of the file.

    Width and height are those of its pictures as they are to be shown; aspect is that of a pixel as it is stored. Times are
    those at which frames are shown; `fits` says that pieces between key frames are clips as they are.
    """

    path: Path
    width: int
    height: int
    aspect: float
    rate_hz: float
    times: np.ndarray
    keys: np.ndarray
    fits: bool

    @property
    def frames(self) -> int:
        return len(self.times)


def look(path: Path) -> VideoFile:
    """What a file is, by its first frame and its packets. ValueError, naming the file, where it is no video or damaged."""
    try:
        with open_film(path) as (container, stream):
            shown, frames = scan(container, stream)
            if shown is None or stream.time_base is None or any(pts is None for pts, _ in frames):
                raise ValueError("the file holds no frame, or frames without a time")
            if len(frames) < stream.frames:
                raise ValueError(f"the file is truncated: {len(frames)} of {stream.frames} frames are there")
            stamps = np.array([pts for pts, _ in frames], np.int64)
            keys = np.array([key for _, key in frames])
            times = np.asarray(stamps - stamps.min(), float) * float(stream.time_base)
            context, aspect = stream.codec_context, pixel_aspect(stream)
            plain = context.name == "h264" and context.pix_fmt == "yuv420p" and as_shown(shown, aspect)
            width, height = shown_size(shown, aspect)
    except av.FFmpegError as error:
        raise ValueError(f"{path.name} cannot be read, it is truncated or damaged: {_why(error)}") from error
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    steps = np.diff(np.sort(times))
    rate = float((len(times) - 1) / times.max()) if len(times) > 1 and times.max() > 0 else 0.0
    even = bool(rate and np.abs(steps * rate - 1).max() < JITTER)
    # A group of pictures is closed where no frame after its key is shown before it.
    at = np.flatnonzero(keys)
    first = times[at]
    closed = bool(keys[0]) and bool((np.repeat(first, np.diff(at, append=len(keys))) <= times).all())
    dense = bool(np.diff(first, append=times.max()).max() <= KEY_S) if closed else False
    return VideoFile(path, width, height, aspect, rate, times, keys, plain and even and closed and dense)


def _why(error: av.FFmpegError) -> str:
    """What FFmpeg says, without the file's path, which is another on each machine: messages are part of the shards."""
    return error.strerror or type(error).__name__


def clips(
    file: VideoFile, spans: Sequence[tuple[float, float]], *, rate_hz: float = 10.0, side: int = 0
) -> Iterator[Clip | None]:
    """For each span (begin, end) of the file's seconds, ascending, its clip; None where the file has no frame in it.

    rate_hz  of clips that are encoded anew: their frames are the nearest to the times k / rate_hz of the file; the
             file's own rate where that is lower
    side     pixels that the shorter side has at most; 0: any number. A larger file is encoded anew

    A copied clip begins at the key frame at or before `begin` and may, where it holds B frames, end up to a second after
    `end`. ValueError, naming the file, where it cannot be decoded.
    """
    if file.fits and (not side or min(file.width, file.height) <= side):
        yield from _copies(file, spans)
    else:
        yield from _encoded(file, spans, min(rate_hz, file.rate_hz or rate_hz), side)


def _copies(file: VideoFile, spans: Sequence[tuple[float, float]]) -> Iterator[Clip | None]:
    slack = JITTER / file.rate_hz
    starts = np.flatnonzero(file.keys)
    ordered = bool((np.diff(file.times) > 0).all())
    with av.open(str(file.path), "r") as container:
        stream = container.streams.video[0]
        packets = container.demux(stream)
        kept: list[tuple[int, av.Packet]] = []
        counter = 0
        for begin, end in spans:
            if begin > file.times.max() + slack or end <= 0:
                yield None
                continue
            first = int(starts[max(np.searchsorted(file.times[starts], begin + slack, "right") - 1, 0)])
            late = file.times[starts] > end - slack
            last = int(starts[late][0]) if late.any() else file.frames
            if ordered:
                last = min(last, int(np.searchsorted(file.times, end - slack)))
            kept = [item for item in kept if item[0] >= first]
            while counter < last:
                packet = next(packets)
                if packet.size and not packet.is_discard:
                    if counter >= first:
                        kept.append((counter, packet))
                    counter += 1
            chosen = [packet for index, packet in kept if first <= index < last]
            yield _remuxed(file, stream, chosen, float(file.times[first]))


def _remuxed(file: VideoFile, stream: av.VideoStream, packets: Sequence[av.Packet], start_s: float) -> Clip:
    """The packets as a file of their own. Their stamps are put back, since a packet may be in two clips."""
    buffer = io.BytesIO()
    base = stream.time_base
    assert base is not None
    before = [(p.pts, p.dts, p.stream) for p in packets]
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as out:
        copy = out.add_stream_from_template(stream)
        copy.codec_context.flags |= Flags.bitexact
        copy.time_base = base
        zero = min(p.pts for p in packets if p.pts is not None)
        for packet in packets:
            packet.pts = None if packet.pts is None else packet.pts - zero
            packet.dts = None if packet.dts is None else packet.dts - zero
            packet.stream = copy
            out.mux(packet)
    for packet, (pts, dts, owner) in zip(packets, before):
        packet.pts, packet.dts, packet.stream = pts, dts, owner
        packet.time_base = base
    return Clip(buffer.getvalue(), start_s, file.rate_hz, len(packets), file.width, file.height, True)


def _encoded(file: VideoFile, spans: Sequence[tuple[float, float]], rate_hz: float, side: int) -> Iterator[Clip | None]:
    """Frames nearest to the times of a grid: each is encoded when it is decoded, so that memory does not grow with a span."""
    shrink = min(1.0, side / min(file.width, file.height)) if side else 1.0
    width, height = (max(2, 2 * round(shrink * pixels / 2)) for pixels in (file.width, file.height))
    last_s, half = float(file.times.max()), 0.5 / (file.rate_hz or rate_hz)
    frames, to_rgb = _frames(file), VideoReformatter()
    here = next(frames, None)
    then = next(frames, None)

    def shown(first: int, stop: int) -> Iterator[np.ndarray]:
        nonlocal here, then
        for index in range(first, stop):
            wanted = index / rate_hz
            while then is not None and here is not None and abs(then[0] - wanted) < abs(here[0] - wanted):
                here, then = then, next(frames, None)
            assert here is not None
            yield _picture(file, to_rgb, here[1], width, height)

    for begin, end in spans:
        first, stop = (math.ceil(max(x, 0.0) * rate_hz - 1e-6) for x in (begin, end))
        stop = min(stop, math.floor((last_s + half) * rate_hz) + 1)
        if stop <= first or here is None:
            yield None
            continue
        mp4 = encode_h264(shown(first, stop), rate_hz)
        yield Clip(mp4, first / rate_hz, rate_hz, stop - first, width, height, False)


def pictures(file: VideoFile, width: int, height: int, numbers: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
    """(number, picture (H, W, 3)) of the frames with these numbers, counted from 0 in the order in which they are shown."""
    to_rgb, last = VideoReformatter(), max(numbers, default=-1)
    for number, (_, frame) in enumerate(_frames(file)):
        if number > last:
            return
        if number in numbers:
            yield number, _picture(file, to_rgb, frame, width, height)


def _picture(file: VideoFile, to_rgb: VideoReformatter, frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    return upright(frame, file.aspect, to_rgb, (width, height))


def _frames(file: VideoFile) -> Iterator[tuple[float, av.VideoFrame]]:
    """(seconds from the first frame, frame) in the order in which they are shown."""
    try:
        with open_film(file.path) as (container, stream):
            zero = None
            for frame in container.decode(stream):
                if frame.pts is None:
                    continue
                zero = frame.pts if zero is None else zero
                yield float((frame.pts - zero) * Fraction(stream.time_base or 1)), frame
    except av.FFmpegError as error:
        raise ValueError(f"{file.path.name} cannot be decoded, it is truncated or damaged: {_why(error)}") from error

"""Films as cameras write them: opened with a bound on their frames, and shown as they are meant to be.

A phone that is held upright may store frames that lie on their side, with a display matrix that says how to turn them; other
cameras store pixels that are not square. Whoever decodes a film takes its pictures from `upright`, so that a model, a shard and
a page see the same.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

MOST_SIZE = 8192, 4608  # pixels of a frame: 8K
MOST_RATIO = 16  # of its sides: a model reads a frame whose short side is scaled to a given one


@contextmanager
def open_film(source: bytes | Path, most: tuple[int, int] = MOST_SIZE) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A film's container and its stream of video, which is decoded by one thread.

    most    width and height, whose product no frame may exceed: nothing larger is decoded, whatever the file says of itself

    ValueError, without naming the file: no video in it, larger frames. av.FFmpegError: it cannot be read.
    """
    # Decoders pad frames; opening a file may decode some too.
    limit = {"max_pixels": str(most[0] * most[1] * 5 // 4)}
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with av.open(file, "r", options=limit) as container:
        if not container.streams.video:
            raise ValueError("the file holds no video stream")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context.width * context.height > most[0] * most[1]:
            raise ValueError(
                f"its frames are of {context.width} x {context.height} pixels, at most {most[0]} x {most[1]} are read: make"
                " them smaller"
            )
        context.options = limit
        # Samples are read in parallel already, and a pool in every worker costs more than it gives.
        context.thread_type, context.thread_count = "NONE", 1
        yield container, stream


def pixel_aspect(stream: VideoStream) -> float:
    """Width of a pixel to its height; 1 where the file does not say."""
    return float(stream.sample_aspect_ratio or 1)


def _turn(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """What the display matrix asks for, to the nearest quarter turn: whether rows become columns, and whether left and right,
    top and bottom are exchanged then. (A matrix that exchanges top and bottom alone, which cameras do not write, is not seen.)
    """
    if not frame.rotation:
        return False, False, False
    # A frame that is asked for its side data stays in memory until cycles of references are collected: a tiny copy is asked.
    copy = VideoReformatter().reformat(frame, width=2, height=2, interpolation="POINT", threads=1)
    matrix = copy.side_data.get("DISPLAYMATRIX")
    assert matrix is not None
    # A pixel (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = (int(value) for value in np.frombuffer(matrix, np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def as_shown(frame: av.VideoFrame, aspect: float) -> bool:
    """Whether a frame is stored as it is to be shown."""
    return not any(_turn(frame)) and aspect == 1


def shown_size(frame: av.VideoFrame, aspect: float) -> tuple[int, int]:
    """Width and height of a frame as it is to be shown: upright, and with square pixels, of which there are no more than are
    stored. aspect: as `pixel_aspect` gives it. ValueError for a strip, whose sides' ratio is beyond `MOST_RATIO`."""
    width, height = frame.width, frame.height
    if aspect > 1:
        height = max(1, round(height / aspect))
    else:
        width = max(1, round(width * aspect))
    if max(width, height) > MOST_RATIO * min(width, height):
        raise ValueError(
            f"its frames are strips of {width} x {height} pixels: a side is at most {MOST_RATIO} times another"
        )
    return (height, width) if _turn(frame)[0] else (width, height)


def upright(
    frame: av.VideoFrame, aspect: float, to_rgb: VideoReformatter, size: tuple[int, int] | None = None
) -> np.ndarray:
    """The picture of a frame as it is to be shown: RGB (H, W, 3) uint8.

    to_rgb    one for all frames: each frame's own would set its tables up anew, at four times the cost
    size      width and height as shown; None: `shown_size`
    ValueError as `shown_size`.
    """
    columns, mirrored, flipped = _turn(frame)
    width, height = size or shown_size(frame, aspect)
    if columns:
        width, height = height, width
    image = to_rgb.reformat(frame, width=width, height=height, format="rgb24", threads=1).to_ndarray()
    if columns:
        image = image.swapaxes(0, 1)
    image = image[:: -1 if flipped else 1, :: -1 if mirrored else 1]
    return np.ascontiguousarray(image)


def scan(container: InputContainer, stream: VideoStream) -> tuple[av.VideoFrame | None, list[tuple[int | None, bool]]]:
    """The first frame, and of each that is shown, in the order of the file, its time stamp and whether it is a key frame. One
    frame is decoded, and no packet kept: together they are the file, which may be larger than memory."""
    first, found = None, []
    for packet in container.demux(stream):
        if first is None:
            first = next(iter(stream.codec_context.decode(packet if packet.size else None)), None)
        if packet.size and not packet.is_discard:
            found.append((packet.pts, packet.is_keyframe))
    return first, found


@dataclass(frozen=True)
class Measures:
    """Of a film: width and height as it is to be shown, its frames, and how long they last."""

    width: int
    height: int
    frames: int
    seconds: float


def measure(source: bytes | Path, most: tuple[int, int] = MOST_SIZE) -> Measures:
    """What a film measures, by its first frame and the times of all. ValueError, av.FFmpegError as `open_film` and
    `shown_size`."""
    with open_film(source, most) as (container, stream):
        first, found = scan(container, stream)
        stamps = np.unique(np.array([pts for pts, _ in found if pts is not None], np.int64))
        if first is None or not len(stamps) or stream.time_base is None:
            raise ValueError("the file holds no frame with a time")
        step = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 1 / float(stream.time_base)
        seconds = float(stamps[-1] - stamps[0] + step) * float(stream.time_base)
        return Measures(*shown_size(first, pixel_aspect(stream)), len(stamps), seconds)

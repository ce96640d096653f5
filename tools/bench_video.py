"""The case of `tools/bench.py` about frames of a video."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_data import Work


def video_ours(settings: dict) -> Work:
    """Eight frames of a 5 s clip that our converters wrote: 10 fps, no B frames, tuned for decoding."""
    from aura.data.video import decode_frames

    clips = [Path(path).read_bytes() for path in settings["ours"]]
    times = (np.arange(8) + 0.5) / 8 * 4.9

    def work() -> float:
        for clip in clips:
            decode_frames(clip, times)
        return len(clips)

    return work


def video_full(settings: dict) -> Work:
    """Eight frames of a 5 s clip as x264 writes it by default: PyAV decodes all of it on one thread, and keeps eight."""
    import av

    clips = [Path(path).read_bytes() for path in settings["default"]]
    wanted = {round(x) for x in (np.arange(8) + 0.5) / 8 * 149}

    def work() -> float:
        for clip in clips:
            with av.open(io.BytesIO(clip), "r") as container:
                container.streams.video[0].thread_type = "NONE"
                frames = enumerate(container.decode(video=0))
                np.stack([frame.to_ndarray(format="rgb24") for i, frame in frames if i in wanted])
        return len(clips)

    return work


VARIANTS: dict[str, dict[str, Callable[[dict], Work]]] = {
    "video": {"ours": video_ours, "PyAV": video_full},
}
